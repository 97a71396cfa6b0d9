"""The database of the tests, and what they have in common."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.gateway.base.database import Database, migrate
from pam_iampass.gateway.base.keys import KeyFile
from pam_iampass.gateway.check import restored
from tests.support import needs
from tests.support.gateway import HostCaller, RunningGateway, settings_for
from tests.support.gateway_command import GatewayCommand
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs.declare(items, __file__, "needs_isolated_root")
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            # An event loop that ends within a TLS handshake, or before the server's goodbye has come, leaves asyncio's
            # transport and its socket to the collector.
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed (transport|<socket):ResourceWarning"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for all tests. A test that stops it starts it again."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    server = Postgres(folder / "postgres")
    try:
        server.start()
        yield server
    finally:
        server.remove()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """The name of a database with the tables, and nothing in them."""
    return made_template(postgres)


def made_template(postgres: Postgres) -> str:
    """Make a database with the tables; its name."""

    async def make(conninfo: str) -> None:
        async with Database(conninfo, connections=1) as database:
            await migrate(database)

    conninfo = postgres.new_database()
    asyncio.run(make(conninfo))
    return conninfo.rpartition("dbname=")[2]


@pytest.fixture
def conninfo(postgres: Postgres, template: str) -> str:
    """A new database with the tables."""
    return postgres.new_database(template)


@pytest.fixture
def keys() -> KeyFile:
    return KeyFile(bytes(range(32)))


@pytest.fixture
def gateway_command(
    trusted_folder: Path, conninfo: str, capsys: pytest.CaptureFixture[str]
) -> Iterator[GatewayCommand]:
    """The command, with a new database, and IAMPASS without users."""
    with Sandbox(application_id="fleet", application_secret="s3cret") as sandbox:
        command = GatewayCommand(trusted_folder, conninfo, sandbox, capsys)
        command.transaction(restored.begin)
        yield command


@pytest.fixture
def place(gateway_command: GatewayCommand) -> GatewayCommand:
    """alice and bob have phones."""
    for name in ("alice", "bob"):
        gateway_command.said("user", "add", name)
        gateway_command.sandbox.add_user(gateway_command.person(name).token)
    return gateway_command


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """IAMPASS. The tokens of people are not their names."""
    with Sandbox(application_id="fleet", application_secret="secret-of-iampass") as running:
        running.add_user("token-of-alice")
        running.add_user("token-of-bob")
        running.add_user("token-of-carol", device=False)
        yield running


@pytest.fixture
def gateway_server(
    conninfo: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningGateway]:
    """A gateway with a host and three people, who are in no group."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    with RunningGateway(settings_for(conninfo, sandbox, tmp_path)) as running:
        running.populate()
        yield running


@pytest.fixture
def caller(gateway_server: RunningGateway) -> HostCaller:
    """Calls as the host does."""
    return HostCaller(gateway_server)
