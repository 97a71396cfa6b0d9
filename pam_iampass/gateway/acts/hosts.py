"""Acts for hosts: which ones join, whether one may ask, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pam_iampass.config.value_types import address_of_machine, network
from pam_iampass.errors import shown
from pam_iampass.fleet import hosts as declared
from pam_iampass.fleet.results import Ended, HostState
from pam_iampass.gateway.acts.act import Act, Work
from pam_iampass.gateway.acts.names import UnknownName, lock_host, unknown_host
from pam_iampass.gateway.acts.sessions import EndedSessions, add_ends, end_sessions
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.calls import joining
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus, Invite
from pam_iampass.gateway.people import steps
from pam_iampass.gateway.requests import sessions
from pam_iampass.gateway.sign_in.actors import ActRefused

_UNCHANGED = "it was so before"
_RESUME = "pam-iampass-gateway host resume {}"
_REMEDIES = {
    HostStatus.WAITING: "to let it ask: pam-iampass-gateway host admit {}",
    HostStatus.STOPPED: _RESUME,
    HostStatus.SUSPENDED: _RESUME,
}


@dataclass(frozen=True)
class SuspendedHost:
    """A host that is suspended, and what followed from that."""

    host: Host
    void_invite: str | None
    """The id of the invite with which it has joined, if it could join again with it: it is void now."""
    others: str
    """A sentence about the other hosts that have joined with it; empty if there is none."""
    ended: EndedSessions
    """Its requests on phones, and its open logins if they were to end."""


@dataclass(frozen=True)
class RemovedHost:
    """The effects of the removal of a host."""

    void_invite: str | None
    """As in SuspendedHost."""
    good_invite: str | None
    """The id of the invite with which it has joined, if hosts can still join with it."""
    ended: EndedSessions
    """Its open sessions."""


class InviteHost(declared.InviteHost, Act[tuple[Invite, str]]):
    """Results in the invite, and the word that an administrator gives to a host."""

    async def change(self, work: Work) -> tuple[Invite, str]:
        groups = work.gateway.settings.groups
        if self.group not in groups:
            there = f"; there is {', '.join(sorted(groups))}" if groups else ""
            what = f"the group {shown(self.group)} is not in the settings{there}"
            raise ActRefused(what, "see `groups` in gateway.yaml")
        bound = network(self.network) if self.network else None
        terms = self.group, self.uses, self.seconds, self.name or None, bound
        made, word = await joining.invite(work.gateway, work.connection, *terms)
        work.host, work.invite, work.reason, work.until = made.name, made.id, made.terms, made.expires_at
        return made, word


class RevokeInvite(declared.RevokeInvite, Act[bool]):
    async def change(self, work: Work) -> bool:
        if not await hosts.remove_invite(work.connection, self.invite):
            raise UnknownName("there is no such invite", "see: pam-iampass-gateway host list")
        work.invite = self.invite
        return True


class RemoveHost(declared.RemoveHost, Act[RemovedHost]):
    async def change(self, work: Work) -> RemovedHost:
        gateway, connection = work.gateway, work.connection
        work.host = self.host
        sessions.lock_host(connection, self.host)
        void, good = await _void_invite(work, self.host, retires=True)
        removed, found = await sessions.remove_host(gateway, connection, self.host)
        if not removed:
            raise await unknown_host(connection, self.host)
        await steps.add_ended_sessions(gateway, connection, [session.id for session in found])
        return RemovedHost(void, good, EndedSessions(found))

    async def after(self, gateway: Gateway, done: RemovedHost) -> RemovedHost:
        return replace(done, ended=await end_sessions(gateway, done.ended))


class AdmitHost(declared.AdmitHost, Act[Host]):
    async def change(self, work: Work) -> Host:
        host = await _lock(work, self.host)
        if self.id not in ("", host.id):
            raise ActRefused(f"{self.host} has another id by now: {host.id}", "compare it again")
        if host.status not in (HostStatus.WAITING, HostStatus.ACTIVE):
            raise _refused(host)
        return await _changed(work, host, status=HostStatus.ACTIVE, admitted=True)

    def told(self, done: Host) -> HostState:
        return HostState(done.status.value)


class ResumeHost(declared.ResumeHost, Act[Host]):
    async def change(self, work: Work) -> Host:
        host = await _lock(work, self.host)
        if host.status is HostStatus.WAITING:
            raise _refused(host)
        is_active = host.status is HostStatus.ACTIVE
        if is_active and host.slowed_until is None:
            work.reason = _UNCHANGED
            return host
        policy = work.gateway.settings.policy_of(host.group)
        may_ask = is_active or host.admitted or (policy is not None and not policy.admit)
        status = HostStatus.ACTIVE if may_ask else HostStatus.WAITING
        return await _changed(work, host, status=status, slowed_until=None)

    def told(self, done: Host) -> HostState:
        return HostState(done.status.value)


class SuspendHost(declared.SuspendHost, Act[SuspendedHost]):
    async def change(self, work: Work) -> SuspendedHost:
        gateway, connection = work.gateway, work.connection
        host = await _lock(work, self.host)
        void, _ = await _void_invite(work, self.host)
        reasons = [_UNCHANGED] if host.status is HostStatus.SUSPENDED else []
        host = await _changed(work, host, status=HostStatus.SUSPENDED)
        if self.end_logins:
            ended = await add_ends(gateway, connection, f"host_name = %s AND {sessions.OPEN}", self.host)
            reasons.append(f"logins to end: {len(ended.were_open)}")
        else:
            ended = EndedSessions(await sessions.find_ringing_of_host(gateway, connection, self.host))
            await steps.add_ended_sessions(gateway, connection, [session.id for session in ended.found])
        work.reason = "; ".join(reasons)
        others = await hosts.others_of_invite(connection, self.host)
        return SuspendedHost(host, void, others, ended)

    async def after(self, gateway: Gateway, done: SuspendedHost) -> SuspendedHost:
        return replace(done, ended=await end_sessions(gateway, done.ended))

    def told(self, done: SuspendedHost) -> Ended:
        return done.ended.told


class SetHostAddresses(declared.SetHostAddresses, Act[Host]):
    async def change(self, work: Work) -> Host:
        host = await _lock(work, self.host)
        addresses = sorted({address for each in self.addresses if (address := address_of_machine(each))})
        other = await hosts.with_address(work.connection, addresses, but=host.id)
        if other is not None:
            (address, *_) = set(addresses) & set(other["addresses"])
            what = f"{address} is an address of {shown(other['name'])}, and belongs to one host only"
            raise ActRefused(what, "if hosts share it, set it for none; otherwise change that host first")
        work.reason = ", ".join(addresses) or "none"
        return await _changed(work, host, addresses=addresses)


class SetHostNote(declared.SetHostNote, Act[Host]):
    async def change(self, work: Work) -> Host:
        host = await _lock(work, self.host)
        work.reason = self.note
        return await _changed(work, host, note=self.note or None)


async def _lock(work: Work, name: str) -> Host:
    """The host of this name, which nobody else changes until the transaction ends. Raises ActRefused."""
    work.host = name
    return await lock_host(work.gateway, work.connection, name)


async def _changed(work: Work, locked: Host, **columns: Any) -> Host:
    return await hosts.change(work.gateway, work.connection, locked.id, **columns) or locked


def _refused(host: Host) -> ActRefused:
    return ActRefused(f"{host.name} is {host.status.value}", _REMEDIES[host.status].format(host.name))


async def _void_invite(work: Work, host: str, *, retires: bool = False) -> tuple[str | None, str | None]:
    """As `void_invite_of`, with a record."""
    void, stays = await hosts.void_invite_of(work.connection, host, retires=retires)
    if void:
        await records.act(work.connection, "host_revoke", by=work.actor.fields, host=host, invite=void)
    return void, stays
