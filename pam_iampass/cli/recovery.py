"""`pam-iampass recovery`: makes, counts and revokes the codes that let a person in without the phone."""

from __future__ import annotations

import hashlib  # noqa: F401 - loaded while this process may still read everything
import json
import pwd
import sys
import time
from typing import Any

import click

from pam_iampass.audit.journal import NOTICE, Journal
from pam_iampass.cli.as_service_user import account_name, as_service_user
from pam_iampass.cli.user_name import USER
from pam_iampass.login.recovery_codes import REMEDY, RecoveryCodes
from pam_iampass.system.paths import RECOVERY_CODES
from pam_iampass.system.state_dir import StateDir
from pam_iampass.text import clean, quoted

_EPILOG = """\b
Examples:
  pam-iampass recovery new alice          ten codes, shown once: put them on paper
  pam-iampass recovery list alice         how many are left, and when others were used
  pam-iampass recovery revoke alice       none of them is good any more
"""


@click.group(epilog=_EPILOG, short_help="Make, count or revoke recovery codes.")
def command() -> None:
    """Make, count or revoke recovery codes: each lets a person in once, without the phone.

    In sshd a code is typed at the prompt in the place of Enter. Elsewhere the person is asked for one when the phone
    has not helped; `recovery:` in iampass.yaml says when. The password or the key is asked for all the same.
    """


@command.command(epilog=_EPILOG, short_help="Make ten new codes for USER, and show them.")
@click.argument("user", type=USER)
@click.option("--yes", is_flag=True, help="Replace codes that are there without asking.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")
def new(user: str, yes: bool, as_json: bool) -> None:
    """Make ten new codes for USER, in the place of all that there are, and show them.

    They are shown this once: only hashes of them are kept. Hand them over on paper or in another way that nobody
    else reads.
    """
    name = account_name(user)
    left = as_service_user(lambda: _codes(name).left())
    if left and not yes:
        _confirm(f"{clean(name)} has {left} codes that are still good. Replace them?")
    codes = as_service_user(lambda: _codes(name).renew())
    Journal().note(f"new recovery codes were made for {quoted(name)}", NOTICE)
    if as_json:
        click.echo(json.dumps({"user": name, "codes": codes}, indent=2))
        return
    click.echo(f"Recovery codes of {clean(name)}. Each is good once; they are not shown again.\n")
    click.echo("\n".join(f"    {code}" for code in codes))
    click.echo("\nKeep them on paper, away from the phone.")


@command.command("list", epilog=_EPILOG)
@click.argument("user", type=USER)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")
def list_(user: str, as_json: bool) -> None:
    """Say how many codes USER has left, and when the others were used. The codes themselves are not known."""
    name = account_name(user)
    found = as_service_user(lambda: _found(name))
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))


@command.command(epilog=_EPILOG)
@click.argument("user", type=USER)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")
def revoke(user: str, as_json: bool) -> None:
    """Take all codes of USER away. Works for accounts that are gone, too."""
    try:
        name = pwd.getpwnam(user).pw_name
    except (KeyError, ValueError):
        name = user
    revoked = as_service_user(lambda: _codes(name).revoke())
    if revoked:
        Journal().note(f"the recovery codes of {quoted(name)} were revoked", NOTICE)
    if as_json:
        click.echo(json.dumps({"user": name, "revoked": revoked}))
    else:
        click.echo(f"{'Revoked the codes of' if revoked else 'There were no codes of'} {clean(name)}.")


def _codes(name: str) -> RecoveryCodes:
    return RecoveryCodes(StateDir(RECOVERY_CODES, REMEDY), name)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.ClickException(f"{question} Say so with --yes.")
    click.confirm(question, abort=True, err=True)


def _found(name: str) -> dict[str, Any]:
    stored = _codes(name).stored()
    codes = stored.codes if stored else ()
    used = sorted(code.used_at for code in codes if code.used_at is not None)
    return {
        "user": name,
        "codes": len(codes),
        "left": stored.left if stored else 0,
        "made_at": stored.made_at if stored else None,
        "used_at": used,
    }


def _lines(found: dict[str, Any]) -> list[str]:
    name = clean(found["user"])
    if not found["codes"]:
        return [f"{name} has no recovery codes.", f"    pam-iampass recovery new {name}"]
    lines = [f"{name} has {found['left']} of {found['codes']} codes left, made on {_date(found['made_at'])}."]
    return lines + [f"One was used on {_date(moment)}." for moment in found["used_at"]]


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d at %H:%M", time.localtime(moment))
