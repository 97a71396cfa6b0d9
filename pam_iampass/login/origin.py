"""Where a login comes from, as far as limits are concerned."""

from __future__ import annotations

import ipaddress

from pam_iampass.outcome import Login


def origin_of(login: Login) -> str:
    """The PAM service and the remote host, or the machine itself.

    Of an IPv6 address its /64 network: a host can choose any address in it (RFC 4862). A host name is taken as it is.
    """
    return f"{login.service}\0{'from ' + _network(login.rhost) if login.rhost else 'here'}"


def _network(rhost: str) -> str:
    if ":" not in rhost:
        return rhost

    try:
        address = ipaddress.IPv6Address(rhost.partition("%")[0])
    except ValueError:
        return rhost
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
