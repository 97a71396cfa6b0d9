"""The machine's libpam, run on PAM files in a test's directory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_LIBPAM = ctypes.CDLL("libpam.so.0")
_LIBC = ctypes.CDLL("libc.so.6")
_LIBC.calloc.restype = ctypes.c_void_p
_LIBC.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]

SILENT = 0x8000


class _Response(ctypes.Structure):
    _fields_ = (("resp", ctypes.c_char_p), ("code", ctypes.c_int))


_Conversation = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.POINTER(_Response)),
    ctypes.c_void_p,
)


class _Conv(ctypes.Structure):
    _fields_ = (("conv", _Conversation), ("data", ctypes.c_void_p))


@_Conversation  # type: ignore[misc]
def _say_nothing(count: int, _messages: Any, responses: Any, _data: Any) -> int:
    """A conversation function that ignores messages and returns no answers."""
    responses[0] = ctypes.cast(_LIBC.calloc(count, ctypes.sizeof(_Response)), ctypes.POINTER(_Response))
    return 0


def results(folder: Path, service: str, calls: Sequence[str]) -> list[int]:
    """The return codes of these functions of libpam, called in turn on one handle.

    The folder stands in for /etc/pam.d (pam_start_confdir(3)). Where there is no handle to be had, that is what each
    of them returns.
    """
    handle = ctypes.c_void_p()
    conversation = _Conv(_say_nothing, None)
    started = _LIBPAM.pam_start_confdir(
        service.encode(), b"root", ctypes.byref(conversation), str(folder).encode(), ctypes.byref(handle)
    )
    if started != 0:
        return [started] * len(calls)
    codes = [int(getattr(_LIBPAM, call)(handle, SILENT)) for call in calls]
    _LIBPAM.pam_end(handle, codes[-1])
    return codes
