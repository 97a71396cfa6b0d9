"""The sandbox, as tests and the command use it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pam_iampass.sandbox.automatic import Auto, Behaviour
from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.calls import Call, CallKind
from pam_iampass.sandbox.certificates import CertificateAuthority
from pam_iampass.sandbox.dispatcher import Dispatcher
from pam_iampass.sandbox.errors import SandboxError
from pam_iampass.sandbox.events import Event, Listener
from pam_iampass.sandbox.fault_plan import FaultPlan
from pam_iampass.sandbox.faults import Fault
from pam_iampass.sandbox.listening import LOOPBACK_NAMES, authority, is_unspecified, open_listener
from pam_iampass.sandbox.server import Server
from pam_iampass.sandbox.service_state import ServiceState
from pam_iampass.sandbox.sessions import EndedBy, SandboxSession, SessionOrUser, SessionStatus
from pam_iampass.sandbox.state_folder import SECRET_FILE, SERVICE_FILE, StateFolder
from pam_iampass.sandbox.user_registry import Sms

# An id is part of paths, and precedes a colon: these characters need no quoting in either.
_APPLICATION_ID = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)


def _ignore(event: Event) -> None:
    """The default listener."""


class Sandbox(Behaviour):
    """A local IAMPASS: the whole wire protocol over https, with its own certificate authority.

    Use it as a context manager, or ``start`` and ``stop`` it. It serves in its own thread; all methods may be called
    from any thread.

    :param application_secret: None for the one in the state folder, or a new one.
    :param listen: host and port; port 0 for any free port.
    :param state: a folder for the certificate authority, secrets and users; None for a temporary one.
    :param names: more host names and addresses of the sandbox.
    :param listener: called with every event, in whatever thread it happens.

    Raises SandboxError from ``__init__`` or ``start`` if it cannot run.
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
        plain_polls: bool = False,
        listener: Listener = _ignore,
    ) -> None:
        super().__init__(Auto(auto), delay, request_timeout, clock_skew, plain_polls=plain_polls)
        if not _APPLICATION_ID.fullmatch(application_id) or application_secret == "":
            raise SandboxError("an application id is letters, digits and . _ ~ -; its secret is not empty")
        self._listen = listen
        self._allow_remote = allow_remote
        self._folder = StateFolder(None if state is None else Path(state))
        self._authority = CertificateAuthority(self._folder)
        self._state = ServiceState(listener, self._folder)
        self._faults = FaultPlan()
        self._server: Server | None = None
        self.port = listen[1]
        """The port; after ``start`` the one that the system chose."""
        self.application_id = application_id
        self.ca_file = self._authority.file
        """The certificate of the authority, PEM."""
        self.secret_file = self._folder.path / SECRET_FILE
        self.application_secret = self._folder.secret(self.secret_file.name, application_secret)
        self.control_token_file = self._folder.path / "control-token"
        """The bearer token of control calls."""
        self.phone_address_file = self._folder.path / "phone-address"
        """A file with ``phone_url``."""
        control_token = self._folder.secret(self.control_token_file.name)
        self._backend = Backend(application_id, self.application_secret, self._state, self, control_token)
        own = () if is_unspecified(listen[0]) else (listen[0],)
        self._names = tuple(dict.fromkeys((*own, *names, *LOOPBACK_NAMES)))
        self._dispatcher = Dispatcher(
            self._backend, self._faults, frozenset(name.lower() for name in self._names)
        )

    def start(self) -> None:
        """Listen. Returns when connections are accepted."""
        context = self._authority.server_context(self._names)
        listener = open_listener(*self._listen, allow_remote=self._allow_remote)
        self.port = listener.getsockname()[1]
        self._server = Server(self._dispatcher, listener, context, self)
        self._server.start()
        self._folder.write(self.phone_address_file.name, f"{self.phone_url}\n".encode())
        service = {"application_id": self.application_id, "url": self.url}
        self._folder.write(SERVICE_FILE, json.dumps(service).encode())

    def stop(self) -> None:
        """Close every connection, and delete a temporary state folder."""
        if self._server is not None:
            self._server.stop()
        self._folder.remove()

    def __enter__(self) -> Sandbox:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        """The state folder, which ``pam-iampass sandbox use`` reads."""
        return self._folder.path

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"https://{authority(self._names[0], self.port)}"

    @property
    def phone_url(self) -> str:
        """The address of the phone page, with the key to approve.

        The key is the fragment, which browsers do not send: it is in no log and no Referer.
        """
        return f"{self.url}/phone#{self._backend.phone_key}"

    @property
    def certificate_fingerprint(self) -> str:
        """SHA-256 of the server certificate, as browsers show it."""
        return self._authority.fingerprint

    # Users

    def add_user(self, user: str, device: bool = True) -> None:
        """Add a user, or change whether it has a device."""
        users = self._state.users
        if not users.add([user], device)[user] and users.has_device(user) is not device:
            users.set_device(user, device)

    def delete_user(self, user: str) -> None:
        """Remove a user, and end its sessions."""
        self._state.delete_user(user)

    def lose_device(self, user: str) -> None:
        """The user loses the phone: it stays registered, but nobody can answer on it. Raises LookupError."""
        self._state.users.set_lost(user, True)

    @property
    def users(self) -> dict[str, bool]:
        """Each user, and whether it has a device."""
        return self._state.users.devices

    @property
    def messages(self) -> tuple[Sms, ...]:
        """Every registration SMS so far."""
        return self._state.users.messages

    # Answering on the phone. ``request`` is a session, its number, or a user with exactly one matching session;
    # otherwise LookupError.

    def approve(self, request: SessionOrUser) -> SandboxSession:
        """Approve on the phone."""
        return self._state.answer(request, SessionStatus.ACTIVE)

    def deny(self, request: SessionOrUser) -> SandboxSession:
        """Deny on the phone: the session is ``cancelled``."""
        return self._state.answer(request, SessionStatus.CANCELLED)

    def fail(self, request: SessionOrUser) -> SandboxSession:
        """The phone does not recognize the user: ``failed``."""
        return self._state.answer(request, SessionStatus.FAILED)

    def time_out(self, request: SessionOrUser) -> SandboxSession:
        """Let the request time out now: ``timeout``."""
        return self._state.sessions.decide(request, SessionStatus.TIMEOUT)

    def identify(self, request: SessionOrUser) -> SandboxSession:
        """The user has begun to answer: ``identifying``, still undecided."""
        return self._state.answer(request, SessionStatus.IDENTIFYING)

    def walk_away(self, session: SessionOrUser) -> SandboxSession:
        """The user leaves an active session: ``walkaway``."""
        return self._state.sessions.walk_away(session)

    def come_back(self, session: SessionOrUser) -> SandboxSession:
        """The user returns to a session: ``active`` again."""
        return self._state.sessions.come_back(session)

    def close(self, session: SessionOrUser) -> SandboxSession:
        """End an open session on the phone: ``closed``."""
        return self._state.move(session, "end")

    # Watching

    @property
    def sessions(self) -> tuple[SandboxSession, ...]:
        """The current state of every session so far, the oldest first."""
        return self._state.sessions.all

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call so far, in order."""
        return self._dispatcher.calls

    def wait_for_session(
        self, fits: Callable[[SandboxSession], bool], timeout: float = 20.0, what: str = "such a session"
    ) -> SandboxSession:
        """Wait for a session that fits; returns the newest. Raises TimeoutError."""

        def newest() -> SandboxSession | None:
            return next((session for session in reversed(self.sessions) if fits(session)), None)

        return self._state.notifier.wait_for(newest, timeout, what)

    def wait_for_request(
        self, user: str | None = None, timeout: float = 20.0, after: SandboxSession | None = None
    ) -> SandboxSession:
        """Wait for an undecided request of a user, or of any; returns the newest. Raises TimeoutError.

        :param after: only a request that began after this one.
        """
        first = 0 if after is None else after.number

        def fits(session: SandboxSession) -> bool:
            return session.undecided and session.number > first and user in (None, session.user)

        return self.wait_for_session(fits, timeout, f"a request for {user or 'any user'}")

    def wait_for_end(self, which: SessionOrUser, timeout: float = 20.0) -> SandboxSession:
        """Wait until the client has ended a session, of a user the newest. Raises TimeoutError."""
        key = which.number if isinstance(which, SandboxSession) else which

        def ended() -> SandboxSession | None:
            matching = [session for session in self.sessions if key in (session.number, session.user)]
            return matching[-1] if matching and matching[-1].ended_by is EndedBy.CLIENT else None

        return self._state.notifier.wait_for(ended, timeout, f"{which!r} ended by its client")

    def wait_for_phone(self, timeout: float = 20.0) -> None:
        """Wait until a phone page is open. Raises TimeoutError."""
        self._state.notifier.wait_for(lambda: self._backend.phone.open or None, timeout, "an open phone page")

    def wait_for_calls(self, kind: CallKind | str, count: int = 1, timeout: float = 20.0) -> tuple[Call, ...]:
        """Wait for a number of calls of a kind; returns all of them. Raises TimeoutError."""

        def enough() -> tuple[Call, ...]:
            calls = tuple(call for call in self.calls if call.kind is CallKind(kind))
            return calls if len(calls) >= count else ()

        return self._state.notifier.wait_for(enough, timeout, f"{count} calls: {kind}")

    # Misbehaving

    def misbehave(self, kind: CallKind | str, *faults: Fault, times: int | None = 1) -> None:
        """Answer the next calls of a kind with these faults, one after the other.

        :param times: how often each; None for always, after the queued faults.
        """
        for fault in faults:
            self._faults.add(CallKind(kind), fault, times)

    def behave(self) -> None:
        """Delete all faults that are still to come."""
        self._faults.clear()
