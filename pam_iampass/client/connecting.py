"""From a name to an encrypted connection: look-up, TCP, perhaps a proxy, TLS handshake."""

from __future__ import annotations

import errno
import http.client
import ipaddress
import os
import select
import socket
import ssl
from dataclasses import dataclass, field

from .deadline import Deadline
from .errors import LocalFailure, ProtocolError, TLSFailure, Unavailable
from .exchange import Exchange, is_end_of_stream
from .look_up import Address, LookUps
from .origin import Origin
from .sockets import PlainSocket

# Of the time for connecting, for each address at least, where a name has many.
LEAST_SHARE = 0.2


# Faults of this machine and of its configuration: no sign that IAMPASS is away.
_LOCAL = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT}
)
# glibc also says that it does not know a name where it has no descriptor left to ask with. Where the name service is
# away it says EAI_AGAIN.
_LOCAL_LOOK_UP = frozenset({socket.EAI_MEMORY, socket.EAI_SYSTEM, socket.EAI_NONAME})


@dataclass(frozen=True)
class Connector:
    """Opens connections to one server. Raises Unavailable, TLSFailure, LocalFailure or ProtocolError."""

    server: Origin
    context: ssl.SSLContext
    proxy: Origin | None = None
    look_ups: LookUps = field(default_factory=lambda: LookUps(socket.getaddrinfo))
    connect_seconds: float = 5.0
    """For the look-up, and again for all addresses of a name together."""

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
        addresses = self._look_up(target, exchange)
        allowance = exchange.deadline.sooner(self.connect_seconds)
        reason: OSError = OSError("it has no address")
        for position, address in enumerate(addresses):
            left = allowance.remaining()
            if left <= 0.0:
                break
            share = max(LEAST_SHARE * self.connect_seconds, left / (len(addresses) - position))
            try:
                return _open(address, exchange, allowance.sooner(share))
            except OSError as error:
                if error.errno in _LOCAL:
                    raise _local_failure(exchange, error) from None
                reason = error
        timed_out = isinstance(reason, socket.timeout)
        text = "no answer in time" if timed_out else reason.strerror or str(reason)
        raise exchange.unavailable(
            f"connecting to {self._named(target)} failed: {text}",
            timed_out=timed_out or exchange.deadline.expired,
        )

    def _look_up(self, target: Origin, exchange: Exchange) -> list[Address]:
        try:
            literal = ipaddress.ip_address(target.host)
        except ValueError:
            return self._look_up_name(target, exchange)
        return [(socket.AF_INET6 if literal.version == 6 else socket.AF_INET, (target.host, target.port))]

    def _look_up_name(self, target: Origin, exchange: Exchange) -> list[Address]:
        allowance = exchange.deadline.sooner(self.connect_seconds)
        try:
            return exchange.in_slices(
                lambda seconds: self.look_ups.addresses(target.host, target.port, seconds), allowance
            )
        except MemoryError:
            raise _local_failure(exchange, OSError(errno.EAGAIN, "no thread is to be had")) from None
        except OSError as error:
            if error.errno in (_LOCAL_LOOK_UP if isinstance(error, socket.gaierror) else _LOCAL):
                raise _local_failure(exchange, error) from None
            problem = error
        raise exchange.unavailable(
            f"looking up {target.host} failed: {problem.strerror or problem}",
            timed_out=isinstance(problem, socket.timeout),
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
                exchange.in_slices(lambda seconds: _go_on_shaking_hands(encrypted, seconds))
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


def _go_on_shaking_hands(sock: ssl.SSLSocket, seconds: float) -> None:
    sock.settimeout(seconds)
    sock.do_handshake()


def _open(address: Address, exchange: Exchange, allowance: Deadline) -> PlainSocket:
    family, where = address
    sock = PlainSocket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        failure = sock.connect_ex(where)
        if failure == errno.EINPROGRESS:
            exchange.in_slices(lambda seconds: _wait_until_writable(sock, seconds), allowance)
            failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, os.strerror(failure))
        return sock
    except BaseException:
        sock.close()
        raise


def _wait_until_writable(sock: socket.socket, seconds: float) -> None:
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    if not poller.poll(seconds * 1000):
        raise socket.timeout("no answer in time")


def _open_tunnel(sock: PlainSocket, proxy: Origin, server: Origin, exchange: Exchange) -> None:
    """Asks the proxy for a connection to the server (RFC 9110, 9.3.6).

    A proxy that is silent, goes away or says 5xx is an outage. One that refuses, or speaks something else, is
    configured wrongly, here or there.
    """
    target = server.authority
    remedy = f"Check `proxy`, and that this proxy may connect to {target}."
    outage, fault = None, None
    try:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
        answer = http.client.HTTPResponse(sock, method="CONNECT")
        try:
            answer.begin()
        finally:
            answer.close()
        if exchange.ended:
            outage = "closed the connection"
        elif 500 <= answer.status < 600:
            outage = f"refused with status {answer.status}"
        elif not 200 <= answer.status < 300:
            fault = f"refused with status {answer.status}"
    except socket.timeout:
        outage = "did not answer in time"
    except (OSError, http.client.RemoteDisconnected):
        outage = "closed the connection"
    except http.client.HTTPException as error:
        fault = f"gave no proper answer ({type(error).__name__})"
    if fault is not None:
        what = f"{exchange.call.name}: the proxy {proxy.authority} {fault}"
        raise ProtocolError(what, may_have_started=False, remedy=remedy)
    if outage is not None:
        raise exchange.unavailable(
            f"the proxy {proxy.authority} {outage}", timed_out=exchange.deadline.expired, remedy=remedy
        )


def _local_failure(exchange: Exchange, error: OSError) -> LocalFailure:
    return LocalFailure(f"{exchange.call.name}: this machine cannot connect: {error.strerror or error}")
