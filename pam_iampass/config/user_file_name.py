"""The names of the files in `users.d`.

The file of a user is named after the user, followed by `.yaml`. Every byte of the name's UTF-8 is written as `%XX` (two
upper-case hexadecimal digits), except letters A-Z and a-z, digits, `_`, `-`, and any `.` but a leading one. The
file of `jo@example.com` is `jo%40example.com.yaml`, that of `.x` is `%2Ex.yaml`. No name is therefore a path or a
hidden file, and each user has another file.
"""

from __future__ import annotations

import re

from pam_iampass.config.validation import name_error

SUFFIX = ".yaml"
LONGEST = 255
"""Maximum length of a file name in bytes (NAME_MAX): users with longer names can only be listed in `users.yaml`."""


def file_name(user: str) -> str:
    """The name of the user's file in `users.d`; different for different users."""
    encoded = re.sub(rb"^\.|[^A-Za-z0-9_.-]", lambda match: b"%%%02X" % match[0][0], user.encode("utf-8"))
    return encoded.decode("ascii") + SUFFIX


def user_of(name: str) -> str | None:
    """The user whose file has that name, or None if no user's file has it."""
    stem = name[: -len(SUFFIX)]
    try:
        plain = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), stem.encode("ascii"))
        user = plain.decode("utf-8")
    except UnicodeError:
        return None
    return user if file_name(user) == name and not name_error(user) else None
