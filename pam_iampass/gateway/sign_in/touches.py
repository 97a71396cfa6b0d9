"""Challenges: what a touch of a passkey is good for.

A challenge says for how long it is good, and has a MAC over that, over its purpose, who was given it, and what it is
for. So it has no row before it is used, is good at any gateway, and is spent in the transaction of what it is for.
"""

from __future__ import annotations

import hmac
import json
import secrets
import struct
from collections.abc import Mapping
from typing import Any

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.sign_in.webauthn import Refused

SECONDS = 120
"""How long a challenge is good."""
_CLOCKS_SECONDS = 300
"""The clocks of gateways differ by this at most."""
_STAMP = struct.Struct(">QQ")
"""The Unix time at which it expires, and the nonce."""
_CLIENT = "touch"
"""The client of the nonces; hosts and sessions have other names."""


def challenge(gateway: Gateway, purpose: str, who: str, what: Mapping[str, Any]) -> bytes:
    """A new challenge.

    :param who: the id of the sign-in; before there is one, a digest of what binds it to the browser.
    :param what: all that happens once it is spent, as JSON has it.
    """
    stamp = _STAMP.pack(int(gateway.clock()) + SECONDS, secrets.randbits(64))
    return stamp + _mac(gateway, stamp, purpose, who, what)


async def spend(
    gateway: Gateway,
    connection: Connection,
    challenge: bytes,
    purpose: str,
    who: str,
    what: Mapping[str, Any],
) -> None:
    """Spend a challenge, in the transaction of what it is for. Raises Refused as `require`, and if it was spent
    before."""
    require(gateway, challenge, purpose, who, what)
    _, nonce = _STAMP.unpack(challenge[: _STAMP.size])
    spent = await connection.execute(
        "INSERT INTO nonce VALUES (%s, %s, now() + make_interval(secs => %s)) ON CONFLICT DO NOTHING",
        (_CLIENT, nonce, SECONDS + 2 * _CLOCKS_SECONDS),
    )
    if spent.rowcount == 0:
        raise Refused("the challenge was spent before")


def require(gateway: Gateway, challenge: bytes, purpose: str, who: str, what: Mapping[str, Any]) -> None:
    """Raise Refused unless `challenge` was called with the same arguments, lately."""
    stamp, mac = challenge[: _STAMP.size], challenge[_STAMP.size :]
    if len(stamp) != _STAMP.size or not hmac.compare_digest(mac, _mac(gateway, stamp, purpose, who, what)):
        raise Refused("the challenge was made for something else")
    expires_at, _ = _STAMP.unpack(stamp)
    # One of a gateway whose clock is ahead would be good for longer than its nonce is kept.
    if not 0 < expires_at - gateway.clock() <= SECONDS + _CLOCKS_SECONDS:
        raise Refused("the challenge is not good any more")


def _mac(gateway: Gateway, stamp: bytes, purpose: str, who: str, what: Mapping[str, Any]) -> bytes:
    canonical = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return gateway.keys.touch(stamp.hex(), purpose, who, canonical)
