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
from pam_iampass.gateway.people import agents, people
from pam_iampass.gateway.people.agents import Agent
from pam_iampass.gateway.people.people import Person, PersonStatus
from pam_iampass.gateway.sign_in.actors import Actor

LEFT = {
    PersonStatus.LEAVING: "has left the directory",
    PersonStatus.REMOVING: "is being removed",
}
OWNER_GONE = "the owner cannot log in"
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
    everybody: Iterable[Person],
    tampered: Iterable[str],
    everything: Sequence[HostSet],
    acting: Iterable[tuple[Agent, Person | None]] = (),
) -> Iterator[AccessRow]:
    """A row for each person, and for each account that acts for one (with its owner, if there is one), with each set of
    hosts to which the settings admit them."""
    for person in everybody:
        problems = [] if person.active else [LEFT[person.status]]
        admitted = [
            (each, _reason(each.policy, person)) for each in everything if each.policy.admits(person.groups)
        ]
        no_hosts = "no hosts admit the person"
        yield _row(person.name, person.groups, person.status.value, admitted, no_hosts, person, problems)
    for agent, owner in acting:
        who = f"acts for {agent.person}"
        if owner is None or not owner.active:
            why = [who, OWNER_GONE]
            yield {
                "user": agent.name,
                "groups": list(agent.groups),
                "status": "acts",
                "hosts": [],
                "why": why,
            }
            continue
        both = owner.groups, agent.groups
        admitted = [
            (each, f"{who}; both are admitted") for each in everything if all(map(each.policy.admits, both))
        ]
        yield _row(agent.name, agent.groups, "acts", admitted, f"{who}; no hosts admit both", owner)
    for name in tampered:
        yield {"user": name, "groups": [], "status": "tampered", "hosts": [], "why": [TAMPERED]}


def _row(
    name: str,
    groups: Sequence[str],
    status: str,
    admitted: Sequence[tuple[HostSet, str]],
    no_hosts: str,
    approver: Person,
    problems: Sequence[str] = (),
) -> AccessRow:
    """The row of somebody whom these sets of hosts admit, each for a reason; `approver` is whose phone approves."""
    if approver.phone_to_disable:
        problems = [*problems, f"the phone {LOST}"]
    sets = []
    for each, reason in admitted:
        out = [*problems, *_OF_HOSTS.get(each.status, ())]
        sets.append(
            {
                "group": each.group,
                "status": each.status.value,
                "number": len(each.names),
                "may": not out,
                "why": [reason, *out],
            }
        )
    return {
        "user": name,
        "groups": list(groups),
        "status": status,
        "hosts": sets,
        "why": list(problems) if admitted else [no_hosts, *problems],
    }


def _reason(policy: GroupSettings, person: Person) -> str:
    if policy.everybody:
        return "everybody is admitted"
    by = sorted(policy.people.intersection(person.groups))
    return f"in the group{'s' if len(by) > 1 else ''} {', '.join(by)}"


async def show_access(
    gateway: Gateway, connection: Connection, actor: Actor, search: str, after: str, most: int
) -> tuple[list[AccessRow], bool]:
    """`review` of at most this number of people after a name, who are `searched`, and of accounts that act for them;
    and whether there are more. Names in rows that no gateway has written come first."""
    roles = roles_for_all(actor, ACCESS)
    if not roles:
        return [], False
    has_text, texts = await searched(gateway, connection, actor, roles, search)
    found, tampered = await people.listing(
        gateway, connection, f"{has_text} AND name > %s", *texts, after, most=most + 1
    )
    everything = by_group(gateway.settings, (await hosts.listing(gateway, connection))[0])
    shown = found[:most]
    acting, _ = await agents.listing(gateway, connection, "person = ANY(%s)", [each.name for each in shown])
    owned = agents.with_owners(gateway, acting, shown)
    rows = [*review((), tampered, everything), *review(shown, (), everything, owned)]
    return [ACCESS.show(roles, row) for row in rows], len(found) + len(tampered) > most
