"""Writes the table of users: one file a user in `users.d`, and never what a person wrote in `users.yaml`.

A file comes into being whole or not at all: it is written under another name, read as the module would
read it, and only then put in its place. One editor works at a time.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pam_iampass.config.node_reader import Fault
from pam_iampass.config.user_file_name import LONGEST, file_name
from pam_iampass.config.user_table import Entry, Table, read, read_own
from pam_iampass.config.validation import name_fault, token_fault
from pam_iampass.config.value_types import method as known_method
from pam_iampass.errors import ConfigurationError, EditRefused, MissingFile, UnreadableFile, shown
from pam_iampass.system import atomic_write, file_lock
from pam_iampass.system.service_user import SERVICE_USER, reading_as_service_user, service_group
from pam_iampass.system.trusted_folder import opened, shell_word, trusted_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NEW = ".new.yaml"
"""A file that is being written. Only who holds the lock makes one, so what is found is left of a crash."""

LOCK = ".users.lock"
"""Next to the table; root's, so that nobody else can hold an editor up."""


class UserTableEditor:
    """Adds users to a table and removes them."""

    def __init__(
        self,
        users: Path,
        users_folder: Path,
        *,
        owner: int = 0,
        module_user: str = SERVICE_USER,
        patience: float = 10.0,
    ) -> None:
        """`users` is the table and `users_folder` the folder with one file a user, both absolute paths.

        `owner` is as for `trusted_file.read`; `module_user` is who must be able to read what is written.
        `patience` is how many seconds another editor may take: what it does takes milliseconds.
        """
        self._users = users
        self._folder = users_folder
        self._owner = owner
        self._module_user = module_user
        self._patience = patience

    def add(self, name: str, token: str, methods: Iterable[str] | None = None, replace: bool = False) -> Path:
        """Give the user `name` a token; returns the file that now holds it.

        `methods` are the ways of approving, None for those of the service. Without `replace`, a user who has
        a token keeps it. With it, the user's own file is written anew; a line in `users.yaml` stays as it is
        and is no longer read.

        Raises EditRefused, UntrustedFile and ConfigurationError; nothing has changed then. Raises OSError where
        the change was made and the disk then failed: it may not outlast a crash.
        """
        entry = Entry(token, None if methods is None else tuple(methods))
        self._check(name, entry)
        with self._locked():
            own = self._own(name)
            if own is not None and not replace:
                raise EditRefused(
                    f"{shown(name)} has a token already, in {own}", "give --replace, or keep it"
                )
            place = None if replace else self._place_in_users(name)
            if place is not None:
                remedy = "change it there, or give --replace: a file in users.d is read first"
                raise EditRefused(f"{shown(name)} has a token already, in {place}", remedy)
            self._make_folder()
            return self._write(name, entry)

    def remove(self, name: str) -> Path:
        """Take the user's token away; returns the file that was deleted.

        Raises as `add` does.
        """
        if name_fault(name):
            raise EditRefused(
                f"the user name {shown(name)} {name_fault(name)}", "write the name as NSS has it"
            )
        with self._locked():
            own = self._own(name)
            place = self._place_in_users(name)
            if place is not None:
                what = f"{shown(name)} stands in {place}, which a person wrote"
                raise EditRefused(what, "delete that line" + (", then remove the user again" if own else ""))
            if own is None:
                raise EditRefused(f"{shown(name)} has no token", "look at: pam-iampass user list")
            with trusted_folder(str(self._folder), self._owner) as folder:
                with _changing(own):
                    os.unlink(own.name, dir_fd=folder)
                atomic_write.sync(folder)
            return own

    def _check(self, name: str, entry: Entry) -> None:
        """Raises EditRefused where no table could hold the entry."""
        fault = name_fault(name)
        if fault:
            raise EditRefused(f"the user name {shown(name)} {fault}", "write the name as NSS has it")
        fault = token_fault(entry.token)
        if fault:  # not the token itself: what is wrong ends up in logs
            raise EditRefused(f"the token {fault}", "write the token as IAMPASS has it")
        for given in entry.methods or ():
            try:
                known_method(given)
            except Fault as wrong:
                raise EditRefused(f"{shown(given)} {wrong.what}", wrong.remedy) from None
        if len(set(entry.methods or ())) != len(entry.methods or ()):
            raise EditRefused("a method is given twice", "give it once")
        if len(file_name(name)) > LONGEST:
            what = f"the user name {shown(name)} is too long for the name of a file"
            raise EditRefused(what, f"write the user into {self._users}")

    def _own(self, name: str) -> Path | None:
        """The user's own file, None where there is none. A broken one is not touched: it raises."""
        own = file_name(name)
        if len(own) > LONGEST:
            return None
        path = self._folder / own
        try:
            table = read_own(path, self._owner, name)
        except MissingFile as missing:
            if missing.folder and os.path.lexists(self._folder):
                raise
            return None
        _whole(table)
        return path

    def _place_in_users(self, name: str) -> str | None:
        """File and line of the user in `users.yaml`, None where the user is not in it."""
        try:
            table = read(self._users, self._owner)
        except MissingFile:
            return None
        _whole(table)
        line = table.lines.get(name)
        return None if line is None else f"{self._users}:{line}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Meanwhile no other editor works."""
        if os.geteuid() != self._owner:
            raise EditRefused(f"only root can change {self._folder}", "run it as root")
        path = self._users.parent / LOCK
        with trusted_folder(str(path.parent), self._owner) as folder, _changing(path):
            try:
                descriptor = file_lock.acquire(folder, LOCK, self._patience)
            except file_lock.LockHeld:
                what = f"{path}: somebody else has been changing the table for {self._patience:g} seconds"
                raise EditRefused(what, f"find out who: fuser {path}") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def _make_folder(self) -> None:
        """Make `users.d` where it is not there, complete from its first moment on: logins look into it."""
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

    def _read_again(self, name: str, entry: Entry) -> None:
        """Raises where the module would not find in the file NEW what was meant."""
        try:
            with reading_as_service_user(self._module_user):
                table = read_own(self._folder / NEW, self._owner, name)
        except UnreadableFile:
            what = f"{self._folder}: the module, as user {self._module_user}, cannot read what is put there"
            word = shell_word(str(self._folder))
            raise EditRefused(what, f"chgrp {self._module_user} {word}; chmod 0750 {word}") from None
        _whole(table)
        if table.entries[name] != entry:
            what = f"what was written for {shown(name)} reads differently"
            raise EditRefused(what, "write the file by hand, and tell us the name")

    def _group(self) -> int:
        group = service_group(self._module_user)
        if group is None:
            what = f"there is no group {self._module_user}, whom the module runs as"
            raise EditRefused(what, "finish the installation: make account, or the package's own script")
        return group


def _as_yaml(name: str, entry: Entry) -> bytes:
    """The content of the user's file, quoted where it must be."""
    import yaml

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


def _whole(table: Table) -> None:
    """Raises ConfigurationError where the file is broken: what a person meant by it is not for us to guess."""
    if table.problems:
        raise ConfigurationError(table.problems)


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """What the system says while `path` is being changed, as an error of ours."""
    try:
        yield
    except OSError as error:
        what = f"{path}: cannot be changed: {error.strerror}"
        raise EditRefused(what, "mend that and try again; the table is as it was") from None
