"""The common parts of `enroll`, `phone` and `user remove`: the people to enroll, and how phones get registered.

Requests come from the command line, or from a CSV file, whose errors are all reported at once. An interruption of an
enrollment at any point loses nothing: a user in the table keeps the token, and a second run continues from there.
"""

from __future__ import annotations

import csv
import io
import os
import platform
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Callable, ClassVar, Protocol, TypeVar

import click

from pam_iampass.agent.control import AgentUnavailable, ask
from pam_iampass.audit.journal import Act
from pam_iampass.check.iampass import has_phone
from pam_iampass.cli.output import duration, finding, line, progress, record
from pam_iampass.client import (
    Deadline,
    Declined,
    IampassError,
    ManagementAPI,
    ManagementAPIResult,
    ProtocolError,
    Unavailable,
)
from pam_iampass.config import settings
from pam_iampass.config.settings import Settings
from pam_iampass.config.user_table import Entry, UserTable
from pam_iampass.config.user_table_editing import UserTableEditor
from pam_iampass.config.value_types import mail_address, name_error, phone_number, plain_name, token_error
from pam_iampass.errors import ConfigurationError, EditRefused, PamIampassError, Problem, shown
from pam_iampass.login.context import connect
from pam_iampass.system import paths
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.service_user import config_readers, reading_as
from pam_iampass.system.trusted_folder import kind_of, looked_at, shell_word
from pam_iampass.text import clean, one_line

COLUMNS = ("user", "token", "phone", "display_name")
"""The columns of a file of requests on a host."""
_LIMIT = 16 * 1024 * 1024  # bytes

_CALL = 10.0  # seconds for one question to IAMPASS
# Of xterm's palette that no theme changes, so that a QR code is black on white whatever the colours of the terminal.
_BLACK, _WHITE = 16, 231
_UPPER_HALF = "\N{UPPER HALF BLOCK}"
_QUIET_ZONE = 4  # modules around the code (ISO/IEC 18004)
_T = TypeVar("_T")


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
    groups: tuple[str, ...] | None = None
    """The groups of a person of a gateway; None: nothing is said about them."""
    mail: str | None = field(default=None, repr=False)
    """The mail address of a person of a gateway."""


def default_display_name(user: str) -> str:
    """The name that the app shows if none is given: several machines may have a user of that name."""
    return f"{user}@{platform.node()}"


def group_names(text: str) -> tuple[str, ...]:
    """The names of groups between `|`. Raises ValueError, whose text completes a sentence about the text."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split("|")))
    for name in names:
        error = name_error(name)
        if error:
            raise ValueError(f"has a name that {error}")
    return names


def read_requests(
    file: Path, trusted: Set[int] | None = None, columns: Sequence[str] = COLUMNS
) -> list[EnrollmentRequest]:
    """The requests in the order of the file. Raises ConfigurationError, and OSError if it cannot be read.

    The file must belong to one of the user ids in `trusted` (default: `administrators`), and only its owner may be
    able to write to it. It is UTF-8, separated by commas, or by semicolons if the first line has only these. The first
    line names the columns, `user` and any others of `columns` in any order; a field may be empty.
    """
    reader = _Reader(file, columns)
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
    with looked_at(os.fspath(file)) as (status, found):
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
        with open(found, "rb") as content:
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

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self._file = file
        self._columns = columns
        self._header = f"begin with a line of column names: user, and any of {', '.join(columns[1:])}"
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
                    columns = self._named(fields, rows.line_num)
                elif len(fields) != len(columns):
                    what = f"has {len(fields)} fields, but the first line has {len(columns)}"
                    self.problem(rows.line_num, "", what, "write one field per column; it may be empty")
                else:
                    requests.append(self._request(dict(zip(columns, fields)), rows.line_num))
        except csv.Error as error:
            self.problem(rows.line_num, "", f"is not CSV: {error}", 'write "" for a quote in a quoted field')
        if not columns and not self.problems:
            self.problem(None, "", "is empty", self._header)
        return requests

    def _named(self, names: list[str], line: int) -> list[str]:
        found = [name.lower().replace(" ", "_") for name in names]
        for name, column in zip(names, found):
            if column not in self._columns:
                near = get_close_matches(column, self._columns, 1)
                remedy = f"did you mean {near[0]}?" if near else self._header
                self.problem(line, "", f"{shown(name)} is not a known column", remedy)
        if len(set(found)) != len(found):
            self.problem(line, "", "names a column twice", "name each column once")
        if "user" not in found and not self.problems:
            self.problem(line, "", "has no column user", self._header)
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
        groups = self._parsed(line, "groups", fields, group_names, "write them as in: staff|oncall")
        mail = self._parsed(line, "mail", fields, mail_address, "write only one address")
        return EnrollmentRequest(user, token, phone, name, line, groups, mail)

    def _parsed(
        self, line: int, column: str, fields: dict[str, str], parse: Callable[[str], _T], remedy: str
    ) -> _T | None:
        text = fields.get(column)
        try:
            return parse(text) if text else None
        except ValueError as error:
            self.problem(line, column, f"{shown(text or '')} {error}", remedy)
            return None

    def _check(self, line: int, column: str, error: str | None, remedy: str) -> None:
        if error:
            self.problem(line, column, error, remedy)


@dataclass(frozen=True)
class EnrollmentResult:
    """A user who is known to IAMPASS and in the table."""

    user: str
    """The name as NSS has it."""
    token: str
    added: bool
    """Whether the token is new at IAMPASS."""
    registered: bool
    """Whether a device is registered."""
    place: str
    """A sentence about where the token is kept."""
    file: Path | None = None
    """The file that was written; None if there was none to write."""


class Enroller(Protocol):
    """An object that enrolls users: on a host, or at a gateway."""

    command: ClassVar[str]
    """The command to type for other verbs."""

    def enroll(self, request: EnrollmentRequest, replace: bool) -> EnrollmentResult:
        """Make the user known to IAMPASS, and the token to us. Raises PamIampassError and IampassError."""

    def register(self, user: EnrollmentResult, request: EnrollmentRequest, message: str | None) -> str | None:
        """Have IAMPASS make a link that registers a phone, or send it to the number of the request after this message;
        the link, unless it was sent. Leaves a record. Raises PamIampassError and IampassError."""

    def has_phone(self, token: str, seconds: float) -> bool:
        """Whether IAMPASS has a phone of the user with this token, if it says so within `seconds`. Raises
        IampassError."""

    def delete(self, token: str) -> None:
        """Delete the user with this token at IAMPASS. Raises IampassError."""

    def record(self, user: str, what: str) -> None:
        """Record what an enrollment has found, by the administrator who runs the command."""


@dataclass(frozen=True)
class EnrollmentService:
    """Enrolls users in one application and one table."""

    command: ClassVar[str] = "pam-iampass"
    manager: ManagementAPI
    table: UserTable
    editor: UserTableEditor
    settings: Settings
    no_account: bool = False
    """Whether users need no account on this machine; their names must be the ones that NSS has elsewhere."""

    def enroll(self, request: EnrollmentRequest, replace: bool = False) -> EnrollmentResult:
        """Add the user to IAMPASS and the token to the table, if they are not there yet.

        With `replace` the token of the request replaces another one in the table. Raises PamIampassError if the user
        cannot be enrolled, IampassError if IAMPASS fails.
        """
        user = self.account(request.user)
        entry = self.table.find(user)
        if entry is not None and entry.acts_for:
            what = f"{shown(user)} acts for {shown(entry.acts_for)}, whose phone approves its logins"
            raise EditRefused(what, f"pam-iampass enroll {entry.acts_for}")
        token = self._token(user, request.token, entry, replace)
        _require_disabled(user, token)
        added = self.manager.add_user(token) is ManagementAPIResult.success
        file = None
        if entry is None or entry.token != token:
            try:
                file = self.editor.add(user, token, entry.methods if entry else None, replace)
            except BaseException:
                if added:  # otherwise a token stays at IAMPASS that nobody knows
                    with suppress(IampassError):
                        self.manager.delete_user(token)
                raise
        where = "already has the token" if file is None else f"has the token, in {file}"
        registered = not added and has_phone(self.manager, token)
        return EnrollmentResult(user, token, added, registered, f"The user table {where}.", file)

    def register(self, user: EnrollmentResult, request: EnrollmentRequest, message: str | None) -> str | None:
        """As Enroller says."""
        name = request.display_name or default_display_name(user.user)
        link = None
        if request.phone_number is None:
            link = self.manager.get_registration_link(user.token, name)
        else:
            self.manager.send_registration_sms(user.token, name, request.phone_number, message)
        self.record(user.user, "a link was shown" if link else "was sent a message")
        return link

    def has_phone(self, token: str, seconds: float) -> bool:
        """As Enroller says."""
        return has_phone(self.manager, token, Deadline.after(seconds))

    def delete(self, token: str) -> None:
        """As Enroller says."""
        self.manager.delete_user(token)

    def record(self, user: str, what: str) -> None:
        """As Enroller says."""
        record(Act.ENROLL, user, what)

    def tokens_of(self, user: str) -> tuple[str, ...]:
        """The tokens by which this machine asks the phone of a user. Raises ConfigurationError."""
        return self.settings.tokens_of(user, self.table)

    def account(self, name: str) -> str:
        """The name as NSS has it. Raises EditRefused."""
        try:
            return Accounts().named(name).name
        except UnknownAccount:
            if self.no_account:
                return name
            remedy = "see getent passwd; to enroll a user of other machines, give --no-account"
            raise EditRefused(f"{shown(name)} is not a user of this machine", remedy) from None
        except LookupFailed as failure:
            raise EditRefused(str(failure), "repair the name service, then try again") from None

    def _token(self, user: str, given: str | None, entry: Entry | None, replace: bool) -> str:
        """The given token, else the one in the table, else the one from the template in the settings, else a random
        one."""
        if given is not None:
            error = token_error(given)
            if error:
                raise EditRefused(f"the token {error}", "write the token as IAMPASS has it")
            if entry is not None and entry.token not in (None, given) and not replace:
                remedy = "omit the token to keep the existing token, or give --replace"
                raise EditRefused(f"{shown(user)} already has another token", remedy)
            return given
        if entry is not None and entry.token is not None:
            return entry.token
        from_template = self.settings.service.unlisted_users.token_for(user)
        if from_template is not None and token_error(from_template) is None:
            return from_template
        return secrets.token_hex(16)


def require_no_gateway(config: Path) -> None:
    """Raises EditRefused if this host has joined a gateway, where the same verb is for people and phones."""
    read = settings.check(config, readers=config_readers()).settings
    if read is not None and read.gateways:
        verb = click.get_current_context().command_path.partition(" ")[2]
        what = "this host has joined a gateway, which manages people and phones"
        raise EditRefused(what, f"on the gateway, run: pam-iampass-gateway {verb}")


def open_service(config: Path, no_account: bool = False) -> EnrollmentService:
    """The service for the settings in `config`. Raises PamIampassError and IampassError."""
    if os.geteuid() != 0:
        raise EditRefused("only root can enroll users", "run it as root")
    with reading_as() as readers:
        read = settings.load(config, readers=readers)
    return EnrollmentService(
        connect(ManagementAPI, read),
        read.user_table(),
        UserTableEditor(read.users),
        read,
        no_account,
    )


def _require_disabled(user: str, token: str) -> None:
    """Raise EditRefused if IAMPASS is still to disable the lost phone of a user: it would disable the next one."""
    try:
        lost = ask("phone waits", user=user, token=token)
    except AgentUnavailable:
        if os.path.lexists(paths.STATE):  # a lost phone may be written there
            raise
        return
    if not lost:
        return
    report = f"pam-iampass phone lost {lost['person']}"
    if lost["has_token"]:
        remedy = f"the agent tries again; to see why it failed: {report}"
        raise EditRefused(f"IAMPASS has not disabled the lost phone of {shown(lost['person'])} yet", remedy)
    what = f"the phone of {shown(user)} was reported lost, but IAMPASS was not told: no token was known then"
    again = f"if a token is known now, report it again: {report}"
    raise EditRefused(what, f"{again}; to withdraw the report: {report} --forget")


def failure_of(error: PamIampassError | IampassError | click.ClickException) -> tuple[str, str | None]:
    """Why an act failed for one of several users, and why it would fail for the others, too; None if it would not."""
    if isinstance(error, click.ClickException):
        return error.message, error.message
    if isinstance(error, PamIampassError):
        return one_line(error.diagnostics()), None
    of_one = isinstance(error, (Declined, ProtocolError))
    return clean(str(error)), None if of_one else one_line(error.diagnostics())


@dataclass(frozen=True)
class Invitation:
    """How one person gets the link to register a phone."""

    user: str
    number: str | None
    """The phone number that the link is sent to; None: the link is shown."""
    quiet: bool
    """Whether the link is printed without explanation, or not at all, because a JSON object follows."""
    command: str
    """The command to type for other verbs."""

    def show(self, link: str | None, *, waits: bool) -> None:
        """Show the link, or say that it was sent. With `waits` the command goes on waiting for the phone."""
        if link is None:
            self.say(f"A message with the registration link was sent to {self.number}.")
        elif not self.quiet:
            _show_link(link)
        elif waits:
            line(link, err=True)  # the JSON object is printed after waiting, which is too late

    def wait(self, enroller: Enroller, token: str, seconds: float) -> bool:
        """Wait for the phone, and say whether it was registered in time. Raises IampassError.

        If it was not, or if the waiting was interrupted, say how to continue.
        """
        registered = False
        try:
            registered = not wait(enroller, {token: self.user}, seconds, self.quiet)
            if registered:
                self.say(f"The phone of {self.user} is registered.", "bold green")
            else:
                self.say(f"No phone of {self.user} was registered within {duration(seconds)}.", "bold red")
        finally:
            if not registered:
                self.say_how_to_continue()
        return registered

    def say_how_to_continue(self) -> None:
        """Say what to do while the user has no phone."""
        self.say(f"Logins of {self.user} are denied until a phone is registered.", "yellow")
        self.say(f"To check, or to get a new link: {self.command} enroll {self.user}")
        self.say(f"For logins without a phone until then: {self.command} recovery new {self.user}")
        self.say(f"Where no prompt asks for a code: {self.command} bypass {self.user} --for 1h")

    def say(self, text: str, style: str = "") -> None:
        """Print a line, unless `quiet`."""
        if not self.quiet:
            line((text, style))


def _show_link(link: str) -> None:
    """The link, and its QR code on a terminal that can show it."""
    code = _code(link) if sys.stdout.isatty() else []
    scan = ", or scan the code with its camera" if code else ""
    line(f"Open this link on the phone{scan}. Show it to nobody else.")
    finding([""], link)
    line()
    # Not through `line`, which drops the colours under NO_COLOR: here they are the code.
    for each in code:
        click.echo(each, color=True)
    if code:
        line()


def _code(link: str) -> list[str]:
    """The lines of the QR code; none if the terminal or the machine cannot show one."""
    try:
        import segno  # root's commands that show no code run without it
    except ModuleNotFoundError as error:
        line(f"(A QR code needs the Python package {error.name}.)", err=True)
        return []
    code = segno.make(link, error="l", micro=False)
    rows = [tuple(map(bool, row)) for row in code.matrix_iter(border=_QUIET_ZONE)]
    width, columns = len(rows[0]), shutil.get_terminal_size().columns
    missing = ""
    if columns < width:
        missing = f"a window of {width} columns; this one has {columns}"
    elif not sys.stdout.encoding.lower().startswith("utf"):
        missing = f"a terminal in UTF-8; this one is in {sys.stdout.encoding}"
    if missing:
        line(f"(A QR code needs {missing}.)", err=True)
        return []
    if len(rows) % 2:
        rows.append((False,) * width)
    return [_half_blocks(upper, lower) for upper, lower in zip(rows[::2], rows[1::2])]


def _half_blocks(upper: Sequence[bool], lower: Sequence[bool]) -> str:
    """One line of a terminal with two rows of a QR code, whose black modules are true."""
    cells, before = [], ""
    for above, below in zip(upper, lower):
        colours = f"\x1b[38;5;{_BLACK if above else _WHITE};48;5;{_BLACK if below else _WHITE}m"
        cells.append(_UPPER_HALF if colours == before else colours + _UPPER_HALF)
        before = colours
    return "".join(cells) + "\x1b[0m"


def wait(enroller: Enroller, users: Mapping[str, str], seconds: float, quiet: bool = False) -> set[str]:
    """Wait until each of `users`, names by token, has a phone. Returns the tokens without one at the deadline.

    With `quiet` nothing is shown. Raises IampassError, but waits while IAMPASS is unreachable.
    """
    deadline = Deadline.after(seconds)
    missing = dict(users)
    several = len(users) > 1
    whom = f"{len(users)} phones" if several else f"the phone of {next(iter(users.values()))}"
    unreachable = False

    with progress(quiet) as show:

        def say(text: str) -> None:
            if not quiet:
                show("")
                line(text)

        def pause(seconds: float) -> None:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                done = f" ({len(users) - len(missing)} of {len(users)} registered)" if several else ""
                minutes, rest = divmod(int(deadline.remaining()), 60)
                show(f"Waiting for {whom}{done}, {minutes}:{rest:02} left. Ctrl-C stops waiting.")
                time.sleep(min(left, 1.0))

        if not sys.stdout.isatty():
            say(
                f"Waiting until {whom} {'are' if several else 'is'} registered, for {duration(seconds)} at most."
            )
        while missing and not deadline.expired:
            try:
                for token in list(missing):
                    is_registered = enroller.has_phone(token, min(_CALL, deadline.remaining()))
                    if unreachable:
                        unreachable = False
                        say("IAMPASS answers again.")
                    if is_registered:
                        user = missing.pop(token)
                        if several:
                            say(f"{user} has registered a phone.")
            except Unavailable as error:
                if not unreachable and not deadline.expired:
                    unreachable = True
                    say(f"IAMPASS is unreachable, still waiting: {error}.")
            if missing:
                pause(min(max(2.0, len(missing) / 20), deadline.remaining()))
    return set(missing)
