"""Where a login comes from."""

from __future__ import annotations

import ipaddress
from typing import Union

from pam_iampass.outcome import Login

IPAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def ip_address(text: str) -> IPAddress | None:
    """The address that `text` is, in its one form: that of an IPv4 address in IPv6 (`::ffff:`) is the IPv4 address.

    None for all that is no literal address, such as a host name, which the owner of the address may choose (DNS).
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_address(ssh_connection: str | None) -> str:
    """The address of the client in SSH_CONNECTION; empty where it has none: AF_UNIX and vsock are `UNKNOWN` there."""
    return str(ip_address((ssh_connection or "").partition(" ")[0]) or "")


def origin_of(login: Login) -> str:
    """Where it comes from as far as limits are concerned: the PAM service, and the remote host or the machine itself.

    All loopback addresses are the machine itself: any of its users has 16 million of them. In sshd, so is a connection
    without an address (AF_UNIX, vsock), and PAM_RHOST does not count: with `UseDNS yes` it is a host name. Of an IPv6
    address its /64 network counts: a host can choose any address in it (RFC 4862).
    """
    host = login.address if login.through_sshd else login.rhost
    address = ip_address(host or "")
    if address is not None and address.is_loopback:
        host = None
    elif isinstance(address, ipaddress.IPv6Address):
        host = str(ipaddress.IPv6Network((int(address), 64), strict=False))
    elif address is not None:
        host = str(address)
    return f"{login.service}\0{f'from {host}' if host else 'here'}"
