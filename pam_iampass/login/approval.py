"""One request on the phone: start an IAMPASS session, poll it until the person has answered or the time is up."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from functools import cached_property
from typing import Callable

from pam_iampass.client import AuthenticationMethod, Deadline, Session, Status
from pam_iampass.client.errors import (
    IampassError,
    NotFound,
    ProtocolError,
    Refused,
    Unavailable,
)
from pam_iampass.client.session import BYPASSED
from pam_iampass.config.value_types import OUTAGE_SERVICES
from pam_iampass.login import decisions
from pam_iampass.login.application import Conversation, PamApplication
from pam_iampass.login.context import ApprovalRequired, LoginContext
from pam_iampass.login.keeping import Covering, Keeping
from pam_iampass.login.throttle_store import other_login
from pam_iampass.outcome import Decision, Outcome, Phase, denied

#: Seconds until the first poll: nobody answers faster.
FIRST_POLL = 1.6
#: Seconds between the first polls: only few answer as fast as that.
EARLY_INTERVAL = 0.86
#: How long polls are that rare, in seconds after the request.
EARLY_UNTIL = 4.5
#: Seconds between polls while most people answer. Half of it is the median delay of an approval.
SHORT_INTERVAL = 0.55
#: How long polls are that frequent, in seconds after the request.
SHORT_UNTIL = 20.0
#: Seconds between later polls.
LONG_INTERVAL = 1.92
#: Seconds between the last poll and the end: time for its response.
LAST_POLL = 0.4
#: The longest that ending a session may take, after the application has its result. Seconds.
END_TIMEOUT = 10.0
#: The longest that one poll may take. Seconds.
POLL_TIMEOUT = 5.0
#: How long before the deadline of the door the request must be over: time to deliver the result. Seconds.
REPLY_MARGIN = 0.2


class PhoneRequest:
    """One request. Its time runs from when it is made."""

    def __init__(
        self,
        required: ApprovalRequired,
        application: PamApplication,
        context: LoginContext,
        *,
        prompted: bool,
        deadline: Deadline | None = None,
        may_be_outage: bool = True,
    ) -> None:
        """`prompted` is whether the person was told of the request before, in a prompt that they have answered.

        `deadline` is that of one of several people who are asked, `may_be_outage` whether the login has sent nothing
        before.
        """
        self._required = required
        self._application = application
        self._conversation = Conversation(application)
        self._context = context
        self.prompted = prompted
        self._began = context.clock()
        self._may_be_outage = may_be_outage
        if deadline is None:
            deadline = Deadline(self._began + required.service.timeout - REPLY_MARGIN, context.clock)
            application.set_deadline(required.service.timeout)
        self.deadline = deadline
        self.cleanup = application.after_reply.enter_context(contextlib.ExitStack())
        """Closing it ends the session, and whatever else was entered."""
        self.may_have_left = False
        """Whether the request may have left this machine, whatever became of it there."""
        self._nobody_was_asked = False
        """Whether a gateway has said so."""
        self._counts_at_gateway = False
        self.left_open = False
        """Whether the session could not be ended."""
        self.pause = application.pause
        self._keeping = Keeping(required, application, context)
        self._may_be_covered = bool(required.settings.gateways) and self._keeping.wanted
        """Whether a gateway may let a login on another host cover this one: it must be ended with that one."""
        silent = required.login.through_sshd or required.login.phase is Phase.ACCOUNT
        self.announce = None if silent else self._conversation.say
        """Shows a text at once; None in sshd, which would show it after the result, and in the account phase."""

    @property
    def may_have_rung(self) -> bool:
        """Whether the request may have reached the phone."""
        return self.may_have_left and not self._nobody_was_asked

    @property
    def counts_here(self) -> bool:
        """Whether its result counts for the limits of this host: what a gateway has begun counts there.

        To give up counts, after the person was shown that another login comes first: otherwise a caller could find out
        again and again, for nothing, when the person logs in.
        """
        return self.may_have_rung and not self._counts_at_gateway

    @cached_property
    def _covering(self) -> Covering:
        """Made once the login waits for its turn: most do not."""
        return Covering(self._required, self._application, self._context)

    def look_for_cover(self) -> Decision | None:
        """The decision, if a session that was approved meanwhile covers the login."""
        return self._covering.find(self.deadline.remaining())

    def ask(self, *, waited: bool, phone_is_lost: Callable[[], bool]) -> Decision:
        """Start a session, tell the person unless they know, wait for the answer. Raises what pausing raises.

        `waited` is whether other logins came first. `phone_is_lost` is called after each poll and once the session is
        kept: a lost phone ends the request, whatever it answers.
        """
        service, login = self._required.service, self._required.login
        connection = self._connection() if self._may_be_covered else ""
        try:
            session = self._start(connection)
        except Unavailable as error:
            # An outage, of a login that its person cannot have made fail by themselves.
            outage = error.outage and login.service in OUTAGE_SERVICES and login.real_uid == 0
            return decisions.unavailable(error, service, outage and self._may_be_outage, self.elapsed())
        except NotFound as error:
            if self._required.settings.gateways:
                self._nobody_was_asked = True
                return decisions.unknown_to_gateway(error, self.elapsed())
            application = self._required.settings.application_id
            return decisions.unknown_to_iampass(error, application, self._required.approver, self.elapsed())
        except IampassError as error:
            return decisions.failed(error, self.elapsed())
        except ValueError as error:
            return decisions.misconfigured(f"the request to IAMPASS is invalid: {error}")
        if (
            session.failure_reason == BYPASSED
            and self._required.settings.gateways
            and not self._required.asker
        ):
            return decisions.bypassed_at_gateway(
                self._required.approver, self.elapsed()
            )  # no phone was asked
        self.may_have_left = True
        if session.failure_reason is not None:
            return self._not_started(session)
        self._counts_at_gateway = bool(self._required.settings.gateways)
        self.cleanup.callback(self._end, session, self._keeping)
        self._keeping.begin(session)
        if session.active and session.covered_by is not None and connection:
            return self._covered(session.covered_by, waited=waited, phone_is_lost=phone_is_lost)
        if session.active:
            unasked = ProtocolError("start: the session is active before anyone was asked")
            return decisions.failed(unasked, self.elapsed())
        if session.in_progress:
            if session.queued:
                self._say_that_another_comes_first()
            else:
                self._say_who_is_asked(waited=waited)
            try:
                self._poll(session, phone_is_lost)
            except Unavailable as error:
                return decisions.unavailable(error, service, False, self.elapsed())
            except IampassError as error:
                if isinstance(error, Refused) and error.status == 403 and self._required.settings.gateways:
                    why = "HOST_SUSPENDED, says the gateway: pam-iampass-gateway host resume"
                    return denied(Outcome.MISCONFIGURED, why, decisions.NOT_FROM_HERE, self.elapsed())
                return decisions.failed(error, self.elapsed())
        if phone_is_lost():
            return decisions.phone_lost(self.elapsed())
        self._counts_at_gateway = bool(self._required.settings.gateways)
        if session.queued or session.failure_reason is not None:
            return self._not_started(session)
        decision = decisions.answered(session, service, self.elapsed())
        if not session.active:
            return decision
        kept = self._keeping.approve()
        if phone_is_lost():  # again: who reports it lost from now on finds the kept session, and ends it
            self._keeping.give_back()
            return decisions.phone_lost(self.elapsed())
        return replace(
            decision, session=kept, reason="; ".join(filter(None, (decision.reason, self._keeping.problem)))
        )

    def _connection(self) -> str:
        """The connection of sshd, which begins on another host of the gateway if a login there covers this one.

        Empty outside sshd, and where a second person must approve: the login there would be that person's.
        """
        login = self._required.login
        if not login.through_sshd or login.real_uid != 0 or self._required.asker:
            return ""
        return self._application.served_connection

    def _covered(self, host: str, *, waited: bool, phone_is_lost: Callable[[], bool]) -> Decision:
        """A login on another host covers this one; if this one could not be ended with it, the phone is asked."""
        kept = self._keeping.approve()
        if not kept:
            self._may_be_covered = self._may_be_outage = False
            self._keeping = Keeping(self._required, self._application, self._context)
            return self.ask(waited=waited, phone_is_lost=phone_is_lost)
        if phone_is_lost():  # as in `ask`
            self._keeping.give_back()
            return decisions.phone_lost(self.elapsed())
        self._nobody_was_asked = True
        told = f"Approved by your login on {host}." if self.prompted else ""
        return decisions.covered_elsewhere(host, self._required.approver, kept, self.elapsed(), told)

    def _not_started(self, session: Session) -> Decision:
        """Nobody was asked for a session, or IAMPASS or a gateway says why it may be so."""
        can_type = self._required.login.phase is Phase.AUTHENTICATE and not self._required.asker
        decision = decisions.not_started(session, self.elapsed(), can_type=can_type)
        # One that is unavailable may not know whether the phone rings.
        says_so = session.refusal is not None and decision.outcome is not Outcome.UNAVAILABLE
        self._nobody_was_asked = session.queued or says_so
        return decision

    def _say_that_another_comes_first(self) -> None:
        if self.announce is not None:
            self._counts_at_gateway = False
            self.announce(other_login(self._required.approver if self._required.asker else ""))

    def _say_who_is_asked(self, *, waited: bool) -> None:
        required = self._required
        left = decisions.seconds(float(int(self.deadline.remaining())))
        if required.asker and (self.announce is not None or not self.prompted):
            self._conversation.say(f"{required.approver} is asked to approve this within {left}.")
        elif not required.asker and not self.prompted:
            within = left if waited else decisions.seconds(required.service.timeout)
            self._conversation.say(f"Approve this on your phone within {within}.")

    def _start(self, connection: str) -> Session:
        """Start the session. `connection` is what a login on another host may cover, or empty.

        Raises IampassError and ValueError.
        """
        required = self._required
        told = {}
        if required.settings.gateways:
            told = {**required.told_to_gateway(), "timeout": str(max(int(self.deadline.remaining()), 1))}
            if connection:
                told["connection"] = connection
        try:
            return required.configuration.api.authenticate_user(
                required.phone.token,
                [AuthenticationMethod[name] for name in required.phone.methods],
                self._keeping.duration(required.service.timeout),
                parameters=told,
                deadline=self.deadline,
                pause=self.pause,
            )
        except IampassError as error:
            answered = isinstance(error, (Refused, NotFound, ProtocolError))
            self.may_have_left = error.may_have_started or answered
            raise

    def _poll(self, session: Session, phone_is_lost: Callable[[], bool]) -> None:
        """Poll until the phone has answered, is lost or the time is up; say when it is identifying the person.

        A gateway holds the polls until something changes. One that fails, or is answered early without a change, is
        followed by one at its moment.

        Raises Unavailable where the last poll failed, and any other IampassError at once. One that the deadline cut
        off right after one that was answered is no failure: it is the person who has not answered.
        """
        failure: Unavailable | None = None
        answered = False
        say = None if self._required.asker else self.announce
        timeout = self.deadline.at - self._began
        phase = os.urandom(1)[0] / 256
        first = next_poll(None, timeout)
        moment = first and min(first, self._context.first_poll)
        may_be_held = True
        while moment is not None and moment < timeout:
            wait = self._wait(session) if may_be_held else 0
            if not wait:
                self.pause(moment - self.elapsed())
            began, version, queued = self.elapsed(), session.version, session.queued
            moment = next_poll(max(moment, began), timeout, self._context.slowdown(), phase)
            try:
                session.get_status(
                    deadline=self.deadline.sooner(POLL_TIMEOUT + wait),
                    attempts=1,
                    pause=self.pause,
                    wait=wait,
                    until_readable=self.pause,
                )
                failure, answered = None, True
                if wait:
                    moment = next_poll(self.elapsed(), timeout, self._context.slowdown(), phase)
                early = self.elapsed() < began + min(wait, SHORT_INTERVAL)
                may_be_held = session.version != version or not early
            except Unavailable as error:
                may_be_held = False
                if answered and self.deadline.remaining() <= 0:
                    break
                failure, answered = error, False
                if moment is not None and error.retry_after is not None:
                    moment = max(self.elapsed() + error.retry_after, moment)
            if phone_is_lost() or not session.in_progress:
                return
            if queued and not session.queued:
                self._counts_at_gateway = True
                self._say_who_is_asked(waited=True)
            if say is not None and session.session_status is Status.identifying:
                say("Your phone is checking that it is you.")
                say = None
        if failure is not None:
            raise failure

    def _wait(self, session: Session) -> int:
        """For how many seconds a gateway may hold the next poll; 0 if it is to answer at once."""
        if not self._context.may_be_held():
            return 0
        return max(min(session.longest_wait, int(self.deadline.remaining() - LAST_POLL)), 0)

    def _end(self, session: Session, keeping: Keeping) -> None:
        """End the session, unless it outlives the approval; report where that failed."""
        if keeping.kept:
            return
        already_ended = session.failed
        self.left_open = True
        try:
            self.left_open = not session.destroy(deadline=Deadline.after(END_TIMEOUT)) and not already_ended
            if self.left_open:
                self._context.session_left_open("IAMPASS reports that the session was not ended")
        except IampassError as error:
            self._context.session_left_open(error.diagnostics())
        keeping.drop()

    def elapsed(self) -> float:
        """Seconds since the request was made."""
        return self._context.clock() - self._began


def next_poll(
    previous: float | None, timeout: float, slowdown: float = 1.0, phase: float = 0.0
) -> float | None:
    """The time of the next poll of a login that waits `timeout` seconds, or None where there is no further poll.

    Times are in seconds after the request; `previous` is when the previous poll began, None for the first one. There
    are at most 54 polls in 60 seconds, fewer where they are slow. The last is as late as its response can still count.

    Where many logins wait, `slowdown` (1 or more) stretches the intervals, and `phase` (0 to 1, random per login)
    spreads the last polls, so that logins that began together do not all poll together at the end.
    """
    last = max(timeout - LAST_POLL - phase * (slowdown - 1.0) * SHORT_INTERVAL, timeout / 2)
    if previous is not None and previous >= last:
        return None
    if previous is None:
        return min(FIRST_POLL, last)
    early = EARLY_INTERVAL if previous < EARLY_UNTIL else SHORT_INTERVAL
    next_time = previous + max(SHORT_INTERVAL * slowdown, early if previous < SHORT_UNTIL else LONG_INTERVAL)
    return next_time if next_time < last - SHORT_INTERVAL / 2 else last
