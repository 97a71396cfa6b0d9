"""The command `pam-iampass-gateway`: one file a verb, each loaded only when it is called."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Callable, TypeVar

import click
import psycopg

from pam_iampass import __version__
from pam_iampass.cli import LazyGroup
from pam_iampass.cli import main as run
from pam_iampass.cli.parameters import Parsed
from pam_iampass.client import ManagementAPIResult, TLSFailure
from pam_iampass.client.application import Application
from pam_iampass.client.attempts import DEFAULT_SECONDS
from pam_iampass.client.call import Call
from pam_iampass.client.procedures import Procedure
from pam_iampass.gateway.acts.act import Act, perform
from pam_iampass.gateway.acts.names import UnknownName
from pam_iampass.gateway.base import places
from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.base.connection import Connection, DatabaseError
from pam_iampass.gateway.base.gateway import Gateway, carry_out, opened
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.migration import migrations
from pam_iampass.gateway.base.places import ACCOUNT
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.base.upstream import Lane
from pam_iampass.gateway.check.restored import remember_act
from pam_iampass.gateway.sign_in.actors import Actor
from pam_iampass.system.service_user import reading_as

T = TypeVar("T")

GROUPS = {
    "Set up": {
        "init": "Make the database, the key, the CA and the settings.",
        "certificate": "Show or renew the gateway's certificate.",
        "migrate": "Make or update the tables of the database.",
        "portal": "Set up the portal, where people sign in with passkeys.",
    },
    "Hosts": {
        "host": "Invite hosts; list, admit, suspend and remove them.",
    },
    "People": {
        "enroll": "Add people and register their phones.",
        "user": "List, show, add and remove people.",
        "phone": "Show who has a phone; report a lost one.",
        "session": "Show or end the sessions of the logins of all hosts.",
        "throttle": "Show or reset the limits of a person.",
        "bypass": "Let a person log in without the phone for a while.",
        "recovery": "Create, list or revoke recovery codes.",
        "operator": "Link, list and end people with a role at the portal.",
    },
    "Diagnose": {
        "check": "Find out why hosts get no answer, and what is wrong with the settings.",
        "log": "Show the requests of hosts, and their results.",
        "restored": "Accept a database that was restored from a backup.",
    },
    "Run": {
        "serve": "Serve hosts; systemd runs this.",
        "serve-acts": "Answer the portal; systemd runs this.",
        "backup": "Dump the database into the folder of the settings; a timer runs this.",
    },
}
"""The verbs and their summaries, under the headings of `--help`."""

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default=places.DEFAULT_PATH,
    show_default=True,
    callback=lambda _ctx, _param, path: path.absolute(),
    help="The settings file of the gateway.",
)

if_exists_option = click.option(
    "--if-exists", is_flag=True, help="Do not report an error for names that do not exist."
)


def named(what: str, error: Callable[[str], str | None]) -> Parsed:
    """A name as typed, unless `error` says why it cannot be one, as the end of a sentence."""

    def parse(text: str) -> str:
        problem = error(text)
        if problem:
            raise ValueError(problem)
        return text

    return Parsed(what, parse)


class _Verbs(LazyGroup):
    package = __name__
    headings = GROUPS


@click.group(
    "pam-iampass-gateway",
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="pam-iampass-gateway")
def group() -> None:
    """The gateway of a fleet. It has the IAMPASS application's secret; each host has only its own key.

    The settings are in /etc/iampass-gateway/gateway.yaml, everything else is in PostgreSQL.
    """


def with_gateway(
    config: Path,
    use: Callable[[Gateway], Coroutine[Any, Any, T]],
    connections: int | None = None,
    *,
    hosts_cause_acts: bool = False,
) -> T:
    """Use the gateway of a settings file; the result of `use`. Raises ConfigurationError and ClickException.

    :param connections: the most to the database; None for what the settings say.
    :param hosts_cause_acts: whether this is the service for hosts, whose calls leave records of acts, too. It looks how
        far the database has come every few seconds, and not after each act.
    """
    settings = gateway_settings.load(config)

    async def go() -> T:
        async with opened(settings, connections) as gateway:
            if not hosts_cause_acts:
                gateway.database.after_act = partial(remember_act, gateway)
            await gateway.database.require_schema()
            return await use(gateway)

    return in_loop(go())


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; its result. An error of the database becomes a ClickException."""
    with _opening_a_gateway():
        return asyncio.run(work)


@contextmanager
def _using_the_database() -> Iterator[None]:
    """Make ClickExceptions of the database's errors, and of a row that no gateway has written.

    If root runs the command, what is done meanwhile is done as the service's account, where there is one: it needs no
    password there.
    """
    home = os.environ.get("HOME", "")
    migrations()  # read while we are root: the account may not be able to, where these are sources
    try:
        with reading_as(ACCOUNT, with_groups=True):
            with suppress(KeyError):
                # libpq looks there for a password and certificates
                os.environ["HOME"] = pwd.getpwuid(os.geteuid()).pw_dir
            yield
    except (DatabaseError, Tampered) as error:
        raise click.ClickException(str(error)) from None
    except UnicodeEncodeError:
        raise click.ClickException("the input is not UTF-8") from None
    except psycopg.Error as error:
        raise click.ClickException(f"the database refuses this: {error}") from None
    finally:
        os.environ["HOME"] = home


@contextmanager
def _opening_a_gateway() -> Iterator[None]:
    """As `_using_the_database`, also where the account cannot read the CA certificates for IAMPASS: see `check`."""
    with _using_the_database():
        try:
            yield
        except TLSFailure as error:
            raise click.ClickException(error.diagnostics()) from None


class CommandGateway:
    """The gateway for a verb that also waits for people: its event loop runs only while the database or IAMPASS is
    asked, so that Ctrl-C ends everything else at once."""

    def __init__(self, settings: GatewaySettings, gateway: Gateway, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.gateway = gateway
        """The gateway for coroutines that `run` runs."""
        self._loop = loop

    def transaction(self, use: Callable[[Gateway, Connection], Awaitable[T]]) -> T:
        """Use a transaction; the result of `use`. An error of the database becomes a ClickException."""

        async def go() -> T:
            async with self.gateway.database.transaction() as connection:
                return await use(self.gateway, connection)

        return self.run(go())

    def reading(self, use: Callable[[Gateway, Connection], Awaitable[T]]) -> T:
        """As `transaction`, for what only reads: to verify thousands of rows takes longer than PostgreSQL waits within
        a transaction."""

        async def go() -> T:
            async with self.gateway.database.statement() as connection:
                return await use(self.gateway, connection)

        return self.run(go())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine; its result. An error of the database becomes a ClickException."""
        task = self._loop.create_task(work)
        with _using_the_database():
            try:
                return self._loop.run_until_complete(task)
            except KeyboardInterrupt:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    self._loop.run_until_complete(task)
                raise

    def perform(self, act: Act[T], *, unknown: T | None = None) -> T:
        """Perform an act as root of this gateway; its result. Raises ActRefused.

        :param unknown: the result if nobody has the name; if None, that is an error.
        """
        try:
            return self.run(perform(self.gateway, Actor.root(), act))
        except UnknownName:
            if unknown is None:
                raise
            return unknown

    @property
    def application(self) -> Application:
        """Builds calls of IAMPASS."""
        return self.gateway.iampass.application

    def call(self, call: Call[T], seconds: float = DEFAULT_SECONDS) -> T:
        """Make a call of IAMPASS, within `seconds`; its result. Raises IampassError."""
        return self.run(self.gateway.iampass.call(call, seconds, Lane.decisions))

    def carry_out(self, procedure: Procedure[T]) -> T:
        """Make the calls of a procedure; its result. Raises IampassError."""
        return self.run(carry_out(self.gateway.iampass, procedure, DEFAULT_SECONDS, Lane.decisions))

    def has_phone(self, token: str, seconds: float = DEFAULT_SECONDS) -> bool:
        """Whether IAMPASS has a phone of the person with this token. Raises IampassError."""
        found = self.call(self.application.has_device(token), seconds)
        return found is ManagementAPIResult.has_mobile_device


@contextmanager
def command_gateway(config: Path) -> Iterator[CommandGateway]:
    """The gateway of a settings file. Raises ConfigurationError and ClickException."""
    settings = gateway_settings.load(config)
    loop = asyncio.new_event_loop()
    try:
        opening = opened(settings)
        with _opening_a_gateway():
            gateway = loop.run_until_complete(opening.__aenter__())
        try:
            gateway.database.after_act = partial(remember_act, gateway)
            command = CommandGateway(settings, gateway, loop)
            command.run(gateway.database.require_schema())
            yield command
        finally:
            loop.run_until_complete(opening.__aexit__(None, None, None))
    finally:
        loop.close()


def main() -> None:
    """Run the command and exit with its status."""
    run(sys.argv[1:], group)
