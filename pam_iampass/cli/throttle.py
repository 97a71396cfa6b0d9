"""`pam-iampass throttle`: shows and resets the rate limit of a user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pam_iampass.agent.control import ask
from pam_iampass.cli import Verbs
from pam_iampass.cli.output import count, line, show_json
from pam_iampass.cli.parameters import USER, config_option, json_option, person
from pam_iampass.login.decisions import wait_of

_EPILOG = """\b
Examples:
  pam-iampass throttle show alice
  pam-iampass throttle show alice --json | jq .pending
  pam-iampass throttle clear alice        alice's phone can be asked again at once
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Show or reset the rate limit: how often a user's phone is asked.

    A phone shows one request of a user at a time; other logins wait. After requests that were not approved, logins
    through the same service from the same remote host have to wait. The number of requests per user and hour is
    limited, too. `throttle:` in iampass.yaml sets the limits. Recovery codes always work.

    The exit status is 0, or 1 if it failed.
    """


@command.command(epilog=_EPILOG, short_help="Show the requests and waiting times of USER.")
@click.argument("user", type=USER)
@config_option
@json_option
def show(user: str, config: Path, as_json: bool) -> None:
    """Show how many requests USER had in the last hour, and which origins have to wait.

    An origin is a service and a remote host. Only its hash is stored, so it cannot be shown.
    """
    name = person(user, config)
    show_state(ask("throttle show", user=name, config=str(config)), as_json)


@command.command(epilog=_EPILOG, short_help="Reset the rate limit of USER.")
@click.argument("user", type=USER)
@json_option
def clear(user: str, as_json: bool) -> None:
    """Forget all failed requests and wrong recovery codes of USER. Pending logins are not affected."""
    name = person(user)
    ask("throttle clear", user=name)
    show_cleared(name, as_json)


# Showing


def show_state(found: Mapping[str, Any], as_json: bool) -> None:
    """Show what counts for `user`, as `login.throttle.summary` has it."""
    if as_json:
        show_json(dict(found))
        return
    name = found["user"]
    line(f"Pending requests on the phone of {name}: {found['pending']}.")
    line(f"Logins that wait: {found['waiting']}.")
    requests = f"{found['requests_in_the_last_hour']} of at most {found['requests_per_hour']}"
    line(f"Requests in the last hour that were not approved: {requests}.")
    if found["seconds_until_next_request"]:
        line(f"The next request is possible in {wait_of(found['seconds_until_next_request'])}.")
    for origin in found["places"]:
        left = origin["seconds_left"]
        wait = f"the next request is possible in {wait_of(left)}" if left else "no waiting time"
        line(f"An origin with {count(origin['failures'], 'failed request')} in a row: {wait}.")
    agents = found.get("agents", {})
    if agents.get("requests_in_the_last_hour"):
        requests = f"{agents['requests_in_the_last_hour']} of at most {agents['requests_per_hour']}"
        line(
            f"Requests in the last hour that were not approved, of accounts that act for {name}: {requests}."
        )
        if agents["seconds_until_next_request"]:
            line(f"The next request is possible in {wait_of(agents['seconds_until_next_request'])}.")
    line(f"Wrong recovery codes in the last hour: {found['wrong_codes_in_the_last_hour']}.")


def show_cleared(name: str, as_json: bool) -> None:
    """Say that nothing counts for a user any more."""
    if as_json:
        show_json({"user": name, "cleared": True})
    else:
        line(f"Cleared for {name}.")
