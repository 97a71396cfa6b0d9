"""One request on the phone: start an IAMPASS session, poll it until the person has answered or the time is up."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from pam_iampass.client import AuthenticationMethod, Deadline, Status
from pam_iampass.client.errors import Cause, IampassError, NotFound, ProtocolError, Unavailable
from pam_iampass.login import decisions
from pam_iampass.login.polling import next_poll

if TYPE_CHECKING:
    from pam_iampass.client import Session
    from pam_iampass.config.settings import ServiceSettings, Settings
    from pam_iampass.login.context import LoginContext
    from pam_iampass.login.conversation import Conversation
    from pam_iampass.login.policy import Phone
    from pam_iampass.login.rate_limit import Lease
    from pam_iampass.outcome import Decision, Login

#: How long after the deadline IAMPASS ends the session, if this process dies or the response is lost. Seconds.
SESSION_MARGIN = 30
#: The longest that ending a session may take, after the application has its result. Seconds.
END_TIMEOUT = 10.0
#: The longest that one poll may take. Seconds.
POLL_TIMEOUT = 5.0
#: How long before the deadline of the door the request must be over: time to deliver the result. Seconds.
REPLY_MARGIN = 0.2
#: The part of the time that may pass before the request is sent, for a time-out of it to count as an outage.
UNDELAYED = 0.25


@dataclass(frozen=True)
class ApprovalRequired:
    """A login that a person must approve."""

    login: Login
    approver: str
    """The account whose phone is asked."""
    phone: Phone
    settings: Settings
    service: ServiceSettings


class PhoneRequest:
    """One request. Its time runs from when it is made."""

    def __init__(self, required: ApprovalRequired, context: LoginContext) -> None:
        self._required = required
        self._context = context
        self._began = context.clock()
        self.deadline = Deadline(self._began + required.service.timeout - REPLY_MARGIN, context.clock)
        self.may_have_notified = False
        """Whether the request may have reached the phone."""

    def ask(
        self, conversation: Conversation, cleanup: contextlib.ExitStack, lease: Lease, *, prompted: bool
    ) -> Decision:
        """Start a session, tell the person unless `prompted`, wait for the answer.

        When `cleanup` is closed the session is ended. Raises Superseded and what pausing raises.
        """
        service = self._required.service
        delayed = lease.waited or self._elapsed() > UNDELAYED * service.timeout
        try:
            session = self._start(lease.pause)
        except Unavailable as error:
            return decisions.unavailable(error, service, self._is_outage(error, delayed), self._elapsed())
        except NotFound as error:
            application = self._required.settings.application_id
            return decisions.unknown_to_iampass(error, application, self._required.approver, self._elapsed())
        except IampassError as error:
            return decisions.failed(error, self._elapsed())
        except ValueError as error:
            return decisions.misconfigured(f"the request to IAMPASS is invalid: {error}")
        if session.failure_reason is not None:
            return decisions.not_started(session.failure_reason, self._elapsed())
        self.may_have_notified = True
        cleanup.callback(_end, session, self._context.session_left_open)
        if session.active:
            unasked = ProtocolError("start: the session is active before anyone was asked")
            return decisions.failed(unasked, self._elapsed())
        if session.in_progress:
            if not prompted:
                conversation.say(f"Approve this on your phone within {decisions.seconds(service.timeout)}.")
            try:
                self._poll(session, lease.pause, conversation)
            except Unavailable as error:
                return decisions.unavailable(error, service, False, self._elapsed())
            except IampassError as error:
                return decisions.failed(error, self._elapsed())
        return decisions.answered(session, service, self._elapsed())

    def _start(self, pause: Callable[[float], None]) -> Session:
        """Start the session. Raises IampassError and ValueError."""
        required = self._required
        try:
            return self._context.connect(required.settings).authenticate_user(
                required.phone.token,
                [AuthenticationMethod[name] for name in required.phone.methods],
                int(required.service.timeout) + SESSION_MARGIN,
                deadline=self.deadline,
                pause=pause,
            )
        except IampassError as error:
            self.may_have_notified = error.may_have_started
            raise

    def _poll(self, session: Session, pause: Callable[[float], None], conversation: Conversation) -> None:
        """Poll until the phone has answered or the time is up; say when it is identifying the person.

        Raises Unavailable where the last poll failed, and any other IampassError at once.
        """
        failure: Unavailable | None = None
        may_say = not self._required.login.through_sshd  # which would show it after the result
        timeout = self.deadline.at - self._began
        phase = os.urandom(1)[0] / 256
        moment = next_poll(None, timeout)
        while moment is not None and moment < timeout:
            pause(moment - self._elapsed())
            began = self._elapsed()
            moment = next_poll(max(moment, began), timeout, self._context.slowdown(), phase)
            try:
                session.get_status(deadline=self.deadline.sooner(POLL_TIMEOUT), attempts=1, pause=pause)
                failure = None
            except Unavailable as error:
                failure = error
                if moment is not None and error.retry_after is not None:
                    moment = max(self._elapsed() + error.retry_after, moment)
            if not session.in_progress:
                return
            if may_say and session.session_status is Status.identifying:
                conversation.say("Your phone is checking that it is you.")
                may_say = False
        if failure is not None:
            raise failure

    def _is_outage(self, error: Unavailable, delayed: bool) -> bool:
        """Whether no user of this machine can have brought it about, unless root called."""
        if error.cause is Cause.ANY_USER:
            return self._required.login.real_uid == 0 and not delayed
        return error.cause is Cause.FAR_SIDE

    def _elapsed(self) -> float:
        return self._context.clock() - self._began


def _end(session: Session, left_open: Callable[[str], None]) -> None:
    """End the session; report where that failed."""
    already_ended = session.failed
    try:
        if not session.destroy(deadline=Deadline.after(END_TIMEOUT)) and not already_ended:
            left_open("IAMPASS reports that the session was not ended")
    except IampassError as error:
        left_open(error.diagnostics())
