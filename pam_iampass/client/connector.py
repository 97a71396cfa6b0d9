"""Opens connections: name lookup, TCP, a proxy's tunnel, TLS handshake."""

from __future__ import annotations

import errno
import http.client
import ipaddress
import os
import select
import socket
import ssl
from dataclasses import dataclass
from typing import cast

from .attempt import HttpAttempt, PlainSocket, TLSSocket, is_end_of_stream
from .deadline import Deadline
from .errors import LocalFailure, TLSFailure, Unavailable
from .origin import Origin
from .resolver import Address, Resolver

# What each address of a name gets at least, as a share of the time for connecting.
_LEAST_SHARE = 0.2

# Faults of this machine and its configuration: no sign that IAMPASS is unreachable.
_LOCAL = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT}
)
# glibc also reports an unknown name if it has no descriptor left for its query. If the name service is unreachable,
# it reports EAI_AGAIN.
_LOCAL_LOOKUP = frozenset({socket.EAI_MEMORY, socket.EAI_SYSTEM, socket.EAI_NONAME})


@dataclass(frozen=True)
class Connector:
    """Opens connections to one server. Raises Unavailable, TLSFailure, LocalFailure or ProtocolError."""

    server: Origin
    context: ssl.SSLContext
    proxy: Origin | None
    resolver: Resolver
    connect_seconds: float
    """For the lookup, and again for all addresses of a name together."""

    def connect(self, attempt: HttpAttempt) -> TLSSocket:
        sock = self._connect_to(self.proxy or self.server, attempt)
        try:
            if self.proxy is not None:
                _open_tunnel(sock, self.proxy, self.server, attempt)
            return self._start_tls(sock, attempt)
        finally:
            sock.close()  # has no effect on a socket that TLS has taken over

    def _connect_to(self, target: Origin, attempt: HttpAttempt) -> PlainSocket:
        addresses = self._addresses(target, attempt)
        allowance = attempt.deadline.sooner(self.connect_seconds)
        reason: OSError = OSError("the name has no address")
        for position, address in enumerate(addresses):
            left = allowance.remaining()
            if left <= 0.0:
                break
            share = max(_LEAST_SHARE * self.connect_seconds, left / (len(addresses) - position))
            try:
                return _open(address, attempt, allowance.sooner(share))
            except OSError as error:
                if error.errno in _LOCAL:
                    raise _local_failure(attempt, error) from None
                reason = error
        timed_out = isinstance(reason, socket.timeout)
        name = f"the proxy {target.authority}" if target is self.proxy else target.authority
        raise attempt.unavailable(
            f"connecting to {name} failed: {reason.strerror or reason}",
            timed_out=timed_out or attempt.deadline.expired,
        )

    def _addresses(self, target: Origin, attempt: HttpAttempt) -> list[Address]:
        try:
            literal = ipaddress.ip_address(target.host)
        except ValueError:
            return self._look_up(target, attempt)
        return [(socket.AF_INET6 if literal.version == 6 else socket.AF_INET, (target.host, target.port))]

    def _look_up(self, target: Origin, attempt: HttpAttempt) -> list[Address]:
        allowance = attempt.deadline.sooner(self.connect_seconds)
        try:
            return attempt.in_slices(
                lambda seconds: self.resolver.addresses(target.host, target.port, seconds), allowance
            )
        except MemoryError:
            raise _local_failure(attempt, OSError(errno.EAGAIN, "no thread can be started")) from None
        except OSError as error:
            if error.errno in (_LOCAL_LOOKUP if isinstance(error, socket.gaierror) else _LOCAL):
                raise _local_failure(attempt, error) from None
            problem = error
        raise attempt.unavailable(
            f"looking up {target.host} failed: {problem.strerror or problem}",
            timed_out=isinstance(problem, socket.timeout),
        )

    def _start_tls(self, sock: PlainSocket, attempt: HttpAttempt) -> TLSSocket:
        problem: Unavailable | TLSFailure
        try:
            # An end of the stream without close_notify must be noticed: it may have cut off the response.
            wrapped = self.context.wrap_socket(
                sock,
                server_hostname=self.server.host,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
            encrypted = cast(TLSSocket, wrapped)  # by `sslsocket_class`
            encrypted.attempt = attempt
            try:
                attempt.in_slices(lambda seconds: _handshake(encrypted, seconds))
                return encrypted
            except BaseException:
                encrypted.close()
                raise
        except (OSError, ValueError) as error:
            problem = self._tls_problem(error, attempt)
        raise problem

    def _tls_problem(self, error: Exception, attempt: HttpAttempt) -> Unavailable | TLSFailure:
        call, server = attempt.request.name, self.server.authority
        if isinstance(error, ssl.SSLCertVerificationError):
            return TLSFailure(f"{call}: the certificate of {server} is not trusted: {error.verify_message}")
        if isinstance(error, socket.timeout):
            return attempt.unavailable(f"{server} did not finish the TLS handshake in time", timed_out=True)
        if isinstance(error, ssl.SSLError) and not is_end_of_stream(error):
            return TLSFailure(f"{call}: no TLS 1.2 or newer with {server}: {error.reason or 'TLS error'}")
        return attempt.unavailable(f"{server} closed the connection during the TLS handshake")


def _handshake(sock: ssl.SSLSocket, seconds: float) -> None:
    sock.settimeout(seconds)
    sock.do_handshake()


def _open(address: Address, attempt: HttpAttempt, allowance: Deadline) -> PlainSocket:
    family, where = address
    sock = PlainSocket(family, socket.SOCK_STREAM)
    sock.attempt = attempt
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        failure = sock.connect_ex(where)
        if failure == errno.EINPROGRESS:
            attempt.in_slices(lambda seconds: _wait_until_writable(sock, seconds), allowance)
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
        raise socket.timeout("timed out")


def _open_tunnel(sock: PlainSocket, proxy: Origin, server: Origin, attempt: HttpAttempt) -> None:
    """Asks the proxy for a connection to the server (RFC 9110, 9.3.6).

    A proxy that does not respond, closes the connection or responds with 5xx is an outage. One that refuses, or does
    not speak HTTP, is misconfigured, there or here.
    """
    target, name = server.authority, f"the proxy {proxy.authority}"
    remedy = f"Check `proxy`, and that this proxy may connect to {target}."
    outage, fault = None, None
    try:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
        with http.client.HTTPResponse(sock, method="CONNECT") as response:
            response.begin()
        if attempt.ended:
            outage = "closed the connection"
        elif 500 <= response.status < 600:
            outage = f"refused with status {response.status}"
        elif not 200 <= response.status < 300:
            fault = f"refused with status {response.status}"
    except socket.timeout:
        outage = "did not respond in time"
    except (OSError, http.client.RemoteDisconnected):
        outage = "closed the connection"
    except http.client.HTTPException as error:
        fault = f"sent an invalid response ({type(error).__name__})"
    if fault is not None:
        raise attempt.invalid(f"{name} {fault}", remedy=remedy)
    if outage is not None:
        raise attempt.unavailable(f"{name} {outage}", timed_out=attempt.deadline.expired, remedy=remedy)


def _local_failure(attempt: HttpAttempt, error: OSError) -> LocalFailure:
    return LocalFailure(f"{attempt.request.name}: this machine cannot connect: {error.strerror or error}")
