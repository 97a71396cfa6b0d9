"""Requests to enroll users, and a CSV file of them. All errors in the file are reported at once."""

from __future__ import annotations

import csv
import io
import os
import platform
import re
import stat
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Callable

from pam_iampass.config.value_types import name_error, token_error
from pam_iampass.errors import ConfigurationError, Problem, shown
from pam_iampass.system.trusted_folder import kind_of, opened, shell_word

COLUMNS = ("user", "token", "phone", "display_name")
_LIMIT = 16 * 1024 * 1024  # bytes
_HEADER = f"begin with a line of column names: user, and any of {', '.join(COLUMNS[1:])}"

_PHONE_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")


@dataclass(frozen=True)
class EnrollmentRequest:
    """A user to enroll."""

    user: str
    """The user name as typed."""
    token: str | None = None
    phone_number: str | None = None
    """The number that the registration link is sent to; None to show the link."""
    display_name: str | None = None
    """The name that the IAMPASS app shows."""
    line: int | None = None
    """The line in the file of requests."""


def default_display_name(user: str) -> str:
    """The name that the app shows if none is given: several machines may have a user of that name."""
    return f"{user}@{platform.node()}"


def phone_number(text: str) -> str:
    """The number in the form that IAMPASS requires (E.164), without spaces and punctuation.

    Raises ValueError, whose text completes a sentence about the number.
    """
    number = re.sub(r"[ ()./-]", "", text)
    if not _PHONE_NUMBER.fullmatch(number):
        raise ValueError("is not a phone number with + and country code, such as +1 555 123 4567")
    return number


def plain_name(text: str) -> str:
    """The name, if the app can display it. Raises ValueError, whose text completes a sentence about the name."""
    if len(text) > 100:
        raise ValueError("is longer than 100 characters")
    if not text.isprintable():
        raise ValueError("contains invisible characters")
    return text


def read_requests(file: Path, trusted: Set[int] | None = None) -> list[EnrollmentRequest]:
    """The requests in the order of the file. Raises ConfigurationError, and OSError if it cannot be read.

    The file must belong to one of the user ids in `trusted` (default: `administrators`), and only its owner may be
    able to write to it. It is UTF-8, separated by commas, or by semicolons if the first line has only these. The first
    line names the columns, `user` and any others in any order; a field may be empty.
    """
    reader = _Reader(file)
    requests = reader.read(_text(file, reader, administrators() if trusted is None else trusted))
    if reader.problems:
        raise ConfigurationError(sorted(reader.problems, key=lambda problem: problem.line or 0))
    return requests


def administrators() -> frozenset[int]:
    """The user ids of root and of the user who became root, according to `/proc/self/loginuid` and to sudo."""
    found = [os.environ.get("SUDO_UID", "")]
    with suppress(OSError):
        found.append(Path("/proc/self/loginuid").read_text("ascii").strip())
    return frozenset({0, *(int(text) for text in found if text.isascii() and text.isdigit())})


def _text(file: Path, reader: _Reader, trusted: Set[int]) -> str:
    # It is opened only after it was looked at: opening a device has effects, and a pipe of another user's waits.
    with opened(os.fspath(file), os.O_PATH | os.O_CLOEXEC) as found:
        status = os.fstat(found)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
            reader.problem(None, "", f"is {kind_of(status.st_mode)}", "name a regular file")
            return ""
        # A user who can write to the file chooses whose phone approves whose logins.
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            reader.problem(None, "", "is writable by other users", f"chmod go-w {shell_word(str(file))}")
            return ""
        if status.st_uid not in trusted:
            remedy = f"check its content, then: chown root {shell_word(str(file))}"
            reader.problem(None, "", "belongs to another user, who can write to it", remedy)
            return ""
        with Path(f"/proc/self/fd/{found}").open("rb") as content:
            data = content.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        reader.problem(None, "", f"is larger than {_LIMIT // 1024 // 1024} MiB", "split it")
        return ""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        reader.problem(line, "", "is not UTF-8", "save it as CSV in UTF-8")
        return ""


class _Reader:
    """Makes requests of the lines, and collects the problems."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: dict[str, int] = {}
        self.problems: list[Problem] = []

    def problem(self, line: int | None, column: str, what: str, remedy: str) -> None:
        self.problems.append(Problem(self._file, line, column, what, remedy))

    def read(self, text: str) -> list[EnrollmentRequest]:
        if self.problems:
            return []
        first = text.partition("\n")[0]
        separator = ";" if ";" in first and "," not in first else ","
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        requests: list[EnrollmentRequest] = []
        columns: list[str] = []
        try:
            for row in rows:
                fields = [field.strip() for field in row]
                if not any(fields):
                    continue
                if not columns:
                    columns = self._columns(fields, rows.line_num)
                elif len(fields) != len(columns):
                    what = f"has {len(fields)} fields, but the first line has {len(columns)}"
                    self.problem(rows.line_num, "", what, "write one field per column; it may be empty")
                else:
                    requests.append(self._request(dict(zip(columns, fields)), rows.line_num))
        except csv.Error as error:
            self.problem(rows.line_num, "", f"is not CSV: {error}", 'write "" for a quote in a quoted field')
        if not columns and not self.problems:
            self.problem(None, "", "is empty", _HEADER)
        return requests

    def _columns(self, names: list[str], line: int) -> list[str]:
        found = [name.lower().replace(" ", "_") for name in names]
        for name, column in zip(names, found):
            if column not in COLUMNS:
                near = get_close_matches(column, COLUMNS, 1)
                remedy = f"did you mean {near[0]}?" if near else _HEADER
                self.problem(line, "", f"{shown(name)} is not a known column", remedy)
        if len(set(found)) != len(found):
            self.problem(line, "", "names a column twice", "name each column once")
        if "user" not in found and not self.problems:
            self.problem(line, "", "has no column user", _HEADER)
        return found

    def _request(self, fields: dict[str, str], line: int) -> EnrollmentRequest:
        user, token = fields.get("user", ""), fields.get("token") or None
        self._check(line, "user", name_error(user), "write the name as in: getent passwd")
        if user in self._lines:
            what = f"{shown(user)} is already in line {self._lines[user]}"
            self.problem(line, "user", what, "keep one of the two")
        self._lines.setdefault(user, line)
        if token is not None:
            self._check(line, "token", token_error(token), "write the token as IAMPASS has it")
        international = "write the number with + and country code"
        phone = self._parsed(line, "phone", fields, phone_number, international)
        name = self._parsed(line, "display_name", fields, plain_name, "write a shorter, plain name")
        return EnrollmentRequest(user, token, phone, name, line)

    def _parsed(
        self, line: int, column: str, fields: dict[str, str], parse: Callable[[str], str], remedy: str
    ) -> str | None:
        text = fields.get(column)
        try:
            return parse(text) if text else None
        except ValueError as error:
            self.problem(line, column, f"{shown(text or '')} {error}", remedy)
            return None

    def _check(self, line: int, column: str, error: str | None, remedy: str) -> None:
        if error:
            self.problem(line, column, error, remedy)
