"""Makes and ends bypasses. Only root can; one process at a time."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from pam_iampass.errors import StateError
from pam_iampass.login.bypass import Bypass, Bypasses, encoded
from pam_iampass.system import atomic_write, file_lock
from pam_iampass.system.service_user import SERVICE_USER, service_group
from pam_iampass.system.trusted_folder import trusted_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0
"""How long to wait for another process that changes the bypasses. Seconds."""


@dataclass(frozen=True)
class Ended:
    """A bypass that is over."""

    bypass: Bypass
    expired: bool
    """Whether its time was over, and nobody ended it."""


class BypassEditor:
    """Changes bypasses. `module_user` can read the files."""

    def __init__(self, bypasses: Bypasses, module_user: str = SERVICE_USER) -> None:
        self._bypasses = bypasses
        self._module_user = module_user

    def add(self, bypass: Bypass) -> list[Ended]:
        """Make a bypass, in place of others for the same person and service; returns those that are over.

        Raises UntrustedFile and StateError.
        """

        def is_replaced(other: Bypass) -> bool:
            return (other.user, other.service) == (bypass.user, bypass.service)

        return self._change(is_replaced, bypass)

    def end(self, user: str) -> list[Ended]:
        """End all bypasses of a person; returns those that are over. Raises as `add` does."""
        return self._change(lambda bypass: bypass.user == user)

    def prune(self) -> list[Ended]:
        """Remove the bypasses whose time is over, and return them. Raises as `add` does, also for a corrupt file."""
        return self._change(lambda _bypass: False, repair=False)

    def _change(
        self, ends: Callable[[Bypass], bool], new: Bypass | None = None, *, repair: bool = True
    ) -> list[Ended]:
        if os.geteuid() != self._bypasses.owner:
            raise StateError("only root can change who is bypassed", "run it as root")
        ended: list[Ended] = []
        for survives, path in self._bypasses.files.items():
            added = [new] if new is not None and new.survives_reboot is survives else []
            if added or os.path.lexists(path):
                with self._locked(path) as (folder, name):
                    found = self._found(survives, repair)
                    over = self._over(found, ends)
                    gone = [one.bypass for one in over]
                    if over or added or not found:
                        self._write(folder, name, [*(one for one in found if one not in gone), *added])
                ended += over
        return ended

    def _found(self, survives: bool, repair: bool) -> list[Bypass]:
        try:
            return self._bypasses.read(survives)
        except StateError:
            if not repair:
                raise
            return []  # nothing in a corrupt file counts

    def _over(self, found: list[Bypass], ends: Callable[[Bypass], bool]) -> list[Ended]:
        now = self._bypasses.clock()
        expired = {id(bypass) for bypass in found if bypass.left(now) <= 0}
        return [Ended(one, id(one) in expired) for one in found if id(one) in expired or ends(one)]

    def _write(self, folder: int, name: str, bypasses: list[Bypass]) -> None:
        if not bypasses:
            atomic_write.remove(folder, name)
        else:
            group = service_group(self._module_user)
            if group is None:
                raise StateError(f"there is no group {self._module_user}", "run systemd-sysusers")
            owner = (self._bypasses.owner, group)
            temporary = f".{name}.new"
            atomic_write.write_new(folder, temporary, encoded(bypasses), mode=0o640, owner=owner)
            atomic_write.rename(folder, temporary, name)
        atomic_write.sync(folder)

    @contextmanager
    def _locked(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder of a file and its name, under a lock. Raises UntrustedFile and StateError."""
        parent, name = os.path.split(path)
        with trusted_folder(parent, self._bypasses.owner) as folder:
            try:
                descriptor = file_lock.acquire(folder, f".{name}.lock", PATIENCE)
                try:
                    yield folder, name
                finally:
                    os.close(descriptor)
            except file_lock.LockHeld:
                raise StateError(
                    f"{path}: another program has been changing it for {PATIENCE:g} s", "try again"
                ) from None
            except OSError as error:
                raise StateError(f"{path}: cannot be changed: {error.strerror}", "look at the disk") from None
