"""One request on the phone: start an IAMPASS session, poll it until the person has answered or the time is up."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from functools import cached_property
from typing import Callable

from pam_iampass.client import Deadline, Session, Status
from pam_iampass.client.errors import IampassError, ProtocolError, Unavailable
from pam_iampass.login import decisions
from pam_iampass.login.application import ApplicationGone, Conversation, PamApplication
from pam_iampass.login.context import ApprovalRequired, LoginContext
from pam_iampass.login.decider import Answer, Asked, Covered, Sent
from pam_iampass.login.keeping import Covering, Keeping
from pam_iampass.login.throttle_store import other_login
from pam_iampass.outcome import Decision, Outcome

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

        `deadline` is the deadline of one of several people who are asked, `may_be_outage` whether the login has sent
        nothing before.
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
        self.sent = Sent.NOTHING
        """The state of the request so far. If the login ends now, it says whether that counts for limits."""
        self._told_of_another = False
        self._given_up = False
        """Whether the caller has gone after the person was told that another login comes first."""
        self.withdrawn = False
        """Whether the request, of an account that acts for the person, has ended because they log in themselves."""
        self.left_open = False
        """Whether the session could not be ended."""
        self.pause = application.pause
        self._request = required.request(application, deadline)
        self._keeping = Keeping(required, application, context)
        self.announce = self._conversation.say if required.login.shows_text else None
        """Shows a text at once; None where it would be shown after the result."""

    @cached_property
    def _covering(self) -> Covering:
        """The search for a session that covers the login. It is made once the login waits for its turn, as most do
        not."""
        return Covering(self._required, self._application, self._context)

    def look_for_cover(self) -> Decision | None:
        """The decision, if a session that was approved meanwhile covers the login."""
        return self._covering.find(self.deadline.remaining())

    def ask(
        self, *, waited: bool, phone_is_lost: Callable[[], bool], is_withdrawn: Callable[[], bool]
    ) -> Decision:
        """Have the phone asked, and return the decision. Raises what pausing raises.

        1. Start a session, unless the phone is lost. If a login on another host covers this one, and this one can be
           ended with it, that is all.
        2. Tell the person who is asked, or that another login comes first.
        3. Poll until the phone has answered or the time is up. A lost phone ends the request, whatever it answers, and
           so does a login of the person's own, unless the phone has refused the request.
        4. Keep a session that was approved, if the settings want it.

        `waited` is whether other logins came first. `phone_is_lost` is called first, after each poll and once the
        session is kept, `is_withdrawn` after each poll.
        """
        # 1.
        if phone_is_lost():
            return decisions.phone_lost()
        may_be_covered = self._keeping.wanted
        while isinstance(started := self._start(may_be_covered=may_be_covered), Covered):
            decision = self._keep_covered(started, phone_is_lost)
            if decision is not None:
                return decision
            may_be_covered = False
        if isinstance(started, Answer):
            return started.decision
        session = started.session
        if session.active:
            unasked = ProtocolError("start: the session is active before anyone was asked")
            return self._required.decider.explain(unasked, self._request)
        if session.in_progress:
            # 2.
            if session.queued:
                self._say_that_another_comes_first()
            else:
                self._say_who_is_asked(waited=waited)
            # 3.
            try:
                self._poll(session, phone_is_lost, is_withdrawn)
            except ApplicationGone:
                self._given_up = self._told_of_another
                raise
            except IampassError as error:
                return self._required.decider.explain(error, self._request)
        if phone_is_lost():
            return decisions.phone_lost_meanwhile()
        if self.withdrawn:
            return decisions.withdrawn(self._required.approver)
        answer = self._required.decider.answer(session, self._request)
        self.sent = answer.sent
        if answer.decision.outcome is not Outcome.APPROVED:
            return answer.decision
        # 4.
        kept = self._keeping.approve()
        if phone_is_lost():  # again: a later report finds the kept session, and ends it
            self._keeping.give_back()
            return decisions.phone_lost_meanwhile()
        reason = "; ".join(filter(None, (answer.decision.reason, self._keeping.problem)))
        return replace(answer.decision, session=kept, reason=reason)

    def _start(self, *, may_be_covered: bool) -> Answer | Covered | Asked:
        """Have the decider start a session, which is ended at the latest after the reply, unless it is kept."""
        required = self._required
        started = required.decider.start(
            self._request,
            self._keeping.duration(required.service.timeout),
            may_be_covered=may_be_covered,
            may_be_outage=self._may_be_outage and not self.sent.may_have_left,
        )
        self.sent = started.sent
        if not isinstance(started, Answer):
            self.cleanup.callback(self._end, started.session, self._keeping)
            self._keeping.begin(started.session)
        return started

    def _keep_covered(self, covered: Covered, phone_is_lost: Callable[[], bool]) -> Decision | None:
        """A login on another host covers this one; None if this one could not be ended with it."""
        kept = self._keeping.approve()
        if not kept:
            self._keeping = Keeping(self._required, self._application, self._context)
            return None
        if phone_is_lost():  # as in `ask`
            self._keeping.give_back()
            return decisions.phone_lost_meanwhile()
        told = f"Approved by your login on {covered.host}." if self.prompted else ""
        return decisions.covered_elsewhere(covered.host, self._required.approver, kept, told)

    def _say_that_another_comes_first(self) -> None:
        """Tell the person. To give up after that is a failure, which the gateway counts: otherwise a caller could find
        out again and again, for nothing, when the person logs in."""
        if self.announce is not None:
            self._told_of_another = True
            self.announce(other_login(self._required.approver if self._required.asker else ""))

    def _say_who_is_asked(self, *, waited: bool) -> None:
        required = self._required
        if required.asker:
            self._context.tell_approver(required)
        left = decisions.seconds(float(int(self.deadline.remaining())))
        if required.asker and (self.announce is not None or not self.prompted):
            self._conversation.say(f"{required.approver} is asked to approve this within {left}.")
        elif not required.asker and not self.prompted:
            within = left if waited else decisions.seconds(required.service.timeout)
            self._conversation.say(f"Approve this on your phone within {within}.")

    def _poll(
        self, session: Session, phone_is_lost: Callable[[], bool], is_withdrawn: Callable[[], bool]
    ) -> None:
        """Poll until the phone has answered or is lost, the request is withdrawn or the time is up; say when the phone
        is identifying the person.

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
            if phone_is_lost() or session.failed:
                return
            # The person may have approved it for the login of their own, which they expect on the phone.
            self.withdrawn = is_withdrawn()
            if self.withdrawn or not session.in_progress:
                return
            if queued and not session.queued:
                self._say_who_is_asked(waited=True)
            if say is not None and session.session_status is Status.identifying:
                say("Your phone is checking that it is you.")
                say = None
        if failure is not None:
            raise failure

    def _wait(self, session: Session) -> int:
        """The seconds for which a gateway may hold the next poll; 0 if it is to answer at once."""
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
            is_ended = session.destroy(deadline=Deadline.after(END_TIMEOUT), given_up=self._given_up)
            self.left_open = not is_ended and not already_ended
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
