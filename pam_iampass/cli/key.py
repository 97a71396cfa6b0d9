"""`pam-iampass key`: shows and changes whose ssh keys and certificates are whose."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Callable, TypeVar

import click

from pam_iampass.audit.journal import Act
from pam_iampass.cli import Verbs
from pam_iampass.cli.output import count, line, record, show_json, table
from pam_iampass.cli.parameters import USER, account, config_option, json_option
from pam_iampass.config import key_table, settings
from pam_iampass.config.key_table import KeyEntry, certificate_name_error
from pam_iampass.config.key_table_editing import KeyTableEditor
from pam_iampass.config.ssh_keys import MalformedKey, fingerprint
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.value_types import name_error
from pam_iampass.errors import ConfigurationError, Severity, shown
from pam_iampass.system.service_user import config_readers
from pam_iampass.system.trusted_folder import kind_of, looked_at
from pam_iampass.text import clean

_F = TypeVar("_F", bound=Callable[..., Any])
_LONGEST = 1024 * 1024  # bytes of a file with keys

_EPILOG = """\b
Examples:
  pam-iampass key list                                    whose keys are known
  pam-iampass key add alice alice.pub                     a key, or several, one on each line
  pam-iampass key add alice SHA256:dJj…                   by the fingerprint that ssh-keygen -l prints
  pam-iampass key add bob --ca ca.pub --key-id bob        certificates of a CA with this key id
  pam-iampass key add bob --ca ca.pub --principal bob     or with this principal
  pam-iampass key import keys/ --dry-run                  a folder of alice.pub, bob.pub, …
  pam-iampass key remove alice SHA256:dJj…                one key
  pam-iampass key remove alice                            all keys of alice
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """List, add, import and remove the ssh keys and certificates of people, for services with `approver: key`.

    There, the key that sshd has accepted says whose phone is asked, whatever account is logged in to. Anybody who may
    log in to an account can allow further keys for it; only the keys listed here name a person. The comment of a key
    says nothing.

    New keys are written to keys.d, one file per person. keys.yaml is for you to edit: these commands read it, but never
    change it.
    """


def _which_keys(function: _F) -> _F:
    """A verb about some keys or certificates of a person."""
    for parameter in (
        click.option("--principal", metavar="TEXT", help="With --ca: a principal of certificates."),
        click.option("--key-id", metavar="TEXT", help="With --ca: the key id of certificates."),
        click.option("--ca", metavar="KEY", help="A file with the public key of a CA, or its fingerprint."),
        click.argument("keys", nargs=-1, metavar="[KEY]..."),
        click.argument("person", type=USER),
    ):
        function = parameter(function)
    return function


@command.command("add", epilog=_EPILOG, short_help="Add keys or certificates of PERSON.")
@_which_keys
@config_option
def add_keys(
    person: str,
    keys: tuple[str, ...],
    ca: str | None,
    key_id: str | None,
    principal: str | None,
    config: Path,
) -> None:
    """Add keys of PERSON, or certificates by their CA and key id or principal.

    PERSON is a name of the user table; an account is not needed. Each KEY is a file with public keys, `-` for standard
    input, or a fingerprint. A key that another person has is refused.

    The exit status is 0, or 1 if nothing was added because of an error.
    """
    entries = _entries(keys, ca, key_id, principal)
    if not entries:
        raise click.UsageError("Give a file with a public key, or --ca with --key-id or --principal.")
    added = KeyTableEditor(_keys_file(config)).add({person: entries})
    _show_added(added, config)
    if not added:
        line(f"{shown(person)} has these already.")


@command.command("import", epilog=_EPILOG, short_help="Add the keys in a folder of NAME.pub.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only show what would be added.")
@config_option
def import_keys(folder: Path, dry_run: bool, config: Path) -> None:
    """Add the public keys in the files NAME.pub of FOLDER to the person NAME.

    If one of the files is not valid, or a key has two owners, nothing is added.

    The exit status is 0, or 1 if nothing was added because of an error.
    """
    found: dict[str, list[KeyEntry]] = {}
    faults = []
    for file in sorted(folder.iterdir()):
        if file.suffix != ".pub":
            continue
        error = name_error(file.stem)
        try:
            found[file.stem] = _read(str(file))
        except click.ClickException as failure:
            error = failure.message
        if error:
            faults.append(clean(f"{file}: {error}" if str(file) not in error else error, 500))
    if faults:
        raise click.ClickException("\n".join([*faults, "Nothing was added."]))
    if not found:
        raise click.ClickException(f"{folder} has no file NAME.pub")
    added = KeyTableEditor(_keys_file(config)).add(found, dry_run=dry_run)
    if dry_run:
        _table([(person, entry, "would be added") for person, entries in added.items() for entry in entries])
    _show_added(added, config, dry_run=dry_run)
    number = sum(map(len, added.values()))
    line(f"{count(len(found), 'file')}: {count(number, 'key')} {'to add' if dry_run else 'added'}.")


@command.command("list", epilog=_EPILOG, short_help="Show whose keys are known.")
@click.argument("person", type=USER, required=False)
@config_option
@json_option
@click.pass_context
def list_keys(ctx: click.Context, person: str | None, config: Path, as_json: bool) -> None:
    """List the keys and certificates of PERSON, or of everybody.

    The exit status is 0, or 1 if a file is not valid or a key has two owners.
    """
    report = key_table.check(_keys_file(config))
    places = [place for place in report.places if person in (None, place.person)]
    ok = all(problem.severity is not Severity.ERROR for problem in report.problems)
    if as_json:
        objects = [
            {
                "person": place.person,
                "fingerprint": place.entry.fingerprint,
                "key_id": place.entry.key_id or None,
                "principal": place.entry.principal or None,
                "file": str(place.file),
                "line": place.line,
            }
            for place in places
        ]
        show_json({"ok": ok, "keys": objects})
    elif places:
        _table([(place.person, place.entry, f"{place.file}:{place.line}") for place in places])
    else:
        line("No key." if person is None else f"{shown(person)} has no key.")
    if not ok:
        line("The key table has errors; see: pam-iampass check", err=True)
    ctx.exit(0 if ok else 1)


@command.command("remove", epilog=_EPILOG, short_help="Remove keys or certificates of PERSON.")
@_which_keys
@config_option
def remove_keys(
    person: str,
    keys: tuple[str, ...],
    ca: str | None,
    key_id: str | None,
    principal: str | None,
    config: Path,
) -> None:
    """Remove keys of PERSON; without a KEY, all. Logins that are open stay open (pam-iampass session end PERSON).

    sshd goes on accepting the keys: delete them from authorized_keys as well.

    The exit status is 0, or 1 if nothing was removed.
    """
    entries = _entries(keys, ca, key_id, principal)
    removed = KeyTableEditor(_keys_file(config)).remove(person, entries or None)
    for entry in removed:
        line(f"{entry} names {shown(person)} no longer.")
    record(Act.KEY_REMOVE, person, "; ".join(map(str, removed)))


def _keys_file(config: Path) -> Path:
    """The path of the key table. Raises ConfigurationError."""
    report = settings.check(config)
    if report.keys is None:
        raise ConfigurationError(report.problems)
    return report.keys


def _entries(
    keys: Iterable[str], ca: str | None, key_id: str | None, principal: str | None
) -> list[KeyEntry]:
    """The entries that are meant on the command line. Raises ClickException."""
    entries = [entry for key in keys for entry in _read(key)]
    named = {"key_id": key_id, "principal": principal}
    given = {kind: text for kind, text in named.items() if text is not None}
    if ca is None and given:
        raise click.UsageError("--key-id and --principal need --ca.")
    if ca is None:
        return entries
    if len(given) != 1:
        raise click.UsageError("Give --ca together with --key-id or with --principal.")
    ((kind, text),) = given.items()
    error = certificate_name_error(text)
    if error:
        raise click.UsageError(f"The {kind.replace('_', ' ')} {error}.")
    return [*entries, *(KeyEntry(entry.fingerprint, **{kind: text}) for entry in _read(ca))]


def _read(key: str) -> list[KeyEntry]:
    """The keys in a file, one on each line; or that of a fingerprint. Raises ClickException."""
    if key.startswith("SHA256:"):
        return [KeyEntry(_fingerprint(key, key))]
    data = _content(key)
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = []
    if len(data) > _LONGEST or not lines:
        raise click.ClickException(f"{key}: is no file with public keys")
    numbered = [(number, text.strip()) for number, text in enumerate(lines, 1)]
    entries = [
        KeyEntry(_fingerprint(text, f"{key}:{number}"))
        for number, text in numbered
        if text and not text.startswith("#")
    ]
    if not entries:
        raise click.ClickException(f"{key}: has no public key")
    return entries


def _content(key: str) -> bytes:
    """What is in a file, up to more than it may have. Raises ClickException."""
    if key == "-":
        return click.get_binary_stream("stdin").read(_LONGEST + 1)
    try:
        with looked_at(key) as (status, found):
            if not stat.S_ISREG(status.st_mode):
                what = f"{key}: is {kind_of(status.st_mode)}: name a regular file, or - for standard input"
                raise click.ClickException(what)
            with open(found, "rb") as file:
                return file.read(_LONGEST + 1)
    except OSError as error:
        raise click.ClickException(f"{key}: {error.strerror}") from None


def _fingerprint(text: str, place: str) -> str:
    try:
        return fingerprint(text)
    except MalformedKey as malformed:
        hint = ""
        if str(malformed) == "is a certificate":
            hint = ": name its CA instead, with --ca and --key-id or --principal"
        raise click.ClickException(f"{place}: {malformed}{hint}") from None


def _show_added(added: dict[str, list[KeyEntry]], config: Path, *, dry_run: bool = False) -> None:
    """Say what was added, and note it in the journal; and who has no token yet."""
    users = _users(config)
    for person, entries in added.items():
        if not dry_run:
            for entry in entries:
                line(f"{entry} names {shown(person)}.")
            record(Act.KEY_ADD, person, "; ".join(map(str, entries)))
        if not users(person):
            without = "" if account(person) else " --no-account"
            hint = f"{shown(person)} has no token, and is denied: pam-iampass enroll {clean(person)}{without}"
            line((hint, "yellow"), err=True)


def _users(config: Path) -> Callable[[str], bool]:
    """Whether a person has a token, or need not have one, or cannot be looked up: that is told by `check`."""
    read = settings.check(config, readers=config_readers())
    joined = read.settings is not None and read.settings.gateways
    users = None if read.users is None or joined else UserTable(read.users)

    def has_token(person: str) -> bool:
        try:
            return users is None or users.find(person) is not None
        except ConfigurationError:
            return True

    return has_token


def _table(rows: Sequence[tuple[str, KeyEntry, str]]) -> None:
    table(
        ["PERSON", "KEY", "WHERE"], [((person, "bold"), str(entry), place) for person, entry, place in rows]
    )
