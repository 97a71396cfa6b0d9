"""`pam-iampass-gateway operator`: the people with a role at the portal, and the passkeys with which it counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from pam_iampass.cli import Verbs
from pam_iampass.cli.output import confirm, count, line, moment, show_json, table, timestamp
from pam_iampass.cli.parameters import json_option, yes_option
from pam_iampass.errors import shown
from pam_iampass.gateway.acts.passkeys import EndOperator, LinkOperator
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.cli import command_gateway, config_option, if_exists_option
from pam_iampass.gateway.cli.people import NAME
from pam_iampass.gateway.people import people
from pam_iampass.gateway.sign_in import passkeys, sign_ins

_EPILOG = """\b
Examples:
  pam-iampass-gateway operator link zoe               a link with which zoe registers a passkey
  pam-iampass-gateway operator link zoe --replace     the same, and remove zoe's other passkeys
  pam-iampass-gateway operator list                   who has a role, and a passkey for it
  pam-iampass-gateway operator end zoe                remove zoe's passkeys, and end all sign-ins
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Link, list and end the people who have a role at the portal: help desk, auditors and admins.

    `operators` in gateway.yaml gives roles to groups of people. A role works only after a sign-in with a passkey that
    was registered by a link of this command. So neither the directory nor the help desk alone can make an operator.

    The exit status is 0, or 1 if it failed.
    """


@command.command(epilog=_EPILOG, short_help="Make a link that registers a passkey of USER.")
@click.argument("user", type=NAME)
@click.option("--replace", "replaces", is_flag=True, help="Also remove all passkeys that USER has.")
@config_option
@json_option
def link(user: str, replaces: bool, config: Path, as_json: bool) -> None:
    """Make a link with which USER registers a passkey for USER's current roles.

    When USER uses the link, passkeys registered without a link of this command are removed. The link works once, within
    15 minutes, and replaces earlier links. Anyone who has the link can use it, unless USER has a phone and must
    approve. Verify who the person is, and send the link in a way that only this person can read.
    """
    with command_gateway(config) as gateway:
        made = gateway.perform(LinkOperator(user, replaces))
    if as_json:
        ends = timestamp(made.expires_at.timestamp())
        show_json({"user": user, "url": made.url, "expires": ends, "replaces": replaces})
        return
    line(f"Until {moment(made.expires_at.timestamp())}, ", (user, "bold"), " can register a passkey at:")
    line(f"  {made.url}")
    if replaces:
        line((f"The other passkeys of {user} end then, and all sign-ins with them.", "yellow"))


@command.command("list", epilog=_EPILOG, short_help="Show who has a role.")
@config_option
@json_option
def list_(config: Path, as_json: bool) -> None:
    """Show who is in a group with a role, and who has a passkey from `operator link`.

    A role in ROLES works only with a passkey of the next column whose link was made when USER had the role. SIGN-INS is
    the number of open sign-ins.
    """
    with command_gateway(config) as gateway:
        operators, tampered = gateway.reading(_operators)
    if as_json:
        show_json({"operators": operators})
    elif not operators:
        line("Nobody has a role: see `operators` in gateway.yaml.")
    else:
        rows = [
            (
                (each["user"], "bold"),
                ", ".join(each["roles"]) or "-",
                str(len(each["passkeys"])),
                str(each["other_passkeys"]),
                str(each["sign_ins"]),
            )
            for each in operators
        ]
        table(("USER", "ROLES", "PASSKEYS", "OTHER PASSKEYS", "SIGN-INS"), rows)
    if tampered:
        what = f"{count(tampered, 'passkey')} not shown: they are not valid."
        line((what, "bold red"), err=True)


@command.command(epilog=_EPILOG, short_help="Remove the passkeys of USER, and end all sign-ins.")
@click.argument("user", type=NAME)
@if_exists_option
@yes_option()
@config_option
@json_option
def end(user: str, if_exists: bool, yes: bool, config: Path, as_json: bool) -> None:
    """Remove all passkeys of USER, and end all sign-ins and the link that was not used yet.

    The groups of USER stay: with a new link, the roles work again.
    """
    if not yes:
        confirm(f"Remove all passkeys of {shown(user)}?")
    with command_gateway(config) as gateway:
        removed = gateway.perform(EndOperator(user), unknown=0 if if_exists else None)
    if as_json:
        show_json({"user": user, "passkeys": removed})
    else:
        line(f"{count(removed, 'passkey')} of {shown(user)} removed, and all sign-ins ended.")


async def _operators(gateway: Gateway, connection: Connection) -> tuple[list[dict[str, Any]], int]:
    """Find people who have a role, or a passkey with which one would count, and the number of passkeys that do not."""
    everybody, _ = await people.listing(gateway, connection)
    registered, tampered = await passkeys.listing(gateway, connection)
    by_root = {
        each.person: [found for found in registered if found.roles and found.person == each.person]
        for each in registered
    }
    number = Counter(passkey.person for passkey in registered)
    open_ones = Counter(each["person"] for each in await sign_ins.open_ones(gateway, connection))
    found = []
    for person in everybody:
        roles = sorted(gateway.settings.operators.roles_of(person.groups))
        own = by_root.get(person.name, [])
        if roles or own:
            found.append(
                {
                    "user": person.name,
                    "roles": roles,
                    "passkeys": [
                        {
                            "label": each.label,
                            "roles": sorted(each.roles),
                            "made_at": timestamp(each.made_at.timestamp()),
                        }
                        for each in own
                    ],
                    "other_passkeys": number[person.name] - len(own),
                    "sign_ins": open_ones[person.name],
                }
            )
    return found, tampered
