"""One login, from start to decision.

`verify` reads from top to bottom as what happens; nothing else knows the order of the steps. All that it works with
is passed in (`Parts`), so that a test drives it with real parts or with a clock of its own.

Two rules run through it. Only the status `active` of the session that this login began is an approval. Only an
outage before the request was started can be tolerated; whatever else goes wrong denies.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Protocol

from pam_iampass import policy, verdict
from pam_iampass.accounts import Account, Accounts, LookupFailed, UnknownAccount
from pam_iampass.conversation import AlreadyRefused, Conversation, Unanswered
from pam_iampass.errors import PamIampassError
from pam_iampass.login import Decision, Login, Outcome, Result
from pam_iampass.schedule import next_poll
from pam_iampass.verdict import seconds

if TYPE_CHECKING:
    from pam_iampass.client import AuthenticationAPI, Session
    from pam_iampass.client.errors import Unavailable
    from pam_iampass.settings import Service, Settings

#: How long after the deadline the IAMPASS session ends by itself, should we die or the answer be lost. Seconds.
SESSION_MARGIN = 30
#: How long the end of a session is tried, after the person has their answer. Seconds.
FAREWELL = 10.0
#: The longest that one poll may take: one that hangs shall not cost the others. Seconds.
LONGEST_POLL = 5.0
#: How much earlier than the door's our deadline is: the time to say what came of it. Seconds.
HEADROOM = 0.2


class Waiting(Protocol):
    """What a login needs of the application while it waits (`relay.handle.Handle`)."""

    afterwards: contextlib.ExitStack

    def promise(self, seconds: float) -> None:
        """Tell the door when it will have its answer."""

    def pause(self, seconds: float) -> None:
        """Wait, unless the application dies."""


@dataclass(frozen=True)
class Parts:
    """What a login is decided with."""

    accounts: Accounts
    load_settings: Callable[[], Settings]
    open_users: Callable[[Settings], policy.Users]
    connect: Callable[[Settings], AuthenticationAPI]

    left_open: Callable[[str], None]
    """Told why the IAMPASS session could not be ended."""

    clock: Callable[[], float] = time.monotonic

    slowable: bool = False
    """Whether who began the login may have slowed this process down: it was started for this login alone, and lives in
    the limits (control group, niceness) of the application. A time-out is then no sign of an outage."""

    slowdown: Callable[[], float] = lambda: 1.0
    """By how much to stretch the time between polls, where many logins wait at once; 1 or more."""


@dataclass(frozen=True)
class Demands:
    """What the module's arguments ask for beyond the settings."""

    first_factor: str | None = None
    """The method that sshd must have accepted before (`publickey`), or None."""


class _Decided(Exception):
    """The way out of a step that has settled the login."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.reason)
        self.decision = decision


def verify(
    login: Login, demands: Demands, conversation: Conversation, waiting: Waiting, parts: Parts
) -> Decision:
    """Decide a login.

    Raises what the handle raises when the application dies (`relay.handle.ApplicationGone`).
    """
    try:
        account = _account(login, parts.accounts)
        if demands.first_factor is not None and not login.accepted(demands.first_factor):
            return verdict.no_first_factor(demands.first_factor)
        settings = parts.load_settings()
        service = settings.for_service(login.service)
        who = policy.approver(login, account, service, parts.accounts)
        exempt = policy.exemption(who, login, settings.exempt, parts.accounts)
        if exempt is not None:
            return Decision(Outcome.EXEMPT, Result.IGNORED, exempt.reason)
        demand = policy.demand(who, service, parts.open_users(settings))
        if not isinstance(demand, policy.Approval):
            return verdict.unlisted(who.name, demand.ignore)
        told = _prompt(login, service, conversation)
        return _Request(login, demand, settings, service, conversation, waiting, parts).decide(told)
    except _Decided as way_out:
        return way_out.decision
    except (PamIampassError, LookupFailed, policy.PolicyError) as error:
        return verdict.misconfigured(str(error))


def _account(login: Login, accounts: Accounts) -> Account:
    try:
        return accounts.named(login.user)
    except UnknownAccount:
        raise _Decided(verdict.no_account()) from None


def _prompt(login: Login, service: Service, conversation: Conversation) -> bool:
    """Where the application would keep our text to itself until it is too late, ask before the request goes out.

    Returns whether the person knows by that what to do.
    sshd cannot put this question in its `password` method; the request then goes out without it. Elsewhere the
    question is asked by setting only, and a person who does not answer it does not want the request.
    """
    wanted = service.prompt.value
    if wanted == "never" or (wanted == "auto" and not login.through_sshd):
        return False
    time_to_answer = seconds(service.timeout)
    try:
        conversation.ask(
            f"IAMPASS: press Enter to get a request on your phone; you then have {time_to_answer}: "
        )
    except AlreadyRefused:
        raise _Decided(verdict.cancelled("sshd had refused this login already")) from None
    except Unanswered:
        if not login.through_sshd:
            raise _Decided(verdict.cancelled("the prompt was not answered")) from None
        return False
    return True


@dataclass
class _Request:
    """The part of a login that talks to IAMPASS: one request, one deadline."""

    login: Login
    demand: policy.Approval
    settings: Settings
    service: Service
    conversation: Conversation
    waiting: Waiting
    parts: Parts

    def decide(self, told: bool) -> Decision:
        """Start, tell the person (unless they were `told`), wait for the phone, and see to it that the session ends."""
        from pam_iampass.client import Deadline

        self._began = self.parts.clock()
        self._deadline = Deadline(self._began + self.service.timeout - HEADROOM, self.parts.clock)
        self.waiting.promise(self.service.timeout)
        session = self._start()
        self.waiting.afterwards.callback(self._end, session)
        if session.in_progress and not told:
            self.conversation.say(f"Approve this on your phone within {seconds(self.service.timeout)}.")
        if session.in_progress:
            self._wait(session)
        return verdict.answered(session, self.service, self._elapsed())

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
                pause=self.waiting.pause,
            )
        except Unavailable as error:
            slowed = error.timed_out and self.parts.slowable and self.login.real_uid != 0
            raise self._outage(error, may_have_started=error.may_have_started or slowed) from None
        except IampassError as error:
            raise _Decided(verdict.failed(error, self._elapsed())) from None
        except ValueError as error:
            raise _Decided(verdict.misconfigured(f"IAMPASS cannot be asked: {error}")) from None
        if session.failure_reason is not None:
            raise _Decided(verdict.not_begun(session.failure_reason, self._elapsed()))
        return session

    def _wait(self, session: Session) -> None:
        """Poll until the phone has answered or the time is up. A poll that keeps failing settles the login."""
        from pam_iampass.client.errors import IampassError, Unavailable

        trouble: Unavailable | None = None
        timeout = self._deadline.at - self._began
        place = os.urandom(1)[0] / 256
        moment = next_poll(None, timeout)
        while moment is not None and moment < timeout:
            self.waiting.pause(moment - self._elapsed())
            began = self._elapsed()
            moment = next_poll(max(moment, began), timeout, self.parts.slowdown(), place)
            try:
                session.get_status(
                    deadline=self._deadline.sooner(LONGEST_POLL), attempts=1, pause=self.waiting.pause
                )
                trouble = None
            except Unavailable as error:
                trouble = error
                moment = _not_before(began + (error.retry_after or 0.0), moment)
            except IampassError as error:
                raise _Decided(verdict.failed(error, self._elapsed())) from None
            if not session.in_progress:
                return
        if trouble is not None:
            raise self._outage(trouble, may_have_started=True)

    def _outage(self, error: Unavailable, may_have_started: bool) -> _Decided:
        return _Decided(verdict.unavailable(error, self.service, may_have_started, self._elapsed()))

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
