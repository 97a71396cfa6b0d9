"""Services in which a key names the person who must approve, or for whom a second person does; people with keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pam_iampass.config import settings
from pam_iampass.config.ssh_keys import MalformedKey, fingerprint
from pam_iampass.config.user_table import Entry, TableReport
from pam_iampass.config.value_types import Approver, Otherwise, SecondPerson
from pam_iampass.errors import Problem, Severity, shown
from pam_iampass.login import policy
from pam_iampass.outcome import Login
from pam_iampass.pam.modules import our_lines
from pam_iampass.pam.stack import PamFiles, PamType, UnusableService
from pam_iampass.system import sshd
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.sshd import SshdSettings
from pam_iampass.text import names

_KEY = re.compile(r"(?:(?<=[ \t])|^)(?:ssh|ecdsa|sk)-\S+[ \t]+AAAA\S+")
"""The key in a line of authorized_keys; options may stand before it (sshd(8))."""
_BY_CA = re.compile(r"(?:^|,)cert-authority(?:,|[ \t])")
_PROMPT = "pam-iampass setup sshd --prompt"
_SECOND = "names a second person"


def _with_keys(users: TableReport) -> dict[str, Entry]:
    return {name: entry for name, entry in users.entries.items() if entry.keys}


def by_key(found: settings.Settings) -> list[str]:
    """The services of the settings in which a key names the person."""
    return [name for name, service in found.services.items() if service.approver is Approver.KEY]


def denying(
    config: Path, found: settings.Settings, users: TableReport, files: PamFiles, sshd_service: str
) -> Iterator[Problem]:
    """Problems that deny logins. `sshd_service` is the PAM service of sshd."""
    services = by_key(found)
    for name in services:
        key = f"services.{name}.approver"
        if name != sshd_service:
            what = f"is key, which only sshd can name: every login through {name} is denied"
            remedy = f"write approver: key for the service {sshd_service} only"
            yield Problem(config, None, key, what, remedy)
        elif _asks_in_account_phase(files, name):
            what = (
                "is key, but sshd asks the phone before it has said which key it is (the account phase): every login is"
                " denied"
            )
            yield Problem(config, None, key, what, _PROMPT)
        elif not _with_keys(users):
            what = "is key, and no key is in the table: every login is denied"
            if found.services[name].otherwise is Otherwise.USER:
                what = "is key, and no key is in the table: the accounts' own phones are asked"
            remedy = "pam-iampass user add-key PERSON FILE"
            yield Problem(config, None, key, what, remedy, Severity.WARNING)
    seconds = _by_second_person(found)
    if any(found.services[name].unlisted_users.template is None for name in (*services, *seconds)):
        yield from _without_token(users)
    elif seconds and not found.gateways:
        yield from _unknown(users)


def unasked(config: Path, found: settings.Settings, sshd_service: str) -> Iterator[Problem]:
    """Services in which root is exempt, so that nobody who logs in to root is asked, whosever key it is."""
    second = sshd_service in _by_second_person(found) and found.user_table().accounts_are_shared
    for name in (*by_key(found), *([sshd_service] if second else ())):
        with suppress(UnknownAccount, LookupFailed, policy.PolicyError):
            root = Accounts().named("root")
            login = Login(root.name, name, ssh_auth_info="")
            reason = policy.exempted(root, login, found.services[name], Accounts())
            if reason is not None:
                key = f"services.{name}.approver"
                says = "names a second person" if second and name == sshd_service else "is key"
                what = f"{says}, but nobody is asked for a login to root by any key: {reason}"
                remedy = (
                    f"give {name} an exempt: of its own without root, for instance an account for emergencies"
                )
                yield Problem(config, None, key, what, remedy)


def second_people(
    config: Path, found: settings.Settings, users: TableReport, files: PamFiles
) -> Iterator[Problem]:
    """Services in which a second person must approve for people whom nothing identifies."""
    seconds, in_use = _by_second_person(found), found.user_table().accounts_are_shared
    if seconds and in_use:
        nobodys = [
            name
            for name, entry in users.entries.items()
            if entry.token and not entry.keys and _is_account(name)
        ]
        if nobodys:
            what = (
                f"{_SECOND}, and the user table has no keys of {names(nobodys)}: in these accounts, a"
                " person whom neither a key nor a kept login session names is denied"
            )
            remedy = "pam-iampass user add-key PERSON FILE, if an account is that person's own"
            key = f"services.{seconds[0]}.approver"
            yield Problem(config, None, key, what, remedy, Severity.WARNING)
    for name in seconds if in_use else ():
        if _asks_in_account_phase(files, name):
            what = (
                f"{_SECOND}, but sshd asks the phone before it has said whose key it is (the account phase): nobody"
                " gets into an account whose name is not that of a person who has keys in the user table"
            )
            yield Problem(config, None, f"services.{name}.approver", what, _PROMPT)
    for name, service in found.services.items() if seconds else ():
        if service.approver in (Approver.KEY, Approver.LOGIN) and service.otherwise is Otherwise.USER:
            what = (
                f"is user: nothing names a person who is let in by the account's own phone, and"
                f" services.{seconds[0]}.approver denies them"
            )
            remedy = "delete it, and give everybody a key: pam-iampass user add-key PERSON FILE"
            yield Problem(config, None, f"services.{name}.otherwise", what, remedy, Severity.WARNING)


def shared_with_token(
    found: settings.Settings, users: TableReport, in_force: SshdSettings
) -> Iterator[Problem]:
    """Accounts with a token of their own to which people log in by keys of the user table.

    No error: anyone who uses an account can write its authorized_keys, which say who logs in to it.
    """
    seconds, people = _by_second_person(found), _with_keys(users)
    named = [each for each in found.services.values() if each.approver in (Approver.KEY, Approver.LOGIN)]
    meant = any(service.otherwise is Otherwise.USER for service in named)
    if not people or not (seconds or (named and not meant)):
        return
    of_keys = _People(people)
    for name, entry in users.entries.items():
        if entry.token is None:
            continue
        found_in = of_keys.who_log_in(name, in_force)
        others = [who for who in sorted(found_in) if _token(users, who) != entry.token]
        if not others:
            continue
        where = names(sorted({str(found_in[who]) for who in others}))
        what = f"has a token of its own, and {names(map(shown, others))} can log in to it by key ({where}): "
        if seconds and name in people:
            what += (
                "where neither a key nor a kept login session says who they are, it counts as one person's, because the"
                " user table has keys of its name, so that they can approve for themselves"
                f" (services.{seconds[0]}.approver)"
            )
        elif seconds:
            what += (
                "where neither a key nor a kept login session says who they are, they are denied in spite of it"
                f" (services.{seconds[0]}.approver)"
            )
        else:
            what += (
                "its phone approves for all of them where neither a key nor a login session names the person"
            )
        file, line = users.places[name]
        remedy = f"pam-iampass user remove {name}: an account that several people share needs no token"
        yield Problem(file, line, name, what, remedy, Severity.WARNING)


def _is_account(name: str) -> bool:
    try:
        return policy.own_account(name, Accounts()) is not None
    except LookupFailed:
        return False


def _by_second_person(found: settings.Settings) -> list[str]:
    """The services in which another person must approve."""
    return [
        name
        for name, service in found.services.items()
        if isinstance(service.approver, SecondPerson) and not service.approver.allow_self
    ]


class _People:
    """The people who log in to an account by their keys in the user table, as its authorized_keys says."""

    def __init__(self, people: Mapping[str, Entry]) -> None:
        self._of: dict[tuple[str, bool], set[str]] = {}
        """The people by the fingerprint, and by whether it is the fingerprint of a CA."""
        for name, entry in people.items():
            for key in entry.keys:
                self._of.setdefault((key.fingerprint, key.is_certificate), set()).add(name)

    def who_log_in(self, name: str, in_force: SshdSettings) -> dict[str, Path]:
        """Return these people, each with a file that says so."""
        try:
            account = Accounts().named(name)
        except (UnknownAccount, LookupFailed):
            return {}
        people = {}
        for file, line in sshd.authorized_keys(account, in_force):
            key = _KEY.search(line)
            with suppress(MalformedKey):
                if key is not None:
                    print_ = fingerprint(key.group())
                    by_ca = _BY_CA.search(line[: key.start()]) is not None
                    people.update(dict.fromkeys(self._of.get((print_, by_ca), ()), file))
        return people


def _token(users: TableReport, name: str) -> str | None:
    return users.entries[name].token if name in users.entries else None


def no_connection_covered(config: Path, found: settings.Settings) -> Iterator[Problem]:
    """Services with `covers_connections` in which a key says who logs in, so that it has no effect."""
    table = found.user_table()
    for name, service in found.services.items():
        session = service.session
        if session.keep and session.covers_connections and policy.key_names_person(service, table):
            what = (
                f"has no effect for {name}: a key says there who logs in, and others can use the ssh agent that a"
                " person forwards to an account of several people"
            )
            remedy = (
                f"set covers_connections: false for the service {name}; ControlMaster shares a connection"
            )
            yield Problem(config, None, "session.covers_connections", what, remedy, Severity.WARNING)


def whom(problem: Problem) -> str | None:
    """Say who is denied because of an error that a key causes; None if it is another error."""
    if problem.what.startswith(_SECOND):
        return "everybody who logs in to an account that several people share is denied"
    if problem.key.startswith("services.") and problem.key.endswith(".approver"):
        return f"everybody who is not exempt is denied by {problem.key}"
    if problem.what.startswith("has keys, and ") or "also stands for" in problem.what:
        return f"{shown(problem.key)} is denied"
    return None


def _without_token(users: TableReport) -> Iterator[Problem]:
    for name, entry in _with_keys(users).items():
        if entry.token is None:
            what = "has keys, and no token: is denied"
            remedy = (
                "pam-iampass enroll USER (without an account: --no-account), or pam-iampass user remove USER"
            )
            yield Problem(*users.places[name], name, what, remedy)


def _unknown(users: TableReport) -> Iterator[Problem]:
    """Names that may be others of a person who approves: the token that `unlisted_users` makes says nothing."""
    for name, entry in _with_keys(users).items():
        with suppress(LookupFailed):
            if entry.token is None and policy.own_account(name, Accounts()) is None:
                what = "has keys, and neither a token nor an account: is denied where a second person must approve"
                remedy = "pam-iampass user add USER --no-account, or write the name as the directory has it"
                yield Problem(*users.places[name], name, what, remedy)


def _asks_in_account_phase(files: PamFiles, name: str) -> bool:
    try:
        service = files.service(name)
    except (OSError, UnusableService):
        return False
    return bool(our_lines(service, PamType.ACCOUNT) and not our_lines(service))
