"""Acts for one person: bypasses, recovery codes and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pam_iampass.config.value_types import LONGEST_BYPASS, name_error, reason_error
from pam_iampass.errors import shown
from pam_iampass.fleet.names import host_name_error
from pam_iampass.gateway.acts.act import OfPerson, Work, act, seconds, text, texts
from pam_iampass.gateway.acts.names import known, require_row, unknown_host
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.requests import bypasses, turns
from pam_iampass.gateway.requests.bypasses import Bypass
from pam_iampass.gateway.sign_in.actors import ActRefused, Role
from pam_iampass.login.throttle import cleared
from pam_iampass.portal import calls

_NONE = "there were none"


@act(
    "bypass",
    by={Role.HELPDESK, Role.ADMIN},
    record="until when, through which services, on which hosts, and why",
)
@dataclass(frozen=True)
class BypassPhone(OfPerson[Bypass]):
    """Let the person in without the phone for a while."""

    seconds: Annotated[float, seconds(LONGEST_BYPASS)]
    services: Annotated[tuple[str, ...], texts(name_error)] = ()
    hosts: Annotated[tuple[str, ...], texts(host_name_error)] = ()
    groups: Annotated[tuple[str, ...], texts(name_error)] = ()
    reason: Annotated[str, text(reason_error, empty=True)] = ""

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

    def told(self, done: Bypass) -> calls.Until:
        return calls.Until(done.ends_at)


@act("bypass_end", by={Role.HELPDESK, Role.ADMIN}, record="whether there were none")
@dataclass(frozen=True)
class EndBypasses(OfPerson[int]):
    """End all bypasses of the person. Results in how many there were."""

    async def change(self, work: Work) -> int:
        await require_row(work.connection, self.person)
        number = await bypasses.remove(work.connection, self.person)
        work.reason = "" if number else _NONE
        return number

    def told(self, done: int) -> calls.Number:
        return calls.Number(done)


@act("recovery_new", by={Role.SELF, Role.HELPDESK, Role.ADMIN}, phone={Role.SELF})
@dataclass(frozen=True)
class NewCodes(OfPerson[list[str]]):
    """Replace all recovery codes of the person. Results in the new ones, which are shown once."""

    async def change(self, work: Work) -> list[str]:
        person = await known(work.gateway, work.connection, self.person)
        return await codes.renew(work.gateway, work.connection, person)

    def told(self, done: list[str]) -> calls.Codes:
        return calls.Codes(done)


@act("recovery_revoke", by={Role.SELF, Role.HELPDESK, Role.ADMIN}, record="whether there were none")
@dataclass(frozen=True)
class RevokeCodes(OfPerson[bool]):
    """Revoke all recovery codes of the person. Results in whether there were any."""

    async def change(self, work: Work) -> bool:
        await require_row(work.connection, self.person)
        revoked = await codes.revoke(work.connection, self.person)
        work.reason = "" if revoked else _NONE
        return revoked

    def told(self, done: bool) -> calls.Number:
        return calls.Number(int(done))


@act("throttle_clear", by={Role.HELPDESK, Role.ADMIN})
@dataclass(frozen=True)
class ClearLimits(OfPerson[bool]):
    """Forget what counts against the limits of the person, and wrong recovery codes: the phone can ring again at once,
    wherever a login comes from. People do not do it for themselves, since a stolen laptop would do it, too."""

    async def change(self, work: Work) -> bool:
        await known(work.gateway, work.connection, self.person)
        await turns.change(work.connection, self.person, lambda state, _: cleared(state))
        return True
