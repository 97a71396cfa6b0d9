"""One attempt at a call on its connection, its deadline, and what name lookup, TCP and TLS need to open one."""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from .errors import IampassError, LocalFailure, ProtocolError, TLSFailure, Unavailable
from .origin import Origin

#: The most bytes of a response, head and trailers included.
LIMIT = 128 * 1024
_RECEIVED_AT_ONCE = 64 * 1024

#: Failures to connect that the far side can have caused: with a time-out, all that a policy may tolerate. A user who
#: takes all ports of this machine gets EADDRNOTAVAIL; what is not listed is a failure of this machine.
FAR_SIDE = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT, socket.EAI_AGAIN}
#: The most lookups that are under way. A name server that says nothing after TCP has connected holds each for ever.
MOST_LOOKUPS = 32
#: For how long a lookup is joined by others who ask for the same. Seconds.
LOOKUP_JOINED = 5.0
#: A machine that is gone is noticed after 10 s (tcp(7)): asked for the first time after 4 s, then twice, 3 s apart.
_KEEPALIVE = (
    (socket.TCP_KEEPIDLE, 4),
    (socket.TCP_KEEPINTVL, 3),
    (socket.TCP_KEEPCNT, 2),
    (socket.TCP_USER_TIMEOUT, 10_000),
)
_TIMED_OUT = (socket.timeout, TimeoutError)  # until Python 3.10 these are two classes


@dataclass(frozen=True)
class Deadline:
    """An absolute time on a monotonic clock, for several calls together."""

    at: float
    """Seconds on `clock`."""
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """Returns the time in this many seconds."""
        return cls(clock() + seconds, clock)

    def remaining(self) -> float:
        """Returns the seconds that are left, 0 at least."""
        return max(0.0, self.at - self.clock())

    @property
    def expired(self) -> bool:
        return self.remaining() <= 0.0

    def sooner(self, seconds: float) -> Deadline:
        """Returns this deadline, or the time in this many seconds if that is earlier."""
        return Deadline(min(self.at, self.clock() + seconds), self.clock)


class Lookups:
    """`socket.getaddrinfo` with a time-out: each lookup runs in a thread, which is left behind if it hangs."""

    def __init__(
        self,
        getaddrinfo: Callable[..., Sequence[Any]] = socket.getaddrinfo,
        when_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        """`when_exhausted` is called each time the last of the lookups that may be under way has begun."""
        self._getaddrinfo = getaddrinfo
        self._when_exhausted = when_exhausted
        self._lock = threading.Lock()
        self._under_way: list[_Lookup] = []

    def __call__(self, host: str, port: int, *, timeout: float, **options: Any) -> Sequence[Any]:
        """As `socket.getaddrinfo`. Raises socket.timeout after `timeout` seconds, and an OSError that is no outage if
        no lookup can begin."""
        question = host, port, options
        with self._lock:
            self._under_way = [each for each in self._under_way if each.is_alive()]
            same = (each for each in self._under_way if each.question == question and each.is_young)
            lookup = next(same, None)
            if lookup is None:
                if len(self._under_way) >= MOST_LOOKUPS:
                    raise OSError(errno.EAGAIN, f"{MOST_LOOKUPS} name lookups hang")
                lookup = _Lookup(self._getaddrinfo, question)
                try:
                    lookup.start()
                except RuntimeError as error:
                    raise OSError(errno.EAGAIN, f"no thread for a name lookup: {error}") from None
                self._under_way.append(lookup)
                if len(self._under_way) == MOST_LOOKUPS:
                    self._when_exhausted()
        lookup.join(timeout)
        if isinstance(lookup.result, BaseException):
            raise lookup.result
        if lookup.result is None:
            raise socket.timeout("timed out")
        return lookup.result


class _Lookup(threading.Thread):
    """A lookup, and in the end its result."""

    def __init__(
        self, getaddrinfo: Callable[..., Sequence[Any]], question: tuple[str, int, dict[str, Any]]
    ) -> None:
        super().__init__(name="lookup", daemon=True)
        self.question = question
        self.result: Sequence[Any] | BaseException | None = None
        self._getaddrinfo = getaddrinfo
        self._began = time.monotonic()

    @property
    def is_young(self) -> bool:
        """Whether it may be joined."""
        return time.monotonic() - self._began < LOOKUP_JOINED

    def run(self) -> None:
        host, port, options = self.question
        try:
            self.result = self._getaddrinfo(host, port, **options)
        except BaseException as error:  # noqa: BLE001 - raised in those who wait: without a result it would be a time-out
            self.result = error


@dataclass(frozen=True)
class Network:
    """How names are looked up and connections made."""

    getaddrinfo: Callable[..., Sequence[Any]] = Lookups()
    """As `socket.getaddrinfo`, with a `timeout` in seconds."""
    create_connection: Callable[..., socket.socket] = socket.create_connection


USUAL = Network()
"""The network of most transports."""


def has_body(status: int) -> bool:
    """Whether the body of a response with this status is read."""
    return 200 <= status < 300 or 400 <= status < 600


class Attempt:
    """One attempt at a call, how far it has come, and the errors that it can end with."""

    def __init__(self, name: str, deadline: Deadline, peer: str) -> None:
        """`name` is the name of the call, `peer` the server or the proxy that its connection leads to."""
        self.name = name
        self.deadline = deadline
        self.peer = peer
        self.sent = False
        """Whether a byte of the request may have been sent."""

    def invalid(self, what: str) -> ProtocolError:
        return ProtocolError(f"{self.name}: {what}", may_have_started=self.sent)

    def too_large(self) -> ProtocolError:
        return self.invalid(f"the response is larger than {LIMIT // 1024} KiB")

    def unavailable(self, what: str, *, timed_out: bool = False, outage: bool = False) -> Unavailable:
        what = f"{self.name}: {what}"
        return Unavailable(what, may_have_started=self.sent, timed_out=timed_out, outage=outage)

    def not_connected(self, error: OSError, step: str, until: Deadline, seconds: float) -> IampassError:
        """Return the error for a failed step to a TCP connection. The step had time until `until`, and `seconds` at
        most.

        What the far side can have caused is an outage; a time-out only if connecting had all its time, since anyone who
        can make a login wait could shorten it."""
        reason, timed_out = error.strerror or str(error) or "timed out", isinstance(error, _TIMED_OUT)
        if timed_out or error.errno in FAR_SIDE or isinstance(error, ConnectionError):
            outage = until.at < self.deadline.at if timed_out else error.errno in FAR_SIDE
            slow = timed_out or until.remaining() < seconds - 1.0  # a lookup that was repeated already
            return self.unavailable(f"{step} failed: {reason}", timed_out=slow, outage=outage)
        return LocalFailure(f"{self.name}: this machine cannot connect: {reason}")

    def check_tunnel(self, status: int) -> None:
        """Raises an error if a proxy has answered CONNECT with this status and opened no tunnel (RFC 9110, 9.3.6)."""
        if not 200 <= status < 300:
            # No outage: a proxy's 5xx also stands for limits that a user of this machine, or others, can use up.
            kind = self.unavailable if 500 <= status < 600 else self.invalid
            raise kind(f"{self.peer} refused with status {status}")

    def cut_short(self) -> Unavailable:
        return self.unavailable(f"{self.peer} closed the connection without a complete response")

    def failed(self, error: Exception) -> IampassError:
        """Return the error for an OSError, HTTPException or ValueError after TCP has connected: no outage."""
        if isinstance(error, ssl.SSLCertVerificationError):
            what = f"{self.name}: the certificate of {self.peer} is not trusted: {error.verify_message}"
            return TLSFailure(what)
        if isinstance(error, _TIMED_OUT):
            return self.unavailable(f"{self.peer} did not respond in time", timed_out=True)
        # Python 3.9 with OpenSSL 3 has no class of its own for an end without close_notify.
        ends = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
        ended = isinstance(error, ends) or getattr(error, "reason", "") == "UNEXPECTED_EOF_WHILE_READING"
        if isinstance(error, ssl.SSLError) and not ended:
            what = f"{self.name}: TLS 1.2 or newer with {self.peer} failed: {error.reason or 'TLS error'}"
            return TLSFailure(what, may_have_started=self.sent)
        if isinstance(error, OSError):
            return self.cut_short()
        return self.invalid(f"{self.peer} sent an invalid response ({type(error).__name__})")


class Exchange(Attempt, io.RawIOBase):
    """An attempt, and its socket as http.client sees it.

    A socket's own time-out starts afresh with each operation, so a server that sends one byte now and then could hold a
    call for as long as it likes. Here it is set, before each operation, to what the call has left.
    """

    def __init__(self, name: str, deadline: Deadline, peer: str, sock: TlsSocket | None = None) -> None:
        super().__init__(name, deadline, peer)
        self.sock: Any = sock
        """None until there is a connection."""
        self._ended = False
        self._received = 0

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Sends a request; returns the response and its body, which only a 2xx, 4xx or 5xx has. A response that was
        read to its end is closed. Raises IampassError, and what `failed` takes."""
        connection = http.client.HTTPConnection("")  # the host is among the headers
        connection.sock = self
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        if self._ended:  # within the head, which http.client does not notice
            raise ConnectionResetError
        if method == "CONNECT" or not has_body(response.status):
            return response, b""
        lengths = set(response.headers.get_all("Content-Length", []))
        if len(lengths) > 1:
            raise self.invalid("the response has two lengths")
        content = response.read(LIMIT)
        if lengths and not response.chunked and len(content) < int(lengths.pop()):
            raise ConnectionResetError
        return response, content

    def limit_time(self) -> None:
        """The next operation on the socket ends when the call must."""
        self.sock.settimeout(self.deadline.remaining() or 1e-6)

    # What http.client calls

    def sendall(self, data: bytes) -> None:
        self.limit_time()
        self.sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.limit_time()
        count = self.sock.recv_into(buffer)
        self._ended = self._ended or count == 0
        self._received += count
        if self._received > LIMIT:
            raise self.too_large()
        return int(count)

    def close(self) -> None:
        """Nothing: the socket may be used again."""

    def failed(self, error: Exception) -> IampassError:
        over = self._ended and not isinstance(error, (ssl.SSLCertVerificationError, *_TIMED_OUT))
        return self.cut_short() if over else super().failed(error)


class TlsSocket:
    """TLS on a connected socket, as an `ssl.SSLSocket` whose time-out is for a whole operation.

    OpenSSL, where it reads from the socket itself, goes on in one operation for as long as messages arrive that it
    passes over, such as HelloRequest, which no certificate is needed to send.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        host: str,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """`session` is the TLS session of an earlier connection to the same server, with the same context: the server
        may go on with it, and then sends no certificate."""
        self._sock = sock
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=host, session=session)
        self.verified = 0.0
        """When the certificate was verified, on a clock of its user's own."""
        self._until = Deadline.after(0.0)
        self.fileno, self.close = sock.fileno, sock.close
        self.until_readable: Callable[[float, int], None] | None = None
        """As in Call."""

    def notice_silence(self) -> None:
        """Have the kernel ask from now on whether the other machine is still there, and end the connection if it is
        not: nothing else tells that from an answer that takes long."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            self._sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def settimeout(self, seconds: float) -> None:
        """The next operation takes no longer than this."""
        self._until = Deadline.after(seconds)

    def do_handshake(self) -> bool:
        """Whether the server went on with the session."""
        self._complete(self._tls.do_handshake)
        return bool(self._tls.session_reused)

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session that a further connection may go on with, once something was read from this one; None if the
        server allows none."""
        found = self._tls.session
        return found if found is not None and found.has_ticket else None

    def sendall(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._complete(self._tls.write, left) :]

    def recv_into(self, buffer: Any) -> int:
        return int(self._complete(self._tls.read, len(buffer), buffer))

    def pending(self) -> int:
        """The number of bytes, decrypted or not, that were received and not read."""
        return self._tls.pending() + self._received.pending

    def _complete(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            try:
                result = operation(*arguments)
            except ssl.SSLWantReadError:
                self._send()
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # that the alert cannot be sent explains less
                    self._send()
                raise
            else:
                self._send()
                return result
            if self.until_readable is not None:
                self.until_readable(self._until.remaining(), self.fileno())
            data = self._limited().recv(_RECEIVED_AT_ONCE)
            if data:
                self._received.write(data)
            else:
                self._received.write_eof()

    def _send(self) -> None:
        if self._to_send.pending:
            self._limited().sendall(self._to_send.read())

    def _limited(self) -> socket.socket:
        """The socket, with the time that is left. Raises socket.timeout if none is: data may have arrived in time."""
        if self._until.expired:
            raise socket.timeout
        self._sock.settimeout(self._until.remaining() or 1e-6)
        return self._sock


def open_tcp(exchange: Exchange, target: Origin, network: Network, seconds: float) -> socket.socket:
    """A TCP connection to the peer of the exchange. Looking up and connecting may take `seconds` each, for all
    addresses together. Raises Unavailable and LocalFailure."""
    step, until = f"looking up {target.host}", exchange.deadline.sooner(seconds)
    try:
        addresses = look_up(target, network, until)
        step, until = f"connecting to {exchange.peer}", exchange.deadline.sooner(seconds)
        return _first_reachable(addresses, until, network)
    except OSError as error:
        raise exchange.not_connected(error, step, until, seconds) from None


def look_up(target: Origin, network: Network, until: Deadline) -> Sequence[Any]:
    """The addresses of a name. Raises OSError.

    A user who takes all ports makes lookups fail as if no name server answered. So one that fails like that, or
    not in time, counts only if a UDP socket with a port of its own, as it needs, can be had.
    """
    name = absolute_name(target.host)
    # Of the addresses in DNS, none of a family in which this machine has no address.
    flags = socket.AI_ADDRCONFIG if name.endswith(".") else 0
    try:
        options = {"type": socket.SOCK_STREAM, "flags": flags}
        return network.getaddrinfo(name, target.port, timeout=until.remaining(), **options)
    except OSError as error:
        if isinstance(error, _TIMED_OUT) or error.errno == socket.EAI_AGAIN:
            with socket_of_both_families(socket.SOCK_DGRAM) as probe:
                probe.bind(("", 0))
        raise


def socket_of_both_families(kind: socket.SocketKind) -> socket.socket:
    """A socket whose port, once it is bound to one, is taken for IPv4 and IPv6, where the system has both.

    Raises OSError.
    """
    sock = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET, kind)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return sock


def absolute_name(host: str, hosts_file: str = "/etc/hosts") -> str:
    """`host` with a dot at its end, which keeps the search list of resolv.conf away from it.

    Without the dot, glibc asks for a name that does not exist once more under each domain of the search list (the
    machine's own domain if there is none): that can take long, turn "unknown" into "try again", or find another server.
    Addresses and two kinds of names stay as they are: names in the hosts file, since glibc does not find them there
    with a dot, and names of one label, which only the hosts file or the search list can complete.
    """
    if ":" in host or host.rpartition(".")[2].isdigit() or "." not in host:
        return host
    lines: list[str] = []
    with contextlib.suppress(OSError), open(hosts_file, encoding="utf-8", errors="replace") as file:
        lines = file.read().lower().splitlines()
    listed = any(host in line.partition("#")[0].split()[1:] for line in lines if host in line)
    return host if listed else f"{host}."


def _first_reachable(addresses: Sequence[Any], until: Deadline, network: Network) -> socket.socket:
    """A connection to the first address that accepts one. Raises OSError."""
    problems: list[OSError] = []
    for left, (*_, address) in zip(range(len(addresses), 0, -1), addresses):
        try:
            sock = network.create_connection(address[:2], until.remaining() / left or 1e-6)
        except OSError as error:
            problems.append(error)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise proving_least(problems)


def proving_least(problems: Sequence[OSError]) -> OSError:
    """Return the failure that proves least of an outage, among the failures to connect to each address."""
    ranked = sorted(
        problems, key=lambda each: 1 if isinstance(each, _TIMED_OUT) else 0 if each.errno in FAR_SIDE else 2
    )
    return ranked[-1] if ranked else OSError("the name has no address")


def system_certificates() -> list[str]:
    """The file and the folder that this system's OpenSSL was built to trust, if they exist. Not what it uses by
    default: the user of a program chooses that, with SSL_CERT_FILE and SSL_CERT_DIR."""
    built_in = ssl.get_default_verify_paths()
    return [path for path in (built_in.openssl_cafile, built_in.openssl_capath) if os.path.exists(path)]


def tls_context(ca_file: str | os.PathLike[str] | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer, trusting only `ca_file`, or the system's certificates without one. Raises TLSFailure.

    Not made by `ssl.create_default_context`: that obeys SSLKEYLOGFILE, which would reveal everything that is sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # With suppress_ragged_eofs=False, an end of the stream without close_notify is noticed: it may be an attack that
    # cuts the response short.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    for path in system_certificates() if ca_file is None else [os.fspath(ca_file)]:
        try:
            kind = "capath" if ca_file is None and os.path.isdir(path) else "cafile"
            context.load_verify_locations(**{kind: path})
        except OSError as error:
            problem = "no certificates in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
            raise TLSFailure(
                f"cannot load certificate authorities from {path}: {problem}",
                remedy="Put the certificates to trust there, in PEM form, or correct ca_file.",
            ) from None
    return context
