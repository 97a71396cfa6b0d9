"""`pam-iampass-gateway user`: the people of the fleet, and their groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from pam_iampass.check.iampass import PhoneState
from pam_iampass.cli import Verbs
from pam_iampass.cli.enrollment import read_requests
from pam_iampass.cli.output import (
    Part,
    Row,
    confirm,
    count,
    fields,
    for_programs,
    line,
    moment,
    progress,
    show_json,
    table,
)
from pam_iampass.cli.parameters import Parsed, file_option, json_option, yes_option
from pam_iampass.cli.user import (
    DONE,
    NEEDS_A_PHONE,
    PHONES,
    WITHOUT,
    RemovalState,
    Removed,
    removal_as_object,
    remove_all,
    show_removals,
)
from pam_iampass.client import IampassError
from pam_iampass.config import user_table
from pam_iampass.config.value_types import phone_number
from pam_iampass.errors import ConfigurationError, EditRefused, Severity, shown
from pam_iampass.gateway.acts import names
from pam_iampass.gateway.acts.access import OWNER_GONE, TAMPERED
from pam_iampass.gateway.acts.views import person_row
from pam_iampass.gateway.cli import CommandGateway, command_gateway, config_option, if_exists_option
from pam_iampass.gateway.cli.agents import add_agent, agent_of, remove_agent
from pam_iampass.gateway.cli.may import STATUSES, may
from pam_iampass.gateway.cli.people import (
    COLUMNS,
    NAME,
    Given,
    add_or_change,
    display_name_option,
    group_option,
    groups_of,
    known_to,
    phones_of,
    remove_person,
    warn_of_groups,
)
from pam_iampass.gateway.cli.sync import sync
from pam_iampass.gateway.people import agents, people
from pam_iampass.gateway.people.agents import Agent
from pam_iampass.gateway.people.people import Person, PersonStatus, Source

_EPILOG = """\b
Examples:
  pam-iampass-gateway user list                          who there is, and in which groups
  pam-iampass-gateway user list --check-phones           also shows who has no phone
  pam-iampass-gateway user add alice --group staff
  pam-iampass-gateway user add alice --group oncall      one more group
  pam-iampass-gateway user add alice --group oncall --replace
  pam-iampass-gateway user add claude --acts-for alice --group staff
  pam-iampass-gateway user may alice web1.example.com    and why not
  pam-iampass-gateway user may --all --csv > access.csv  who may log in to which hosts
  pam-iampass-gateway user import web1/users.yaml --group staff
  pam-iampass-gateway user remove alice
  pam-iampass-gateway user sync --dry-run                what the directory would change
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """List, show, add and remove the people who can be asked on the phone.

    They need no account on this machine. A person's name is the name of their account on the hosts.
    """


@command.command("list", short_help="List people.")
@click.option("--check-phones", is_flag=True, help="Also ask IAMPASS who has a phone. No phone rings.")
@config_option
@json_option
@click.pass_context
def list_people(ctx: click.Context, check_phones: bool, config: Path, as_json: bool) -> None:
    """List all people with their groups.

    A row of the database that no gateway wrote is not valid, and is marked.

    The exit status is 0, or 1 if there is such a row, or IAMPASS did not answer.
    """
    with command_gateway(config) as gateway:
        everybody, tampered = gateway.reading(people.listing)
        tokens = {person.name: person.token for person in everybody}
        phones = phones_of(gateway, tokens, as_json) if check_phones else None
        found, tampered_agents = gateway.reading(agents.listing)
        acting = agents.with_owners(gateway.gateway, found, everybody)
    tampered += tampered_agents
    if as_json:
        rows = [_as_object(person, phones) for person in everybody]
        rows += [_agent_as_object(agent) for agent, _ in acting]
        rows += [{"user": name, "status": "tampered"} for name in tampered]
        show_json({"ok": not tampered, "users": rows})
    else:
        _show_all(everybody, acting, tampered, phones)
    unanswered = PhoneState.NOT_ASKED in (phones or {}).values()
    if unanswered:
        line("IAMPASS did not answer for all users. Try again later.", err=True)
    if tampered:
        hint = "Rows were written without the gateway's key. To delete a row: user remove NAME"
        line((hint, "bold red"), err=True)
    ctx.exit(1 if tampered or unanswered else 0)


@command.command("show", short_help="Show one person.")
@click.argument("user", type=NAME)
@config_option
@json_option
def show_person(user: str, config: Path, as_json: bool) -> None:
    """Show groups, phone number and status of USER. The token of IAMPASS is never shown.

    The exit status is 0, or 1 if there is no such person.
    """
    with command_gateway(config) as gateway:
        agent = agent_of(gateway, user)
        person = None if agent else known_to(gateway, user)
    if agent is not None:
        _show_agent(agent, as_json)
    if person is None:
        return
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


@command.command("add", short_help="Add or change a person.")
@click.argument("user", type=NAME)
@group_option
@click.option("--no-groups", is_flag=True, help="With --replace: take the person out of all groups.")
@display_name_option
@click.option(
    "--phone",
    "number",
    type=Parsed("number", phone_number),
    help="The number that gets messages with a registration link.",
)
@click.option("--replace", is_flag=True, help="Change an existing person; values that you omit stay.")
@click.option(
    "--acts-for",
    "owner",
    metavar="OWNER",
    type=NAME,
    help="USER is an account that acts for OWNER, such as the account of an AI agent.",
)
@config_option
def add_person(
    user: str,
    groups: tuple[str, ...],
    no_groups: bool,
    display_name: str | None,
    number: str | None,
    replace: bool,
    owner: str | None,
    config: Path,
) -> None:
    """Add USER here and at IAMPASS, with a new random token. To also register a phone, use `enroll`.

    If the person exists, the groups are added. With --replace, they replace the person's groups. People of the
    directory are changed there.

    With --acts-for, the phone of OWNER approves the logins of USER. USER has no phone, recovery codes or bypass. Both
    need a group that the host admits. To change such an account, remove it first.

    The exit status is 0, or 1 if the user was not added.
    """
    if no_groups and (groups or not replace):
        raise click.UsageError("--no-groups requires --replace, and excludes --group.")
    if owner is not None:
        if no_groups or replace or display_name is not None or number is not None:
            raise click.UsageError("--acts-for allows only the options --group and --config.")
        with command_gateway(config) as gateway:
            agent = add_agent(gateway, user, owner, groups)
        line(f"{user} acts for {owner}: {groups_of(agent.groups)}.")
        warn_of_groups(gateway.settings, agent.groups)
        return
    given = Given(() if no_groups else groups or None, display_name, number)
    with command_gateway(config) as gateway:
        try:
            person, added = add_or_change(gateway, user, given, replace, bool(groups))
        except IampassError as error:
            raise click.ClickException(error.diagnostics()) from None
    if not (added or replace or groups):
        raise click.ClickException(f"{shown(user)} already exists; to change the person, give --replace")
    line(f"{user} {'was added' if added else 'was changed'}: {groups_of(person.groups)}.")
    warn_of_groups(gateway.settings, person.groups)
    if added:
        line(f"To register a phone: pam-iampass-gateway enroll {user}")


@command.command("import", short_help="Import the user table of a host, with the phones.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@group_option
@config_option
@click.pass_context
def import_people(ctx: click.Context, file: Path, groups: tuple[str, ...], config: Path) -> None:
    """Add all users in FILE, the users.yaml of a host, and in the folder users.d beside it, with their tokens. Their
    registered phones keep working. Accounts in FILE that act for a person (`acts_for`) are added as with `user add
    --acts-for`.

    Host and gateway must have the same application at IAMPASS. A person is not added if IAMPASS does not know the
    token, if another person has it, or if the person has another token here. The files must belong to root, and must
    not be writable by others. You can repeat the command.

    The exit status is 0, or 1 if a person was not added, or is here with another token or other groups.
    """
    found = user_table.check(file.absolute())
    errors = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    if errors:
        raise ConfigurationError(errors)
    rows: list[Row] = []
    missing = others = 0
    with command_gateway(config) as gateway:
        everybody, _ = gateway.reading(people.listing)
        here = {person.name for person in everybody}
        owners = {person.token: person.name for person in everybody}
        tokens = {name: entry.token for name, entry in sorted(found.entries.items()) if entry.token}
        acting = [(name, entry) for name, entry in sorted(found.entries.items()) if entry.acts_for]
        phones = phones_of(gateway, tokens, False)
        for name, token in tokens.items():
            owner = owners.setdefault(token, name)
            try:
                if owner != name:
                    raise EditRefused(f"{shown(owner)} has the same token", "")
                if phones[name] is PhoneState.UNKNOWN:
                    raise EditRefused("IAMPASS does not know the token", "")
                if phones[name] is PhoneState.NOT_ASKED:
                    raise EditRefused("IAMPASS did not answer", "")
                _, added = add_or_change(gateway, name, Given(groups or None, token=token), False)
            except EditRefused as error:
                is_here = name in here
                others += is_here
                missing += not is_here
                status = "not changed" if is_here else "not added"
                rows.append([(name, "bold"), PHONES[phones[name].value], (f"{status}: {error}", "bold red")])
            else:
                status = "added" if added else "was here already"
                rows.append([(name, "bold"), PHONES[phones[name].value], (status, "green")])
        wrong = [_import_agent(gateway, name, entry.acts_for, groups, rows) for name, entry in acting]
    table(("USER", "PHONE", "STATUS"), rows)
    here_now = len(rows) - missing - others - sum(wrong)
    line(
        f"{here_now} of {count(len(rows), 'user')} are here, with the token of the table and the groups of --group."
    )
    if others:
        line(
            f"Here, with another token or other groups: {others}. They stay unchanged. To add groups:",
            err=True,
        )
        line("    pam-iampass-gateway user add USER --group GROUP", err=True)
    if missing:
        line(f"Not here: {missing}. For each: pam-iampass-gateway enroll USER", err=True)
    if any(wrong):
        what = f"Accounts that act for a person, but differ from the table: {sum(wrong)}. For each:"
        line(f"{what} pam-iampass-gateway user add USER --acts-for OWNER", err=True)
    if here_now:
        warn_of_groups(gateway.settings, groups)
    ctx.exit(0 if here_now == len(rows) else 1)


def _import_agent(
    gateway: CommandGateway, name: str, owner: str, groups: tuple[str, ...], rows: list[Row]
) -> bool:
    """Add an account of a host's table that acts for a person, and a row about it; whether it is not as the table and
    the groups say."""
    agent = agent_of(gateway, name)
    try:
        if agent is None:
            add_agent(gateway, name, owner, groups)
        elif agent.person != owner or not set(groups) <= set(agent.groups):
            raise EditRefused(f"it acts for {agent.person}: {groups_of(agent.groups)}", "")
    except EditRefused as error:
        status = "not added" if agent is None else "not changed"
        rows.append([(name, "bold"), f"of {owner}", (f"{status}: {error}", "bold red")])
        return True
    rows.append([(name, "bold"), f"of {owner}", ("added" if agent is None else "was here already", "green")])
    return False


@command.command("remove", short_help="Remove people, here and at IAMPASS.")
@click.argument("users", nargs=-1, metavar="USER...")
@file_option("Remove all people in this CSV file. Only the column `user` is used.")
@if_exists_option
@yes_option()
@config_option
@json_option
@click.pass_context
def remove_people(
    ctx: click.Context,
    users: tuple[str, ...],
    file: Path | None,
    if_exists: bool,
    yes: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Remove each USER. The command denies new logins, ends the sessions, and deletes the user and the phone at
    IAMPASS. An account that acts for a person is removed in the same way. Logins of accounts that act for a removed
    person are denied: the command names these accounts.

    If IAMPASS does not answer, logins stay denied. To continue, run the same command again, with --if-exists if other
    users were removed. If a person comes from the directory, also remove them there. Otherwise the next `user sync`
    adds them again, without a phone.

    The exit status is 0, or 1 if a user is not known here or was not removed, or a session not ended.
    """
    if bool(users) == (file is not None):
        raise click.UsageError("Give at least one USER, or a file with --from.")
    whom = list(dict.fromkeys(users))
    if file is not None:
        whom = [each.user for each in read_requests(file, columns=COLUMNS)]
    with command_gateway(config) as gateway:
        if not yes:
            who = shown(whom[0]) if len(whom) == 1 else f"these {len(whom)} users"
            acts = len(whom) == 1 and agent_of(gateway, whom[0]) is not None
            confirm(f"Remove {who} from all hosts{'' if acts else ', and at IAMPASS, with the phone'}?")
        ended = True

        def remove(name: str) -> Removed:
            nonlocal ended
            found = remove_person(gateway, name)
            if found is None:
                ended_agent = remove_agent(gateway, name)
                if ended_agent is not None:
                    ended = ended_agent and ended
                    return Removed(name, RemovalState.REMOVED)
                unknown = gateway.reading(lambda _, connection: names.unknown_person(connection, name))
                return Removed(name, RemovalState.NOT_LISTED, problem=f"{unknown}: {unknown.remedy}")
            ended = found.ended and ended
            left = tuple(agent for agent in found.agents if agent not in whom)
            return Removed(
                name, RemovalState.REMOVED, had_token=True, at_iampass=found.at_iampass, agents=left
            )

        with progress(as_json) as show:
            results, stopped = remove_all(whom, remove, show)
    unknown = any(result.state is RemovalState.NOT_LISTED for result in results) and not if_exists
    ok = ended and not unknown and all(result.state in DONE for result in results)
    if as_json:
        show_json({"ok": ok, "stopped": stopped, "users": [removal_as_object(result) for result in results]})
    else:
        show_removals(results, stopped, "pam-iampass-gateway")
        if unknown:
            line(
                "Some users are not known here: exit status 1. To accept this, give --if-exists.",
                err=True,
            )
        if any(result.state is RemovalState.FAILED for result in results):
            line(
                "Logins of users that failed are already denied. When this is fixed, run the same command again."
            )
    ctx.exit(0 if ok else 1)


command.add_command(may)
command.add_command(sync)


# Showing


def _show_all(
    everybody: Sequence[Person],
    acting: Sequence[tuple[Agent, Person | None]],
    tampered: Sequence[str],
    phones: Mapping[str, PhoneState] | None,
) -> None:
    if not (everybody or acting or tampered):
        line("No user.")
        return
    headings = ["USER", "GROUPS", "FROM", "LOGIN"]
    rows: list[list[Part]] = [
        [(person.name, "bold"), ", ".join(person.groups) or "-", _from(person), STATUSES[person.status]]
        for person in everybody
    ]
    rows += [
        [
            (agent.name, "bold"),
            ", ".join(agent.groups) or "-",
            f"acts for {agent.person}",
            STATUSES[PersonStatus.ACTIVE] if owner is not None and owner.active else (OWNER_GONE, "bold red"),
        ]
        for agent, owner in acting
    ]
    rows += [[(name, "bold"), "?", "?", (TAMPERED, "bold red")] for name in tampered]
    if phones is not None:
        headings.insert(3, "PHONE")
        for row, person in zip(rows, everybody):
            if person.active and phones[person.name] in WITHOUT:
                row[3] = NEEDS_A_PHONE
            row.insert(3, PHONES[phones[person.name].value])
        for row in rows[len(everybody) :]:
            row.insert(3, "-")
    table(headings, rows)
    line(f"{count(len(everybody), 'user')}.")
    without = sum(phone in WITHOUT for phone in (phones or {}).values())
    if without:
        line(f"{count(without, 'user')} without a phone: pam-iampass-gateway enroll USER")


def _from(person: Person) -> str:
    return "the directory" if person.source is Source.LDAP else "here"


def _as_object(person: Person, phones: Mapping[str, PhoneState] | None = None) -> dict[str, object]:
    phone = (phones or {}).get(person.name)
    asked = {} if phones is None else {"phone": None if phone is None else phone.value}
    return {**for_programs(person_row(person)), **asked}


def _show_agent(agent: Agent, as_json: bool) -> None:
    if as_json:
        show_json(_agent_as_object(agent))
        return
    fields(
        [
            ("user", agent.name),
            ("acts for", agent.person),
            ("groups", ", ".join(agent.groups) or "-"),
            ("added", moment(agent.made_at.timestamp())),
        ]
    )


def _agent_as_object(agent: Agent) -> dict[str, object]:
    return {
        "user": agent.name,
        "acts_for": agent.person,
        "groups": list(agent.groups),
        "made_at": agent.made_at.timestamp(),
    }
