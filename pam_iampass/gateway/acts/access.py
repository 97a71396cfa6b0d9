"""Who may log in to which hosts, and why: by groups of hosts, for an access review."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pam_iampass.fleet.people import ACCESS, AccessRow
from pam_iampass.gateway.acts.views import roles_for_all, searched
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import GatewaySettings, GroupSettings
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person, PersonStatus
from pam_iampass.gateway.sign_in.actors import Actor

LEFT = {
    PersonStatus.LEAVING: "has left the directory",
    PersonStatus.REMOVING: "is being removed",
}
TAMPERED = "was not written by a gateway: cannot log in"
LOST = "was reported lost, and IAMPASS has not disabled it yet"
_OF_HOSTS = {
    HostStatus.SUSPENDED: ("the hosts are suspended",),
    HostStatus.STOPPED: ("the hosts are stopped, because people cancelled their requests",),
    HostStatus.WAITING: ("the hosts wait to be admitted",),
}


@dataclass(frozen=True)
class HostSet:
    """Hosts to which the same people may log in: those of one group that have the same status."""

    group: str
    status: HostStatus
    policy: GroupSettings
    """It admits nobody if the settings do not name the group."""
    names: tuple[str, ...]

    @property
    def admits(self) -> str | list[str]:
        """`everybody`, or the groups of people."""
        return "everybody" if self.policy.everybody else sorted(self.policy.people)


def by_group(settings: GatewaySettings, found: Iterable[Host]) -> list[HostSet]:
    """The hosts, by group and status."""

    def same(host: Host) -> tuple[str, str]:
        return host.group, host.status.value

    return [
        HostSet(
            group,
            HostStatus(status),
            settings.policy_of(group) or GroupSettings(),
            tuple(host.name for host in those),
        )
        for (group, status), those in groupby(sorted(found, key=same), same)
    ]


def review(
    everybody: Iterable[Person], tampered: Iterable[str], everything: Sequence[HostSet]
) -> Iterator[AccessRow]:
    """A row for each person, with each set of hosts to which the settings admit the person."""
    for person in everybody:
        problems = [] if person.active else [LEFT[person.status]]
        if person.phone_to_disable:
            problems.append(f"the phone {LOST}")
        admitted = []
        for each in everything:
            if each.policy.admits(person.groups):
                out = [*problems, *_OF_HOSTS.get(each.status, ())]
                admitted.append(
                    {
                        "group": each.group,
                        "status": each.status.value,
                        "number": len(each.names),
                        "may": not out,
                        "why": [_reason(each.policy, person), *out],
                    }
                )
        yield {
            "user": person.name,
            "groups": list(person.groups),
            "status": person.status.value,
            "hosts": admitted,
            "why": problems if admitted else ["no hosts admit the person", *problems],
        }
    for name in tampered:
        yield {"user": name, "groups": [], "status": "tampered", "hosts": [], "why": [TAMPERED]}


def _reason(policy: GroupSettings, person: Person) -> str:
    if policy.everybody:
        return "everybody is admitted"
    by = sorted(policy.people.intersection(person.groups))
    return f"in the group{'s' if len(by) > 1 else ''} {', '.join(by)}"


async def show_access(
    gateway: Gateway, connection: Connection, actor: Actor, search: str, after: str, most: int
) -> tuple[list[AccessRow], bool]:
    """`review` of at most this number of people after a name, who are `searched`, and whether there are more. Names in
    rows that no gateway has written come first."""
    roles = roles_for_all(actor, ACCESS)
    if not roles:
        return [], False
    has_text, texts = await searched(gateway, connection, actor, roles, search)
    found, tampered = await people.listing(
        gateway, connection, f"{has_text} AND name > %s", *texts, after, most=most + 1
    )
    everything = by_group(gateway.settings, (await hosts.listing(gateway, connection))[0])
    rows = [*review((), tampered, everything), *review(found[:most], (), everything)]
    return [ACCESS.show(roles, row) for row in rows], len(found) + len(tampered) > most
