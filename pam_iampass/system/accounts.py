"""The machine's accounts, from NSS.

The text typed at a prompt may differ from the account's name: sssd and Active Directory ignore case and know aliases.
Every name that is compared or looked up is the `pw_name` that NSS returns for it (getpwnam(3)).
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

NSSWITCH = Path("/etc/nsswitch.conf")

_NEVER_FAIL = frozenset({"files", "compat", "db"})
_TRYAGAIN, _UNAVAIL = -2, -1
_NOT_INSTALLED = "No such file"
LOGIN_DEFS = Path("/etc/login.defs")
_LOWEST, _HIGHEST = 1000, 60000  # defaults of useradd(8)
_NO_SHELLS = frozenset({"nologin", "false", "true", "sync", "halt", "shutdown"})

#: The most groups that Linux lets a process have (NGROUPS_MAX).
MOST_GROUPS = 65536


class UnknownAccount(Exception):
    """NSS knows no such account."""


class LookupFailed(Exception):
    """NSS could not answer: a name service is broken or unreachable."""


@dataclass(frozen=True)
class Account:
    """An account of the machine."""

    name: str
    uid: int
    gid: int


class Accounts:
    """Look-ups in NSS."""

    def named(self, name: str) -> Account:
        """The account that `name` means. Raises UnknownAccount and LookupFailed."""
        try:
            entry = pwd.getpwnam(name)
        except (KeyError, ValueError):  # ValueError: a NUL or something that cannot be encoded
            raise UnknownAccount from None
        except OSError as error:
            raise LookupFailed(f"looking up the user failed: {error.strerror}") from None
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def with_uid(self, uid: int) -> Account:
        """The account with the user id `uid`. Raises UnknownAccount and LookupFailed."""
        try:
            entry = pwd.getpwuid(uid)
        except (KeyError, OverflowError):
            raise UnknownAccount from None
        except OSError as error:
            raise LookupFailed(f"looking up the user id {uid} failed: {error.strerror}") from None
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def groups(self, account: Account) -> frozenset[int]:
        """The ids of the account's groups, primary and supplementary (getgrouplist(3)). Raises LookupFailed.

        os.getgrouplist holds the interpreter's lock during the look-up: a name service that hangs would block all
        other logins of the agent. ctypes releases the lock.
        """
        name, gid = os.fsencode(account.name), ctypes.c_uint32(account.gid)
        getgrouplist = ctypes.CDLL(None).getgrouplist
        count = ctypes.c_int(64)
        while count.value <= MOST_GROUPS:
            groups = (ctypes.c_uint32 * count.value)()
            if getgrouplist(name, gid, groups, ctypes.byref(count)) >= 0:
                return frozenset(groups[: count.value])
            count.value = max(count.value, 2 * len(groups))
        raise LookupFailed(f"the user is in more than {MOST_GROUPS} groups")

    def group_id(self, name: str) -> int | None:
        """The id of the group `name`, or None if NSS knows no such group. Raises LookupFailed."""
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError):
            return None
        except OSError as error:
            raise LookupFailed(f"looking up the group {name} failed: {error.strerror}") from None

    def check_groups(self, account: Account) -> None:
        """Make sure that `groups` leaves nothing out. Raises LookupFailed if a name service fails.

        getgrouplist(3) does not report that: it leaves the groups of that service out. So each is asked separately.
        """
        try:
            for service in _services():
                if _status(service, account.name, account.gid) in (_TRYAGAIN, _UNAVAIL):
                    what = f"the name service {service} is unavailable"
                    raise LookupFailed(f"looking up the user's groups failed: {what}")
        except OSError as error:
            raise LookupFailed(f"{error.filename}: {error.strerror}") from None

    def members_of(self, group: str) -> tuple[str, ...] | None:
        """The names of the accounts that the entry of the group lists, sorted; None if NSS knows no such group.

        Raises LookupFailed.
        """
        try:
            listed = grp.getgrnam(group).gr_mem
        except (KeyError, ValueError):
            return None
        except OSError as error:
            raise LookupFailed(f"looking up the group {group} failed: {error.strerror}") from None
        found = set()
        for name in listed:
            try:
                found.add(self.named(name).name)
            except UnknownAccount:
                continue
        return tuple(sorted(found))

    def lists(self, group: str, account: Account) -> bool:
        """Whether the entry of the group lists the account as a member. Raises LookupFailed."""
        try:
            return account.name in grp.getgrnam(group).gr_mem
        except (KeyError, ValueError):
            return False
        except OSError as error:
            raise LookupFailed(f"looking up the group {group} failed: {error.strerror}") from None


def user_name(uid: int) -> str:
    """The name of the user with this id, for a message; the number if NSS knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return str(uid)


def group_name(gid: int) -> str:
    """The name of the group with this id, for a message; the number if NSS knows none."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OSError):
        return str(gid)


def _services() -> Iterator[str]:
    """The name services that are asked for a user's groups (nsswitch.conf(5))."""
    lines = NSSWITCH.read_text("utf-8", "replace").splitlines()
    rules = dict(line.partition("#")[0].strip().partition(":")[::2] for line in reversed(lines))
    rule = rules.get("initgroups") or rules.get("group", "")
    for name in re.sub(r"\[[^]]*\]", " ", rule).split():
        if name not in _NEVER_FAIL:
            yield name


def _status(service: str, user: str, gid: int) -> int:
    """The status from `_nss_SERVICE_initgroups_dyn` (nss.h), which glibc calls; 0 if the service does not have it."""
    try:
        ask = getattr(ctypes.CDLL(f"libnss_{service}.so.2"), f"_nss_{service}_initgroups_dyn", None)
    except OSError as missing:
        return 0 if _NOT_INSTALLED in str(missing) else _UNAVAIL
    if ask is None:
        return 0
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    start, size, error = ctypes.c_long(0), ctypes.c_long(64), ctypes.c_int(0)
    groups = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(64 * ctypes.sizeof(ctypes.c_uint32))))
    if not groups:
        return _TRYAGAIN
    try:
        name, limit = os.fsencode(user), ctypes.c_long(-1)
        return int(
            ask(
                *(name, ctypes.c_uint32(gid), ctypes.byref(start), ctypes.byref(size)),
                *(ctypes.byref(groups), limit, ctypes.byref(error)),
            )
        )
    finally:
        libc.free(groups)


def login_accounts(
    accounts: Iterable[pwd.struct_passwd] | None = None, login_defs: Path = LOGIN_DEFS
) -> list[str]:
    """The names of root and of every account of a person, sorted.

    A person's user id lies between UID_MIN and UID_MAX of `login_defs`, and the account has a login shell. By
    default `accounts` come from NSS: getpwent(3) lists none of a directory service that does not enumerate, as sssd
    by default.
    """
    lowest, highest = _range(login_defs)
    people = set()
    for entry in pwd.getpwall() if accounts is None else accounts:
        shell = entry.pw_shell or "/bin/sh"  # passwd(5)
        if (entry.pw_uid == 0 or lowest <= entry.pw_uid <= highest) and is_login_shell(shell):
            people.add(entry.pw_name)
    return sorted(people)


def is_login_shell(shell: str) -> bool:
    """Whether the shell is a program with which a user can work."""
    return os.path.basename(shell) not in _NO_SHELLS and os.path.isfile(shell) and os.access(shell, os.X_OK)


def _range(login_defs: Path) -> tuple[int, int]:
    """UID_MIN and UID_MAX."""
    try:
        text = login_defs.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    limits = dict(re.findall(r"^[ \t]*(UID_MIN|UID_MAX)[ \t]+([0-9]{1,10})\b", text, re.MULTILINE))
    return int(limits.get("UID_MIN", _LOWEST)), int(limits.get("UID_MAX", _HIGHEST))
