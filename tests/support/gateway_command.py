"""The command `pam-iampass-gateway` with a database and a sandbox for IAMPASS, as an administrator types it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable

import psycopg
import pytest
from psycopg.rows import dict_row

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway, opened
from pam_iampass.gateway.base.settings import load
from pam_iampass.gateway.cli import main
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from tests.support.folders import put
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

SETTINGS = """\
names: [gateway.example.com]
database: {conninfo}
application_id: {sandbox.application_id}
application_secret_file: {folder}/application-secret
server: {sandbox.url}
server_ca_file: {folder}/iampass-ca.pem
key_file: {folder}/key
ca_file: {folder}/ca.pem
certificate_file: {folder}/ca.pem
certificate_key_file: {folder}/key
groups: {{servers: {{people: [staff]}}}}
"""


class GatewayCommand:
    """A gateway with nobody in its database."""

    def __init__(
        self, folder: Path, conninfo: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self.config = folder / "gateway.yaml"
        self.conninfo = conninfo
        self.sandbox = sandbox
        self._capsys = capsys
        put(folder / "application-secret", sandbox.application_secret, 0o600)
        put(folder / "key", "5a" * 32, 0o600)
        put(folder / "ca.pem", "certificate")
        put(folder / "iampass-ca.pem", Path(sandbox.ca_file).read_bytes())
        self.configure()

    def configure(self, more: str = "") -> None:
        """Write the settings, with `more` at their end."""
        text = SETTINGS.format(folder=self.folder, conninfo=self.conninfo, sandbox=self.sandbox)
        put(self.config, text + more)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """The exit status, and what the command prints on standard output and on standard error."""
        self._capsys.readouterr()
        before, sys.argv = sys.argv, ["pam-iampass-gateway", *self._configured(arguments)]
        try:
            main()
        except SystemExit as end:
            status = end.code
        finally:
            sys.argv = before
        assert isinstance(status, int)
        return status, *self._capsys.readouterr()

    def said(self, *arguments: str, status: int = 0) -> str:
        """What the command prints, standard error last."""
        found, output, errors = self.run(*arguments)
        assert found == status, output + errors
        return output + errors

    def told(self, *arguments: str, status: int = 0) -> Any:
        """The JSON that it prints."""
        found, output, errors = self.run(*arguments, "--json")
        assert found == status, output + errors
        return json.loads(output)

    def typed(self, *arguments: str) -> Terminal:
        """The command in a terminal."""
        words = ["/usr/bin/python3", "-m", "pam_iampass.gateway.cli", *self._configured(arguments)]
        return Terminal(words)

    def _configured(self, arguments: tuple[str, ...]) -> list[str]:
        verbs = (
            2
            if arguments[0]
            in ("bypass", "host", "operator", "phone", "portal", "recovery", "session", "throttle", "user")
            else 1
        )
        return [*arguments[:verbs], "--config", str(self.config), *arguments[verbs:]]

    def transaction(self, use: Callable[[Gateway, Connection], Awaitable[Any]]) -> Any:
        """What `use` returns, in a transaction of the gateway."""

        async def go() -> Any:
            async with opened(load(self.config)) as gateway, gateway.database.transaction() as connection:
                return await use(gateway, connection)

        return asyncio.run(go())

    def person(self, name: str) -> Person:
        """A person who is in the database. Raises Tampered."""
        found = self.transaction(lambda g, c: people.find(g, c, name))
        assert found is not None
        assert isinstance(found, Person)
        return found

    @property
    def names(self) -> list[str]:
        """Of all people in the database."""
        return [row["name"] for row in self.rows("SELECT name FROM person ORDER BY name")]

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """What a statement finds or changes, behind the gateway's back."""
        with psycopg.connect(self.conninfo, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    @property
    def records(self) -> list[tuple[str, str, str]]:
        """What was done, to whom, and the result; the oldest first."""
        rows = self.rows("SELECT person, fields FROM record WHERE kind = 'act' ORDER BY id")
        return [(row["fields"]["what"], row["person"] or "", row["fields"].get("reason", "")) for row in rows]

    @property
    def sent(self) -> list[tuple[str, str]]:
        """The messages so far: to whose token, and to which number."""
        return [(each.user, each.phone_number) for each in self.sandbox.messages]

    def csv(self, *lines: str) -> str:
        """The path of a file of people."""
        content = "\n".join(["user,display_name,phone,groups", *lines]) + "\n"
        return str(put(self.folder / "team.csv", content))
