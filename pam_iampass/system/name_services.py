"""The name services that NSS asks for groups (nsswitch.conf(5)), each asked separately.

getgrouplist(3) leaves out the groups of a service that fails, and says nothing. So each service is asked directly, by
the function that glibc calls: `_nss_SERVICE_initgroups_dyn` (nss.h).
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

NSSWITCH = Path("/etc/nsswitch.conf")

_NEVER_FAIL = frozenset({"files", "compat", "db"})
_TRYAGAIN, _UNAVAIL = -2, -1
_NOT_INSTALLED = "No such file"


def failing(user: str, gid: int) -> str | None:
    """A service that cannot say now which groups the user is in; None if all can. Raises OSError."""
    return next((name for name in _services() if _status(name, user, gid) in (_TRYAGAIN, _UNAVAIL)), None)


def _services() -> Iterator[str]:
    """The services that are asked for a user's groups."""
    lines = NSSWITCH.read_text("utf-8", "replace").splitlines()
    rules = dict(line.partition("#")[0].strip().partition(":")[::2] for line in reversed(lines))
    rule = rules.get("initgroups") or rules.get("group", "")
    for name in re.sub(r"\[[^]]*\]", " ", rule).split():
        if name not in _NEVER_FAIL:
            yield name


def _status(service: str, user: str, gid: int) -> int:
    """What the service returns; 0 if it is not installed, or does not know such a question."""
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
