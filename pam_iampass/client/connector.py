"""Opens connections: name lookup, TCP, a proxy's tunnel, TLS handshake."""

from __future__ import annotations

import errno
import http.client
import os
import select
import socket
import ssl
from dataclasses import dataclass
from typing import cast

from .attempt import HttpAttempt, PlainSocket, TLSSocket
from .deadline import Deadline
from .errors import Cause, IampassError
from .origin import Origin
from .outage import cause_of, no_route_to_name_servers, switched_off
from .resolver import Address, Resolver

# What each address of a name gets at least, as a share of the time for connecting.
_LEAST_SHARE = 0.2


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
        target = self.proxy or self.server
        with self._first_reachable(target, self._look_up(target, attempt), attempt) as sock:
            if self.proxy is not None:
                _open_tunnel(sock, self.proxy, self.server, attempt)
            return self._start_tls(sock, attempt)

    def _look_up(self, target: Origin, attempt: HttpAttempt) -> list[Address]:
        allowance = attempt.deadline.sooner(self.connect_seconds)
        try:
            return attempt.in_slices(
                lambda seconds: self.resolver.addresses(target.host, target.port, seconds), allowance
            )
        except MemoryError:
            problem: IampassError = attempt.local_failure("no thread can be started")
        except OSError as error:
            problem = _lookup_error(target, error, attempt)
        raise problem

    def _first_reachable(self, target: Origin, addresses: list[Address], attempt: HttpAttempt) -> PlainSocket:
        allowance = attempt.deadline.sooner(self.connect_seconds)
        problems: list[OSError] = []
        for position, address in enumerate(addresses):
            left = allowance.remaining()
            if left <= 0.0:
                problems.append(socket.timeout("timed out"))
                break
            share = max(_LEAST_SHARE * self.connect_seconds, left / (len(addresses) - position))
            try:
                return _open(address, attempt, allowance.sooner(share))
            except OSError as error:
                problems.append(switched_off(address[0], error))
        name = f"the proxy {target.authority}" if target is self.proxy else target.authority
        raise _connect_error(name, problems, attempt)

    def _start_tls(self, sock: PlainSocket, attempt: HttpAttempt) -> TLSSocket:
        self.context.sslsocket_class = TLSSocket
        try:
            # An end of the stream without close_notify must be noticed: it may have cut off the response.
            encrypted = self.context.wrap_socket(
                sock,
                server_hostname=self.server.host,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
            return _shake_hands(cast(TLSSocket, encrypted), attempt)
        except OSError as error:
            problem = attempt.explain(error, self.server.authority)
        raise problem


def _lookup_error(target: Origin, error: OSError, attempt: HttpAttempt) -> IampassError:
    cause = cause_of(error)
    try:
        if cause is not None and no_route_to_name_servers():
            cause = Cause.FAR_SIDE
    except OSError as failure:
        cause, error = None, failure
    if cause is None:
        return attempt.local_failure(error.strerror or error)
    what = f"looking up {target.host} failed: {error.strerror or error}"
    return attempt.unavailable(what, cause, timed_out=isinstance(error, socket.timeout))


def _connect_error(name: str, problems: list[OSError], attempt: HttpAttempt) -> IampassError:
    """The error if no address could be connected to. One of them is enough for it to be no outage."""
    by_cause = {cause_of(problem): problem for problem in problems or [OSError("the name has no address")]}
    cause = next(each for each in (None, Cause.ANY_USER, Cause.FAR_SIDE) if each in by_cause)
    reason = by_cause[cause].strerror or by_cause[cause]
    if cause is None:
        return attempt.local_failure(reason)
    what = f"connecting to {name} failed: {reason}"
    return attempt.unavailable(what, cause, timed_out=cause is Cause.ANY_USER)


def _open(address: Address, attempt: HttpAttempt, allowance: Deadline) -> PlainSocket:
    family, where = address
    sock = PlainSocket(family, socket.SOCK_STREAM)
    sock.attempt = attempt

    def wait(seconds: float) -> None:
        poller = select.poll()
        poller.register(sock, select.POLLOUT)
        if not poller.poll(seconds * 1000):
            raise socket.timeout("timed out")

    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        failure = sock.connect_ex(where)
        if failure == errno.EINPROGRESS:
            attempt.in_slices(wait, allowance)
            failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, os.strerror(failure))
        return sock
    except BaseException:
        sock.close()
        raise


def _shake_hands(sock: TLSSocket, attempt: HttpAttempt) -> TLSSocket:
    sock.attempt = attempt

    def handshake(seconds: float) -> None:
        sock.settimeout(seconds)
        sock.do_handshake()

    try:
        attempt.in_slices(handshake)
        return sock
    except BaseException:
        sock.close()
        raise


def _open_tunnel(sock: PlainSocket, proxy: Origin, server: Origin, attempt: HttpAttempt) -> None:
    """Asks the proxy for a connection to the server (RFC 9110, 9.3.6).

    A proxy that does not respond or closes the connection can be an outage. Its 5xx is none: it also stands for limits
    that a user of this machine can use up. One that refuses, or does not speak HTTP, is misconfigured, there or here.
    """
    target, name = server.authority, f"the proxy {proxy.authority}"
    remedy = f"Check `proxy`, and that this proxy may connect to {target}."
    problem: IampassError | None = None
    try:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
        with http.client.HTTPResponse(sock, method="CONNECT") as response:
            response.begin()
        if attempt.ended:
            raise http.client.RemoteDisconnected("the connection ended in the headers")
        if not 200 <= response.status < 300:
            kind = attempt.unavailable if 500 <= response.status < 600 else attempt.invalid
            problem = kind(f"{name} refused with status {response.status}", remedy=remedy)
    except (OSError, http.client.HTTPException) as error:
        problem = attempt.explain(error, name, remedy=remedy)
    if problem is not None:
        raise problem
