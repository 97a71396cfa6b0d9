"""Changes the user table: writes one file for each user in `users.d`, and never changes `users.yaml`.

A file is written under another name, read back as the module will read it, and only then renamed. One editor works at
a time.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from pam_iampass.config.user_table import (
    LONGEST_FILE_NAME,
    Entry,
    file_name,
    folder_of,
    is_absent,
    read,
    read_own,
)
from pam_iampass.config.value_types import InvalidValue, name_error, token_error
from pam_iampass.config.value_types import method as read_method
from pam_iampass.errors import EditRefused, MissingFile, UnreadableFile, UntrustedFile, shown
from pam_iampass.system import atomic_write, file_lock
from pam_iampass.system.service_user import SERVICE_USER, reading_as, service_group
from pam_iampass.system.trusted_folder import opened, shell_word, trusted_folder

NEW = ".new.yaml"
"""The file while it is written. Only the holder of the lock creates it: an existing one is left from a crash."""


class TableEditor:
    """Changes the files of single people in the folder of a table."""

    LOCK = ".users.lock"
    """Next to the table; it belongs to root, so that no other user can block an editor."""

    def __init__(self, folder: Path, owner: int, module_user: str, patience: float) -> None:
        """As for `UserTableEditor`."""
        self._folder = folder
        self._owner = owner
        self._module_user = module_user
        self._patience = patience

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

    def _write_file(self, name: str, content: bytes, matches: Callable[[Path], bool]) -> Path:
        """Write the file of `name`, if the module reads in it what was meant: `matches` is called as the module."""
        path = self._folder / file_name(name)
        if len(path.name) > LONGEST_FILE_NAME:
            what = f"the name {shown(name)} is too long for a file name"
            raise EditRefused(what, f"write it into the file next to {self._folder}")
        with trusted_folder(str(self._folder), self._owner) as folder:
            with _changing(path):
                owner = (self._owner, self._group())
                atomic_write.write_new(folder, NEW, content, mode=0o640, owner=owner)
                try:
                    self._read_again(name, matches)
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

    def _read_again(self, name: str, matches: Callable[[Path], bool]) -> None:
        """Raises an error unless the module reads what was written to the file NEW."""
        try:
            with reading_as(self._module_user):
                is_same = matches(self._folder / NEW)
        except UnreadableFile:
            what = f"{self._folder}: the module, as user {self._module_user}, cannot read files in it"
            word = shell_word(str(self._folder))
            raise EditRefused(what, f"chgrp {self._module_user} {word}; chmod 0750 {word}") from None
        if not is_same:
            what = f"the entry of {shown(name)} is not read back as it was written"
            raise EditRefused(what, "write the file by hand, and report the name as a bug")

    def _group(self) -> int:
        group = service_group(self._module_user)
        if group is None:
            what = f"there is no group {self._module_user}, as which the module runs"
            raise EditRefused(what, "finish the installation: make account, or the package's own script")
        return group


class UserTableEditor(TableEditor):
    """Adds users to a table and removes them."""

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
        super().__init__(folder_of(users), owner, module_user, patience)
        self._users = users

    def add(self, name: str, token: str, methods: Iterable[str] | None = None, replace: bool = False) -> Path:
        """Give the user `name` a token; returns the user's file.

        `methods` are the methods for approval, None for those of the service. Without `replace`, a user who already
        has a token keeps it. With it, the user's file is replaced; a line in `users.yaml` stays but is no longer read.

        Raises EditRefused, UntrustedFile and ConfigurationError, with nothing changed. Raises OSError if the disk
        failed after the change, which a crash may then undo.
        """
        entry = Entry(token, None if methods is None else tuple(methods))
        self._check(name, entry)
        with self._locked():
            own = self._own(name)
            if own is not None and not replace:
                raise EditRefused(
                    f"{shown(name)} already has a token, in {own}", "use --replace to replace it"
                )
            place = None if replace else self._place_in_users(name)
            if place is not None:
                remedy = "change it there, or use --replace: a file in users.d is read first"
                raise EditRefused(f"{shown(name)} already has a token, in {place}", remedy)
            self._make_folder()
            return self._write(name, entry)

    def own_file(self, name: str) -> Path:
        """The user's file, which `remove` deletes. Raises as `add` does."""
        require_name(name)
        own = self._own(name)
        place = self._place_in_users(name)
        if place is not None:
            what = f"{shown(name)} is in {place}, which is only edited by hand"
            raise EditRefused(what, "delete that line" + (", then remove the user again" if own else ""))
        if own is None:
            raise EditRefused(f"{shown(name)} has no token", "see: pam-iampass user list")
        return own

    def remove(self, name: str) -> Path:
        """Delete the user's file, and return it. Raises as `add` does."""
        with self._locked():
            own = self.own_file(name)
            self._remove_file(own)
            return own

    def _check(self, name: str, entry: Entry) -> None:
        """Raises EditRefused for an invalid entry."""
        require_name(name)
        error = token_error(entry.token)
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
        if len(file_name(name)) > LONGEST_FILE_NAME:
            what = f"the user name {shown(name)} is too long for a file name"
            raise EditRefused(what, f"add the user to {self._users}")

    def _own(self, name: str) -> Path | None:
        """The user's file, or None without one. An invalid file raises, and is not changed."""
        own = file_name(name)
        if len(own) > LONGEST_FILE_NAME:
            return None
        path = self._folder / own
        try:
            table = read_own(path, self._owner, name)
        except UntrustedFile as error:
            if is_absent(error, self._folder):
                return None
            raise
        table.require_valid()
        return path

    def _place_in_users(self, name: str) -> str | None:
        """The file and line of the user in `users.yaml`, or None if the user is not in it."""
        try:
            table = read(self._users, self._owner)
        except MissingFile:
            return None
        table.require_valid()
        line = table.lines.get(name)
        return None if line is None else f"{self._users}:{line}"

    def _write(self, name: str, entry: Entry) -> Path:
        def matches(file: Path) -> bool:
            table = read_own(file, self._owner, name)
            table.require_valid()
            return table.entries[name] == entry

        return self._write_file(name, _as_yaml(name, entry), matches)


def require_name(name: str) -> None:
    """Raises EditRefused for an invalid user name."""
    error = name_error(name)
    if error:
        raise EditRefused(f"the user name {shown(name)} {error}", "write the name as getent passwd shows it")


def _as_yaml(name: str, entry: Entry) -> bytes:
    """The content of the user's file, quoted where necessary."""
    methods = None if entry.methods is None else list(entry.methods)
    value = entry.token if methods is None else {"token": entry.token, "methods": methods}
    text: str = yaml.safe_dump(
        {name: value},
        allow_unicode=True,
        default_style=None if name.isprintable() and entry.token.isprintable() else '"',  # which has escapes
        default_flow_style=False if methods is None else None,  # a list of methods on one line
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
