"""One login, from start to decision.

`verify` reads from top to bottom as what happens; nothing else knows the order of the steps. All that it works with
is passed in (`LoginContext`), so that a test drives it with real parts or with a clock of its own.

Two rules run through it. Only the status `active` of the session that this login began is an approval, and only a
recovery code that was just spent stands in for one. Only an outage before the request was started can be tolerated;
whatever else goes wrong denies.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pam_iampass.errors import PamIampassError
from pam_iampass.login import decisions, policy
from pam_iampass.login.application import Application, ApplicationGone, Stopping
from pam_iampass.login.concurrency import AtCapacity
from pam_iampass.login.context import Demands, LoginContext
from pam_iampass.login.conversation import AlreadyRefused, Conversation, Unanswered
from pam_iampass.login.decisions import seconds
from pam_iampass.login.polling import next_poll
from pam_iampass.login.recovery import RecoveryStep
from pam_iampass.outcome import Decision, Login, Outcome, Result
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount

if TYPE_CHECKING:
    from pam_iampass.client import Session
    from pam_iampass.client.errors import Unavailable
    from pam_iampass.config.settings import ServiceSettings, Settings
    from pam_iampass.login.rate_limit import Lease, RequestResult, Throttle

#: How long after the deadline the IAMPASS session ends by itself, should we die or the answer be lost. Seconds.
SESSION_MARGIN = 30
#: How long the end of a session is tried, after the person has their answer. Seconds.
FAREWELL = 10.0
#: The longest that one poll may take: one that hangs shall not cost the others. Seconds.
LONGEST_POLL = 5.0
#: How much earlier than the door's our deadline is: the time to say what came of it. Seconds.
HEADROOM = 0.2
#: How often to look whether a newer login from the same place wants to take over. Seconds.
GLANCE = 0.7
#: The part of the time that may pass before the request goes out, for a time-out of it to be a sign of an outage.
UNTOUCHED = 0.25

OTHERS = "Another login in your name is waiting for your approval, too: deny what you do not recognise."


class _Decided(Exception):
    """The way out of a step that has settled the login."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.reason)
        self.decision = decision


def verify(
    login: Login, demands: Demands, conversation: Conversation, waiting: Application, parts: LoginContext
) -> Decision:
    """Decide a login.

    Raises what the handle raises when the application dies (`relay.connection.ApplicationGone`).
    """
    try:
        account = _account(login, parts.accounts)
        if demands.first_factor is not None and not login.accepted(demands.first_factor):
            return decisions.no_first_factor(demands.first_factor)
        settings = parts.load_settings()
        service = settings.for_service(login.service)
        who = policy.approver(login, account, service, parts.accounts)
        exempt = policy.exemption(who, login, settings.exempt, parts.accounts)
        if exempt is not None:
            return Decision(Outcome.EXEMPT, Result.IGNORED, exempt.reason)
        demand = policy.demand(who, service, parts.open_users(settings))
        if not isinstance(demand, policy.Approval):
            return decisions.unlisted(who.name, demand.ignore)
        _take_place(who, login, settings, waiting, parts)
        recovery = RecoveryStep.of(who, login, settings, parts)
        told = _told_of_others(recovery.throttle, conversation)
        typed = _prompt(login, service, conversation, recovery)
        if typed is not None and (code := recovery.read(typed)) is not None:
            return recovery.spend(code)
        request = _Request(login, demand, settings, service, conversation, waiting, parts, recovery.throttle)
        decision = request.decide(told_what_to_do=typed is not None, told_of_others=told)
        if decision.outcome is Outcome.NO_DEVICE and service.enroll_at_login:
            request.leave()
            return _enrol(who, demands, decision, request)
        if not recovery.is_offered_after(decision, request.replaced):
            return decision
        request.leave()
        return recovery.offer(decision, conversation, waiting)
    except _Decided as way_out:
        return way_out.decision
    except (PamIampassError, LookupFailed, policy.PolicyError) as error:
        return decisions.misconfigured(str(error))


def _enrol(who: Account, demands: Demands, decision: Decision, request: _Request) -> Decision:
    """Let a person without a phone register one. Whatever comes of it, this login is denied."""
    if demands.first_factor is None:
        return decisions.misconfigured(
            "enroll_at_login needs first_factor=publickey on the PAM line: whoever gets here can register a phone"
        )
    from pam_iampass.login.enrollment import EnrolmentAtLogin

    parts, settings, service = request.parts, request.settings, request.service
    enrolment = EnrolmentAtLogin(
        settings,
        service.timeout - HEADROOM,
        parts.connect,
        request.conversation,
        request.waiting,
        parts.clock,
    )
    request.waiting.set_deadline(service.timeout)
    return enrolment.offer(who.name, request.demand.token, decision)


def _account(login: Login, accounts: Accounts) -> Account:
    try:
        return accounts.named(login.user)
    except UnknownAccount:
        raise _Decided(decisions.no_account()) from None


def _take_place(
    who: Account, login: Login, settings: Settings, waiting: Application, parts: LoginContext
) -> None:
    """Have a place until all that the login leaves to do is done."""
    most = settings.throttle.logins_at_once
    place = parts.concurrency.acquire(who.name, login.service, login.rhost or "", most)
    try:
        waiting.after_reply.enter_context(place)
    except AtCapacity:
        raise _Decided(decisions.crowded()) from None


def _told_of_others(throttle: Throttle, conversation: Conversation) -> bool:
    """Whether another login in the person's name waits for approval; where one does, they are told.

    Before the prompt, since sshd keeps other text back until then.
    """
    others = throttle.others_wait()
    if others:
        conversation.say(OTHERS)
    return others


def _prompt(
    login: Login, service: ServiceSettings, conversation: Conversation, recovery: RecoveryStep
) -> str | None:
    """Where the application would keep our text to itself until it is too late, ask before the request goes out.

    Returns what the person typed, and None where they were not asked, and so do not know yet what to do.
    sshd cannot put this question in its `password` method; the request then goes out without it. Elsewhere the
    question is asked by setting only, and a person who does not answer it does not want the request.
    """
    wanted = service.prompt.value
    if wanted == "never" or (wanted == "auto" and not login.through_sshd):
        return None
    or_code = "" if not recovery.codes.left() else ", or type a recovery code"
    time_to_answer = seconds(service.timeout)
    try:
        return conversation.ask(
            f"IAMPASS: press Enter to get a request on your phone{or_code}; you then have {time_to_answer}: "
        )
    except AlreadyRefused:
        raise _Decided(decisions.cancelled("sshd had refused this login already")) from None
    except Unanswered:
        if not login.through_sshd:
            raise _Decided(decisions.cancelled("the prompt was not answered")) from None
        return None


@dataclass
class _Request:
    """The part of a login that talks to IAMPASS: one request, one deadline."""

    login: Login
    demand: policy.Approval
    settings: Settings
    service: ServiceSettings
    conversation: Conversation
    waiting: Application
    parts: LoginContext
    throttle: Throttle

    replaced: bool = False
    """Whether a newer login from the same place took over."""
    rang: bool = False
    """Whether the request may have reached the phone."""
    _ticket: Lease | None = None
    _time_was_spent: bool = False
    """Whether the deadline has come nearer before the request could go out."""

    def decide(self, *, told_what_to_do: bool, told_of_others: bool) -> Decision:
        """Start, tell the person what they do not know yet, wait for the phone, and see to it that the session ends."""
        from pam_iampass.client import Deadline

        self._began = self.parts.clock()
        self._deadline = Deadline(self._began + self.service.timeout - HEADROOM, self.parts.clock)
        self._owed = self.waiting.after_reply.enter_context(contextlib.ExitStack())
        self.waiting.set_deadline(self.service.timeout)
        try:
            self._ticket = ticket = self._take_ticket()
            self._time_was_spent = ticket.waited or self._elapsed() > UNTOUCHED * self.service.timeout
            if ticket.others and not told_of_others:
                self.conversation.say(OTHERS)
            decision = self._ask_phone(told_what_to_do)
        except _Decided as way_out:
            decision = way_out.decision
        except BaseException as broken_off:
            self._settle(self._ending_of_break(broken_off))
            raise
        self._settle(self._ending_of(decision))
        return decision

    def leave(self) -> None:
        """End the session and let the next login from this place begin, though this one goes on."""
        self._owed.close()

    def _take_ticket(self) -> Lease:
        """The right to send a request; it ends after the session."""
        from pam_iampass.login.rate_limit import Replaced, Throttled

        request = self.throttle.request(self.settings.throttle, self.waiting.pause, self._deadline.remaining)
        try:
            return self._owed.enter_context(request)
        except Throttled as throttled:
            raise _Decided(decisions.throttled(str(throttled), throttled.wait)) from None
        except Replaced as replaced:
            raise self._replaced(str(replaced)) from None

    def _ask_phone(self, told: bool) -> Decision:
        session = self._start()
        self.rang = True
        self._owed.callback(self._end, session)
        if session.in_progress and not told:
            self.conversation.say(f"Approve this on your phone within {seconds(self.service.timeout)}.")
        if session.in_progress:
            self._wait(session)
        return decisions.answered(session, self.service, self._elapsed())

    def _settle(self, ending: RequestResult) -> None:
        """Remember what became of the request, where one could go out."""
        if self._ticket is not None:
            self._ticket.record(ending)

    def _ending_of(self, decision: Decision) -> RequestResult:
        from pam_iampass.login.rate_limit import RequestResult

        if decision.outcome is Outcome.APPROVED:
            return RequestResult.APPROVED
        if not self.rang:
            return RequestResult.NOT_SENT
        failed = self.replaced or decision.outcome in (Outcome.DENIED, Outcome.TIMED_OUT)
        return RequestResult.FAILED if failed else RequestResult.LOST

    def _ending_of_break(self, broken_off: BaseException) -> RequestResult:
        """Of a login that nobody waits for any more. Whoever rings and hangs up, again and again, is to blame for it.

        So is whoever else ends us (SIGTERM), which may come while the request is on its way: the one-shot helper lives
        among the processes of its caller. The two that we look for ourselves we look for only where nothing is.
        """
        from pam_iampass.login.rate_limit import RequestResult

        if not self.rang and isinstance(broken_off, (ApplicationGone, Stopping)):
            return RequestResult.NOT_SENT
        return RequestResult.LOST if isinstance(broken_off, Stopping) else RequestResult.FAILED

    def _start(self) -> Session:
        """Begin the session. A request that failed settles the login."""
        from pam_iampass.client import AuthenticationMethod
        from pam_iampass.client.errors import IampassError, Unavailable

        try:
            api = self.parts.connect(self.settings)
            session = api.authenticate_user(
                self.demand.token,
                [AuthenticationMethod[name] for name in self.demand.methods],
                int(self.service.timeout) + SESSION_MARGIN,
                deadline=self._deadline,
                pause=self._pause,
            )
        except Unavailable as error:
            self.rang = error.may_have_started
            stolen = error.timed_out and self._time_may_be_stolen()
            raise self._outage(error, may_have_started=error.may_have_started or stolen) from None
        except IampassError as error:
            self.rang = error.may_have_started
            raise _Decided(decisions.failed(error, self._elapsed())) from None
        except ValueError as error:
            raise _Decided(decisions.misconfigured(f"IAMPASS cannot be asked: {error}")) from None
        if session.failure_reason is not None:
            raise _Decided(decisions.not_begun(session.failure_reason, self._elapsed()))
        return session

    def _time_may_be_stolen(self) -> bool:
        """Whether whoever began the login may be the reason that its time ran out: that is no sign of an outage."""
        return self._time_was_spent or (self.parts.slowable and self.login.real_uid != 0)

    def _wait(self, session: Session) -> None:
        """Poll until the phone has answered or the time is up. A poll that keeps failing settles the login."""
        from pam_iampass.client.errors import IampassError, Unavailable

        trouble: Unavailable | None = None
        timeout = self._deadline.at - self._began
        place = os.urandom(1)[0] / 256
        moment = next_poll(None, timeout)
        while moment is not None and moment < timeout:
            self._pause(moment - self._elapsed())
            began = self._elapsed()
            moment = next_poll(max(moment, began), timeout, self.parts.slowdown(), place)
            try:
                session.get_status(
                    deadline=self._deadline.sooner(LONGEST_POLL), attempts=1, pause=self._pause
                )
                trouble = None
            except Unavailable as error:
                trouble = error
                moment = _not_before(self._elapsed() + (error.retry_after or 0.0), moment)
            except IampassError as error:
                raise _Decided(decisions.failed(error, self._elapsed())) from None
            if not session.in_progress:
                return
        if trouble is not None:
            raise self._outage(trouble, may_have_started=True)

    def _pause(self, length: float) -> None:
        """Wait, unless the application dies or a newer login from the same place wants to take over."""
        until = self.parts.clock() + length
        while True:
            if self._ticket is not None and self._ticket.replaced:
                raise self._replaced("another login from the same place took over")
            left = until - self.parts.clock()
            self.waiting.pause(min(left, GLANCE))
            if left <= GLANCE:
                return

    def _replaced(self, reason: str) -> _Decided:
        self.replaced = True
        return _Decided(decisions.replaced(reason, self._elapsed()))

    def _outage(self, error: Unavailable, may_have_started: bool) -> _Decided:
        return _Decided(decisions.unavailable(error, self.service, may_have_started, self._elapsed()))

    def _end(self, session: Session) -> None:
        """End the session, when the person has their answer."""
        from pam_iampass.client import Deadline
        from pam_iampass.client.errors import IampassError

        over = session.failed  # IAMPASS has ended it by itself, and may say so
        try:
            if not session.destroy(deadline=Deadline.after(FAREWELL)) and not over:
                self.parts.left_open("IAMPASS says that it did not end it")
        except IampassError as error:
            self.parts.left_open(error.diagnostics())

    def _elapsed(self) -> float:
        return self.parts.clock() - self._began


def _not_before(earliest: float, moment: float | None) -> float | None:
    """The next poll of a server that asked for some peace, if there is one."""
    return None if moment is None else max(earliest, moment)
