"""This machine as a host of a gateway: settings of its own, beside those with which the same agent asks IAMPASS."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path

from bench.fleet import GatewayService, make_files
from pam_iampass.gateway.base.database import migrate
from pam_iampass.gateway.base.gateway import opened
from pam_iampass.gateway.base.settings import load
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from tests.support.folders import put
from tests.support.installation import ETC, Installation, write
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox

_HOST, _SECRET = "h-aaaaaaaaaaaa", "secret-of-this-host"
_LIMITS = "limits: {spacing: 0s, cool_off: 0s, calls_at_once: 1000}\n"


@contextmanager
def joined(sandbox: Sandbox, machine: Installation, tokens: Mapping[str, str]) -> Iterator[str]:
    """A module argument for logins that ask a gateway, which runs until the block ends. The gateway asks the sandbox
    for these people, by their tokens."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/lib")))
        folder.chmod(0o755)
        postgres = Postgres(folder / "postgres")
        stack.callback(postgres.remove)
        postgres.start()
        make_files(folder, sandbox.application_secret)
        put(folder / "sandbox-ca.pem", sandbox.ca_file.read_text())
        values = {
            "folder": folder,
            "conninfo": postgres.new_database(),
            "application": sandbox.application_id,
        }
        gateway = GatewayService(
            folder, 0, {**values, "iampass": sandbox.url, "iampass_ca": folder / "sandbox-ca.pem"}
        )
        with gateway.config.open("a") as file:
            file.write(_LIMITS)
        asyncio.run(_populate(gateway.config, tokens))
        gateway.start()
        stack.callback(gateway.stop)
        shutil.copy(folder / "ca.pem", ETC / "gateway-ca.pem")
        (ETC / "gateway-ca.pem").chmod(0o644)
        write(ETC / "gateway-secret", _SECRET)
        of_host = {"gateways": f"[https://127.0.0.1:{gateway.port}]", "application_id": _HOST}
        settings = {**machine.settings, "joined_file": f"{ETC}/at-gateway-joined.yaml"}
        for name, found in (("at-gateway-joined", of_host), ("at-gateway", settings)):
            write(ETC / f"{name}.yaml", "".join(f"{key}: {value}\n" for key, value in found.items()))
        yield f"config={ETC}/at-gateway.yaml"


async def _populate(config: Path, tokens: Mapping[str, str]) -> None:
    async with opened(load(config)) as gateway:
        await migrate(gateway.database)
        async with gateway.database.transaction() as connection:
            await restored.begin(gateway, connection)
            now = datetime.now(timezone.utc)
            host = Host(_HOST, _HOST, "default", _SECRET, None, HostStatus.ACTIVE, now, "i-bench")
            await hosts.add(gateway, connection, host)
            for name, token in tokens.items():
                await people.add(gateway, connection, Person(name, token))
