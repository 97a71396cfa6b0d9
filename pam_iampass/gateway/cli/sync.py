"""`pam-iampass-gateway user sync`: takes people over from the directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from pam_iampass.cli.output import Row, count, line, progress, show_json, table
from pam_iampass.cli.parameters import json_option
from pam_iampass.client import IampassError
from pam_iampass.errors import PamIampassError, shown
from pam_iampass.gateway.acts.act import Act
from pam_iampass.gateway.acts.people import ChangePerson, LeavePerson, ReturnPerson, changes
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import DirectorySettings
from pam_iampass.gateway.base.settings_schema import Invite
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.cli import CommandGateway, command_gateway, config_option
from pam_iampass.gateway.cli.people import end_now, groups_of, remove_person
from pam_iampass.gateway.people import agents, directory, people
from pam_iampass.gateway.people.directory import DirectoryError, Entry, Plan
from pam_iampass.gateway.people.people import Person, Source, new_token
from pam_iampass.text import one_line

T = TypeVar("T")
NO_ANSWER, TOO_MANY = 3, 4
_AT_A_TIME = 200  # people who are added at IAMPASS in one call
_MISSING = (
    "rows of people were deleted in the database: nobody is added (pam-iampass-gateway user sync --help)"
)


@click.command("sync", short_help="Update people from the directory.")
@click.option("--dry-run", is_flag=True, help="Only show the changes.")
@click.option(
    "--remove",
    "most",
    type=click.IntRange(min=1),
    metavar="N",
    help="Accept that up to N people lose access.",
)
@click.option(
    "--accept-missing", is_flag=True, help="Add people although rows of people were deleted in the database."
)
@config_option
@json_option
@click.pass_context
def sync(
    ctx: click.Context, dry_run: bool, most: int | None, accept_missing: bool, config: Path, as_json: bool
) -> None:
    """Add, change and remove people as in the directory (`directory` in gateway.yaml). A timer runs this.

    A person who is no longer in the directory cannot log in. When the time `grace` is over, the person and the phone
    are removed at IAMPASS. A person who returns earlier keeps the phone. People who were added here stay unchanged. If
    an entry has an error, the command names the entry, and its person stays unchanged.

    If more than three people and more than a tenth would lose access at once, nothing is changed without --remove.

    If rows of people were deleted in the database itself, nobody is added: these people may have lost their phones.
    Find out who deleted the rows, then give --accept-missing once. People who join in this run get no message. Verify
    each person, and register the phone with `enroll`.

    \b
    Exit status:
      0  done, or nothing to do
      1  something is wrong with an entry, a change failed, or rows of people are missing; all other changes were made
      3  the directory gave no complete answer: nothing was changed
      4  too many people would lose access: nothing was changed
    """
    with command_gateway(config) as gateway:
        settings = gateway.settings.directory
        if settings is None:
            raise click.ClickException(f"{config} names no directory; see docs/reference/gateway-settings.md")
        try:
            with progress(as_json) as show:
                show(f"Asking {settings.url}")
                answer = directory.read(settings)
        except DirectoryError as error:
            click.echo(f"Nothing was changed: {one_line(str(error))}", err=True)
            ctx.exit(NO_ANSWER)

        async def planned(inner: Gateway, connection: Connection) -> tuple[Plan, datetime, bool]:
            moment = await now(connection)
            everybody, tampered = await people.listing(inner, connection)
            names = await people.names(inner, connection)
            acting, tampered_agents = await agents.listing(inner, connection)
            # No person gets the name of such an account. Whoever is one already stays: the row is an old one.
            here = {person.name for person in everybody}.union(tampered)
            for name in (*(agent.name for agent in acting), *tampered_agents):
                if name not in here and answer.entries.pop(name, None) is not None:
                    answer.notes.append(f"{shown(name)} acts for a person here, and stays unchanged")
            plan = directory.plan(answer, everybody, tampered, moment, settings.grace)
            return plan, moment, names.are_missing

        plan, moment, are_missing = gateway.reading(planned)
        if are_missing and not accept_missing:
            plan = replace(plan, joining=(), problems=(*plan.problems, _MISSING))
        until = moment + timedelta(seconds=settings.grace)
        too_many = plan.loses_many and plan.losing > (most or 0)
        if not as_json:
            _show(plan, until, answer.notes)
        if too_many and not as_json:
            what = f"Nothing was changed: {count(plan.losing, 'person', 'people')} of {plan.people} would lose access."
            line((what, "bold red"), err=True)
            line(f"If this is right: pam-iampass-gateway user sync --remove {plan.losing}", err=True)
        failures: list[str] = []
        if not (dry_run or too_many):
            if are_missing and not accept_missing:
                gateway.transaction(lambda _, connection: records.alert(connection, None, _MISSING))
            failures = _Sync(gateway, settings, as_json, are_missing and accept_missing).run(plan)
        status = TOO_MANY if too_many else 1 if plan.problems or failures else 0
        if as_json:
            show_json(_as_object(plan, answer.notes, failures, status, dry_run))
        for failure in failures:
            line((failure, "bold red"), err=True)
    ctx.exit(status)


class _Sync:
    """Makes the changes of a plan, those first that take access away."""

    def __init__(
        self, gateway: CommandGateway, settings: DirectorySettings, quiet: bool, accepts_missing: bool
    ) -> None:
        """:param accepts_missing: rows of people were deleted in the database. Those who are added now may have been
        known, with a phone that they have lost: no message with a registration link is sent to them."""
        self._gateway = gateway
        self._settings = settings
        self._quiet = quiet
        self._failures: list[str] = []
        self._accepts = accepts_missing
        self._sends = settings.invite is Invite.AT_ONCE and not accepts_missing

    def run(self, plan: Plan) -> list[str]:
        """Returns what has failed."""
        with progress(self._quiet) as show:
            try:
                show("Leaving")
                left = [
                    (each, self._perform(LeavePerson(each.name, each.changed_at))) for each in plan.leaving
                ]
                for person, ended in left:
                    if ended is not None:
                        end_now(self._gateway, person.name, ended)
                for person, entry in plan.changing:
                    self._perform(ChangePerson(**_described(person, entry), by_directory=True))
                for person, entry in plan.returning:
                    self._perform(ReturnPerson(**_described(person, entry)))
                for person in (*plan.due, *(person for person, _ in plan.replaced)):
                    show(f"Removing {person.name}")
                    remove_person(self._gateway, person.name)
                joining = [*plan.joining, *(entry for _, entry in plan.replaced)]
                for first in range(0, len(joining), _AT_A_TIME):
                    show(f"Adding {first + 1} of {len(joining)}")
                    self._add(joining[first : first + _AT_A_TIME])
                if self._accepts and not self._failures:
                    self._gateway.transaction(_accept_missing)
            except IampassError as error:
                self._failures.append(f"Stopped: {one_line(error.diagnostics())}")
                self._failures.append("When this is fixed, run the same command again to continue.")
        return self._failures

    def _perform(self, act: Act[T]) -> T | None:
        """Perform an act; its result, or None if it has failed."""
        try:
            return self._gateway.perform(act)
        except PamIampassError as error:
            self._failures.append(one_line(error.diagnostics()))
            return None

    def _add(self, entries: Sequence[Entry]) -> None:
        joining = [
            Person(entry.name, new_token(), source=Source.LDAP, invites=not self._accepts, **entry.values)
            for entry in entries
        ]
        self._gateway.call(self._gateway.application.add_users([person.token for person in joining]))
        there = self._insert(joining)
        if there is None:
            self._failures.append(_MISSING)
            return
        for person in joining:
            if person.name in there:
                self._failures.append(f"{shown(person.name)} was added by another command meanwhile")
            elif self._sends and person.phone_number is not None:
                self._send(person, person.phone_number)

    def _insert(self, joining: Sequence[Person]) -> frozenset[str] | None:
        """Add people, but for those whose names are there by now: these names. None if rows were deleted in the
        database, so that nobody is added."""

        async def insert(inner: Gateway, connection: Connection) -> frozenset[str] | None:
            names = await people.names(inner, connection)
            if names.are_missing and not self._accepts:
                await records.alert(connection, None, _MISSING)
                return None
            for person in joining:
                if person.name not in names.found:
                    await people.add(inner, connection, person)
                    reason = f"from the directory: {groups_of(person.groups)}"
                    await records.act(connection, "user_add", person=person.name, reason=reason)
            return names.found

        return self._gateway.transaction(insert)

    def _send(self, person: Person, number: str) -> None:
        name = people.app_name(person, self._gateway.settings)
        try:
            message = self._gateway.application.registration_sms(person.token, name, number, None)
            self._gateway.call(message)
        except IampassError as error:
            how = f"send it with: pam-iampass-gateway enroll {person.name} --send"
            self._failures.append(f"{shown(person.name)} got no message: {error}; {how}")


async def _accept_missing(gateway: Gateway, connection: Connection) -> None:
    await people.accept_missing(gateway, connection)
    await records.act(connection, "user_missing", reason="rows of people were deleted in the database")


def _described(person: Person, entry: Entry) -> dict[str, Any]:
    """The person as read, and what the directory says of them: the parameters of an act."""
    return {
        "person": person.name,
        "changed_at": person.changed_at,
        "groups": entry.groups,
        "display_name": entry.display_name or "",
        "phone_number": entry.phone_number or "",
    }


def _rows(plan: Plan, until: datetime) -> list[Row]:
    local = f"{until.astimezone():%Y-%m-%d %H:%M}"
    rows: list[Row] = [
        *(_row(entry.name, "joins", _groups(entry), "green") for entry in plan.joining),
        *(_row(person.name, "changes", changes(person, entry.values)) for person, entry in plan.changing),
        *(_row(person.name, "returns", "with the same phone", "green") for person, _ in plan.returning),
        *(
            _row(person.name, "leaves", f"logins are denied; removed at IAMPASS after {local}", "yellow")
            for person in plan.leaving
        ),
        *(
            _row(person.name, "leaves", "another person has this name now, and needs a phone", "yellow")
            for person, _ in plan.replaced
        ),
        *(
            _row(person.name, "is removed", "here and at IAMPASS, with the phone", "yellow")
            for person in plan.due
        ),
    ]
    return rows


def _row(name: str, what: str, words: str, style: str = "") -> Row:
    return (name, "bold"), (what, style), words


def _groups(entry: Entry) -> str:
    return f"groups {', '.join(entry.groups)}" if entry.groups else "no groups"


def _show(plan: Plan, until: datetime, notes: Sequence[str]) -> None:
    rows = _rows(plan, until)
    if rows:
        table(("USER", "CHANGE", ""), rows)
    for note in notes:
        line(note)
    for problem in plan.problems:
        line((problem, "bold red"), err=True)
    numbers = {
        "join": len(plan.joining),
        "change": len(plan.changing),
        "return": len(plan.returning),
        "leave": len(plan.leaving) + len(plan.replaced),
        "removed": len(plan.due),
    }
    words = ", ".join(f"{number:,} {what}" for what, number in numbers.items() if number)
    line(f"{count(plan.people, 'person', 'people')} from the directory so far: {words or 'nothing changes'}.")


def _as_object(
    plan: Plan, notes: Sequence[str], failures: Sequence[str], status: int, dry_run: bool
) -> dict[str, object]:
    return {
        "ok": status == 0,
        "changed": not dry_run and status != TOO_MANY,
        "joining": [entry.name for entry in plan.joining],
        "changing": [person.name for person, _ in plan.changing],
        "leaving": [person.name for person in plan.leaving],
        "returning": [person.name for person, _ in plan.returning],
        "replaced": [person.name for person, _ in plan.replaced],
        "removed": [person.name for person in plan.due],
        "losing": plan.losing,
        "problems": [*plan.problems, *failures],
        "notes": list(notes),
    }
