"""The machine's accounts, as NSS has them.

What was typed at a prompt is not yet a name: sssd and Active Directory ignore case and know aliases. Every name that
is compared or looked up anywhere is the `pw_name` that NSS gives for it (getpwnam(3)).
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

#: The most groups that Linux lets a process have (NGROUPS_MAX).
MOST_GROUPS = 65536


class UnknownAccount(Exception):
    """NSS knows no such account."""


class LookupFailed(Exception):
    """NSS could not say: a name service is broken or out of reach."""


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

        os.getgrouplist keeps the interpreter's lock while it asks: a name service that hangs would hold up all other
        logins of the agent. ctypes lets go of it.
        """
        import ctypes

        name = os.fsencode(account.name)
        count = ctypes.c_int(64)
        while count.value <= MOST_GROUPS:
            groups = (ctypes.c_uint32 * count.value)()
            if (
                ctypes.CDLL(None).getgrouplist(
                    name, ctypes.c_uint32(account.gid), groups, ctypes.byref(count)
                )
                >= 0
            ):
                return frozenset(groups[: count.value])
            count.value = max(count.value, 2 * len(groups))
        raise LookupFailed(f"the user is in more than {MOST_GROUPS} groups")

    def group_id(self, name: str) -> int | None:
        """The id of the group `name`, None where NSS knows none. Raises LookupFailed."""
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError):
            return None
        except OSError as error:
            raise LookupFailed(f"looking up the group {name} failed: {error.strerror}") from None
