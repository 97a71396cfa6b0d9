"""Recovery codes of many people on sheets to print: a PDF that has a page for each person.

1. See who has no unused codes.
2. Write the sheets, with new codes, to a file beside the one that is wanted, and bring it to the disk.
3. Commit the codes of all people in one transaction. Until then no code on these sheets counts.
4. Give the file its name.

A run that was stopped after 3 leaves a file whose codes count and which nobody has seen. Its name has the time at which
its codes were made: by that the next run finds out whether they count. If so, it goes on with 4, otherwise it removes
the file.
"""

from __future__ import annotations

import enum
import fcntl
import io
import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Callable

import click

from pam_iampass.cli.enrollment import EnrollmentRequest, administrators, failure_of
from pam_iampass.cli.output import Row, count, line, progress, show_json, table
from pam_iampass.errors import EditRefused, PamIampassError, shown
from pam_iampass.gateway.acts.names import known
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, Lock
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.statements import now, one
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.calls.codes import Codes
from pam_iampass.gateway.cli import CommandGateway
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.login import recovery
from pam_iampass.portal.calls import HOW_TO_USE_CODES
from pam_iampass.system.atomic_write import open_folder, remove, rename, sync, write_new
from pam_iampass.text import clean

_UNFINISHED = ".unfinished"
_TIME = "%Y%m%dT%H%M%S.%f"


class _State(enum.Enum):
    """The outcome for one person: for programs, and as the end of a sentence about one person and about several."""

    SHEET = ("sheet", "has a new sheet", "have a new sheet", "")
    HAS_CODES = ("has_codes", "has unused codes", "have unused codes", "yellow")
    FAILED = ("failed", "failed", "failed", "bold red")


@dataclass(frozen=True)
class _Result:
    request: EnrollmentRequest
    state: _State
    problem: str | None = None
    left: int = 0
    """The number of unused codes."""


@dataclass(frozen=True)
class Sheet:
    """A sheet that is to be made."""

    person: Person
    codes_before: Codes | None
    codes: Sequence[str] = field(repr=False)


def make_sheets(
    gateway: CommandGateway, requests: Sequence[EnrollmentRequest], out: Path, *, replace: bool, as_json: bool
) -> int:
    """Make sheets in a new file for these people, apart from those who have unused codes, and report. Returns the exit
    status. Raises PamIampassError and ClickException; nobody has new codes then, unless the text says so.

    :param replace: whether also those get a sheet who have unused codes.
    """
    with _locked_folder(out.parent) as folder:
        is_finished = _settle(gateway, folder, out)
        if is_finished:
            line(f"{out} from an interrupted run is now complete. Its codes are valid.", err=True)
        with progress(as_json) as show:
            results, sheets, made_at = _read(gateway, requests, replace, show)
            if sheets:
                if _exists(folder, out.name):
                    remedy = "print it and delete it, or name another file"
                    raise EditRefused(f"{out} exists already. Nobody has new codes", remedy)
                content = _pages(gateway.settings.names[0], sheets, made_at, show)
                _make(gateway, folder, out, content, sheets, made_at)
    ok = all(result.state is not _State.FAILED for result in results)
    made = str(out) if sheets or is_finished else None
    if as_json:
        users = [
            {
                "line": each.request.line,
                "user": each.request.user,
                "state": each.state.value[0],
                "problem": each.problem,
            }
            for each in results
        ]
        show_json({"ok": ok, "sheets": made, "users": users})
    else:
        _report(results, made)
    return 0 if ok else 1


def _report(results: Sequence[_Result], made: str | None) -> None:
    table(("LINE", "USER", "STATUS"), [_row(result) for result in results])
    parts = []
    for state in _State:
        number = sum(result.state is state for result in results)
        if number:
            parts.append(f"{number:,} {state.value[1 if number == 1 else 2]}")
    line(f"{count(len(results), 'user')}: {', '.join(parts)}.")
    if made:
        line(f"The sheets are in {made}. Print them, give each sheet to its person, and delete the file:")
        line("anyone who reads it has all codes. They cannot be shown again.")
    if any(result.state is _State.HAS_CODES for result in results):
        line("To make new codes also for people with unused codes: --replace")


def _row(result: _Result) -> Row:
    _, one, _, style = result.state.value
    status = {
        _State.HAS_CODES: f"has {count(result.left, 'unused code')}",
        _State.FAILED: f"{one}: {result.problem}",
    }.get(result.state, one)
    return str(result.request.line), (result.request.user, "bold"), (status, style)


# Who gets a sheet


def _read(
    gateway: CommandGateway, requests: Sequence[EnrollmentRequest], replace: bool, show: Callable[[str], None]
) -> tuple[list[_Result], list[Sheet], datetime]:
    """Returns the outcome of each request, the sheets to make, and the time by the database's clock."""
    results, sheets = [], []
    for number, request in enumerate(requests, 1):
        show(f"Looking at {number} of {len(requests)}: {request.user}")
        try:
            person, before = gateway.reading(partial(_person_with_codes, name=request.user))
        except PamIampassError as error:
            results.append(_Result(request, _State.FAILED, failure_of(error)[0]))
            continue
        left = 0 if before is None else before.used_at.count(None)
        if left and not replace:
            results.append(_Result(request, _State.HAS_CODES, left=left))
        else:
            sheets.append(Sheet(person, before, [recovery.make() for _ in range(recovery.HOW_MANY)]))
            results.append(_Result(request, _State.SHEET))
    return results, sheets, gateway.reading(lambda _, connection: now(connection))


async def _person_with_codes(
    gateway: Gateway, connection: Connection, name: str
) -> tuple[Person, Codes | None]:
    person, stored = await known(gateway, connection, name), None
    with suppress(Tampered):  # such codes do not count
        stored = await codes.stored(gateway, connection, name)
    return person, stored


# The file


@contextmanager
def _locked_folder(path: Path) -> Iterator[int]:
    """A descriptor of the folder of the sheets, in which one command at a time makes some."""
    try:
        with open_folder(path) as folder:
            status = os.fstat(folder)
            # Not with the sticky bit, either: a file that looks like one of a stopped run could be put there.
            if status.st_mode & 0o022 or status.st_uid not in {os.geteuid(), *administrators()}:
                what = f"other users could replace the sheets in the folder {path}"
                raise EditRefused(what, "name a file in another folder")
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EditRefused(
                    f"another command makes sheets in {path}", "wait until it has ended"
                ) from None
            yield folder
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}. Nobody has new codes.") from None


def _make(
    gateway: CommandGateway,
    folder: int,
    out: Path,
    content: bytes,
    sheets: Sequence[Sheet],
    made_at: datetime,
) -> None:
    """Write the file, commit the codes, name the file. Raises OSError before any code counts."""
    name = f".{out.name}.{made_at.astimezone(timezone.utc):{_TIME}}{_UNFINISHED}"
    write_new(folder, name, content)
    try:
        sync(folder)
        gateway.transaction(lambda inner, connection: commit(inner, connection, sheets, made_at))
    except BaseException:
        # It may be committed nevertheless; the next run finds out what is not found out now.
        with suppress(click.ClickException, OSError):
            _settle(gateway, folder, out)
        raise
    _give_name(folder, name, out)


async def commit(
    gateway: Gateway, connection: Connection, sheets: Sequence[Sheet], made_at: datetime
) -> None:
    """Have the codes on these sheets count. Raises EditRefused if a person, or their codes, were changed meanwhile."""
    connection.take(Lock.SHEETS, "")
    connection.later(people.LOCK, ([sheet.person.name for sheet in sheets],))
    for sheet in sheets:
        name = sheet.person.name
        if await _person_with_codes(gateway, connection, name) != (sheet.person, sheet.codes_before):
            raise EditRefused(f"{shown(name)} was changed meanwhile. Nobody has new codes", "try again")
        await codes.store(gateway, connection, sheet.person, sheet.codes, made_at=made_at)
        await records.act(connection, "recovery_new", person=name, reason="on a sheet")


def _settle(gateway: CommandGateway, folder: int, out: Path) -> bool:
    """Go on with what stopped runs have left of this file; whether it was finished."""
    finished, beginning = False, f".{out.name}."
    for name in os.listdir(folder):
        if not (name.startswith(beginning) and name.endswith(_UNFINISHED)):
            continue
        try:
            made_at = datetime.strptime(name[len(beginning) : -len(_UNFINISHED)], _TIME)
        except ValueError:
            continue
        if _count(gateway, made_at.replace(tzinfo=timezone.utc)):
            _give_name(folder, name, out)
            finished = True
        else:
            remove(folder, name)
    return finished


def _count(gateway: CommandGateway, made_at: datetime) -> bool:
    """Whether codes that were made at this time count. Raises ClickException while that is not decided: a COMMIT of
    a command that was killed can take long."""

    async def look(_: Gateway, connection: Connection) -> bool:
        connection.take(Lock.SHEETS, "")
        return await one(connection, "SELECT 1 FROM recovery WHERE made_at = %s LIMIT 1", made_at) is not None

    return gateway.transaction(look)


def _give_name(folder: int, name: str, out: Path) -> None:
    """Raises ClickException, which says where the sheets are."""
    try:
        if _exists(folder, out.name):
            raise FileExistsError(0, "there is such a file already")
        rename(folder, name, out.name)
        sync(folder)
    except OSError as error:
        what = f"{out}: {error.strerror}. The sheets are in {out.with_name(name)}, and their codes are valid."
        raise click.ClickException(f"{what} Move {out} away, and run the same command again.") from None


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


# The pages

_MARGIN = 70.0  # points, as all that follows
_LABELS = 80.0


def _pages(gateway: str, sheets: Sequence[Sheet], made_at: datetime, show: Callable[[str], None]) -> bytes:
    """The PDF. Raises EditRefused where the library is missing."""
    try:
        from reportlab.lib.pagesizes import A4  # a gateway whose codes are shown runs without it
        from reportlab.lib.utils import simpleSplit
        from reportlab.pdfgen.canvas import Canvas
    except ModuleNotFoundError:
        raise EditRefused(
            "sheets need the Python package reportlab", "apt install python3-reportlab"
        ) from None
    made = io.BytesIO()
    canvas = Canvas(made, pagesize=A4)
    canvas.setTitle("Recovery codes")
    canvas.setAuthor(gateway)
    canvas.setCreator("pam-iampass-gateway")
    width, height = A4
    for number, sheet in enumerate(sheets, 1):
        show(f"Page {number} of {len(sheets)}: {sheet.person.name}")
        canvas.setFont("Helvetica-Bold", 24)
        y = height - _MARGIN - 24
        canvas.drawString(_MARGIN, y, "Recovery codes")
        y -= 18
        for label, text in (
            ("For", _name(sheet.person)),
            ("Made at", gateway),
            ("On", f"{made_at.astimezone():%Y-%m-%d %H:%M}"),
        ):
            for place, part in enumerate(textwrap.wrap(text, 44)):
                y -= 20
                canvas.setFont("Helvetica", 12)
                canvas.drawString(_MARGIN, y, "" if place else label)
                canvas.setFont("Helvetica-Bold", 14)
                canvas.drawString(_MARGIN + _LABELS, y, part)
        y -= 20
        canvas.setFont("Courier-Bold", 20)
        for code in sheet.codes:
            y -= 32
            canvas.drawString(_MARGIN + _LABELS, y, recovery.shown(code))
        y -= 30
        canvas.setFont("Helvetica", 12)
        for part in simpleSplit(HOW_TO_USE_CODES, "Helvetica", 12, width - 2 * _MARGIN):
            y -= 18
            canvas.drawString(_MARGIN, y, part)
        canvas.showPage()
    canvas.save()
    return made.getvalue()


def _name(person: Person) -> str:
    """Whose sheet it is, in the letters that every reader of PDF has; others are escaped."""
    full = f" ({person.display_name})" if person.display_name else ""
    return clean(person.name + full).encode("cp1252", "backslashreplace").decode("cp1252")
