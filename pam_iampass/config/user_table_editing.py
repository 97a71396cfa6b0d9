"""Changes the user table: writes one file for each user in `users.d`, and never changes `users.yaml`.

A file is written under another name, read back as the module will read it, and only then renamed. One editor works at
a time.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as replaced
from pathlib import Path

import yaml

from pam_iampass.config.ssh_keys import KeyEntry
from pam_iampass.config.user_table import (
    LONGEST_FILE_NAME,
    Entry,
    TableReport,
    check,
    file_name,
    folder_of,
    is_absent,
    owner_fault,
    read,
    read_own,
)
from pam_iampass.config.value_types import InvalidValue, name_error, token_error
from pam_iampass.config.value_types import method as read_method
from pam_iampass.errors import (
    ConfigurationError,
    EditRefused,
    MissingFile,
    UnreadableFile,
    UntrustedFile,
    shown,
)
from pam_iampass.system import atomic_write, file_lock
from pam_iampass.system.service_user import SERVICE_USER, reading_as, service_group
from pam_iampass.system.trusted_folder import opened, shell_word, trusted_folder
from pam_iampass.text import names

NEW = ".new.yaml"
"""The file while it is written. Only the holder of the lock creates it: an existing one is left from a crash."""


class UserTableEditor:
    """Adds users and their keys to a table, and removes them."""

    LOCK = ".users.lock"
    """The lock file next to the table. It belongs to root, so that no other user can block an editor."""

    def __init__(
        self,
        users: Path,
        *,
        owner: int = 0,
        module_user: str = SERVICE_USER,
        patience: float = 10.0,
    ) -> None:
        """`users` is the absolute path of `users.yaml`; `users.d` is next to it.

        `owner` is as for `trusted_file.read`; `module_user` must be able to read the files. `patience` is how many
        seconds to wait for another editor, which takes milliseconds.
        """
        self._users = users
        self._folder = folder_of(users)
        self._owner = owner
        self._module_user = module_user
        self._patience = patience

    def add(self, name: str, token: str, methods: Iterable[str] | None = None, replace: bool = False) -> Path:
        """Give the user `name` a token; returns the user's file.

        `methods` are the methods for approval, None for the service's. Keys of the user stay. Without `replace`, a user
        who already has a token keeps it. With it, the user's file is replaced; a line in `users.yaml` stays but is no
        longer read.

        Raises EditRefused, UntrustedFile and ConfigurationError, with nothing changed. Raises OSError if the disk
        failed after the change, which a crash may then undo.
        """
        entry = Entry(token, None if methods is None else tuple(methods))
        self._check(name, entry)
        return self._add(name, entry, replace)

    def add_agent(self, name: str, owner: str, replace: bool = False) -> Path:
        """Have the account `name` act for a user of the table; returns its file. The rest is as for `add`."""
        self._require_own(name)
        entry = Entry(None, acts_for=owner)
        report = check(self._users, owner=self._owner, optional=True)
        fault = owner_fault(name, entry, report.entries.get(owner), joined=False)
        if fault is not None:
            what, remedy = fault
            raise EditRefused(f"{shown(name)} cannot act for {shown(owner)}: {what}", remedy)
        if acting := report.acting.get(name):
            what = f"{shown(name)} cannot act for {shown(owner)}: {names(acting)} would have no owner with a phone"
            raise EditRefused(what, f"first: pam-iampass user add {acting[0]} --acts-for OWNER --replace")
        return self._add(name, entry, replace)

    def _add(self, name: str, entry: Entry, replace: bool) -> Path:
        with self._locked():
            own = self._own(name)
            if own is not None and (own.token is not None or own.acts_for) and not replace:
                has = f"acts for {shown(own.acts_for)}" if own.acts_for else "has a token"
                what = f"{shown(name)} already {has}, in {self._folder / file_name(name)}"
                raise EditRefused(what, "use --replace to replace it")
            place = by_hand = None
            if own is None:
                try:
                    place, by_hand = self._in_users(name)
                except (ConfigurationError, UntrustedFile):
                    if not replace:
                        raise
            if by_hand is not None and not replace:
                what = "is" if by_hand.token is None else "already has a token,"
                remedy = "change it there, or use --replace: a file in users.d is read first"
                raise EditRefused(f"{shown(name)} {what} in {place}", remedy)
            former = own or by_hand
            keys = former.keys if former and not entry.acts_for else ()
            return self._write(name, replaced(entry, keys=keys))

    def own_file(self, name: str) -> Path:
        """The user's file, which `remove` deletes. Raises as `add` does."""
        require_name(name)
        own = self._own(name)
        place, _ = self._in_users(name)
        if place is not None:
            remedy = "delete that line" + (", then remove the user again" if own else "")
            raise _only_by_hand(name, place, remedy)
        if own is None:
            raise EditRefused(f"{shown(name)} has no token", "see: pam-iampass user list")
        return self._folder / file_name(name)

    def remove(self, name: str) -> Path:
        """Delete the user's file, and return it. Raises as `add` does."""
        with self._locked():
            own = self.own_file(name)
            self._remove_file(own)
            return own

    def add_keys(
        self, new: Mapping[str, Iterable[KeyEntry]], *, dry_run: bool = False
    ) -> dict[str, list[KeyEntry]]:
        """Add keys of users; returns the ones of each that were not there. All are checked before one is written.

        Raises as `add` does. With `dry_run` nothing is written.
        """
        with self._locked():
            report = self._valid()
            owners = {key: user for user, entry in report.entries.items() for key in entry.keys}
            added: dict[str, list[KeyEntry]] = {}
            for name, keys in new.items():
                self._require_own(name)
                former = report.entries.get(name, Entry(None))
                if former.acts_for:
                    what = f"{shown(name)} acts for {shown(former.acts_for)}, and so has no keys"
                    raise EditRefused(what, "add the keys of its owner instead")
                known = former.keys
                for key in dict.fromkeys(keys):
                    other = owners.setdefault(key, name)
                    if other != name:
                        what = f"{key} is already that of {shown(other)}, and cannot be that of {shown(name)}"
                        raise EditRefused(what, f"see: pam-iampass user show {shell_word(other)}")
                    if key not in known:
                        added.setdefault(name, []).append(key)
                if name in added:
                    self._require_own_place(report, name)
            for name, more in {} if dry_run else added.items():
                entry = report.entries.get(name, Entry(None))
                self._write(name, replaced(entry, keys=(*entry.keys, *more)))
            return added

    def remove_keys(self, name: str, keys: Iterable[KeyEntry] | None = None) -> list[KeyEntry]:
        """Remove keys of a user, None for all; returns them. Raises as `add` does, with nothing changed."""
        with self._locked():
            report = self._valid()
            entry = report.entries.get(name)
            if entry is None or not entry.keys:
                raise EditRefused(f"{shown(name)} has no keys", "see: pam-iampass user list")
            gone = list(entry.keys if keys is None else keys)
            for key in gone:
                if key not in entry.keys:
                    raise EditRefused(
                        f"{key} is not of {shown(name)}", f"see: pam-iampass user show {shell_word(name)}"
                    )
            self._require_own_place(report, name)
            left = tuple(key for key in entry.keys if key not in gone)
            if left or entry.token is not None or entry.acts_for:
                self._write(name, replaced(entry, keys=left))
            else:
                self._remove_file(self._folder / file_name(name))
            return gone

    def _valid(self) -> TableReport:
        """The table. Raises ConfigurationError if a file of it is broken, which may say whose a key is."""
        report = check(self._users, owner=self._owner, optional=True)
        if report.broken:
            raise ConfigurationError(report.broken)
        return report

    def _require_own_place(self, report: TableReport, name: str) -> None:
        """Raises EditRefused if the user is in `users.yaml`."""
        file, line = report.places.get(name, (None, None))
        if file == self._users:
            raise _only_by_hand(name, f"{file}:{line}", "change it there; nothing was changed")

    def _check(self, name: str, entry: Entry) -> None:
        """Raises EditRefused for an invalid entry."""
        self._require_own(name)
        error = token_error(entry.token or "")
        if error:  # without the token: messages are logged
            raise EditRefused(f"the token {error}", "copy the token from IAMPASS")
        methods = entry.methods or ()
        for method in methods:
            try:
                read_method(method)
            except InvalidValue as invalid:
                raise EditRefused(f"{shown(method)} {invalid.what}", invalid.remedy) from None
        if len(set(methods)) != len(methods):
            raise EditRefused("a method is given twice", "give it once")

    def _require_own(self, name: str) -> None:
        """Raises EditRefused unless a user of this name can have a file."""
        require_name(name)
        if len(file_name(name)) > LONGEST_FILE_NAME:
            what = f"the user name {shown(name)} is too long for a file name"
            raise EditRefused(what, f"add the user to {self._users}")

    def _own(self, name: str) -> Entry | None:
        """The entry in the user's file, or None without one. An invalid file raises, and is not changed."""
        own = file_name(name)
        if len(own) > LONGEST_FILE_NAME:
            return None
        try:
            table = read_own(self._folder / own, self._owner, name)
        except UntrustedFile as error:
            if is_absent(error, self._folder):
                return None
            raise
        table.require_valid()
        return table.entries[name]

    def _in_users(self, name: str) -> tuple[str, Entry] | tuple[None, None]:
        """The file and line of the user in `users.yaml`, and what they have there, or None twice."""
        try:
            table = read(self._users, self._owner)
        except MissingFile:
            return None, None
        table.require_valid()
        if name not in table.entries:
            return None, None
        return f"{self._users}:{table.lines[name]}", table.entries[name]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps other editors out."""
        if os.geteuid() != self._owner:
            raise EditRefused(f"only root can change {self._folder}", "run it as root")
        path = self._folder.parent / self.LOCK
        with trusted_folder(str(path.parent), self._owner) as folder, _changing(path):
            try:
                descriptor = file_lock.acquire(folder, self.LOCK, self._patience)
            except file_lock.LockHeld:
                what = f"{path}: another program has been changing the table for {self._patience:g} seconds"
                raise EditRefused(what, f"find out which: fuser {path}") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def _make_folder(self) -> None:
        """Create the folder if it is missing, under another name until its permissions are set: logins read it."""
        if os.path.lexists(self._folder):
            return
        parent, name = self._folder.parent, f".{self._folder.name}.{secrets.token_hex(8)}"
        with trusted_folder(str(parent), self._owner) as folder:
            with _changing(self._folder):
                os.mkdir(name, 0o700, dir_fd=folder)
                try:
                    with opened(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, folder) as made:
                        os.fchown(made, self._owner, self._group())
                        os.fchmod(made, 0o750)
                    atomic_write.rename(folder, name, self._folder.name)
                except BaseException:
                    os.rmdir(name, dir_fd=folder)
                    raise
            atomic_write.sync(folder)

    def _write(self, name: str, entry: Entry) -> Path:
        """Write the user's file, if the module reads in it what was meant."""
        self._make_folder()
        path = self._folder / file_name(name)
        with trusted_folder(str(self._folder), self._owner) as folder:
            with _changing(path):
                owner = (self._owner, self._group())
                atomic_write.write_new(folder, NEW, _as_yaml(name, entry), mode=0o640, owner=owner)
                try:
                    self._read_again(name, entry)
                    atomic_write.rename(folder, NEW, path.name)
                except BaseException:
                    atomic_write.remove(folder, NEW)
                    raise
            atomic_write.sync(folder)
        return path

    def _remove_file(self, own: Path) -> None:
        with trusted_folder(str(self._folder), self._owner) as folder:
            with _changing(own):
                os.unlink(own.name, dir_fd=folder)
            atomic_write.sync(folder)

    def _read_again(self, name: str, entry: Entry) -> None:
        """Raises an error unless the module reads what was written to the file NEW."""
        try:
            with reading_as(self._module_user):
                table = read_own(self._folder / NEW, self._owner, name)
        except UnreadableFile:
            what = f"{self._folder}: the module, as user {self._module_user}, cannot read files in it"
            word = shell_word(str(self._folder))
            raise EditRefused(what, f"chgrp {self._module_user} {word}; chmod 0750 {word}") from None
        table.require_valid()
        if table.entries[name] != entry:
            what = f"the entry of {shown(name)} is not read back as it was written"
            raise EditRefused(what, "write the file by hand, and report the name as a bug")

    def _group(self) -> int:
        group = service_group(self._module_user)
        if group is None:
            what = f"there is no group {self._module_user}, as which the module runs"
            raise EditRefused(what, "finish the installation: make account, or the package's own script")
        return group


def require_name(name: str) -> None:
    """Raises EditRefused for an invalid user name."""
    error = name_error(name)
    if error:
        raise EditRefused(f"the user name {shown(name)} {error}", "write the name as getent passwd shows it")


def _only_by_hand(name: str, place: str, remedy: str) -> EditRefused:
    return EditRefused(f"{shown(name)} is in {place}, which is only edited by hand", remedy)


def _as_yaml(name: str, entry: Entry) -> bytes:
    """The content of the user's file, quoted where necessary."""
    values: dict[str, object] = {} if entry.token is None else {"token": entry.token}
    if entry.methods is not None:
        values["methods"] = list(entry.methods)
    if entry.keys:
        values["keys"] = [key.as_written() for key in entry.keys]
    if entry.acts_for:
        values["acts_for"] = entry.acts_for
    printable = all(text.isprintable() for text in (name, entry.token or "", entry.acts_for))
    text: str = yaml.safe_dump(
        {name: entry.token if set(values) == {"token"} else values},
        allow_unicode=True,
        default_style=None if printable else '"',  # which has escapes
        default_flow_style=False if set(values) == {"token"} else None,  # a list of methods on one line
        sort_keys=False,
        width=10_000,
    )
    return text.encode("utf-8")


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Raises EditRefused for an error of the system while `path` is changed."""
    try:
        yield
    except OSError as error:
        what = f"{path}: cannot be changed: {error.strerror}"
        raise EditRefused(what, "fix that and try again; the table is unchanged") from None
