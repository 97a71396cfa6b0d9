"""From a name to an encrypted connection: look-up, TCP, perhaps a proxy, TLS handshake."""

from __future__ import annotations

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

from .errors import TLSFailure, Unavailable
from .exchange import Exchange, is_end_of_stream
from .origin import Origin
from .sockets import PlainSocket

# Of the time for connecting, for each address at least, where a name has many.
LEAST_SHARE = 0.2

Address = tuple[int, Any]
Resolve = Callable[..., Sequence[Any]]


@dataclass(frozen=True)
class Connector:
    """Opens connections to one server. Raises Unavailable or TLSFailure."""

    server: Origin
    context: ssl.SSLContext
    proxy: Origin | None = None
    resolve: Resolve = socket.getaddrinfo
    connect_seconds: float = 5.0
    """For all addresses of a name together."""

    def connect(self, exchange: Exchange) -> ssl.SSLSocket:
        sock = self._connect_to(self.proxy or self.server, exchange)
        try:
            if self.proxy is not None:
                _open_tunnel(sock, self.proxy, self.server, exchange)
            return self._shake_hands(sock, exchange)
        except BaseException:
            sock.close()
            raise

    def _connect_to(self, target: Origin, exchange: Exchange) -> PlainSocket:
        addresses = _look_up(target, exchange, self.resolve)
        allowance = exchange.deadline.sooner(self.connect_seconds)
        reason: OSError = OSError("it has no address")
        for position, address in enumerate(addresses):
            left = allowance.remaining()
            if left <= 0.0:
                break
            share = max(LEAST_SHARE * self.connect_seconds, left / (len(addresses) - position))
            try:
                return _open(address, min(left, share))
            except OSError as error:
                reason = error
        timed_out = isinstance(reason, socket.timeout)
        text = "no answer in time" if timed_out else reason.strerror or str(reason)
        raise exchange.unavailable(
            f"connecting to {self._named(target)} failed: {text}",
            timed_out=timed_out or exchange.deadline.expired,
        )

    def _named(self, target: Origin) -> str:
        return f"the proxy {target.authority}" if target is self.proxy else target.authority

    def _shake_hands(self, sock: PlainSocket, exchange: Exchange) -> ssl.SSLSocket:
        problem: Unavailable | TLSFailure
        try:
            # The answer's end matters, so an end without farewell must be seen.
            encrypted = self.context.wrap_socket(
                sock,
                server_hostname=self.server.host,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
            try:
                encrypted.settimeout(exchange.time_left())
                encrypted.do_handshake()
                return encrypted
            except BaseException:
                encrypted.close()
                raise
        except (OSError, ValueError) as error:
            problem = self._handshake_problem(error, exchange)
        raise problem

    def _handshake_problem(self, error: Exception, exchange: Exchange) -> Unavailable | TLSFailure:
        call, who = exchange.call.name, self.server.authority
        if isinstance(error, ssl.SSLCertVerificationError):
            return TLSFailure(f"{call}: the certificate of {who} is not good: {error.verify_message}")
        if isinstance(error, socket.timeout):
            return exchange.unavailable(f"{who} did not finish the TLS handshake in time", timed_out=True)
        if isinstance(error, ssl.SSLError) and not is_end_of_stream(error):
            return TLSFailure(f"{call}: no TLS 1.2 or newer with {who}: {error.reason or 'TLS error'}")
        return exchange.unavailable(f"{who} closed the connection in the TLS handshake")


def _look_up(target: Origin, exchange: Exchange, resolve: Resolve) -> list[Address]:
    try:
        literal = ipaddress.ip_address(target.host)
    except ValueError:
        return _look_up_name(target, exchange, resolve)
    return [(socket.AF_INET6 if literal.version == 6 else socket.AF_INET, (target.host, target.port))]


def _look_up_name(target: Origin, exchange: Exchange, resolve: Resolve) -> list[Address]:
    """The system's look-up knows no timeout of ours and can take a minute: it gets a thread, which is left
    behind."""
    results: queue.SimpleQueue[Sequence[Any] | OSError] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put(resolve(target.host, target.port, type=socket.SOCK_STREAM))
        except OSError as error:
            results.put(error)

    threading.Thread(target=work, name="iampass-look-up", daemon=True).start()
    try:
        found = results.get(timeout=exchange.deadline.remaining())
    except queue.Empty:
        found = socket.timeout("no answer in time")
    if isinstance(found, OSError):
        raise exchange.unavailable(
            f"looking up {target.host} failed: {found.strerror or found}",
            timed_out=isinstance(found, socket.timeout),
        )
    return [(family, address) for family, _, _, _, address in found]


def _open(address: Address, seconds: float) -> PlainSocket:
    family, where = address
    sock = PlainSocket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(seconds)
        sock.connect(where)
        return sock
    except BaseException:
        sock.close()
        raise


def _open_tunnel(sock: PlainSocket, proxy: Origin, server: Origin, exchange: Exchange) -> None:
    """Asks the proxy for a connection to the server (RFC 9110, 9.3.6)."""
    target = server.authority
    try:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
        answer = http.client.HTTPResponse(sock, method="CONNECT")
        try:
            answer.begin()
        finally:
            answer.close()
        refusal = f"refused with status {answer.status}" if not 200 <= answer.status < 300 else None
        if exchange.ended:
            refusal = "closed the connection"
    except socket.timeout:
        refusal = "did not answer in time"
    except (OSError, http.client.HTTPException) as error:
        refusal = f"gave no proper answer ({type(error).__name__})"
    if refusal is not None:
        raise exchange.unavailable(
            f"the proxy {proxy.authority} {refusal}",
            timed_out=exchange.deadline.expired,
            remedy=f"Check `proxy`, and that this proxy may connect to {target}.",
        )
