"""`pam-iampass-gateway throttle`: shows and resets the limits of a person, over all hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pam_iampass.cli import Verbs
from pam_iampass.cli.output import line, show_json
from pam_iampass.cli.parameters import json_option
from pam_iampass.cli.throttle import show_cleared, show_state
from pam_iampass.gateway.acts.names import known
from pam_iampass.gateway.acts.people import ClearLimits
from pam_iampass.gateway.acts.views import show_limits
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.cli import command_gateway, config_option, if_exists_option
from pam_iampass.gateway.cli.people import NAME
from pam_iampass.gateway.sign_in.actors import Actor

_EPILOG = """\b
Examples:
  pam-iampass-gateway throttle show alice
  pam-iampass-gateway throttle clear alice        alice's phone can be asked again at once
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Show or reset the limits: how often hosts together may ask a person's phone.

    A phone shows one request of a person at a time; other logins wait. After requests that were not approved, logins
    from the same origin have to wait. `limits` in gateway.yaml sets the limits. Recovery codes always work.

    The exit status is 0, or 1 if it failed.
    """


@command.command(epilog=_EPILOG, short_help="Show the requests and waiting times of USER.")
@click.argument("user", type=NAME)
@config_option
@json_option
def show(user: str, config: Path, as_json: bool) -> None:
    """Show how many requests USER had in the last hour from all hosts, and which origins have to wait.

    Origins cannot be shown: only their hashes are stored.
    """

    async def read(gateway: Gateway, connection: Connection) -> dict[str, Any]:
        await known(gateway, connection, user)
        return dict(await show_limits(gateway, connection, Actor.root(), user) or {})

    with command_gateway(config) as gateway:
        show_state(gateway.transaction(read), as_json)


@command.command(epilog=_EPILOG, short_help="Reset the limits of USER.")
@click.argument("user", type=NAME)
@if_exists_option
@config_option
@json_option
def clear(user: str, if_exists: bool, config: Path, as_json: bool) -> None:
    """Forget all failed requests and wrong recovery codes of USER, on all hosts. Pending logins stay. If a login waits
    only because of the pause after another request, it continues at once. Each host also has its own limits."""
    with command_gateway(config) as gateway:
        if gateway.perform(ClearLimits(user), unknown=False if if_exists else None):
            show_cleared(user, as_json)
        elif as_json:
            show_json({"user": user, "cleared": False})
        else:
            line(f"{user} is unknown.")
