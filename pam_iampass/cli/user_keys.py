"""`pam-iampass user add-key`, `import-keys` and `remove-key`: whose ssh keys and certificates are whose."""

from __future__ import annotations

import functools
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable

import click

from pam_iampass.audit.journal import Act
from pam_iampass.cli.output import count, line, record, table
from pam_iampass.cli.parameters import USER, account, config_option
from pam_iampass.config import settings
from pam_iampass.config.ssh_keys import KeyEntry, MalformedKey, certificate_name_error, fingerprint
from pam_iampass.config.user_table_editing import UserTableEditor
from pam_iampass.config.value_types import name_error
from pam_iampass.errors import ConfigurationError, shown
from pam_iampass.system.service_user import config_readers
from pam_iampass.system.trusted_folder import kind_of, looked_at
from pam_iampass.text import clean

_LONGEST = 1024 * 1024  # bytes of a file with keys

EXAMPLES = """\b
Examples:
  pam-iampass user add-key alice alice.pub                     a key, or several, one on each line
  pam-iampass user add-key alice SHA256:dJj…                   by the fingerprint that ssh-keygen -l prints
  pam-iampass user add-key bob --ca ca.pub --key-id bob        certificates of a CA with this key id
  pam-iampass user add-key bob --ca ca.pub --principal bob     or with this principal
  pam-iampass user import-keys keys/ --dry-run                 a folder of alice.pub, bob.pub, …
  pam-iampass user remove-key alice SHA256:dJj…                one key
  pam-iampass user remove-key alice                            all keys of alice
"""


def _which_keys(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb about some keys or certificates of a user, which it takes as entries."""

    @functools.wraps(verb)
    def function(
        keys: tuple[str, ...], ca: str | None, key_id: str | None, principal: str | None, **given: Any
    ) -> None:
        verb(entries=_entries(keys, ca, key_id, principal), **given)

    for parameter in (
        click.option("--principal", metavar="TEXT", help="With --ca: a principal of certificates."),
        click.option("--key-id", metavar="TEXT", help="With --ca: the key id of certificates."),
        click.option("--ca", metavar="KEY", help="A file with the public key of a CA, or its fingerprint."),
        click.argument("keys", nargs=-1, metavar="[KEY]..."),
        click.argument("user", type=USER),
    ):
        function = parameter(function)
    return function


@click.command("add-key", epilog=EXAMPLES, short_help="Add ssh keys or certificates of USER.")
@_which_keys
@config_option
def add_keys(user: str, entries: list[KeyEntry], config: Path) -> None:
    """Add ssh keys of USER, or certificates by their CA and key id or principal, for services with `approver: key`.

    In these services, the key that sshd accepted decides whose phone is asked, whatever the account. Anyone who can log
    in to an account can allow more keys for it, but only keys in the user table name a person.

    USER needs no account. Each KEY is a file with public keys, `-` for standard input, or a fingerprint. Comments of
    keys are ignored. A key of another user is refused.

    The exit status is 0, or 1 if nothing was added because of an error.
    """
    if not entries:
        raise click.UsageError("Give a file with a public key, or --ca with --key-id or --principal.")
    added = UserTableEditor(table_path(config)).add_keys({user: entries})
    _show_added(added, config)
    if not added:
        line(f"{shown(user)} already has these keys.")


@click.command("import-keys", epilog=EXAMPLES, short_help="Add the ssh keys in a folder of NAME.pub.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only show what would be added.")
@config_option
def import_keys(folder: Path, dry_run: bool, config: Path) -> None:
    """Add the public keys in the files NAME.pub of FOLDER to the user NAME.

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
    added = UserTableEditor(table_path(config)).add_keys(found, dry_run=dry_run)
    if dry_run:
        rows = [
            ((user, "bold"), str(entry), "would be added") for user, keys in added.items() for entry in keys
        ]
        table(["USER", "KEY", ""], rows)
    else:
        _show_added(added, config)
    number = sum(map(len, added.values()))
    line(f"{count(len(found), 'file')}: {count(number, 'key')} {'to add' if dry_run else 'added'}.")


@click.command("remove-key", epilog=EXAMPLES, short_help="Remove ssh keys or certificates of USER.")
@_which_keys
@config_option
def remove_keys(user: str, entries: list[KeyEntry], config: Path) -> None:
    """Remove ssh keys of USER; without a KEY, all. Open logins stay open; to end them: pam-iampass session end USER

    sshd goes on accepting the keys: delete them from authorized_keys as well.

    The exit status is 0, or 1 if nothing was removed.
    """
    removed = UserTableEditor(table_path(config)).remove_keys(user, entries or None)
    for entry in removed:
        line(f"{entry} no longer names {shown(user)}.")
    record(Act.KEY_REMOVE, user, "; ".join(map(str, removed)))


def table_path(config: Path) -> Path:
    """The file `users.yaml` that the settings name. Raises ConfigurationError."""
    read = settings.check(config)
    if read.users is None:
        raise ConfigurationError(read.problems)
    return read.users


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
    """The keys in a file, one on each line; or the key of a fingerprint. Raises ClickException."""
    if key.startswith("SHA256:"):
        return [KeyEntry(_fingerprint(key, key))]
    data = _content(key)
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = []
    if len(data) > _LONGEST or not lines:
        raise click.ClickException(f"{key}: is not a file with public keys")
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
    """The content of a file, up to more than it may have. Raises ClickException."""
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


def _show_added(added: dict[str, list[KeyEntry]], config: Path) -> None:
    """Say what was added and who has no token yet, and note the addition in the journal."""
    read = settings.check(config, readers=config_readers()).settings
    for user, entries in added.items():
        for entry in entries:
            line(f"{entry} names {shown(user)}.")
        record(Act.KEY_ADD, user, "; ".join(map(str, entries)))
        found = None if read is None or read.gateways else read.user_table().find(user)
        if found is not None and found.token is None:
            without = "" if account(user) else " --no-account"
            hint = f"{shown(user)} has no token, and is denied: pam-iampass enroll {clean(user)}{without}"
            line((hint, "yellow"), err=True)
