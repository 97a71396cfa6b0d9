"""The sandbox as tests and the command use it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from pam_iampass.sandbox.accounts import Sms
from pam_iampass.sandbox.accounts_file import AccountsFile
from pam_iampass.sandbox.automatic import Auto
from pam_iampass.sandbox.calls import Call, CallKind
from pam_iampass.sandbox.certificates import CertificateAuthority
from pam_iampass.sandbox.dispatcher import Dispatcher
from pam_iampass.sandbox.errors import SandboxError
from pam_iampass.sandbox.events import Event, Listener
from pam_iampass.sandbox.fault_plan import FaultPlan
from pam_iampass.sandbox.faults import Fault
from pam_iampass.sandbox.instructions import settings_text
from pam_iampass.sandbox.listening import LOOPBACK_NAMES, authority, is_unspecified, open_listener
from pam_iampass.sandbox.server import Server
from pam_iampass.sandbox.service import Application, Clock, Service
from pam_iampass.sandbox.session_book import SessionOrUser
from pam_iampass.sandbox.sessions import EndedBy, SandboxSession, SessionStatus
from pam_iampass.sandbox.state_folder import StateFolder
from pam_iampass.sandbox.world import World

CONTROL_TOKEN_FILE = "control-token"  # noqa: S105
PHONE_ADDRESS_FILE = "phone-address"
SECRET_FILE = "application-secret"  # noqa: S105
SETTINGS_FILE = "iampass.yaml"

# It stands in paths and in front of a colon, so it is kept to what needs no quoting in either.
_APPLICATION_ID = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)


def _say_nothing(event: Event) -> None:
    """The listener of who does not listen."""


class Sandbox:
    """A local IAMPASS: the whole wire protocol over https, with a certificate authority of its own.

    Use it as a context manager, or ``start`` and ``stop`` it. It serves from a thread of its own; everything
    here may be called from any.

    :param application_secret: None for the one in the state folder, else a made-up one.
    :param listen: host and port; port 0 for any that is free.
    :param auto: what becomes of requests by themselves; see Auto. May be changed while it runs.
    :param delay: seconds until ``auto`` answers. May be changed while it runs.
    :param state: a folder for the certificate authority, secrets and users; None for a temporary one.
    :param request_timeout: seconds until a request that nobody answers becomes ``timeout``.
    :param names: more host names and addresses by which it is called.
    :param listener: told of every event, in whatever thread it happens.

    Raises SandboxError from ``__init__`` or ``start`` where it cannot run.
    """

    def __init__(
        self,
        application_id: str = "sandbox",
        application_secret: str | None = None,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        auto: Auto | str = Auto.ASK,
        delay: float = 0.0,
        state: Path | str | None = None,
        *,
        request_timeout: float = 60.0,
        names: Sequence[str] = (),
        allow_remote: bool = False,
        clock_skew: float = 0.0,
        listener: Listener = _say_nothing,
    ) -> None:
        if not _APPLICATION_ID.fullmatch(application_id) or application_secret == "":
            raise SandboxError("an application id is letters, digits and . _ ~ -; its secret is not empty")
        self._listen = listen
        self._allow_remote = allow_remote
        self._state = StateFolder(None if state is None else Path(state))
        self._authority = CertificateAuthority(self._state)
        secret = self._state.remembered(SECRET_FILE, application_secret)
        self._application = Application(application_id, secret)
        self._clock = Clock(clock_skew)
        self._faults = FaultPlan()
        self._world = World(listener, AccountsFile(self._state))
        control_token = self._state.remembered(CONTROL_TOKEN_FILE)
        self._service = Service(self._application, self._world, self._clock, control_token)
        own = () if is_unspecified(listen[0]) else (listen[0],)
        self._names = tuple(dict.fromkeys((*own, *names, *LOOPBACK_NAMES)))
        lower = frozenset(name.lower() for name in self._names)
        self._dispatcher = Dispatcher(self._service, self._faults, lower, self._clock)
        self._server: Server | None = None
        self._port = listen[1]
        self.auto = Auto(auto)
        self.delay = delay
        self.request_timeout = request_timeout

    # Running

    def start(self) -> None:
        """Listen. Returns when connections are accepted."""
        context = self._authority.server_context(self._names)
        listener = open_listener(*self._listen, allow_remote=self._allow_remote)
        self._port = listener.getsockname()[1]
        self._server = Server(self._dispatcher, listener, context)
        self._server.start()
        self._state.write(PHONE_ADDRESS_FILE, f"{self.phone_url}\n".encode())
        self._state.write(SETTINGS_FILE, settings_text(self.application_id, self.url).encode())

    def stop(self) -> None:
        """Close every connection, and take a temporary state folder away."""
        if self._server is not None:
            self._server.stop()
        self._state.remove()

    def __enter__(self) -> Sandbox:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # What a client needs to know

    @property
    def application_id(self) -> str:
        """The application that may call."""
        return self._application.application_id

    @property
    def application_secret(self) -> str:
        """Its secret."""
        return self._application.secret

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"https://{authority(self._names[0], self._port)}"

    @property
    def port(self) -> int:
        """The port, also where the system chose it."""
        return self._port

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority, PEM."""
        return self._authority.file

    @property
    def secret_file(self) -> Path:
        """The application's secret."""
        return self._state.path / SECRET_FILE

    @property
    def settings_file(self) -> Path:
        """An iampass.yaml that leads a machine's logins here."""
        return self._state.path / SETTINGS_FILE

    @property
    def control_token_file(self) -> Path:
        """The bearer token of control calls."""
        return self._state.path / CONTROL_TOKEN_FILE

    @property
    def phone_url(self) -> str:
        """The address of the page that plays the phone, with its key: who has it can approve.

        The key is the fragment, which no browser sends, so it is in no log and no Referer.
        """
        return f"{self.url}/phone#{self._service.phone_key}"

    @property
    def phone_address_file(self) -> Path:
        """The same in a file, for those who do not see the terminal."""
        return self._state.path / PHONE_ADDRESS_FILE

    @property
    def certificate_fingerprint(self) -> str:
        """SHA-256 of the certificate that it serves with, as browsers show it."""
        return self._authority.fingerprint

    # How the person and the clock behave

    @property
    def auto(self) -> Auto:
        """What becomes by itself of requests that begin from now on."""
        return self._service.automatic.mode

    @auto.setter
    def auto(self, mode: Auto | str) -> None:
        self._service.automatic.mode = Auto(mode)

    @property
    def delay(self) -> float:
        """Seconds until ``auto`` answers."""
        return self._service.automatic.delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self._service.automatic.delay = seconds

    @property
    def request_timeout(self) -> float:
        """Seconds until a request that nobody answers becomes ``timeout``."""
        return self._service.automatic.request_timeout

    @request_timeout.setter
    def request_timeout(self, seconds: float) -> None:
        self._service.automatic.request_timeout = seconds

    @property
    def clock_skew(self) -> float:
        """Seconds by which the sandbox's clock is ahead: in Date, and where timestamps are checked."""
        return self._clock.skew

    @clock_skew.setter
    def clock_skew(self, seconds: float) -> None:
        self._clock.skew = seconds

    # Users

    def add_user(self, user: str, device: bool = True) -> None:
        """Add a user, or change whether it has a device."""
        accounts = self._world.accounts
        if not accounts.add(user, device) and accounts.has_device(user) is not device:
            accounts.set_device(user, device)

    def delete_user(self, user: str) -> None:
        """Forget a user; its sessions end."""
        self._world.delete_user(user)

    @property
    def users(self) -> dict[str, bool]:
        """Each user, and whether it has a device."""
        return self._world.accounts.users

    @property
    def messages(self) -> tuple[Sms, ...]:
        """Every registration SMS so far."""
        return self._world.accounts.messages

    # Playing the person. ``request`` is a session, its number, or the user whose only undecided one is meant;
    # LookupError where that is not exactly one.

    def approve(self, request: SessionOrUser) -> SandboxSession:
        """Approve on the phone."""
        return self._world.sessions.decide(request, SessionStatus.ACTIVE)

    def deny(self, request: SessionOrUser) -> SandboxSession:
        """Deny on the phone: the session is ``failed``."""
        return self._world.sessions.decide(request, SessionStatus.FAILED)

    def cancel(self, request: SessionOrUser) -> SandboxSession:
        """The service gives the request up: ``cancelled``."""
        return self._world.sessions.decide(request, SessionStatus.CANCELLED)

    def time_out(self, request: SessionOrUser) -> SandboxSession:
        """The service waits no longer: ``timeout``, before its time."""
        return self._world.sessions.decide(request, SessionStatus.TIMEOUT)

    def identify(self, request: SessionOrUser) -> SandboxSession:
        """The person is at it: ``identifying``, still to be answered."""
        return self._world.sessions.decide(request, SessionStatus.IDENTIFYING)

    def walk_away(self, session: SessionOrUser) -> SandboxSession:
        """The person leaves an active session: ``walkaway``."""
        return self._world.sessions.walk_away(session)

    # Watching

    @property
    def sessions(self) -> tuple[SandboxSession, ...]:
        """Every session so far, as it is now, in the order of their beginning."""
        return self._world.sessions.all

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call so far, in the order in which they came."""
        return self._dispatcher.calls

    def wait_for_session(
        self, fits: Callable[[SandboxSession], bool], timeout: float = 5.0, what: str = "such a session"
    ) -> SandboxSession:
        """The newest session that fits, as soon as there is one. Raises TimeoutError."""

        def newest() -> SandboxSession | None:
            return next((session for session in reversed(self.sessions) if fits(session)), None)

        return self._world.changes.wait_for(newest, timeout, what)

    def wait_for_request(
        self, user: str | None = None, timeout: float = 5.0, after: SandboxSession | None = None
    ) -> SandboxSession:
        """The newest undecided request of a user (of anybody), as soon as there is one. Raises TimeoutError.

        :param after: only a request that began after this one.
        """
        first = 0 if after is None else after.number

        def fits(session: SandboxSession) -> bool:
            return session.undecided and session.number > first and user in (None, session.user)

        return self.wait_for_session(fits, timeout, f"a request for {user or 'anybody'}")

    def wait_for_end(self, which: SessionOrUser, timeout: float = 5.0) -> SandboxSession:
        """The session (of a user: the newest), as soon as its client has ended it. Raises TimeoutError."""
        wanted = which.number if isinstance(which, SandboxSession) else which

        def ended() -> SandboxSession | None:
            mine = [session for session in self.sessions if wanted in (session.number, session.user)]
            return mine[-1] if mine and mine[-1].ended_by is EndedBy.CLIENT else None

        return self._world.changes.wait_for(ended, timeout, f"{which!r} ended by its client")

    def wait_for_phone(self, timeout: float = 5.0) -> None:
        """Return as soon as a phone page is open. Raises TimeoutError."""
        self._world.changes.wait_for(lambda: self._service.phone.open or None, timeout, "an open phone page")

    def wait_for_calls(self, kind: CallKind | str, count: int = 1, timeout: float = 5.0) -> tuple[Call, ...]:
        """All calls of a kind, as soon as there are this many. Raises TimeoutError."""

        def enough() -> tuple[Call, ...]:
            calls = tuple(call for call in self.calls if call.kind is CallKind(kind))
            return calls if len(calls) >= count else ()

        return self._world.changes.wait_for(enough, timeout, f"{count} calls: {kind}")

    # Misbehaving

    def misbehave(self, kind: CallKind | str, *faults: Fault, times: int | None = 1) -> None:
        """Answer the calls of a kind that come next with these faults, one after the other.

        :param times: how often each; None for always, once the queued ones are through.
        """
        for fault in faults:
            self._faults.add(CallKind(kind), fault, times)

    def behave(self) -> None:
        """Forget every fault that is still to come."""
        self._faults.clear()
