"""The process that runs a PAM stack, started by `run.py`.

It reads one line of JSON with the run from a socket, writes a line for each message of the stack, reads the answer to
each question, and writes the result as its last line. libpam is loaded through python-pam.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import socket
import sys
from typing import Any

_USER, _TTY, _RHOST, _RUSER = 2, 3, 4, 8  # _pam_types.h
_SUCCESS, _CONV_ERR = 0, 19
_ASK_SECRETLY, _ASK, _SAY_ERROR, _SAY = 1, 2, 3, 4


def main(descriptor: int) -> None:
    """Run the stack that is requested at the socket `descriptor`."""
    with socket.socket(fileno=descriptor) as connection:
        wire = connection.makefile("rw", encoding="utf-8", errors="surrogateescape")
        wanted = json.loads(wire.readline())
        try:
            result = _run(wanted, wire)
        except ImportError as error:
            result = {"kind": "failed", "what": f"the Python package {error.name} is not installed"}
        _send(wire, result)


def _send(wire: Any, message: dict[str, Any]) -> None:
    wire.write(json.dumps(message) + "\n")
    wire.flush()


def _run(wanted: dict[str, Any], wire: Any) -> dict[str, Any]:
    import pam

    libpam: Any = pam.PamAuthenticator()  # the functions of libpam, with their types
    bindings = sys.modules[pam.PamAuthenticator.__module__]
    # The conversation is ours: that of python-pam answers every question with the password.
    conversation = bindings.PamConv(_conversation(bindings, wire), None)
    handle = bindings.PamHandle()
    if wanted["real_uid"]:
        os.setresuid(wanted["real_uid"], 0, 0)  # as a set-uid program has it
    code = libpam.pam_start(
        os.fsencode(wanted["service"]),
        os.fsencode(wanted["user"]),
        ctypes.byref(conversation),
        ctypes.byref(handle),
    )
    started, authenticated = code == _SUCCESS, False
    if started:
        for item, key in ((_TTY, "tty"), (_RHOST, "rhost"), (_RUSER, "ruser")):
            if wanted[key] is not None:
                libpam.pam_set_item(handle, item, os.fsencode(wanted[key]))
        for name, value in wanted["environment"].items():
            libpam.pam_putenv(handle, os.fsencode(f"{name}={value}"))
        if wanted["phase"] != "account":
            code = libpam.pam_authenticate(handle, 0)
            authenticated = code == _SUCCESS
        if code == _SUCCESS and wanted["phase"] != "auth":
            code = libpam.pam_acct_mgmt(handle, 0)
        libpam.pam_end(handle, code)
    return {"kind": "result", "code": code, "started": started, "authenticated": authenticated}


def _conversation(bindings: Any, wire: Any) -> Any:
    """A conversation function (pam_conv(3)) that passes messages on to the other end of the socket."""
    libc = ctypes.CDLL(None)
    libc.calloc.restype = ctypes.c_void_p
    libc.strdup.restype = ctypes.c_void_p

    class Answer(ctypes.Structure):
        _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))

    def talk(count: int, messages: Any, responses: Any, _data: object) -> int:
        try:
            answers = ctypes.cast(libc.calloc(count, ctypes.sizeof(Answer)), ctypes.POINTER(Answer))
            for place in range(count):
                message = messages[place].contents
                answer = _exchange(wire, message.msg_style, message.msg or b"")
                if answer is not None:
                    answers[place].text = libc.strdup(answer)
            slot = ctypes.cast(responses, ctypes.POINTER(ctypes.c_void_p))
            slot[0] = ctypes.cast(answers, ctypes.c_void_p).value
        except (OSError, ValueError):  # the other end is gone
            return _CONV_ERR
        return _SUCCESS

    return bindings.conv_func(talk)


def _exchange(wire: Any, style: int, text: bytes) -> bytes | None:
    kind = {_ASK_SECRETLY: "ask_secretly", _ASK: "ask", _SAY_ERROR: "say_error", _SAY: "say"}.get(
        style, "say"
    )
    _send(wire, {"kind": kind, "text": text.decode("utf-8", "surrogateescape")})
    if kind not in ("ask", "ask_secretly"):
        return None
    answer = json.loads(wire.readline())["answer"]
    return None if answer is None else os.fsencode(answer)
