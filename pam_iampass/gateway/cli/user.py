"""`pam-iampass-gateway user`: the people of the fleet, and their groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import psycopg

from pam_iampass.cli import Verbs
from pam_iampass.cli.enrollment import phone_number, plain_name
from pam_iampass.cli.output import Part, count, fields, line, moment, progress, show_json, table, timestamp
from pam_iampass.cli.parameters import Parsed, json_option
from pam_iampass.cli.user import PHONES, WITHOUT
from pam_iampass.client import IampassError, ManagementAPI
from pam_iampass.config.value_types import name_error
from pam_iampass.doctor.iampass import PhoneState, phone_states
from pam_iampass.errors import EditRefused, shown
from pam_iampass.gateway import people, records
from pam_iampass.gateway.cli import CommandGateway, command_gateway, config_option
from pam_iampass.gateway.database import Connection
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.keys import Tampered
from pam_iampass.gateway.people import Person, PersonStatus, Source, new_token, person_name_error

_EPILOG = """\b
Examples:
  pam-iampass-gateway user list                          who there is, and in which groups
  pam-iampass-gateway user list --check-phones           and who has no phone
  pam-iampass-gateway user add alice --group staff
  pam-iampass-gateway user add alice --group staff --group oncall --replace
"""


def _group(text: str) -> str:
    error = name_error(text)
    if error:
        raise ValueError(error)
    return text


def _name(text: str) -> str:
    error = person_name_error(text)
    if error:
        raise ValueError(error)
    return text


NAME = Parsed("name", _name)
group_option = click.option(
    "--group",
    "groups",
    type=Parsed("name", _group),
    multiple=True,
    help="A group of the person; gateway.yaml says on which hosts it counts. Can be repeated.",
)
display_name_option = click.option(
    "--display-name", type=Parsed("name", plain_name), help="The name that the IAMPASS app shows."
)

STATUSES: dict[PersonStatus, tuple[str, str]] = {
    PersonStatus.ACTIVE: ("can log in", "green"),
    PersonStatus.LEAVING: ("has left the directory", "yellow"),
    PersonStatus.REMOVING: ("is being removed", "bold red"),
}
TAMPERED = ("was not written by a gateway: cannot log in", "bold red")


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """List, show, add and remove the people who can be asked on the phone.

    They need no account on this machine. On each host a person is known by the name of their account there.
    """


@command.command("list", short_help="List people.")
@click.option("--check-phones", is_flag=True, help="Also ask IAMPASS who has a phone. No phone rings.")
@config_option
@json_option
@click.pass_context
def list_people(ctx: click.Context, check_phones: bool, config: Path, as_json: bool) -> None:
    """List all people with their groups.

    A row of the database that no gateway has written does not count, and is shown as such.

    The exit status is 0, or 1 if there is such a row, or IAMPASS did not answer.
    """
    with command_gateway(config) as gateway:
        everybody, tampered = gateway.transaction(people.listing)
        phones = phones_of(gateway.manager(), everybody, as_json) if check_phones else None
    if as_json:
        rows = [_as_object(person, phones) for person in everybody]
        rows += [{"user": name, "status": "tampered"} for name in tampered]
        show_json({"ok": not tampered, "users": rows})
    else:
        _show_all(everybody, tampered, phones)
    unanswered = PhoneState.NOT_ASKED in (phones or {}).values()
    if unanswered:
        line("IAMPASS did not answer for all users. Try again later.", err=True)
    if tampered:
        hint = "Rows were written by somebody who has no key of the gateway. To delete one: user remove NAME"
        line((hint, "bold red"), err=True)
    ctx.exit(1 if tampered or unanswered else 0)


@command.command("show", short_help="Show one person.")
@click.argument("user", type=NAME)
@config_option
@json_option
def show_person(user: str, config: Path, as_json: bool) -> None:
    """Show groups, phone number and status of USER. The token of IAMPASS is shown nowhere.

    The exit status is 0, or 1 if there is no such person.
    """
    with command_gateway(config) as gateway:
        person = known_to(gateway, user)
    if as_json:
        show_json(_as_object(person))
        return
    changed = "-" if person.changed_at is None else moment(person.changed_at.timestamp())
    fields(
        [
            ("user", person.name),
            ("groups", ", ".join(person.groups) or "-"),
            ("display name", person.display_name or "-"),
            ("phone number", person.phone_number or "-"),
            ("from", _from(person)),
            ("changed", changed),
            ("login", STATUSES[person.status]),
        ]
    )


@command.command("add", short_help="Add a person, or change one.")
@click.argument("user", type=NAME)
@group_option
@display_name_option
@click.option(
    "--phone",
    "number",
    type=Parsed("number", phone_number),
    help="Where messages with a registration link are sent.",
)
@click.option("--replace", is_flag=True, help="Change a person who is there; what is not given stays.")
@config_option
def add_person(
    user: str,
    groups: tuple[str, ...],
    display_name: str | None,
    number: str | None,
    replace: bool,
    config: Path,
) -> None:
    """Add USER here and at IAMPASS, with a new random token. To register a phone as well: enroll.

    With --replace the groups of a person are those that are given now. People of the directory are changed there.

    The exit status is 0, or 1 if the user was not added.
    """
    given = Given(groups or None, display_name, number)
    with command_gateway(config) as gateway:
        try:
            person, added = add_or_change(gateway, gateway.manager(), user, given, replace)
        except IampassError as error:
            raise click.ClickException(error.diagnostics()) from None
    if not (added or replace):
        raise click.ClickException(f"{shown(user)} is there already; to change the person, give --replace")
    line(f"{user} {'was added' if added else 'was changed'}: {groups_of(person)}.")
    if added:
        line(f"To register a phone: pam-iampass-gateway enroll {user}")


# What `enroll` does as well


async def known(gateway: Gateway, connection: Connection, name: str) -> Person:
    """The person of this name. Raises EditRefused."""
    try:
        person = await people.find(gateway, connection, name)
    except Tampered:
        raise _tampered(name) from None
    if person is None:
        raise EditRefused(f"{shown(name)} is not known here", "see: pam-iampass-gateway user list")
    return person


def known_to(gateway: CommandGateway, name: str) -> Person:
    """The person of this name. Raises EditRefused and ClickException."""
    return gateway.transaction(lambda inner, connection: known(inner, connection, name))


def _tampered(name: str) -> EditRefused:
    remedy = "find out who has; then: pam-iampass-gateway user remove"
    return EditRefused(f"the row of {shown(name)} was not written by a gateway", remedy)


def groups_of(person: Person) -> str:
    """The groups in words."""
    return f"groups {', '.join(person.groups)}" if person.groups else "no groups"


@dataclasses.dataclass(frozen=True)
class Given:
    """What an administrator says about a person; None: nothing."""

    groups: tuple[str, ...] | None = None
    display_name: str | None = None
    phone_number: str | None = None

    def differences(self, person: Person) -> dict[str, Any]:
        """What is to be changed of the person."""
        return {
            name: value
            for name, value in vars(self).items()
            if value is not None and value != getattr(person, name)
        }


def add_or_change(
    gateway: CommandGateway, manager: ManagementAPI, name: str, given: Given, replace: bool
) -> tuple[Person, bool]:
    """Add a person, at IAMPASS first, or change one with `replace`; whether the person is new.

    Without `replace` other groups than those of the person are an error. Raises EditRefused and IampassError.
    """
    error = person_name_error(name)
    if error:
        raise EditRefused(f"{shown(name)} {error}", "write the name of the account on the hosts")

    async def add(inner: Gateway, connection: Connection) -> Person:
        try:
            person = await people.add(inner, connection, new)
        except psycopg.errors.UniqueViolation:
            raise EditRefused(f"{shown(name)} was added by somebody else", "try again") from None
        await records.act(connection, "user_add", person=name, reason=groups_of(person))
        return person

    async def change(inner: Gateway, connection: Connection) -> Person:
        person = await known(inner, connection, name)
        differences = given.differences(person)
        if person.status is PersonStatus.REMOVING:
            remedy = f"run pam-iampass-gateway user remove {name} to its end"
            raise EditRefused(f"{shown(name)} is being removed", remedy)
        if person.status is PersonStatus.LEAVING:
            raise EditRefused(f"{shown(name)} has left the directory", "see: pam-iampass-gateway user sync")
        if not replace:
            if "groups" in differences:
                what = f"{shown(name)} is there already, with {groups_of(person)}"
                raise EditRefused(what, "omit the groups to keep those, or give --replace")
            return person
        if person.source is Source.LDAP and differences:
            raise EditRefused(f"{shown(name)} comes from the directory", "change the person there")
        changed = await people.change(inner, connection, name, **differences) if differences else person
        assert changed is not None  # noqa: S101
        if differences:
            what = ", ".join(each.replace("_", " ") for each in differences)
            await records.act(connection, "user_change", person=name, reason=f"{what}; {groups_of(changed)}")
        return changed

    async def is_new(inner: Gateway, connection: Connection) -> bool:
        try:
            return await people.find(inner, connection, name) is None
        except Tampered:
            raise _tampered(name) from None

    if not gateway.transaction(is_new):
        return gateway.transaction(change), False
    new = Person(name, new_token(), given.groups or (), given.display_name, given.phone_number)
    manager.add_user(new.token)
    try:
        return gateway.transaction(add), True
    except EditRefused:  # otherwise a token stays at IAMPASS that nobody knows
        with suppress(IampassError):
            manager.delete_user(new.token)
        raise


def phones_of(manager: ManagementAPI, everybody: Iterable[Person], quiet: bool) -> dict[str, PhoneState]:
    """What IAMPASS says about each person who can log in. Raises ClickException."""
    tokens = {person.name: person.token for person in everybody if person.active}
    try:
        with progress(quiet) as show:
            return phone_states(manager, tokens, show)
    except IampassError as error:
        raise click.ClickException(error.diagnostics()) from None
    finally:
        manager.close()


def _show_all(
    everybody: Sequence[Person], tampered: Sequence[str], phones: Mapping[str, PhoneState] | None
) -> None:
    if not (everybody or tampered):
        line("No user.")
        return
    headings = ["USER", "GROUPS", "FROM", "LOGIN"]
    rows: list[list[Part]] = [
        [(person.name, "bold"), ", ".join(person.groups) or "-", _from(person), STATUSES[person.status]]
        for person in everybody
    ]
    rows += [[(name, "bold"), "?", "?", TAMPERED] for name in tampered]
    if phones is not None:
        headings.insert(3, "PHONE")
        for row, name in zip(rows, [*(person.name for person in everybody), *tampered]):
            phone = phones.get(name)
            row.insert(3, "-" if phone is None else PHONES[phone.value])
    table(headings, rows)
    line(f"{count(len(everybody), 'user')}.")
    without = sum(phone in WITHOUT for phone in (phones or {}).values())
    if without:
        line(f"{count(without, 'user')} without a phone: pam-iampass-gateway enroll USER")


def _from(person: Person) -> str:
    return "the directory" if person.source is Source.LDAP else "here"


def _as_object(person: Person, phones: Mapping[str, PhoneState] | None = None) -> dict[str, object]:
    phone = (phones or {}).get(person.name)
    return {
        "user": person.name,
        "groups": list(person.groups),
        "display_name": person.display_name,
        "phone_number": person.phone_number,
        "source": person.source.value,
        "status": person.status.value,
        "changed_at": None if person.changed_at is None else timestamp(person.changed_at.timestamp()),
        **({} if phones is None else {"phone": None if phone is None else phone.value}),
    }
