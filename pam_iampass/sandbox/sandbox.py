"""The sandbox, as the command and tests use it: the socket, the thread that serves, the certificate authority."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Callable

import trustme

from pam_iampass.client.status import Status
from pam_iampass.sandbox import calls, phone
from pam_iampass.sandbox.calls import Auto, Backend, Behaviour
from pam_iampass.sandbox.events import Event, EventKind, Listener
from pam_iampass.sandbox.sessions import SandboxSession, SessionOrUser
from pam_iampass.sandbox.state import ServiceState
from pam_iampass.sandbox.state_folder import CA_FILE, SERVICE_FILE, SandboxError, StateFolder
from pam_iampass.server.http import Dispatcher, serve
from pam_iampass.server.messages import IncomingRequest, RefusedRequest

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
        listener: Listener = _ignore,
    ) -> None:
        super().__init__(Auto(auto), delay, request_timeout)
        if not _APPLICATION_ID.fullmatch(application_id) or application_secret == "":
            raise SandboxError("an application id is letters, digits and . _ ~ -; its secret is not empty")
        self._listen = listen
        self._allow_remote = allow_remote
        self._folder = StateFolder(None if state is None else Path(state))
        self._authority = CertificateAuthority(self._folder)
        self._state = ServiceState(listener, self._folder)
        self._server: ServingThread | None = None
        self.port = listen[1]
        """The port; after ``start`` the one that the system chose."""
        self.application_id = application_id
        self.ca_file = self._authority.file
        """The certificate of the authority, PEM."""
        self.secret_file = self._folder.path / "application-secret"
        self.application_secret = self._folder.secret(self.secret_file.name, application_secret)
        self.control_token_file = self._folder.path / "control-token"
        """The bearer token of control calls."""
        self.phone_address_file = self._folder.path / "phone-address"
        """A file with ``phone_url``."""
        control_token = self._folder.secret(self.control_token_file.name)
        self._backend = Backend(
            application_id, self.application_secret, self._state, self, control_token, self._now
        )
        own = () if is_unspecified(listen[0]) else (listen[0],)
        self._names = tuple(dict.fromkeys((*own, *names, *LOOPBACK_NAMES)))
        self._dispatcher = self._make_dispatcher(frozenset(name.lower() for name in self._names))

    def _make_dispatcher(self, names: frozenset[str]) -> Dispatcher[Backend]:
        return Dispatcher((*calls.ROUTES, *phone.ROUTES), self._backend, names, self._now, self._report)

    def _report(self, request: IncomingRequest, refusal: RefusedRequest) -> None:
        why = f"{refusal.status} {refusal.reason}, {refusal.detail}"
        self._state.report(EventKind.REFUSED, detail=f"{request.method} {request.target}: {why}")

    def _now(self) -> float:
        """The service's Unix time."""
        return time.time()

    def start(self) -> None:
        """Listen. Returns when connections are accepted."""
        context = self._authority.server_context(self._names)
        listener = open_listener(*self._listen, allow_remote=self._allow_remote)
        self.port = listener.getsockname()[1]
        work = partial(serve, self._dispatcher.handle, listener, context)
        self._server = ServingThread("iampass-sandbox", work)
        self._server.start()
        self._folder.write(self.phone_address_file.name, f"{self.phone_url}\n".encode())
        service = {
            "application_id": self.application_id,
            "url": self.url,
            "secret": self.application_secret,
            "certificate": (self._folder.read(CA_FILE) or b"").decode(),
        }
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

    @property
    def users(self) -> dict[str, bool]:
        """Each user, and whether it has a device."""
        return self._state.users.devices

    # Answering on the phone. ``request`` is a session, its number, or a user with exactly one matching session;
    # otherwise LookupError.

    def approve(self, request: SessionOrUser) -> SandboxSession:
        """Approve on the phone."""
        return self._state.answer(request, Status.active)

    def deny(self, request: SessionOrUser) -> SandboxSession:
        """Deny on the phone: the session is ``cancelled``."""
        return self._state.answer(request, Status.cancelled)

    @property
    def sessions(self) -> tuple[SandboxSession, ...]:
        """The current state of every session so far, the oldest first."""
        return self._state.sessions.all


LOOPBACK_NAMES = ("127.0.0.1", "::1", "localhost")


def open_listener(host: str, port: int, allow_remote: bool = False) -> socket.socket:
    """A listening TCP socket. Raises SandboxError."""
    try:
        results = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise SandboxError(f"cannot look up {host}: {error.strerror}") from error
    family, _, _, _, address = results[0]
    if not allow_remote and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise SandboxError(
            f"{host} is not a loopback address: everybody who can reach the sandbox could approve logins."
            " Listen on 127.0.0.1, or use --allow-remote"
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        what = f"cannot listen on {host} port {port}: {error.strerror}"
        raise SandboxError(f"{what}; choose another with --listen") from error
    return listener


def authority(host: str, port: int) -> str:
    """Host and port for a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_unspecified(host: str) -> bool:
    """Whether this means every address of the machine, and is not a name for clients."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


class ServingThread:
    """Serves in a thread with an event loop of its own, until it is stopped."""

    def __init__(
        self, name: str, work: Callable[[asyncio.Event, Callable[[], None]], Coroutine[Any, Any, None]]
    ) -> None:
        """`work` is given, as `serve` is, what tells it to stop, and what it calls once connections are accepted."""
        self._work = work
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ready: Future[None] = Future()

    def start(self) -> None:
        """Returns when connections are accepted; raises the error that prevents that."""
        self._thread.start()
        self._ready.result()

    def stop(self) -> None:
        """Returns when every connection is closed."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        await self._work(self._stopping, lambda: self._ready.set_result(None))


CA_KEY_FILE = "ca-key.pem"


class CertificateAuthority:
    """Created on first use, and kept in the state folder. Raises SandboxError if the files there are invalid."""

    def __init__(self, state: StateFolder) -> None:
        self.fingerprint = ""
        self.file: Path = state.path / CA_FILE
        certificate, key = state.read(CA_FILE), state.read(CA_KEY_FILE)
        if certificate is None or key is None:
            self._authority = trustme.CA(organization_name="pam-iampass sandbox")
            # The key first: a certificate without its key cannot be used again.
            state.write(CA_KEY_FILE, self._authority.private_key_pem.bytes())
            state.write(CA_FILE, self._authority.cert_pem.bytes())
            return
        try:
            self._authority = trustme.CA.from_pem(certificate, key)
        except (ValueError, TypeError) as error:
            raise SandboxError(
                f"{self.file} or its key is invalid; remove both to create new ones"
            ) from error

    def server_context(self, names: Iterable[str]) -> ssl.SSLContext:
        """TLS 1.2 or newer with a new certificate for these names and addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate = self._authority.issue_cert(*names)
        certificate.configure_cert(context)
        encoded = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
        self.fingerprint = hashlib.sha256(encoded).digest().hex(":").upper()
        return context
