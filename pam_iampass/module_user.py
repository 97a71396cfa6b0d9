"""The user that the module runs as, and reading files as that user would."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE_USER = "iampass"
"""The user, and the group, that the module runs as."""


@contextmanager
def reading_as_module_user(name: str = MODULE_USER) -> Iterator[None]:
    """Meanwhile this process may read what the user may, where it is root's and there is such a user.

    For reading only, and only where there is one thread: the ids are those of the process.
    """
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        user = None
    if user is None or os.geteuid() != 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def module_group(name: str = MODULE_USER) -> int | None:
    """The id of the group that may read the configuration: the user's, else the one of that name, else None."""
    try:
        return pwd.getpwnam(name).pw_gid
    except KeyError:
        pass
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
