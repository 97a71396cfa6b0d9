"""The user that the module runs as: acting as that user for a while, or for good."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SERVICE_USER = "_iampass"
"""The user, and the group, that the module runs as."""


@contextmanager
def reading_as(name: str = SERVICE_USER, *, with_groups: bool = False) -> Iterator[frozenset[int]]:
    """Give this process only the permissions of the user, if it runs as root and the user exists; `with_groups` also
    the permissions of the groups that the user has been added to.

    Yields the ids of the groups that may read secrets: the `readers` of `config.settings`. For reading only, and only
    in a process with one thread: the ids are those of the whole process.
    """
    readers = config_readers(name)
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        user = None
    if user is None or os.geteuid() != 0:
        yield readers
        return
    own_groups, gid = os.getgroups(), os.getegid()
    os.setgroups(os.getgrouplist(name, user.pw_gid) if with_groups else [])
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield readers
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(own_groups)


def service_group(name: str = SERVICE_USER) -> int | None:
    """The id of the group that may read the configuration: the user's, else the group `name`, else None."""
    try:
        return pwd.getpwnam(name).pw_gid
    except KeyError:
        pass
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def config_readers(name: str = SERVICE_USER) -> frozenset[int]:
    """The ids of the groups that may read the secrets of the configuration."""
    group = service_group(name)
    return frozenset() if group is None else frozenset({group})


def others_in_group(name: str = SERVICE_USER) -> list[str]:
    """The accounts in the group of the user `name`, primary or supplementary, but for that user and root."""
    gid = service_group(name)
    return [] if gid is None else sorted(members(gid) - {name, "root"})


def members(gid: int) -> set[str]:
    """The accounts in a group, primary or supplementary."""
    found = {entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == gid}
    groups = [group for group in grp.getgrall() if group.gr_gid == gid]
    with suppress(KeyError):  # there is no such group any more
        groups.append(grp.getgrgid(gid))
    for group in groups:
        found |= set(group.gr_mem)
    return found


def become(name: str) -> None:
    """Become the user `name`, for good: groups, group, user. Raises KeyError if there is no such user."""
    account = pwd.getpwnam(name)
    os.setgroups([account.pw_gid])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
