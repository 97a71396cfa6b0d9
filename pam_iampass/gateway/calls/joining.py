"""How a host becomes one of the fleet, and how it leaves: the calls below `/fleet/`.

An invite is one word: its id, its secret and the fingerprint of the fleet's CA. The secret signs the call by which a
host joins, and the call's query has the digest of its body. A host chooses its own secret, which is how it can repeat
a call whose answer was lost: the same name, machine and secret are the same host.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg

from pam_iampass.config.value_types import Network
from pam_iampass.fleet.names import host_name_error
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, DatabaseError
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.base.statements import now, one
from pam_iampass.gateway.calls.service import (
    signed_by_host,
    unavailable,
    unless_restored,
    use_up_nonce,
    work_for_sender,
)
from pam_iampass.gateway.hosts import certificates, hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus, Invite
from pam_iampass.gateway.requests import asking, sessions
from pam_iampass.server.http import Handler, Route
from pam_iampass.server.messages import (
    IncomingRequest,
    RefusedRequest,
    Reply,
    bad_request,
    text_of,
    unauthorized,
)
from pam_iampass.server.serving import require_digest
from pam_iampass.server.signatures import require_signature

_MACHINE = re.compile("[0-9a-f]{32}")
_SECRET = re.compile("[A-Za-z0-9_-]{43}")


# Invites


async def invite(
    gateway: Gateway,
    connection: Connection,
    group: str,
    uses: int,
    seconds: float,
    name: str | None,
    network: Network | None,
) -> tuple[Invite, str]:
    """A new invite, and the word that an administrator gives to a host. Old ones are forgotten."""
    made = await now(connection)
    invite = Invite(
        id=hosts.new_id("i"),
        secret=secrets.token_urlsafe(32),
        group=group,
        uses_left=uses,
        made_at=made,
        expires_at=made + timedelta(seconds=seconds),
        name=name,
        network=network,
    )
    await hosts.add_invite(gateway, connection, invite)
    connection.later("DELETE FROM invite WHERE expires_at < now() - interval '30 days'")
    fingerprint = certificates.fingerprint(gateway.settings.ca_file.read_bytes())
    return invite, f"{invite.id}.{invite.secret}.{fingerprint}"


def url(settings: GatewaySettings) -> str:
    """How hosts call this gateway."""
    name, port = settings.names[0], settings.listen[1]
    return f"https://{f'[{name}]' if ':' in name else name}" + ("" if port == 443 else f":{port}")


def gateways_for(host_id: str, settings: GatewaySettings) -> list[str]:
    """All gateways, in an order of the host's own, which spreads hosts over them. If one is added, hosts that do not
    go to it stay where they are."""
    return sorted(settings.gateways, key=lambda url: hashlib.sha256(f"{host_id} {url}".encode()).digest())


# The calls


async def _ca(gateway: Gateway, request: IncomingRequest) -> Reply:
    """The certificate of the CA, for a host that compares it with the fingerprint in its invite."""
    request.parameters()
    return Reply.of({"certificate": gateway.settings.ca_file.read_text("ascii")})


@dataclass(frozen=True)
class _Joining:
    """A host that wants to join, as it describes itself."""

    name: str
    machine: str
    secret: str = field(repr=False)

    @classmethod
    def of(cls, request: IncomingRequest) -> _Joining:
        """The host in a request. Raises RefusedRequest."""
        require_digest(request, request.parameters("body_sha256").get("body_sha256", ""))
        body = request.json("name", "machine", "secret")
        name, machine, secret = (text_of(body, key) or "" for key in ("name", "machine", "secret"))
        error = host_name_error(name)
        if error:
            raise bad_request("BAD_NAME", f"the name {error}; give another one: --name")
        if not _MACHINE.fullmatch(machine) or not _SECRET.fullmatch(secret):
            raise bad_request("BAD_BODY", "machine must be 32 hexadecimal digits, secret 43 characters")
        return cls(name, machine, secret)


async def _join(gateway: Gateway, request: IncomingRequest) -> Reply:
    if gateway.restored:  # an invite that was used up may be back
        raise RefusedRequest(
            403, "RESTORED", "the gateway's database is an old copy: pam-iampass-gateway restored"
        )
    work_for_sender(request)
    try:
        async with gateway.database.transaction() as connection:
            invite = await _invite(gateway, connection, request)
            joining = _Joining.of(request)
            answer = await _joined(gateway, connection, invite, joining, request.remote)
    except psycopg.errors.UniqueViolation:  # another host has just joined under this name
        raise _name_taken(joining.name) from None
    if isinstance(answer, RefusedRequest):
        raise answer
    value = {"host_id": answer.id, "group": answer.group, "status": answer.status.value}
    return Reply.of(value, 201)


async def _invite(gateway: Gateway, connection: Connection, request: IncomingRequest) -> Invite:
    """The invite that has signed the request; nobody else uses it until the transaction ends."""
    id = request.segments[2]
    try:
        found = await hosts.find_invite(gateway, connection, id)
    except Tampered:
        found = None
    secret = None if found is None else found.secret
    try:
        credentials = require_signature(request, id, secret, gateway.clock())
    except RefusedRequest as refusal:
        if refusal.reason == "UNKNOWN_CLIENT":
            what = (
                "the invite is void, or from long ago: an administrator has suspended or removed a host that joined"
                " with it, or has confirmed a restored database"
            )
            raise unauthorized("INVITE_VOID", what) from None
        if refusal.reason != "STALE_TIMESTAMP":
            raise
        # No 401, to which a client answers with the time of the server: this clock must be set.
        what = f"{refusal.detail}: set the clock of this machine (timedatectl), or of the gateway"
        raise RefusedRequest(403, "CLOCK_OFF", what) from None
    await use_up_nonce(connection, id, credentials)
    assert found is not None  # noqa: S101 - without a secret nothing is signed
    return found


async def _joined(
    gateway: Gateway, connection: Connection, invite: Invite, joining: _Joining, remote: str
) -> Host | RefusedRequest:
    """The host, or why it did not join; in both cases there is a record."""
    try:
        existing = await hosts.named(gateway, connection, joining.name)
    except Tampered:
        return _name_taken(joining.name)
    if existing is not None and _is_same(existing, joining):
        return existing
    at = await now(connection)
    policy = gateway.settings.policy_of(invite.group)
    refusal, taken = _refusal(invite, joining, remote, at >= invite.expires_at), ""
    if refusal is None and policy is None:  # nobody knows whether such a host would have to be admitted
        what = f"the settings of the gateway have no group {invite.group}: write it there, or make another invite"
        refusal = RefusedRequest(403, "GROUP_UNKNOWN", what)
    if refusal is None and existing is not None:
        refusal = _name_taken(joining.name)
    if refusal is None:
        # Else one machine would have the limits of many hosts.
        other = await one(connection, "SELECT name FROM host WHERE machine = %s", joining.machine)
        if other is not None:
            refusal, taken = _machine_taken(), f", the machine of {other['name']}"
    if refusal is not None:
        reason = f"{refusal.reason}: invite {invite.id}{taken};"
        # Once, whatever name is given.
        more = f" {joining.name} wants to join"
        await records.alert(connection, None, reason, more=more, name=joining.name, remote=remote)
        return refusal
    braked = await one(
        connection,
        "SELECT name FROM host WHERE invite = %s AND (slowed_until > now() OR status = 'stopped') LIMIT 1",
        invite.id,
    )
    if braked is not None:
        what = f"hosts that join with invite {invite.id} wait for pam-iampass-gateway host admit:"
        more = f" people have denied requests of {braked['name']}, which has joined with it, too"
        await records.alert(connection, None, what, more=more, name=joining.name, remote=remote)
    host = Host(
        id=hosts.new_id("h"),
        name=joining.name,
        group=invite.group,
        secret=joining.secret,
        machine=joining.machine,
        status=HostStatus.WAITING if policy is None or policy.admit or braked else HostStatus.ACTIVE,
        joined_at=at,
        invite=invite.id,
    )
    await hosts.add(gateway, connection, host)
    await hosts.use_invite(gateway, connection, invite.id)
    fields = {"what": "host_joined", "remote": remote, "reason": f"group {host.group}", "invite": invite.id}
    await records.write(connection, Kind.ACT, host=host.name, **fields)
    return host


def _is_same(host: Host, joining: _Joining) -> bool:
    """Whether this is the host itself, which repeats a call."""
    machine = host.machine == joining.machine
    return hmac.compare_digest(host.secret.encode(), joining.secret.encode()) and machine


def _refusal(invite: Invite, joining: _Joining, remote: str, expired: bool) -> RefusedRequest | None:
    """The refusal of a host that the invite does not allow; None if it does."""
    if expired:
        return RefusedRequest(
            403, "INVITE_EXPIRED", f"the invite has expired at {invite.expires_at:%F %T} UTC"
        )
    if invite.uses_left <= 0:
        return RefusedRequest(403, "INVITE_USED", "the invite was used up")
    if invite.name not in (None, joining.name):
        return RefusedRequest(
            403, "INVITE_OTHER_NAME", f"the invite is for {invite.name}: --name {invite.name}"
        )
    if invite.network is not None and not _within(remote, invite.network):
        what = f"the invite is for hosts in {invite.network}; this call came from {remote}"
        return RefusedRequest(403, "INVITE_OTHER_NETWORK", what)
    return None


def _within(remote: str, network: Network) -> bool:
    try:
        address = ipaddress.ip_address(remote)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address) in network


async def _leave(gateway: Gateway, request: IncomingRequest) -> Reply:
    host = await signed_by_host(gateway, request)
    request.parameters()
    async with gateway.database.transaction() as connection:
        sessions.lock_host(connection, host.name)
        host = await hosts.change(gateway, connection, host.id) or host  # as it is now
        if host.status in (HostStatus.STOPPED, HostStatus.SUSPENDED):
            raise RefusedRequest(403, "HOST_SUSPENDED", "a host that is suspended cannot leave on its own")
        if host.slowed_until is not None and host.slowed_until > await now(connection):
            raise RefusedRequest(
                403, "HOST_THROTTLED", "people have denied requests of this host: leave later"
            )
        _, kept = await sessions.remove_host(gateway, connection, host.name)
        await records.write(connection, Kind.ACT, host=host.name, what="host_left", remote=request.remote)
    await asking.end_sessions(gateway, kept)  # one that cannot be ended ends when its time is over
    return Reply.of({"status": True})


async def _status(gateway: Gateway, request: IncomingRequest) -> Reply:
    host = await signed_by_host(gateway, request)
    request.parameters()
    policy = gateway.settings.policy_of(host.group)
    described = {
        "name": host.name,
        "group": host.group,
        "status": host.status.value,
        "gateways": gateways_for(host.id, gateway.settings),
        "covers": any(host.group in each.covered_by for each in gateway.settings.groups.values()),
        "covered": policy is not None and bool(policy.covered_by),
    }
    return Reply.of(described)


def _name_taken(name: str) -> RefusedRequest:
    what = f"there is a host {name}: give another --name; or first: pam-iampass-gateway host remove {name}"
    return RefusedRequest(409, "NAME_TAKEN", what)


def _machine_taken() -> RefusedRequest:
    """The refusal, which does not tell the name of the other host: a caller who has a machine's id need not know it."""
    what = (
        "a host of another name has the id of this machine: if this is a clone, give it an id of its own,"
        " rm /etc/machine-id && systemd-machine-id-setup; else the alert (pam-iampass-gateway log) names that host, and"
        " there is: pam-iampass-gateway host remove NAME"
    )
    return RefusedRequest(409, "MACHINE_TAKEN", what)


def _answering(handler: Handler[Gateway]) -> Handler[Gateway]:
    """The handler, which also answers where the database fails. Each of its calls may be repeated."""

    async def handle(gateway: Gateway, request: IncomingRequest) -> Reply:
        try:
            return await handler(gateway, request)
        except DatabaseError as error:
            return unavailable(error)

    return handle


ROUTES: tuple[Route[Gateway], ...] = (
    Route("GET", "/fleet/ca", _ca),
    Route("POST", "/fleet/join/*", _answering(_join)),
    Route("POST", "/fleet/leave/*", unless_restored(_answering(_leave))),
    Route("GET", "/fleet/host/*", unless_restored(_answering(_status))),
)
