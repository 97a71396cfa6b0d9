"""Connections to the server: name lookup, TCP, a proxy's tunnel, TLS. They keep the deadline of a call at every byte.

A socket's own time-out starts afresh with each operation, so a server that sends one byte now and then could hold a
call for as long as it likes. Here it is set, before each operation, to what the call has left.
"""

from __future__ import annotations

import errno
import http.client
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Any, Callable, TypeVar, cast

from .call import Call
from .deadline import Deadline
from .errors import IampassError, LocalFailure, ProtocolError, TLSFailure, Unavailable
from .origin import Origin

BODY_LIMIT = 64 * 1024
# How often a call that hangs asks whether it is still wanted, and what each address gets at least, in seconds.
_SLICE, _LEAST_SHARE = 0.5, 1.0

#: Failures to connect that the far side can have caused: with a time-out, all that a policy may tolerate. A user who
#: takes all ports of this machine gets EADDRNOTAVAIL; what is not listed is a failure of this machine.
FAR_SIDE = frozenset(
    {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT, socket.EAI_AGAIN}
)

# Named here, because SSL_CERT_FILE and SSL_CERT_DIR change OpenSSL's own defaults.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL, where the link above is gone
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine
)

T = TypeVar("T")

_thread = threading.local()


class Exchange:
    """One attempt at a call: by when it must be over, whether it is still wanted, and how far it has come."""

    def __init__(
        self,
        call: Call[Any],
        deadline: Deadline,
        pause: Callable[[float], None] | None,
        connector: Connector,
    ) -> None:
        """`pause(0)` raises an exception if the call is no longer wanted."""
        self.call = call
        self.deadline = deadline
        self.connector = connector
        self.peer = connector.server.authority
        """Whom the connection leads to at the moment: the server or the proxy."""
        self.sent = False
        """Whether a byte of the request may have been sent."""
        self.ended = False
        """Whether the other side has closed the connection."""
        self._pause = pause
        self._asked = time.monotonic()
        self._received = 0

    def __enter__(self) -> Exchange:
        _thread.exchange = self
        return self

    def __exit__(self, *_error: object) -> None:
        del _thread.exchange

    @staticmethod
    def running() -> Exchange:
        """The exchange that this thread is in: urllib3 passes nothing on to its connections."""
        return cast(Exchange, _thread.exchange)

    def wait(self, operation: Callable[[float], T], until: Deadline | None = None) -> T:
        """The result of `operation`, which gets the seconds that it may take and raises socket.timeout after them.

        In between, `pause` is asked whether the call is still wanted. Not once a request that must not be lost may
        have reached the server: only the response tells what has begun there.
        """
        while (left := (until or self.deadline).remaining()) > 0.0:
            interruptible = self.call.idempotent or not self.sent
            if interruptible and self._pause is not None and time.monotonic() - self._asked >= _SLICE:
                self._asked = time.monotonic()
                self._pause(0.0)
            try:
                return operation(min(left, _SLICE) if interruptible else left)
            except socket.timeout:
                continue
        raise socket.timeout("timed out")

    def received(self, count: int) -> int:
        """Counts the bytes of the response: status line, headers and trailers may have as many as the body."""
        self.ended = self.ended or count == 0
        self._received += count
        if self._received > 2 * BODY_LIMIT:
            raise self.too_large()
        return count

    def too_large(self) -> ProtocolError:
        return self.invalid(f"the response is larger than {BODY_LIMIT // 1024} KiB")

    def invalid(self, what: str, **details: Any) -> ProtocolError:
        return ProtocolError(f"{self.call.name}: {what}", may_have_started=self.sent, **details)

    def unavailable(self, what: str, **details: Any) -> Unavailable:
        return Unavailable(f"{self.call.name}: {what}", may_have_started=self.sent, **details)

    def failed(self, error: OSError, **details: Any) -> IampassError:
        """What an error after TCP has connected to the server or the proxy means: no outage."""
        if isinstance(error, ssl.SSLCertVerificationError):
            what = f"{self.call.name}: the certificate of {self.peer} is not trusted: {error.verify_message}"
            return TLSFailure(what)
        if _is_timeout(error):
            return self.unavailable(f"{self.peer} did not respond in time", timed_out=True, **details)
        # Python 3.9 with OpenSSL 3 has no class of its own for an end without close_notify.
        ends = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
        cut_off = isinstance(error, ends) or getattr(error, "reason", "") == "UNEXPECTED_EOF_WHILE_READING"
        if isinstance(error, ssl.SSLError) and not (cut_off or self.ended):
            what = (
                f"{self.call.name}: TLS 1.2 or newer with {self.peer} failed: {error.reason or 'TLS error'}"
            )
            return TLSFailure(what, may_have_started=self.sent)
        return self.cut_off(**details)

    def unreadable(self, error: Exception, **details: Any) -> IampassError:
        """What it means that a library cannot read the response."""
        if self.ended:
            return self.cut_off(**details)
        return self.invalid(f"{self.peer} sent an invalid response ({type(error).__name__})", **details)

    def cut_off(self, **details: Any) -> Unavailable:
        return self.unavailable(f"{self.peer} closed the connection without a complete response", **details)


class _Waiting:
    """A socket whose operations are those of the exchange that the thread is in. They raise IampassError, which no
    library on the way takes for an error of its own."""

    def recv_into(self, buffer: Any, nbytes: Any = 0, flags: int = 0) -> int:
        def operation(seconds: float) -> int:
            self.settimeout(seconds)  # type: ignore[attr-defined]
            return super(_Waiting, self).recv_into(buffer, nbytes or 0, flags)  # type: ignore[misc, no-any-return]

        exchange = Exchange.running()
        try:
            return exchange.received(exchange.wait(operation))
        except OSError as error:
            problem = exchange.failed(error)
        raise problem


class PlainSocket(_Waiting, socket.socket):
    """A TCP connection before TLS begins. Only the CONNECT request to a proxy is sent unencrypted."""


class TLSSocket(_Waiting, ssl.SSLSocket):
    """A TLS connection. `sendall` of the base class uses `send`, `makefile` uses `recv_into`."""

    used: float | None = None
    """When it was last read from, on the monotonic clock."""

    def recv_into(self, buffer: Any, nbytes: Any = 0, flags: int = 0) -> int:
        self.used = time.monotonic()
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        exchange = Exchange.running()
        self.settimeout(exchange.deadline.remaining() or 1e-6)
        exchange.sent = True  # before the operation: one that fails may have sent a part
        try:
            return super().send(data, flags)
        except OSError as error:
            problem = exchange.failed(error)
        raise problem

    def is_stale(self, idle_seconds: float) -> bool:
        """Whether the server may be about to close it, has closed it, or has sent more than a response."""
        if self.used is None:
            return False
        if time.monotonic() - self.used >= idle_seconds or self.pending():
            return True
        poller = select.poll()
        poller.register(self, select.POLLIN)
        return bool(poller.poll(0))


@dataclass(frozen=True)
class Connector:
    """Opens connections to one server, perhaps through a proxy."""

    server: Origin
    context: ssl.SSLContext
    proxy: Origin | None
    resolver: Resolver
    seconds: float
    """For the lookup, and again for all addresses of a name together."""
    idle_seconds: float
    """After which a connection is not used again."""

    def connect(self, exchange: Exchange) -> TLSSocket:
        """A connection for the exchange. Raises Unavailable, TLSFailure, LocalFailure or ProtocolError."""
        target = self.proxy or self.server
        looking_up = f"looking up {target.host}"
        addresses = self._step(looking_up, exchange, lambda until: self._look_up(target, exchange, until))
        connecting = f"connecting to {'the proxy ' if self.proxy else ''}{target.authority}"
        sock = self._step(connecting, exchange, lambda until: _first_reachable(addresses, until))
        with sock:
            if self.proxy is not None:
                exchange.peer = f"the proxy {self.proxy.authority}"
                _open_tunnel(exchange, sock, self.proxy, self.server)
            exchange.peer = self.server.authority
            return self._start_tls(exchange, sock)

    def _step(self, name: str, exchange: Exchange, action: Callable[[Deadline], T]) -> T:
        """The result of a step. What the far side can have caused is an outage; a time-out only where the step had all
        its time, since anyone who can make a login wait could shorten it."""
        in_full = exchange.deadline.remaining() >= self.seconds
        try:
            return action(exchange.deadline.sooner(self.seconds))
        except (MemoryError, RuntimeError, UnicodeError) as error:  # no memory, no thread, no valid name
            reason: object = str(error) or "out of memory"
        except OSError as error:
            reason, timed_out = error.strerror or error, _is_timeout(error)
            if timed_out or error.errno in FAR_SIDE or isinstance(error, ConnectionError):
                outage = in_full if timed_out else error.errno in FAR_SIDE
                problem = exchange.unavailable(f"{name} failed: {reason}", timed_out=timed_out, outage=outage)
                raise problem from None
        what = f"{exchange.call.name}: this machine cannot connect: {reason}"
        raise LocalFailure(what, may_have_started=exchange.sent)

    def _look_up(self, target: Origin, exchange: Exchange, until: Deadline) -> Sequence[Any]:
        try:
            return exchange.wait(lambda left: self.resolver.addresses(target.host, target.port, left), until)
        except OSError as error:
            if _is_timeout(error) or error.errno == socket.EAI_AGAIN:
                _take_udp_socket()
            raise

    def _start_tls(self, exchange: Exchange, sock: PlainSocket) -> TLSSocket:
        # An end of the stream without close_notify must be noticed: it may have cut off the response.
        encrypted = cast(
            TLSSocket,
            self.context.wrap_socket(
                sock,
                server_hostname=self.server.host,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            ),
        )

        def shake_hands(seconds: float) -> None:
            encrypted.settimeout(seconds)
            encrypted.do_handshake()

        try:
            exchange.wait(shake_hands)
            return encrypted
        except BaseException as error:
            encrypted.close()
            if not isinstance(error, OSError):
                raise
            problem = exchange.failed(error)
        raise problem


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, (socket.timeout, TimeoutError))  # until Python 3.10 these are two classes


def _first_reachable(addresses: Sequence[Any], until: Deadline) -> PlainSocket:
    """A connection to the first address that accepts one. Raises the OSError that proves least of an outage."""
    problems: list[OSError] = []
    for position, (family, _type, _protocol, _name, address) in enumerate(addresses):
        left = until.remaining()
        share = max(_LEAST_SHARE, left / (len(addresses) - position))
        sock = PlainSocket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(min(left, share) or 1e-6)
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            problems.append(error)
    problems.sort(key=lambda error: 1 if _is_timeout(error) else 0 if error.errno in FAR_SIDE else 2)
    raise problems[-1] if problems else OSError("the name has no address")


def _take_udp_socket() -> None:
    """Raises OSError if no UDP socket with a port of its own can be had, as a name lookup needs one.

    A user who takes all ports makes lookups fail as if no name server answered.
    """
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("", 0))


def _open_tunnel(exchange: Exchange, sock: PlainSocket, proxy: Origin, server: Origin) -> None:
    """Asks the proxy for a connection to the server (RFC 9110, 9.3.6).

    Whatever it answers is no outage: its 5xx also stands for limits that a user of this machine can use up.
    """
    remedy = f"Check `proxy`, and that this proxy may connect to {server.authority}."
    asking = http.client.HTTPConnection(proxy.host, proxy.port)
    asking.sock = sock.dup()  # closed with the response, which has no length
    try:
        asking.putrequest("CONNECT", server.authority, skip_host=True, skip_accept_encoding=True)
        asking.putheader("Host", server.authority)
        asking.endheaders()
        with asking.getresponse() as response:
            if exchange.ended:
                raise exchange.cut_off()
    except IampassError as error:
        error.remedy = remedy
        raise
    except OSError as error:
        raise exchange.failed(error, remedy=remedy) from None
    except http.client.HTTPException as error:
        raise exchange.unreadable(error, remedy=remedy) from None
    finally:
        asking.close()
    if not 200 <= response.status < 300:
        kind = exchange.unavailable if 500 <= response.status < 600 else exchange.invalid
        raise kind(f"{exchange.peer} refused with status {response.status}", remedy=remedy)


def tls_context(
    ca_file: str | os.PathLike[str] | None = None, *, bundles: Sequence[str] = SYSTEM_BUNDLES
) -> ssl.SSLContext:
    """TLS 1.2 or newer, trusting only `ca_file`, or the system's certificates without one. Raises TLSFailure.

    Not made by `ssl.create_default_context`: that obeys SSLKEYLOGFILE, which would reveal everything that is sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = TLSSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # An end of the stream without close_notify may be an attack that cuts the response short; newer Pythons would
    # take it for a regular end.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    bundle = system_bundle(bundles) if ca_file is None else os.fspath(ca_file)
    try:
        context.load_verify_locations(cafile=bundle)
        return context
    except ssl.SSLError:
        problem = "it contains no certificates in PEM form"
    except OSError as error:
        problem = error.strerror or "it cannot be read"
    raise TLSFailure(
        f"cannot load certificate authorities from {bundle}: {problem}",
        remedy="Put the certificates to trust there, in PEM form, or correct ca_file.",
    )


def system_bundle(bundles: Sequence[str] = SYSTEM_BUNDLES) -> str:
    """The file of the certificate authorities that the system trusts. Raises TLSFailure if there is none."""
    for bundle in bundles:
        if os.path.exists(bundle):
            return bundle
    raise TLSFailure(
        "this system has no bundle of certificate authorities in any of the usual places",
        remedy="Install the system's CA certificates (Debian: ca-certificates) or set ca_file.",
    )


class Resolver:
    """Looks names up, each in one thread at a time: all who ask for the same name wait for the same lookup.

    The system's lookup has no time-out that we could set, and can take a minute. So a name service that hangs costs
    one thread for each name, however many logins wait for it.
    """

    def __init__(self, getaddrinfo: Callable[..., Sequence[Any]] = socket.getaddrinfo) -> None:
        self._getaddrinfo = getaddrinfo
        self._lock = threading.Lock()
        self._last: dict[tuple[str, int], Future[Sequence[Any]]] = {}

    def addresses(self, host: str, port: int, timeout: float) -> Sequence[Any]:
        """What getaddrinfo returns, within `timeout` seconds. Raises what it raises, socket.timeout, and RuntimeError
        if no thread can be started."""
        with self._lock:
            lookup = self._last.get((host, port))
            if lookup is None or lookup.done():
                lookup = Future()
                threading.Thread(target=self._run, args=(host, port, lookup), daemon=True).start()
                self._last[host, port] = lookup
        try:
            return lookup.result(timeout)
        except NotYet:
            raise socket.timeout("timed out") from None

    def _run(self, host: str, port: int, lookup: Future[Sequence[Any]]) -> None:
        try:
            name = absolute_name(host)
            # Of the addresses in DNS, none of a family in which this machine has no address.
            flags = socket.AI_ADDRCONFIG if name.endswith(".") else 0
            lookup.set_result(self._getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags))
        except BaseException as error:  # noqa: BLE001 - raised where the lookup is waited for
            lookup.set_exception(error)


def absolute_name(host: str, hosts_file: str = "/etc/hosts") -> str:
    """`host` with a dot at its end, which keeps the search list of resolv.conf away from it.

    Without the dot, glibc asks for a name that does not exist once more under each domain of the search list (the
    machine's own domain if there is none): that can take long, turn "unknown" into "try again", or find another
    server. Addresses and two kinds of names stay as they are: those in the hosts file, since glibc does not find
    them there with a dot, and those of one label, which only the hosts file or the search list can complete.
    """
    if ":" in host or host.rpartition(".")[2].isdigit() or "." not in host:
        return host
    try:
        with open(hosts_file, encoding="utf-8", errors="replace") as file:
            lines = file.read().lower().splitlines()
    except OSError:
        lines = []
    listed = any(host in line.partition("#")[0].split()[1:] for line in lines if host in line)
    return host if listed else f"{host}."
