"""Acts for one person: bypasses, recovery codes and limits."""

from __future__ import annotations

from pam_iampass.errors import shown
from pam_iampass.fleet import people as declared
from pam_iampass.fleet.results import Codes, Number, Until
from pam_iampass.gateway.acts.act import Act, Work
from pam_iampass.gateway.acts.names import known, require_row, unknown_host
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.requests import bypasses, turns
from pam_iampass.gateway.requests.bypasses import Bypass
from pam_iampass.gateway.sign_in.actors import ActRefused
from pam_iampass.login.throttle import cleared

_NONE = "there were none"


class BypassPhone(declared.BypassPhone, Act[Bypass]):
    async def change(self, work: Work) -> Bypass:
        gateway, connection = work.gateway, work.connection
        await known(gateway, connection, self.person)
        for name in self.hosts:
            if await hosts.named(gateway, connection, name) is None:
                raise await unknown_host(connection, name)
        for group in self.groups:
            policy = gateway.settings.policy_of(group)
            if policy is None or not policy.bypasses:
                what = "is not in the settings" if policy is None else "allows no bypasses"
                raise ActRefused(f"the group {shown(group)} {what}", "see `groups` in gateway.yaml")
        bypass = await bypasses.add(
            gateway,
            connection,
            person=self.person,
            seconds=self.seconds,
            services=self.services,
            hosts=self.hosts,
            host_groups=self.groups,
            made_by=work.actor.name,
            reason=self.reason,
        )
        what = f"until {bypass.ends_at.astimezone():%Y-%m-%d %H:%M:%S %Z}, {bypass.through}, {bypass.where}"
        work.reason = "; ".join(filter(None, (what, self.reason)))
        return bypass

    def told(self, done: Bypass) -> Until:
        return Until(done.ends_at)


class EndBypasses(declared.EndBypasses, Act[int]):
    async def change(self, work: Work) -> int:
        await require_row(work.connection, self.person)
        number = await bypasses.remove(work.connection, self.person)
        work.reason = "" if number else _NONE
        return number

    def told(self, done: int) -> Number:
        return Number(done)


class NewCodes(declared.NewCodes, Act[list[str]]):
    async def change(self, work: Work) -> list[str]:
        person = await known(work.gateway, work.connection, self.person)
        return await codes.renew(work.gateway, work.connection, person)

    def told(self, done: list[str]) -> Codes:
        return Codes(done)


class RevokeCodes(declared.RevokeCodes, Act[bool]):
    async def change(self, work: Work) -> bool:
        await require_row(work.connection, self.person)
        revoked = await codes.revoke(work.connection, self.person)
        work.reason = "" if revoked else _NONE
        return revoked

    def told(self, done: bool) -> Number:
        return Number(int(done))


class ClearLimits(declared.ClearLimits, Act[bool]):
    async def change(self, work: Work) -> bool:
        await known(work.gateway, work.connection, self.person)
        await turns.change(work.connection, self.person, lambda state, _: cleared(state))
        return True
