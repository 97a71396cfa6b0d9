"""What a failure to connect proves: an outage, or nothing, since this machine or a user of it may have caused it.

A user who takes all ephemeral ports makes connecting fail with EADDRNOTAVAIL, and name lookup with EAI_AGAIN. So what
can be an outage is listed here, and everything else is a failure of this machine.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import ssl

from .errors import Cause

#: The other side refused or ended the connection. EPIPE: it had ended it before we sent anything.
_ENDED = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN})
#: Documentation addresses (RFC 5737 and 3849), in place of name servers that this machine runs itself.
_ELSEWHERE = ["192.0.2.1", "2001:db8::1"]
#: glibc ignores further ones (MAXNS, resolv.conf(5)).
_MOST_NAME_SERVERS = 3
#: The scope of an address in if_inet6 (IPV6_ADDR_LINKLOCAL, `net/ipv6.h`).
_LINK_LOCAL = "20"


def cause_of(error: Exception) -> Cause | None:
    """Who can have caused this failure to connect; None for a failure of this machine."""
    if isinstance(error, (socket.timeout, TimeoutError)):
        return Cause.ANY_USER
    if isinstance(error, socket.gaierror):
        return Cause.ANY_USER if error.errno == socket.EAI_AGAIN else None
    if isinstance(error, ssl.SSLError):
        return Cause.FAR_SIDE if _is_end_of_stream(error) else None
    return Cause.FAR_SIDE if isinstance(error, OSError) and error.errno in _ENDED | _NO_ROUTE else None


def _is_end_of_stream(error: ssl.SSLError) -> bool:
    """Whether the other side just closed the connection, rather than break TLS."""
    # Python 3.9 with OpenSSL 3 has no class of its own for an end without close_notify.
    return isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or (
        error.reason == "UNEXPECTED_EOF_WHILE_READING"
    )


def no_route_to_name_servers(resolv_conf: str = "/etc/resolv.conf") -> bool:
    """Whether this machine has no route to any of its name servers. Sends nothing.

    What a name server on this machine asks is unknown, and a user can flood it: then there must be no network at all.
    Raises OSError if it cannot find out, for example for want of a port.
    """
    servers = _name_servers(resolv_conf)
    if all(ipaddress.ip_address(server).is_loopback for server in servers):
        if _is_in_a_network():
            return False
        servers = _ELSEWHERE
    # All of them: a lack of ports can show at any.
    routes = [_has_route(server) for server in servers]
    return not any(routes)


def switched_off(family: int, error: OSError) -> OSError:
    """The error of connecting, or "no route" if this machine has no IPv6.

    Without any IPv6 address (disable_ipv6, ip-sysctl), connecting fails with EADDRNOTAVAIL, as if all ports were taken.
    """
    if family == socket.AF_INET6 and (
        error.errno == errno.EAFNOSUPPORT or (error.errno == errno.EADDRNOTAVAIL and _has_no_ipv6_address())
    ):
        return OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    return error


def _name_servers(resolv_conf: str) -> list[str]:
    found: list[str] = []
    try:
        with open(resolv_conf, encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:
        lines = []  # glibc then asks 127.0.0.1
    for words in lines:
        try:
            if words[0] == "nameserver":
                ipaddress.ip_address(words[1])
                found.append(words[1])
        except (IndexError, ValueError):
            continue
    return found[:_MOST_NAME_SERVERS]


def _has_route(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 53))
    except OSError as error:
        failure = switched_off(family, error)
        if failure.errno not in _NO_ROUTE:
            raise failure from None
        return False
    return True


def _is_in_a_network() -> bool:
    """Whether any interface but the loopback has a route of IPv4 or an address of IPv6, and is connected.

    Raises OSError.
    """
    with open("/proc/self/net/route", encoding="utf-8") as file:
        interfaces = {line.split()[0] for line in file.readlines()[1:]}
    with contextlib.suppress(FileNotFoundError), open("/proc/self/net/if_inet6", encoding="utf-8") as file:
        interfaces |= {words[5] for words in map(str.split, file) if words[3] != _LINK_LOCAL}
    return any(_is_connected(interface) for interface in interfaces - {"lo"})


def _is_connected(interface: str) -> bool:
    """Whether the interface has a carrier; True if the kernel does not tell. A bridge without members has none."""
    try:
        with open(f"/sys/class/net/{interface}/carrier", encoding="utf-8") as file:
            return file.read(1) != "0"
    except OSError:
        return True


def _has_no_ipv6_address() -> bool:
    try:
        with open("/proc/self/net/if_inet6", "rb") as file:
            return not file.read(1)
    except OSError:
        return False
