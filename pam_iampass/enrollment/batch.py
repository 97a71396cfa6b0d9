"""Enrolls all users of a file. After an interruption a second run continues from there."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Callable

from pam_iampass.client import IampassError
from pam_iampass.enrollment.failure_streak import FailureStreak
from pam_iampass.enrollment.request import EnrollmentRequest
from pam_iampass.enrollment.sent_messages import SentMessages
from pam_iampass.enrollment.service import EnrollmentService
from pam_iampass.errors import PamIampassError
from pam_iampass.text import clean, one_line


class BatchState(enum.Enum):
    """How far the enrollment of one user is."""

    REGISTERED = "registered"
    MESSAGE_SENT = "message_sent"
    MESSAGE_SENT_BEFORE = "message_sent_before"
    LINK = "link"
    FAILED = "failed"
    NOT_TRIED = "not_tried"


INVITED = frozenset({BatchState.MESSAGE_SENT, BatchState.MESSAGE_SENT_BEFORE, BatchState.LINK})
"""The states of users who can register a phone now."""


@dataclass(frozen=True)
class BatchResult:
    """The result of one request."""

    request: EnrollmentRequest
    state: BatchState = BatchState.NOT_TRIED
    token: str | None = None
    link: str | None = None
    problem: str | None = None


class Batch:
    """The enrollment of several users."""

    def __init__(
        self,
        service: EnrollmentService,
        requests: Sequence[EnrollmentRequest],
        *,
        replace: bool = False,
        resend: bool = False,
        message: str | None = None,
    ) -> None:
        """`replace` replaces tokens in the table, `resend` sends messages again; `message` precedes the link."""
        self._service, self.manager = service, service.manager
        self._replace, self._resend, self._message = replace, resend, message
        self._failures = FailureStreak()
        self.results = [BatchResult(request) for request in requests]
        self.stopped: str | None = None
        """Why it ended early."""

    def run(self, sent: SentMessages, progress: Callable[[int], None]) -> None:
        """Enroll each user; `progress` is called with the number of each result. Sets `stopped` if it ends early."""
        for number, result in enumerate(self.results):
            progress(number)
            self.results[number] = self._enroll(result.request, sent)
            if self.stopped:
                return

    @property
    def invited(self) -> dict[str, str]:
        """The users who can register a phone now, by token."""
        return {
            result.token: result.request.user
            for result in self.results
            if result.token is not None and result.state in INVITED
        }

    def mark_registered(self, tokens: Set[str]) -> None:
        """Note that these users have a phone now."""
        self.results = [
            replace(result, state=BatchState.REGISTERED) if result.token in tokens else result
            for result in self.results
        ]

    def stop(self, error: IampassError) -> None:
        """Note that it ends early because of this error."""
        self.stopped = one_line(error.diagnostics())

    def all_in(self, states: Iterable[BatchState]) -> bool:
        """Whether every result is in one of these states."""
        wanted = set(states)
        return all(result.state in wanted for result in self.results)

    def _enroll(self, request: EnrollmentRequest, sent: SentMessages) -> BatchResult:
        try:
            result = self._invite(request, sent)
        except PamIampassError as error:
            return BatchResult(request, BatchState.FAILED, problem=one_line(error.diagnostics()))
        except IampassError as error:
            if self._failures.affect_all(error):
                self.stop(error)
            return BatchResult(request, BatchState.FAILED, problem=clean(str(error)))
        except OSError as error:
            self.stopped = one_line(f"{error.filename or sent.path}: {error.strerror or error}")
            return BatchResult(request, BatchState.FAILED, problem=self.stopped)
        self._failures.reset()
        return result

    def _invite(self, request: EnrollmentRequest, sent: SentMessages) -> BatchResult:
        enrolled = self._service.enroll(request, self._replace)
        token, manager = enrolled.token, self.manager
        if enrolled.registered:
            return BatchResult(request, BatchState.REGISTERED, token)
        if request.phone_number is None:
            link = manager.get_registration_link(token, request.display_name)
            return BatchResult(request, BatchState.LINK, token, link)
        if (token, request.phone_number) in sent and not self._resend:
            return BatchResult(request, BatchState.MESSAGE_SENT_BEFORE, token)
        sent.add(token, request.phone_number)
        try:
            manager.send_registration_sms(token, request.display_name, request.phone_number, self._message)
        except IampassError as error:
            if not error.may_have_started:
                sent.take_back(token, request.phone_number)
            raise
        return BatchResult(request, BatchState.MESSAGE_SENT, token)
