"""People from a directory (LDAP): what it says, and what is to be changed here.

Which entries, attributes and groups count is said in the settings only. The directory never says a token.

A person is an id that the directory never uses twice (`entryUUID`, `objectGUID`): by name, a new person would get the
phone of one who left. An answer that is not known to be whole (a size limit, a referral, a cut attribute, a failure)
changes nothing. Access rules that hide entries look like a whole answer, hence the limit on losses. A faulty entry is
named and skipped, so that it does not keep the access of people who left. Groups must be below `groups_base`, because
many directories let people create groups elsewhere. TLS is verified whatever ldap.conf and the environment say.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import ldap
from ldap.controls import SimplePagedResultsControl
from ldap.dn import str2dn

from pam_iampass.config.value_types import name_error, phone_number, plain_name
from pam_iampass.errors import UntrustedFile, shown
from pam_iampass.fleet.names import person_name_error
from pam_iampass.gateway.base.settings import DirectorySettings, credential, read_secret
from pam_iampass.gateway.people.people import Person, PersonStatus, Source
from pam_iampass.system import trusted_file

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_PAGE = 500  # entries of one answer; Active Directory gives 1,000 at most
_SMALL = 3
_SHARE = 10
"""More people than `_SMALL` and than one of `_SHARE` lose access at a time only if an administrator says so."""

DN = tuple[tuple[tuple[str, str], ...], ...]
Attributes = dict[str, list[bytes]]


class DirectoryError(Exception):
    """The directory has not given a whole answer; `str()` says why."""


@dataclass(frozen=True)
class Entry:
    """A person of the directory."""

    dn: str
    name: str
    directory_id: str
    groups: tuple[str, ...] = ()
    display_name: str | None = None
    phone_number: str | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The attributes of a Person that the directory says."""
        return {
            "groups": self.groups,
            "display_name": self.display_name,
            "phone_number": self.phone_number,
            "directory_id": self.directory_id,
        }


@dataclass
class Answer:
    """The people of the directory."""

    entries: dict[str, Entry] = field(default_factory=dict)
    """The entries by name."""
    problems: list[str] = field(default_factory=list)
    """Entries that do not count, and why."""
    held: set[str] = field(default_factory=set)
    """The ids of these entries, and the names of those without: for these people nothing changes."""
    notes: list[str] = field(default_factory=list)
    """Values that were left out."""


def read(settings: DirectorySettings) -> Answer:
    """Ask the directory for all people and their groups. Raises DirectoryError."""
    try:
        connection = _connected(settings)
        try:
            people = _search(connection, settings.base, settings.filter, _attributes(settings))
            groups: list[tuple[str, Attributes]] = []
            if settings.groups_base is not None and settings.groups_attribute is None:
                wanted = [settings.groups_member]
                groups = _search(connection, settings.groups_base, settings.groups_filter, wanted)
        finally:
            connection.unbind_ext_s()
    except ldap.LDAPError as error:
        raise DirectoryError(f"{settings.url}: {_words(error)}") from None
    except UntrustedFile as error:
        raise DirectoryError(error.diagnostics()) from None
    return _answer(settings, people, groups)


# Asking


def _connected(settings: DirectorySettings) -> Any:
    """A connection, bound as `bind_dn` if that is set. What ldap.conf and the environment say does not count."""
    trusted_file.read(settings.ca_file, limit=64 * 1024 * 1024)
    connection = ldap.initialize(settings.url)
    for option, value in (
        (ldap.OPT_PROTOCOL_VERSION, 3),
        (ldap.OPT_REFERRALS, 0),
        (ldap.OPT_DEREF, ldap.DEREF_NEVER),
        (ldap.OPT_SIZELIMIT, 0),
        (ldap.OPT_TIMELIMIT, 0),
        (ldap.OPT_NETWORK_TIMEOUT, _CONNECT_SECONDS),
        (ldap.OPT_X_TLS_CACERTFILE, str(settings.ca_file)),
        (ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND),
        (ldap.OPT_X_TLS_PROTOCOL_MIN, ldap.OPT_X_TLS_PROTOCOL_TLS1_2),
        (ldap.OPT_X_TLS_NEWCTX, 0),  # takes over the options before it
    ):
        connection.set_option(option, value)
    connection.timeout = _ANSWER_SECONDS
    if settings.start_tls:
        connection.start_tls_s()
    if settings.bind_dn is not None:
        password = read_secret(credential(settings.password_file)).rstrip(b"\r\n")
        if not password:  # a server would take this for a bind as nobody
            raise DirectoryError(f"{settings.password_file} is empty")
        connection.simple_bind_s(settings.bind_dn, password)
    else:
        connection.simple_bind_s()
    return connection


def _attributes(settings: DirectorySettings) -> list[str]:
    wanted = [settings.name, settings.id, settings.display_name, settings.phone_number]
    if settings.groups_base is not None:
        wanted.append(settings.groups_attribute)
    return [name for name in wanted if name is not None]


def _search(connection: Any, base: str, filter: str, attributes: list[str]) -> list[tuple[str, Attributes]]:
    """All entries, with the names of their attributes in lower case. Raises LDAPError and DirectoryError."""
    control = SimplePagedResultsControl(False, size=_PAGE, cookie="")
    found = []
    while True:
        message = connection.search_ext(base, ldap.SCOPE_SUBTREE, filter, attributes, serverctrls=[control])
        _, entries, _, controls = connection.result3(message)
        for dn, values in entries:
            if dn is None:
                raise DirectoryError(f"{shown(base)}: the server refers to another one, which is not asked")
            by_name = {name.lower(): each for name, each in values.items()}
            for name in by_name:
                if ";range=" in name:
                    raise DirectoryError(f"{shown(dn)}: the server has cut off {name.partition(';')[0]}")
            found.append((dn, by_name))
        pages = [each for each in controls if each.controlType == SimplePagedResultsControl.controlType]
        if not pages or not pages[0].cookie:
            break
        control.cookie = pages[0].cookie
    if not found:
        raise DirectoryError(f"{shown(base)}: the server knows no entry that matches {filter}")
    return found


def _words(error: Exception) -> str:
    details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    texts = (details.get("desc") or type(error).__name__, details.get("info"))
    return ": ".join(" ".join(str(text).split()) for text in texts if text)


# Understanding


def _answer(
    settings: DirectorySettings, people: list[tuple[str, Attributes]], groups: list[tuple[str, Attributes]]
) -> Answer:
    answer = Answer()
    groups_of = _Groups(settings, people, groups, answer)
    entries: dict[str, list[Entry]] = defaultdict(list)
    for dn, values in people:
        names = [each.lower() if settings.lower_case else each for each in _texts(values, settings.name)]
        ids = values.get(settings.id.lower(), [])
        problem = None
        if len(names) != 1:
            problem = f"has {'no' if not names else 'more than one'} {settings.name}"
        elif person_name_error(names[0]):
            problem = f"has the name {shown(names[0])}, which {person_name_error(names[0])}"
        elif len(ids) != 1:
            problem = f"has {'no' if not ids else 'more than one'} {settings.id}"
        if problem is not None:
            answer.problems.append(f"{shown(dn)} {problem}")
            # The id is held, not the name: an entry that claims the name of a person who left does not keep them here.
            answer.held.update(map(_id, ids) if ids else names)
            continue
        (name,) = names
        entry = Entry(
            dn,
            name,
            _id(ids[0]),
            groups_of.person(dn, name, values),
            _display_name(values, settings.display_name),
            _phone_number(values, settings.phone_number, name, answer),
        )
        entries[_as_compared(name)].append(entry)
    for same in entries.values():
        if len(same) == 1:
            answer.entries[same[0].name] = same[0]
            continue
        answer.held.update(entry.directory_id for entry in same)
        dns = " and ".join(shown(entry.dn) for entry in same)
        answer.problems.append(f"{shown(same[0].name)} stands twice: {dns}")
    return answer


def _texts(values: Attributes, attribute: str | None) -> list[str]:
    """The values of an attribute; what is no UTF-8 is shown as such."""
    found = values.get(attribute.lower(), []) if attribute is not None else []
    return [each.decode("utf-8", "surrogateescape") for each in found]


def _as_compared(name: str) -> str:
    """A name as servers compare it, or more of them: without regard to case, to the form of letters and to spaces
    (RFC 4518). Where an account is looked up by it, names that are equal then are one."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _id(value: bytes) -> str:
    text = value.decode("ascii", "replace")
    return text.lower() if re.fullmatch("[!-~]{1,100}", text) else value.hex()


def _display_name(values: Attributes, attribute: str | None) -> str | None:
    for text in sorted(_texts(values, attribute)):
        try:
            return plain_name(text)
        except ValueError:
            continue
    return None


def _phone_number(values: Attributes, attribute: str | None, name: str, answer: Answer) -> str | None:
    texts = _texts(values, attribute)
    if not texts:
        return None
    try:
        if len(texts) > 1:
            raise ValueError("is not the only one")
        return phone_number(texts[0])
    except ValueError as error:
        answer.notes.append(f"{name} has no usable phone number: {shown(texts[0])} {error}")
        return None


class _Groups:
    """The groups of people: those below `groups_base`, by the first part of their DN."""

    def __init__(
        self,
        settings: DirectorySettings,
        people: list[tuple[str, Attributes]],
        groups: list[tuple[str, Attributes]],
        answer: Answer,
    ) -> None:
        self._settings = settings
        self._base = None if settings.groups_base is None else _parsed(settings.groups_base)
        self._members: dict[DN | str, list[str]] = defaultdict(list)
        self._by_names = settings.groups_member.lower() == "memberuid"
        for dn, values in groups:
            for member in _texts(values, settings.groups_member):
                key = self._account(member) if self._by_names else _parsed(member)
                if key is not None:
                    self._members[key].append(dn)
        named: dict[str, dict[DN, str]] = defaultdict(dict)
        listed = (dn for _, values in people for dn in _texts(values, settings.groups_attribute))
        for dn in (*listed, *(dn for dn, _ in groups)):
            name, parsed = self._name(dn), _parsed(dn)
            if name is not None and parsed is not None:
                named[name.casefold()].setdefault(parsed, dn)
        self._ambiguous = {name for name, dns in named.items() if len(dns) > 1}
        for name in sorted(self._ambiguous):
            dns = " and ".join(map(shown, named[name].values()))
            answer.problems.append(f"there are two groups {shown(name)}, and neither counts: {dns}")

    def person(self, dn: str, name: str, values: Attributes) -> tuple[str, ...]:
        """The names of the groups of one person."""
        if self._settings.groups_attribute is not None:
            dns = _texts(values, self._settings.groups_attribute)
        else:
            key = name if self._by_names else _parsed(dn)
            dns = [] if key is None else self._members.get(key, [])
        names = {self._name(each) for each in dns}
        return tuple(sorted(each for each in names if each and each.casefold() not in self._ambiguous))

    def _account(self, name: str) -> str:
        return name.lower() if self._settings.lower_case else name

    def _name(self, dn: str) -> str | None:
        """How a group is called; None if it does not count."""
        parsed = _parsed(dn)
        if self._base is None or parsed is None or len(parsed) <= len(self._base):
            return None
        if parsed[-len(self._base) :] != self._base:
            return None
        first = str2dn(dn)[0]
        return first[0][1] if len(first) == 1 and name_error(first[0][1]) is None else None


def _parsed(dn: str) -> DN | None:
    """A DN to be compared, without regard to case; None for what is none. What a server takes for two is not one here
    (casefold makes `ss` of `ß`): it would be in the other's groups."""
    try:
        parts = str2dn(dn)
    except (ldap.LDAPError, UnicodeError):
        return None
    return tuple(tuple(sorted((name.lower(), value.lower()) for name, value, _ in part)) for part in parts)


# What is to be changed


@dataclass(frozen=True)
class Plan:
    """The changes that are to be made here. People who were added here are in none of them."""

    joining: tuple[Entry, ...]
    changing: tuple[tuple[Person, Entry], ...]
    leaving: tuple[Person, ...]
    """They cannot log in from now on."""
    returning: tuple[tuple[Person, Entry], ...]
    replaced: tuple[tuple[Person, Entry], ...]
    """Another person has the name now, who needs a token and a phone of their own."""
    due: tuple[Person, ...]
    """People who have left long enough ago to be removed at IAMPASS, or whose removal was stopped."""
    problems: tuple[str, ...]
    people: int
    """How many come from the directory and can log in, before the change."""

    @property
    def losing(self) -> int:
        """How many people lose access."""
        without_groups = [person for person, entry in self.changing if person.groups and not entry.groups]
        replaced = [person for person, _ in self.replaced if person.active]
        return len(self.leaving) + len(replaced) + len(without_groups)

    @property
    def loses_many(self) -> bool:
        """Whether the number of people who lose access suggests a mistake."""
        return self.losing > _SMALL and self.losing * _SHARE > self.people


def plan(
    answer: Answer, everybody: Iterable[Person], tampered: Iterable[str], now: datetime, grace: float
) -> Plan:
    """The changes after which the people here are the ones of the directory."""
    known = {person.name: person for person in everybody}
    problems = list(answer.problems)
    joining, changing, returning, replaced = [], [], [], []
    entries = {name: entry for name, entry in answer.entries.items() if name not in set(tampered)}
    problems += [f"the row of {shown(name)} was not written by a gateway" for name in tampered]
    for name, entry in sorted(entries.items()):
        person = known.get(name)
        if person is None:
            joining.append(entry)
        elif person.source is Source.LOCAL:
            problems.append(f"{shown(name)} was added here, and is left alone: {shown(entry.dn)}")
        elif person.status is PersonStatus.REMOVING:
            continue
        elif person.directory_id != entry.directory_id:
            replaced.append((person, entry))
        elif person.status is PersonStatus.LEAVING:
            returning.append((person, entry))
        elif any(getattr(person, key) != value for key, value in entry.values.items()):
            changing.append((person, entry))
    from_directory = [person for _, person in sorted(known.items()) if person.source is Source.LDAP]
    gone = [
        person
        for person in from_directory
        if person.name not in answer.entries
        and person.directory_id not in answer.held
        and person.name not in answer.held
    ]
    left = [person for person in gone if person.status is PersonStatus.LEAVING]
    due = [
        person
        for person in left
        if person.changed_at is not None and person.changed_at + timedelta(seconds=grace) <= now
    ]
    stopped = [person for person in from_directory if person.status is PersonStatus.REMOVING]
    return Plan(
        tuple(joining),
        tuple(changing),
        tuple(person for person in gone if person.active),
        tuple(returning),
        tuple(replaced),
        (*due, *stopped),
        tuple(problems),
        sum(person.active for person in from_directory),
    )
