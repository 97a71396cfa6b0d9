"""A display manager without a display: runs in the machine, and opens a graphical session as lightdm does.

Usage, as root: display_manager.py SERVICE USER PASSWORD. Prints the id of logind's session, and closes it with the end
of its standard input. `desktop.py` starts it.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

PAM_PROMPT_ECHO_OFF, PAM_ESTABLISH_CRED = 1, 2  # _pam_types.h
#: What lightdm passes to pam_systemd(8).
ENVIRONMENT = {"XDG_SEAT": "seat0", "XDG_SESSION_CLASS": "user", "XDG_SESSION_TYPE": "x11"}

LIBPAM = ctypes.CDLL("libpam.so.0")
LIBPAM.pam_getenv.restype = ctypes.c_char_p
LIBC = ctypes.CDLL(None)
LIBC.calloc.restype = LIBC.strdup.restype = ctypes.c_void_p


class Message(ctypes.Structure):
    """pam_message (pam_conv(3))."""

    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class Response(ctypes.Structure):
    """pam_response."""

    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


TALK = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(Message)),
    ctypes.POINTER(ctypes.POINTER(Response)),
    ctypes.c_void_p,
)


class Conversation(ctypes.Structure):
    """pam_conv."""

    _fields_ = (("talk", TALK), ("data", ctypes.c_void_p))


def main(service: str, user: str, password: str) -> None:
    """Open the session, and close it when the person logs out."""

    @TALK  # type: ignore[misc]
    def talk(count: int, messages: Any, responses: Any, _data: object) -> int:
        """Type the password where it is asked for, and Enter elsewhere."""
        answers = ctypes.cast(LIBC.calloc(count, ctypes.sizeof(Response)), ctypes.POINTER(Response))
        for number in range(count):
            secret = messages[number].contents.style == PAM_PROMPT_ECHO_OFF
            answers[number].text = LIBC.strdup(password.encode() if secret else b"")
        responses[0] = answers
        return 0

    handle, conversation = ctypes.c_void_p(), Conversation(talk, None)
    check(LIBPAM.pam_start(service.encode(), user.encode(), ctypes.byref(conversation), ctypes.byref(handle)))
    for name, value in ENVIRONMENT.items():
        check(LIBPAM.pam_putenv(handle, f"{name}={value}".encode()))
    check(LIBPAM.pam_authenticate(handle, 0))
    check(LIBPAM.pam_acct_mgmt(handle, 0))
    check(LIBPAM.pam_setcred(handle, PAM_ESTABLISH_CRED))
    check(LIBPAM.pam_open_session(handle, 0))
    print(LIBPAM.pam_getenv(handle, b"XDG_SESSION_ID").decode(), flush=True)
    sys.stdin.read()
    check(LIBPAM.pam_close_session(handle, 0))
    LIBPAM.pam_end(handle, 0)


def check(code: int) -> None:
    """End if a function of libpam has failed."""
    if code != 0:
        sys.exit(f"PAM says {code}")


if __name__ == "__main__":
    main(*sys.argv[1:])
