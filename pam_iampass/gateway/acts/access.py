"""An access review: the people who may log in to each group of hosts, and why."""

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
    HostStatus.STOPPED: ("the hosts are stopped, because people denied their requests",),
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
        admitted = [
            (each, _reason(each.policy, person)) for each in everything if each.policy.admits(person.groups)
        ]
        own = person.name, person.groups, person.status.value
        yield _row(*own, admitted, "no hosts admit the person", _kept_out(person))
    for agent, owner in acting:
        own, who = (agent.name, agent.groups, "acts"), f"acts for {agent.person}"
        if owner is None or not owner.active:
            yield _row(*own, (), who, [OWNER_GONE])
            continue
        both = owner.groups, agent.groups
        admitted = [
            (each, f"{who}; both are admitted") for each in everything if all(map(each.policy.admits, both))
        ]
        yield _row(*own, admitted, f"{who}; no hosts admit both", _kept_out(owner))
    for name in tampered:
        yield _row(name, (), "tampered", (), TAMPERED, ())


def _kept_out(person: Person) -> list[str]:
    """Returns the causes that now keep a person, and the accounts that act for them, out of all hosts."""
    why = [] if person.active else [LEFT[person.status]]
    return [*why, f"the phone {LOST}"] if person.phone_to_disable else why


def _row(
    name: str,
    groups: Sequence[str],
    status: str,
    admitted: Sequence[tuple[HostSet, str]],
    no_hosts: str,
    kept_out: Sequence[str],
) -> AccessRow:
    """The row of an account: the sets of hosts that admit it, each with the reason, or `no_hosts` if none does."""
    sets = []
    for each, reason in admitted:
        out = [*kept_out, *_OF_HOSTS.get(each.status, ())]
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
        "why": list(kept_out) if admitted else [no_hosts, *kept_out],
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
    return [ACCESS.show(roles, row) for row in rows], len(found) > most
