"""Parts of the verbs about people: their names, adding and changing them, and ending their sessions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import click
import psycopg

from pam_iampass.check.iampass import PhoneState, phone_states
from pam_iampass.cli.output import line, progress
from pam_iampass.cli.parameters import Parsed
from pam_iampass.client import IampassError
from pam_iampass.client.procedures import remove_user
from pam_iampass.config.value_types import name_error, plain_name
from pam_iampass.errors import EditRefused, shown
from pam_iampass.fleet.names import person_name_error
from pam_iampass.gateway.acts.names import known, tampered
from pam_iampass.gateway.acts.people import ChangePerson, require_staying
from pam_iampass.gateway.acts.sessions import EndedSessions, add_ends_of, end_sessions
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.base.statements import many
from pam_iampass.gateway.cli import CommandGateway, named
from pam_iampass.gateway.people import agents, people
from pam_iampass.gateway.people.people import Person, PersonStatus, new_token
from pam_iampass.text import clean

COLUMNS = ("user", "display_name", "phone", "groups", "mail")
"""The columns of a file of people."""


NAME = named("name", person_name_error)
group_option = click.option(
    "--group",
    "groups",
    type=named("name", name_error),
    multiple=True,
    help="A group of the person; gateway.yaml says which hosts admit it. Can be repeated.",
)
display_name_option = click.option(
    "--display-name", type=Parsed("name", plain_name), help="The name that the IAMPASS app shows."
)


def known_to(gateway: CommandGateway, name: str) -> Person:
    """The person of this name. Raises ActRefused and ClickException."""
    return gateway.reading(lambda inner, connection: known(inner, connection, name))


def groups_of(groups: Sequence[str]) -> str:
    """Groups in words."""
    return f"groups {', '.join(groups)}" if groups else "no groups"


def warn_of_groups(settings: GatewaySettings, groups: Iterable[str]) -> None:
    """Say which of a person's groups no group of hosts admits, where they admit any, and nothing else in the settings
    names; and say if the person may log in nowhere."""
    policies = settings.groups.values()
    admitted = frozenset[str]().union(*(policy.people for policy in policies))
    named = frozenset[str]().union(*settings.groups_of_people.values())
    for group in sorted(set(groups) - named) if admitted else ():
        what = f"Warning: no group of hosts in gateway.yaml admits the group {group}."
        line((what, "bold yellow"), err=True)
    if not any(policy.admits(groups) for policy in policies):
        line(("Warning: with these groups nobody may log in to any host.", "bold yellow"), err=True)


@dataclass(frozen=True)
class Given:
    """The attributes of a person that an administrator gives; None: not given."""

    groups: tuple[str, ...] | None = None
    display_name: str | None = None
    phone_number: str | None = None
    token: str | None = field(default=None, repr=False)
    """A token that IAMPASS knows already, from the user table of a host; otherwise a person gets a new one."""

    def differences(self, person: Person) -> dict[str, Any]:
        """The attributes of the person that are to be changed."""
        return {
            name: value
            for name, value in vars(self).items()
            if value is not None and value != getattr(person, name)
        }


def add_or_change(
    gateway: CommandGateway,
    name: str,
    given: Given,
    replace: bool,
    adds_groups: bool = False,
) -> tuple[Person, bool]:
    """Add a person, at IAMPASS first, or change one with `replace`; whether the person is new.

    Without `replace`, the groups of a person who is there are kept: given ones are added to them with `adds_groups`;
    otherwise it is an error if they are others. Raises EditRefused and IampassError.
    """
    error = person_name_error(name)
    if error:
        raise EditRefused(f"{shown(name)} {error}", "write the name of the account on the hosts")

    async def add(inner: Gateway, connection: Connection) -> Person:
        try:
            person = await people.add(inner, connection, new)
        except psycopg.errors.UniqueViolation:
            raise EditRefused(f"{shown(name)} was added by another command", "try again") from None
        origin = "; with the token of a host" if given.token is not None else ""
        await records.act(connection, "user_add", person=name, reason=f"{groups_of(person.groups)}{origin}")
        return person

    async def find(inner: Gateway, connection: Connection) -> tuple[Person | None, list[str]]:
        await people.require_no_agent(connection, name)
        try:
            found = await people.find(inner, connection, name)
        except Tampered:
            raise tampered(name, "user remove") from None
        statement = "SELECT name FROM person WHERE lower(name) = lower(%s) ORDER BY name"
        return found, [str(row["name"]) for row in await many(connection, statement, name)]

    found, alike = gateway.reading(find)
    if found is not None:
        return _change(gateway, found, given, replace, adds_groups), False
    error = people.account_name_error(name)
    if error:
        raise EditRefused(f"{shown(name)} {error}", "write the name of the account on the hosts")
    if alike:
        what = f"Warning: {', '.join(alike)} is known here, and {name} is another person: case matters."
        line((what, "bold yellow"), err=True)
    new = Person(name, given.token or new_token(), given.groups or (), given.display_name, given.phone_number)
    if given.token is not None:
        return gateway.transaction(add), True
    gateway.call(gateway.application.add_users([new.token]))
    try:
        return gateway.transaction(add), True
    except EditRefused:  # otherwise a token stays at IAMPASS that nobody knows
        with suppress(IampassError):
            gateway.call(gateway.application.delete_users([new.token]))
        raise


def _change(
    gateway: CommandGateway, person: Person, given: Given, replace: bool, adds_groups: bool
) -> Person:
    """Change a person as `add_or_change` says; the person as they are then. Raises EditRefused."""
    require_staying(person)
    name = shown(person.name)
    adds = adds_groups and not replace
    if adds:
        groups = tuple(dict.fromkeys((*person.groups, *(given.groups or ()))))
        given = dataclasses.replace(given, groups=groups)
    differences = given.differences(person)
    if not replace:
        if "token" in differences:
            what = f"{name} already exists, with another token"
            raise EditRefused(what, "the phone that is registered with the existing token stays")
        if "groups" in differences and not adds:
            what = f"{name} already exists, with {groups_of(person.groups)}"
            remedy = f"omit the groups to keep these; to add groups: user add {person.name} --group GROUP"
            raise EditRefused(what, remedy)
        if not adds:
            return person
        if set(differences) - {"groups"}:
            raise EditRefused(f"{name} already exists", "to change more than groups, give --replace")
    if not differences:
        return person
    wanted = dataclasses.replace(person, **differences)
    described = wanted.groups, wanted.display_name or "", wanted.phone_number or ""
    return gateway.perform(ChangePerson(person.name, person.changed_at, *described))


def phones_of(gateway: CommandGateway, tokens: Mapping[str, str], quiet: bool) -> dict[str, PhoneState]:
    """The phone of each person, whose tokens are given by name, as IAMPASS says. Raises ClickException."""
    try:
        with progress(quiet) as show:
            return phone_states(gateway.has_phone, tokens, show)
    except IampassError as error:
        raise click.ClickException(error.diagnostics()) from None


# Ending what a person has begun, and removing a person


def end_now(gateway: CommandGateway, name: str, wanted: EndedSessions) -> bool:
    """End sessions of a person: for the hosts at once, then at IAMPASS. Says why IAMPASS has not ended one; returns
    whether it has ended all."""
    ended = gateway.run(end_sessions(gateway.gateway, wanted))
    for error in ended.errors:
        click.echo(f"A session of {clean(name)} is not ended at IAMPASS: {clean(str(error))}", err=True)
    return not ended.errors


@dataclass(frozen=True)
class RemovedPerson:
    """A person who was removed, and what ended with that."""

    at_iampass: bool
    """Whether IAMPASS does not know the person any more. It was not told of a row that no gateway has written."""
    ended: bool
    """Whether IAMPASS has ended all sessions."""
    agents: tuple[str, ...]
    """The accounts that act for the person, and are denied from now on."""


def remove_person(gateway: CommandGateway, name: str) -> RemovedPerson | None:
    """Deny the person's logins, end the sessions, delete the person at IAMPASS, then here. None: not known here.

    Where it is stopped, it goes on when it is called again, and a gateway ends the sessions. Raises IampassError.
    """

    async def deny(inner: Gateway, connection: Connection) -> tuple[Person | str | None, EndedSessions]:
        found: Person | str | None
        try:
            found = await people.find(inner, connection, name)
            if found is not None and found.status is not PersonStatus.REMOVING:
                found = await people.change(inner, connection, name, status=PersonStatus.REMOVING)
                what = "logins are denied from now on"
                await records.act(connection, "user_remove", person=name, reason=what)
        except Tampered as error:
            found = str(error)
        return found, await add_ends_of(inner, connection, name)

    async def delete(inner: Gateway, connection: Connection) -> list[str]:
        await people.remove(inner, connection, name)
        reason = "removed here and at IAMPASS" if isinstance(person, Person) else f"removed here: {person}"
        reason += f"; {len(wanted.were_open)} sessions ended"
        await records.act(connection, "user_remove", person=name, reason=reason)
        return await agents.of_person(connection, name)

    person, wanted = gateway.transaction(deny)
    if person is None:
        return None
    ended = end_now(gateway, name, wanted)
    if isinstance(person, Person):
        gateway.carry_out(remove_user(gateway.application, person.token))
    acting = gateway.transaction(delete)
    return RemovedPerson(isinstance(person, Person), ended, tuple(acting))
