"""The lines of other packages' PAM files that setup changes, and how they are changed back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pam_iampass.setup.errors import SetupRefused
from pam_iampass.setup.manifest import LineEdit

FIRST_FACTOR = re.compile(
    r"^(@include[ \t]+common-auth"
    r"|auth[ \t]+(?P<how>substack|include)[ \t]+"
    r"(common-auth|system-auth|password-auth|iampass-sshd|iampass-sshd-password))[ \t]*$",
    re.M,
)
_ACCOUNT = re.compile(
    r"^(@include[ \t]+common-account"
    r"|account[ \t]+(?P<how>substack|include)[ \t]+"
    r"(common-account|system-auth|password-auth|iampass-sshd|iampass-sshd-password))[ \t]*$",
    re.M,
)
_SHARED = {"auth": FIRST_FACTOR, "account": _ACCOUNT}
_SESSION = re.compile(
    r"^(@include[ \t]+common-session|session[ \t]+include[ \t]+(common-session|system-auth|password-auth))[ \t]*$",
    re.M,
)
_JUMP = re.compile(r"^-?session[ \t]+\[[^]\n]*=[ \t]*[0-9]", re.M)
_SESSION_LINE = "session    optional     pam_iampass.so"


def included(path: Path, text: str, own_name: str, kind: str) -> tuple[str, LineEdit | None]:
    """The text with our file included, and the edit; None if it is included already."""
    if any(f"{kind:10} {how}      {own_name}" in text.split("\n") for how in ("include", "substack")):
        return text, None
    found = list(_SHARED[kind].finditer(text))
    how = (found[0]["how"] if found else None) or "include"
    instead = f"{kind:10} {how}      {own_name}"
    if len(found) != 1:
        line = f"@include common-{kind}" if "@include" in text else f"{kind} substack system-auth"
        what = "asks for the password" if kind == "auth" else "checks the account"
        number = "more than one line" if found else "no line"
        raise SetupRefused(
            f"{path}: {number} {what} in the usual way ({line})",
            f"by hand, replace the lines that do with `{instead}`, and install our template as"
            f" /etc/pam.d/{own_name}",
        )
    (match,) = found
    return text[: match.start()] + instead + text[match.end() :], LineEdit(match.group(), instead)


def with_session(text: str) -> tuple[str, LineEdit | None]:
    """The text with our session line, for `session.keep`, after the line that includes the shared session lines.

    It follows pam_systemd there. A file without exactly one such line, or with a jump that could then end elsewhere,
    stays as it is: doctor says so if it matters.
    """
    found = list(_SESSION.finditer(text))
    if len(found) != 1 or _JUMP.search(text) or _SESSION_LINE in text.split("\n"):
        return text, None
    edit = LineEdit(found[0].group(), f"{found[0].group()}\n{_SESSION_LINE}")
    return text[: found[0].start()] + edit.instead + text[found[0].end() :], edit


def unedited(content: bytes | None, edits: Iterable[LineEdit]) -> bytes | None:
    """The content with our edits undone, whatever else has changed.

    An edit that is gone, such as with the file of an upgraded package, is left out. None if none is left, or if one was
    changed.
    """
    lines, found, gone = b"\n" + (content or b"") + b"\n", False, []
    for edit in edits:
        instead = f"\n{edit.instead}\n".encode("utf-8", "surrogateescape")
        if lines.count(instead) == 1:
            lines = lines.replace(instead, f"\n{edit.line}\n".encode("utf-8", "surrogateescape"))
            found = True
        else:
            gone.append(edit.own_name.encode())
    return lines[1:-1] if found and not set(gone) & set(lines.split()) else None
