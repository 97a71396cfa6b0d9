"""`pam-iampass recovery`: creates, lists and revokes the codes that replace the phone for one login each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pam_iampass.agent.control import ask
from pam_iampass.check.codes import how_codes_are_used
from pam_iampass.check.machine import Machine
from pam_iampass.cli import Verbs
from pam_iampass.cli.output import confirm, finding, line, show_json
from pam_iampass.cli.parameters import USER, account, entry_of, json_option, person, yes_option
from pam_iampass.config.settings import DEFAULT_PATH
from pam_iampass.errors import EditRefused, shown
from pam_iampass.text import clean

_EPILOG = """\b
Examples:
  pam-iampass recovery new alice          ten codes, shown once: print them
  pam-iampass recovery list alice         how many are left, and when others were used
  pam-iampass recovery revoke alice       make all codes invalid
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Create, list or revoke recovery codes. Each replaces the phone for one login.

    At sshd's prompt (OpenSSH before 10.3), the user types a code instead of pressing Enter. With `setup sshd --codes`,
    the user types a code before the key: `recovery new` shows the command. Other services, and sshd from OpenSSH 10.3
    on, ask for a code if the phone cannot be reached or does not answer (`recovery:` in iampass.yaml). The password or
    the key is still required.

    The exit status is 0, or 1 if it failed.
    """


@command.command(epilog=_EPILOG, short_help="Create ten new codes for USER.")
@click.argument("user", type=USER)
@yes_option("Replace existing codes without asking.")
@json_option
def new(user: str, yes: bool, as_json: bool) -> None:
    """Create and show ten new codes for USER. They replace all existing codes.

    The codes are shown only once: only their hashes are stored. Hand them over on paper, or in another way that only
    the user can read. The command also says how each service of this host accepts a code. sshd accepts codes only if it
    was set up with --codes, --prompt or --password. On a host of a gateway, these codes are valid only while no gateway
    can be reached. To make codes for all hosts, use `pam-iampass-gateway recovery new` on a gateway.
    """
    name = person(user)
    entry = entry_of(name)
    if entry is not None and entry.acts_for:
        what = f"{shown(name)} acts for {shown(entry.acts_for)}, and has no recovery codes"
        raise EditRefused(what, f"to bypass the phone: pam-iampass bypass {name} --for 15m")
    left = ask("recovery list", user=name)["left"]
    if left and not yes:
        confirm(f"{clean(name)} has {left} unused codes. Replace them?")
    use: Sequence[str] = ()
    if not as_json:
        machine = Machine(Path(DEFAULT_PATH))
        use = how_codes_are_used(machine.settings, machine.stacks, name) if machine.settings else ()
    show_new(name, ask("recovery new", user=name), as_json, use)


@command.command("list", epilog=_EPILOG, short_help="Show how many codes USER has left.")
@click.argument("user", type=USER)
@json_option
def list_(user: str, as_json: bool) -> None:
    """Show how many codes USER has left, and when the others were used. The codes cannot be shown."""
    name = person(user)
    show_left(ask("recovery list", user=name), "pam-iampass", as_json)


@command.command(epilog=_EPILOG, short_help="Revoke all codes of USER.")
@click.argument("user", type=USER)
@json_option
def revoke(user: str, as_json: bool) -> None:
    """Revoke all codes of USER. The account need not exist any more."""
    name = account(user) or user
    show_revoked(name, ask("recovery revoke", user=name), as_json)


# Showing


def show_new(name: str, codes: Sequence[str], as_json: bool, use: Sequence[str] = ()) -> None:
    """Show new codes, this once, and how they are used."""
    if as_json:
        show_json({"user": name, "codes": list(codes)})
        return
    line(f"Recovery codes of {name}. Each is valid once; they are not shown again.")
    finding([""], *codes)
    line()
    line("Keep them on paper, away from the phone.")
    if use:
        finding(["How they are used on this host:"], *map(clean, use))


def show_left(found: Mapping[str, Any], program: str, as_json: bool) -> None:
    """Show `user`, how many `codes` were made, `made_at` (Unix time), how many are `left`, and `used_at` of others."""
    name = found["user"]
    if as_json:
        show_json(dict(found))
    elif not found["codes"]:
        finding([f"{name} has no recovery codes."], f"{program} recovery new {name}")
    else:
        line(f"{name} has {found['left']} of {found['codes']} codes left, made on {_date(found['made_at'])}.")
        for moment in found["used_at"]:
            line(f"One was used on {_date(moment)}.")


def show_revoked(name: str, revoked: bool, as_json: bool) -> None:
    """Show whether there were codes to revoke."""
    if as_json:
        show_json({"user": name, "revoked": revoked})
    else:
        line(f"Revoked the codes of {name}." if revoked else f"{name} has no codes.")


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d at %H:%M", time.localtime(moment))
