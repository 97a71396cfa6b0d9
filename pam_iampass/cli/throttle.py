"""`pam-iampass throttle`: shows and clears what keeps a person's phone from ringing."""

from __future__ import annotations

import hashlib  # noqa: F401 - loaded while this process may still read everything
import json
from pathlib import Path
from typing import Any

import click

from pam_iampass.cli.as_service_user import account_name, as_service_user
from pam_iampass.cli.user_name import USER
from pam_iampass.config.settings import DEFAULT_PATH, load
from pam_iampass.login.decisions import wait_of
from pam_iampass.login.rate_limit import REMEDY, RateLimit, since_boot
from pam_iampass.outcome import Login
from pam_iampass.system.paths import RATE_LIMITS
from pam_iampass.system.state_dir import StateDir
from pam_iampass.text import clean

_EPILOG = """\b
Examples:
  pam-iampass throttle show alice
  pam-iampass throttle show alice --json | jq .pending
  pam-iampass throttle clear alice        alice's phone may ring again at once
"""


@click.group(epilog=_EPILOG, short_help="Show or clear what keeps a phone from ringing.")
def command() -> None:
    """Show or clear what keeps a person's phone from ringing.

    After requests that were refused, not answered or broken off no further one goes out for a while, from the same
    service and remote host; and a person gets only so many requests an hour. `throttle:` in iampass.yaml sets the
    limits. Recovery codes work all the while.
    """


@command.command(epilog=_EPILOG)
@click.argument("user", type=USER)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_PATH,
    show_default=True,
    help="The settings with the limits.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")
def show(user: str, config: Path, as_json: bool) -> None:
    """Say how many requests USER had in the last hour, and from how many places none goes out now.

    Where from is not known: only hashes are kept.
    """
    name = account_name(user)
    path = str(config.absolute())
    found = as_service_user(lambda: _found(name, path))
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))


@command.command(epilog=_EPILOG)
@click.argument("user", type=USER)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")
def clear(user: str, as_json: bool) -> None:
    """Forget all refusals, requests and wrong recovery codes of USER. Logins that are pending go on.

    It also mends the file in which they are remembered, should it be broken.
    """
    name = account_name(user)
    as_service_user(lambda: _throttle(name).clear())
    click.echo(json.dumps({"user": name, "cleared": True}) if as_json else f"Cleared for {clean(name)}.")


def _throttle(name: str) -> RateLimit:
    return RateLimit(StateDir(RATE_LIMITS, REMEDY), name, Login(name, ""))


def _found(name: str, config: str) -> dict[str, Any]:
    limits = load(config).throttle
    state, now = _throttle(name).state(), since_boot()
    places = [
        {
            "failures": failures.count,
            "seconds_left": round(state.backoff(place, limits.cool_off, limits.longest_cool_off, now), 1),
        }
        for place, failures in state.failures.items()
    ]
    return {
        "user": name,
        "pending": sum(not login.decided for login in state.pending),
        "requests_in_the_last_hour": len(state.requests),
        "requests_per_hour": limits.requests_per_hour,
        "seconds_until_next_request": round(state.wait_for_cap(limits.requests_per_hour, now), 1),
        "places": sorted(places, key=lambda place: -place["seconds_left"]),
        "wrong_codes_in_the_last_hour": len(state.attempts),
    }


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [
        f"Requests on the phone of {clean(found['user'])} now: {found['pending']}.",
        f"Requests in the last hour that were not approved: {found['requests_in_the_last_hour']} of at most "
        f"{found['requests_per_hour']}.",
    ]
    if found["seconds_until_next_request"]:
        lines.append(f"The next one may go out in {wait_of(found['seconds_until_next_request'])}.")
    for place in found["places"]:
        failures = f"{place['failures']} refused, unanswered or broken off in a row from one place"
        left = place["seconds_left"]
        lines.append(f"{failures}: " + (f"no request for {wait_of(left)}." if left else "no cool-off now."))
    lines.append(f"Wrong recovery codes in the last hour: {found['wrong_codes_in_the_last_hour']}.")
    return lines
