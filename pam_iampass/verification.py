"""One login, from start to decision.

`verify` reads from top to bottom as what happens; nothing else knows the order of the steps. All that it works with
is passed in (`Parts`), so that a test drives it with real parts or with a clock of its own.

Two rules run through it. Only the status `active` of the session that this login began is an approval. Only an
outage before the request was started can be tolerated; whatever else goes wrong denies.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Protocol

from pam_iampass import policy
from pam_iampass.accounts import Account, Accounts, LookupFailed, UnknownAccount
from pam_iampass.conversation import AlreadyRefused, Conversation, Unanswered
from pam_iampass.errors import PamIampassError
from pam_iampass.login import Decision, Login, Outcome, Result, denied
from pam_iampass.schedule import next_poll

if TYPE_CHECKING:
    from pam_iampass.client import AuthenticationAPI, Deadline, Session
    from pam_iampass.client.errors import IampassError, Unavailable
    from pam_iampass.settings import Service, Settings

#: How long after the deadline the IAMPASS session ends by itself, should we die or the answer be lost. Seconds.
SESSION_MARGIN = 30
#: How long the end of a session is tried, after the person has their answer. Seconds.
FAREWELL = 10.0
#: The longest that one poll may take: one that hangs shall not cost the others, nor hide that the application died.
#: Seconds.
LONGEST_POLL = 5.0
#: How much earlier than the door's our deadline is: the time to say what came of it. Seconds.
HEADROOM = 0.2

ASK_THE_ADMINISTRATOR = "Please ask your administrator."


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
        _require_first_factor(login, demands)
        settings = parts.load_settings()
        service = settings.for_service(login.service)
        who = policy.approver(login, account, service, parts.accounts)
        exempt = policy.exemption(who, login, settings.exempt, parts.accounts)
        if exempt is not None:
            return Decision(Outcome.EXEMPT, Result.IGNORED, exempt.reason)
        demand = policy.demand(who, service, parts.open_users(settings))
        if not isinstance(demand, policy.Approval):
            return _unlisted(who, ignore=demand.ignore)
        told = _prompt(login, service, conversation)
        return _Request(demand, settings, service, conversation, waiting, parts).decide(told)
    except _Decided as way_out:
        return way_out.decision
    except (PamIampassError, LookupFailed, policy.PolicyError) as error:
        return _misconfigured(str(error))


def _account(login: Login, accounts: Accounts) -> Account:
    try:
        return accounts.named(login.user)
    except UnknownAccount:
        raise _Decided(denied(Outcome.DENIED, "no account of this machine")) from None


def _require_first_factor(login: Login, demands: Demands) -> None:
    if demands.first_factor is not None and not login.accepted(demands.first_factor):
        reason = f"first_factor={demands.first_factor} is demanded, and sshd has accepted none before"
        message = "This login needs your key as well. " + ASK_THE_ADMINISTRATOR
        raise _Decided(denied(Outcome.DENIED, reason, message))


def _unlisted(who: Account, ignore: bool) -> Decision:
    reason = f"{who.name} has no token in the user table"
    if ignore:
        return Decision(Outcome.UNLISTED, Result.IGNORED, reason)
    return denied(Outcome.UNLISTED, reason, "You have no phone on record here. " + ASK_THE_ADMINISTRATOR)


def _misconfigured(reason: str, message: str = "", elapsed: float = 0.0) -> Decision:
    message = message or "The phone check is not set up rightly on this machine. " + ASK_THE_ADMINISTRATOR
    return denied(Outcome.MISCONFIGURED, reason, message, elapsed)


def _prompt(login: Login, service: Service, conversation: Conversation) -> bool:
    """Where the application would keep our text to itself until it is too late, ask before the request goes out.

    Returns whether the person knows by that what to do.
    sshd cannot put this question in its `password` method; the request then goes out without it. Elsewhere the
    question is asked by setting only, and a person who does not answer it does not want the request.
    """
    wanted = service.prompt.value
    if wanted == "never" or (wanted == "auto" and not login.through_sshd):
        return False
    try:
        conversation.ask(
            f"IAMPASS: press Enter to get a request on your phone; you then have {_seconds(service.timeout)}: "
        )
    except AlreadyRefused:
        raise _Decided(denied(Outcome.CANCELLED, "sshd had refused this login already")) from None
    except Unanswered:
        if not login.through_sshd:
            raise _Decided(denied(Outcome.CANCELLED, "the prompt was not answered")) from None
        return False
    return True


class _Request:
    """The part of a login that talks to IAMPASS: one request, one deadline."""

    def __init__(
        self,
        demand: policy.Approval,
        settings: Settings,
        service: Service,
        conversation: Conversation,
        waiting: Waiting,
        parts: Parts,
    ) -> None:
        from pam_iampass.client import Deadline

        self._demand = demand
        self._settings = settings
        self._service = service
        self._conversation = conversation
        self._waiting = waiting
        self._parts = parts
        self._began = parts.clock()
        self._deadline: Deadline = Deadline(self._began + service.timeout - HEADROOM, parts.clock)

    def decide(self, told: bool) -> Decision:
        """Start, tell the person (unless they were `told`), wait for the phone, and see to it that the session ends."""
        self._waiting.promise(self._service.timeout)
        session = self._start()
        self._waiting.afterwards.callback(self._end, session)
        if session.in_progress and not told:
            self._conversation.say(f"Approve this on your phone within {_seconds(self._service.timeout)}.")
        if session.in_progress:
            self._wait(session)
        return self._judge(session)

    def _start(self) -> Session:
        """Begin the session. A request that failed settles the login."""
        from pam_iampass.client import AuthenticationMethod
        from pam_iampass.client.errors import IampassError, Unavailable

        try:
            api = self._parts.connect(self._settings)
            session = api.authenticate_user(
                self._demand.token,
                [AuthenticationMethod[name] for name in self._demand.methods],
                int(self._service.timeout) + SESSION_MARGIN,
                deadline=self._deadline,
                pause=self._waiting.pause,
            )
        except Unavailable as error:
            raise _Decided(self._unavailable(error, may_have_started=error.may_have_started)) from None
        except IampassError as error:
            raise _Decided(self._failed(error)) from None
        except ValueError as error:
            raise _Decided(_misconfigured(f"IAMPASS cannot be asked: {error}")) from None
        if session.failure_reason is not None:
            raise _Decided(self._not_begun(session.failure_reason))
        return session

    def _wait(self, session: Session) -> None:
        """Poll until the phone has answered or the time is up. A poll that keeps failing settles the login."""
        from pam_iampass.client.errors import IampassError, Unavailable

        trouble: Unavailable | None = None
        timeout = self._deadline.at - self._began
        moment = next_poll(None, timeout)
        while moment is not None and moment < timeout:
            self._waiting.pause(moment - self._elapsed())
            began = self._elapsed()
            moment = next_poll(max(moment, began), timeout, self._parts.slowdown())
            try:
                session.get_status(deadline=self._deadline.sooner(LONGEST_POLL), attempts=1)
                trouble = None
            except Unavailable as error:
                trouble = error
                moment = _not_before(began + (error.retry_after or 0.0), moment)
            except IampassError as error:
                raise _Decided(self._failed(error)) from None
            if not session.in_progress:
                return
        if trouble is not None:
            raise _Decided(self._unavailable(trouble, may_have_started=True))

    def _judge(self, session: Session) -> Decision:
        """From the last status to the decision. Success has one door: `active`."""
        status = session.session_status.name
        elapsed = self._elapsed()
        if session.active:
            return Decision(Outcome.APPROVED, Result.SUCCESS, "", "Approved on your phone.", elapsed)
        if session.in_progress or status == "timeout":
            message = f"Nobody answered on your phone within {_seconds(self._service.timeout)}."
            return denied(Outcome.TIMED_OUT, "the phone did not answer in time", message, elapsed)
        return denied(Outcome.DENIED, f"IAMPASS says {status}", "Denied on your phone.", elapsed)

    def _not_begun(self, reason: str) -> Decision:
        """IAMPASS understood the request and began no session."""
        elapsed = self._elapsed()
        if reason == "NO_MOBILE_DEVICE":
            message = "No phone is registered for you at IAMPASS. " + ASK_THE_ADMINISTRATOR
            return denied(Outcome.NO_DEVICE, reason, message, elapsed)
        message = f"IAMPASS did not ask your phone: {reason}. {ASK_THE_ADMINISTRATOR}"
        return denied(Outcome.DENIED, reason, message, elapsed)

    def _unavailable(self, error: Unavailable, may_have_started: bool) -> Decision:
        """An outage: tolerated only where it is certain that no request can be on the phone."""
        if self._service.unavailable.value == "ignore" and not may_have_started:
            message = "IAMPASS cannot be reached; you pass without it."
            return Decision(
                Outcome.UNAVAILABLE, Result.IGNORED, error.diagnostics(), message, self._elapsed()
            )
        message = (
            "IAMPASS cannot be reached from this machine. Try again in a minute, or ask your administrator."
        )
        return denied(Outcome.UNAVAILABLE, error.diagnostics(), message, self._elapsed())

    def _failed(self, error: IampassError) -> Decision:
        """Anything that is no outage: never tolerated."""
        from pam_iampass.client.errors import ProtocolError

        if isinstance(error, ProtocolError):
            message = "IAMPASS gave an answer that makes no sense. " + ASK_THE_ADMINISTRATOR
            return denied(Outcome.UNAVAILABLE, error.diagnostics(), message, self._elapsed())
        return _misconfigured(error.diagnostics(), elapsed=self._elapsed())

    def _end(self, session: Session) -> None:
        """End the session, when the person has their answer."""
        from pam_iampass.client import Deadline
        from pam_iampass.client.errors import IampassError

        try:
            if not session.destroy(deadline=Deadline.after(FAREWELL)):
                self._parts.left_open("IAMPASS says that it did not end it")
        except IampassError as error:
            self._parts.left_open(error.diagnostics())

    def _elapsed(self) -> float:
        return self._parts.clock() - self._began


def _not_before(earliest: float, moment: float | None) -> float | None:
    """The next poll of a server that asked for some peace, if there is one."""
    return None if moment is None else max(earliest, moment)


def _seconds(timeout: float) -> str:
    return f"{timeout:g} seconds" if timeout != 1 else "1 second"
