"""The names of the files in `users.d`.

In the name of a user's file every byte of the user name's UTF-8 but letters A-Z and a-z, digits, `_`, `-`,
and `.` anywhere but in front is written `%XX`, two upper-case hexadecimal digits; `.yaml` follows. The file
of `jo@example.com` is `jo%40example.com.yaml`, that of `.x` is `%2Ex.yaml`. So no name is a path or a
hidden file, and different users have different files.
"""

from __future__ import annotations

import re

from pam_iampass.config.validation import name_fault

SUFFIX = ".yaml"
LONGEST = 255
"""Bytes of a file's name, at most (NAME_MAX): a user with a longer one can only stand in `users.yaml`."""


def file_name(user: str) -> str:
    """The name of the user's file in `users.d`; different for different users."""
    encoded = re.sub(
        rb"^\.|[^A-Za-z0-9_.-]",
        lambda found: b"%%%02X" % found[0][0],
        user.encode("utf-8"),
    )
    return encoded.decode("ascii") + SUFFIX


def user_of(name: str) -> str | None:
    """The user whose file has that name; None where it is the file of nobody."""
    stem = name[: -len(SUFFIX)]
    try:
        plain = re.sub(rb"%([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), stem.encode("ascii"))
        user = plain.decode("utf-8")
    except UnicodeError:
        return None
    return user if file_name(user) == name and not name_fault(user) else None
