"""Parts of the verbs about accounts that act for a person."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pam_iampass.errors import EditRefused, shown
from pam_iampass.fleet.names import person_name_error
from pam_iampass.gateway.acts.sessions import EndedSessions, add_ends
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.cli import CommandGateway
from pam_iampass.gateway.cli.people import end_now, groups_of
from pam_iampass.gateway.people import agents, people
from pam_iampass.gateway.people.agents import Agent
from pam_iampass.gateway.requests.sessions import OPEN


def agent_of(gateway: CommandGateway, name: str) -> Agent | None:
    """The account of this name that acts for a person; None if there is none, or its row does not count."""
    with suppress(Tampered):
        return gateway.reading(lambda inner, connection: agents.find(inner, connection, name))
    return None


def add_agent(gateway: CommandGateway, name: str, person: str, groups: Sequence[str]) -> Agent:
    """Add an account that acts for a person. Raises EditRefused."""
    error = person_name_error(name) or people.account_name_error(name)
    if error:
        raise EditRefused(f"{shown(name)} {error}", "write the name of the account on the hosts")

    async def add(inner: Gateway, connection: Connection) -> Agent:
        agent = await agents.add(inner, connection, name, person, groups)
        reason = f"{name}: {groups_of(agent.groups)}"
        await records.act(connection, "agent_add", person=person, reason=reason)
        return agent

    return gateway.transaction(add)


def remove_agent(gateway: CommandGateway, name: str) -> bool | None:
    """Deny the logins of an account that acts for a person, and end its sessions; whether IAMPASS has ended all. None
    if there is no such account. A row that does not count is removed, too."""

    async def remove(inner: Gateway, connection: Connection) -> EndedSessions | None:
        person = ""
        with suppress(Tampered):
            found = await agents.find(inner, connection, name)
            person = "" if found is None else found.person
        if not await agents.remove(inner, connection, name):
            return None
        wanted = await add_ends(inner, connection, f"details->>'agent' = %s AND {OPEN}", name)
        reason = f"{name}: logins are denied from now on; sessions to end: {len(wanted.were_open)}"
        await records.act(connection, "agent_remove", person=person or name, reason=reason)
        return wanted

    wanted = gateway.transaction(remove)
    return None if wanted is None else end_now(gateway, name, wanted)
