"""The command `pam-iampass-gateway`: one file a verb, each loaded only when it is called."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Callable, TypeVar

import click
import psycopg

from pam_iampass import __version__
from pam_iampass.cli import LazyGroup
from pam_iampass.cli import main as run
from pam_iampass.gateway import settings as gateway_settings
from pam_iampass.gateway.database import DatabaseError
from pam_iampass.gateway.gateway import Gateway, opened

T = TypeVar("T")

GROUPS = {
    "Set up": {
        "migrate": "Make or update the tables of the database.",
    },
    "Run": {
        "serve": "Serve hosts; systemd runs this.",
    },
}
"""The verbs and their summaries, under the headings of `--help`."""

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default=gateway_settings.DEFAULT_PATH,
    show_default=True,
    callback=lambda _ctx, _param, path: path.absolute(),
    help="The settings file of the gateway.",
)


@click.group(
    "pam-iampass-gateway",
    cls=LazyGroup,
    package=__name__,
    headings=GROUPS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="pam-iampass-gateway")
def group() -> None:
    """The gateway of a fleet: it holds the IAMPASS application's secret, hosts hold only a key of their own.

    The settings are in /etc/iampass-gateway/gateway.yaml, everything else is in PostgreSQL.
    """


def with_gateway(config: Path, use: Callable[[Gateway], Coroutine[Any, Any, T]]) -> T:
    """What `use` returns, with the gateway of a settings file. Raises ConfigurationError and ClickException."""
    settings = gateway_settings.load(config)

    async def go() -> T:
        async with opened(settings) as gateway:
            await gateway.database.require_schema()
            return await use(gateway)

    return in_loop(go())


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns. An error of the database becomes a ClickException."""
    try:
        return asyncio.run(work)
    except DatabaseError as error:
        raise click.ClickException(str(error)) from None
    except psycopg.Error as error:
        raise click.ClickException(f"the database refuses this: {error}") from None


def main() -> None:
    """Run the command and exit with its status."""
    run(sys.argv[1:], group)
