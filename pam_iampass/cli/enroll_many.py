"""`pam-iampass enroll --from FILE`."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable

import click

from pam_iampass.cli.columns import Columns, Row, count, line
from pam_iampass.cli.enroll_waiting import wait
from pam_iampass.client import Declined, IampassError, ProtocolError, Unavailable
from pam_iampass.enrollment.request import Applicant
from pam_iampass.enrollment.sent_messages import SentMessages
from pam_iampass.enrollment.service import Office
from pam_iampass.errors import PamIampassError
from pam_iampass.text import clean

# Failures of IAMPASS in a row, after which it is not the single user who is at fault.
_PATIENCE = 3


class State(enum.Enum):
    """What has come of one line."""

    REGISTERED = "registered"
    MESSAGE_SENT = "message_sent"
    MESSAGE_SENT_BEFORE = "message_sent_before"
    LINK = "link"
    FAILED = "failed"
    NOT_TRIED = "not_tried"


_SAID = {
    State.REGISTERED: ("has a phone", "have a phone", "green"),
    State.MESSAGE_SENT: ("was sent a message", "were sent a message", ""),
    State.MESSAGE_SENT_BEFORE: ("was sent a message before", "were sent a message before", ""),
    State.LINK: ("has a link to open", "have a link to open", ""),
    State.FAILED: ("failed", "failed", "bold red"),
    State.NOT_TRIED: ("not tried yet", "not tried yet", "yellow"),
}
_INVITED = (State.MESSAGE_SENT, State.MESSAGE_SENT_BEFORE, State.LINK)


@dataclass(frozen=True)
class Result:
    """What has come of one line of the file."""

    applicant: Applicant
    state: State = State.NOT_TRIED
    token: str | None = None
    link: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Wishes:
    """How it is to be done."""

    replace: bool
    resend: bool
    message: str | None
    waiting: float
    """Seconds to wait for the phones; 0: not at all."""
    as_json: bool


class Batch:
    """Enrols everybody in a file, and reports; done again, it goes on where it was interrupted."""

    def __init__(self, office: Office, file: Path, applicants: Sequence[Applicant], wishes: Wishes) -> None:
        self._office = office
        self._file = file
        self._wishes = wishes
        self._results = [Result(applicant) for applicant in applicants]
        self._failures = 0
        self._stopped: str | None = None
        """Why it ended early."""
        self._interrupted = False

    def run(self) -> int:
        """Enrol and report; returns the exit status. Raises EditRefused where it cannot begin."""
        with SentMessages(self._file) as sent:
            try:
                with _shown(len(self._results), self._wishes.as_json) as advance:
                    self._enrol_all(sent, advance)
                self._wait()
            except KeyboardInterrupt:
                self._interrupted, self._stopped = True, "interrupted"
            self._report()
            if all(result.state is State.REGISTERED for result in self._results):
                sent.forget()
        return 130 if self._interrupted else 0 if self._ok else 1

    def _enrol_all(self, sent: SentMessages, advance: Callable[[], None]) -> None:
        for place, result in enumerate(self._results):
            self._results[place] = self._enrol(result.applicant, sent)
            if self._stopped:
                return
            advance()

    def _enrol(self, applicant: Applicant, sent: SentMessages) -> Result:
        """What comes of one line; sets `_stopped` where it makes no sense to go on."""
        try:
            result = self._admit_and_invite(applicant, sent)
        except PamIampassError as error:
            return Result(applicant, State.FAILED, problem=_one_line(error.diagnostics()))
        except IampassError as error:
            return self._service_failed(applicant, error)
        except OSError as error:
            self._stopped = clean(f"{error.filename or self._file}: {error.strerror or error}")
            return Result(applicant, State.FAILED, problem=self._stopped)
        self._failures = 0
        return result

    def _admit_and_invite(self, applicant: Applicant, sent: SentMessages) -> Result:
        admission = self._office.admit(applicant, self._wishes.replace)
        token = admission.token
        if admission.registered:
            return Result(applicant, State.REGISTERED, token)
        if applicant.phone_number is None:
            link = self._office.manager.get_registration_link(token, applicant.display_name)
            return Result(applicant, State.LINK, token, link)
        if (token, applicant.phone_number) in sent and not self._wishes.resend:
            return Result(applicant, State.MESSAGE_SENT_BEFORE, token)
        self._send(token, applicant.phone_number, applicant.display_name, sent)
        return Result(applicant, State.MESSAGE_SENT, token)

    def _send(self, token: str, number: str, name: str | None, sent: SentMessages) -> None:
        sent.add(token, number)
        try:
            self._office.manager.send_registration_sms(token, name, number, self._wishes.message)
        except IampassError as error:
            if not error.may_have_started:
                sent.take_back(token, number)
            raise

    def _service_failed(self, applicant: Applicant, error: IampassError) -> Result:
        single = isinstance(error, (Declined, ProtocolError, Unavailable))
        self._failures = 0 if isinstance(error, Declined) else self._failures + 1
        if not single or self._failures >= _PATIENCE:
            self._stopped = clean(error.diagnostics())
        return Result(applicant, State.FAILED, problem=clean(str(error)))

    def _wait(self) -> None:
        people = {
            result.token: result.applicant.user
            for result in self._results
            if result.token is not None and result.state in _INVITED
        }
        if not people or not self._wishes.waiting or self._stopped:
            return
        if not self._wishes.as_json:
            self._show_links()
        try:
            missing = wait(self._office.manager, people, self._wishes.waiting, self._wishes.as_json)
        except IampassError as error:
            self._stopped = clean(error.diagnostics())
            return
        self._results = [
            replace(result, state=State.REGISTERED)
            if result.token in people and result.token not in missing
            else result
            for result in self._results
        ]

    @property
    def _ok(self) -> bool:
        good = {State.REGISTERED} if self._wishes.waiting else {State.REGISTERED, *_INVITED}
        return not self._stopped and all(result.state in good for result in self._results)

    # The report

    def _show_links(self) -> None:
        """The links, which have to be opened while we wait."""
        for result in self._results:
            if result.state is State.LINK:
                line(f"{clean(result.applicant.user)}: {result.link}")

    def _report(self) -> None:
        if self._wishes.as_json:
            users = [_as_object(result) for result in self._results]
            report = {"ok": self._ok, "stopped": self._stopped, "users": users}
            click.echo(json.dumps(report, indent=2))
            return
        columns = Columns(("LINE", "USER", "NOW"), rows := [_row(result) for result in self._results])
        columns.heading()
        for row in rows:
            columns.row(row)
        line(self._sum())
        if any(result.state is State.LINK for result in self._results):
            line("Pass each link on to its person, and to nobody else.")
        if self._interrupted:
            line("Interrupted. The same command again goes on from here.", "yellow")
        elif self._stopped:
            line(f"Stopped: {self._stopped}", "bold red")
            line("When that is mended, the same command again goes on from here.")
        elif any(result.state in _INVITED for result in self._results):
            line(
                "The same command again tells who has registered a phone by then; nobody gets a second message."
            )

    def _sum(self) -> str:
        parts = []
        for state, (one, many, _) in _SAID.items():
            number = sum(result.state is state for result in self._results)
            if number:
                parts.append(f"{number:,} {one if number == 1 else many}")
        return f"{count(len(self._results), 'person', 'people')}: {', '.join(parts)}."


def _row(result: Result) -> Row:
    applicant = result.applicant
    said = {
        State.REGISTERED: "has a phone",
        State.MESSAGE_SENT: f"was sent a message, to {applicant.phone_number}",
        State.MESSAGE_SENT_BEFORE: f"was sent a message before, to {applicant.phone_number}; no phone yet",
        State.LINK: f"is to open {result.link}",
        State.FAILED: f"failed: {result.problem}",
        State.NOT_TRIED: "not tried yet",
    }[result.state]
    return Row((str(applicant.line), clean(applicant.user), said), ("", "bold", _SAID[result.state][2]))


def _as_object(result: Result) -> dict[str, object]:
    return {
        "line": result.applicant.line,
        "user": result.applicant.user,
        "state": result.state.value,
        "link": result.link,
        "problem": result.problem,
    }


def _one_line(text: str) -> str:
    return clean("; ".join(part.strip() for part in text.splitlines()))


@contextmanager
def _shown(number: int, quiet: bool) -> Iterator[Callable[[], None]]:
    """Meanwhile a terminal shows how far it is. Gives what counts one line more."""
    if quiet or not sys.stdout.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    options: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    bar = ("Enrolling", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar, console=Console(**options), transient=True) as progress:
        task = progress.add_task("", total=number)
        yield lambda: progress.advance(task)
