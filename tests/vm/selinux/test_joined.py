"""A login on a host that has joined a gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from pam_iampass.system.boot import machine_digest
from tests.client.talk import SECRET, polled, started
from tests.packages.people import got_in
from tests.support.scripted_server import ScriptedServer, answer, scripted_server
from tests.vm.machine import Machine
from tests.vm.site import Site

NAME = "six.example"  # one of those in the server's certificate
JOINED = "/etc/iampass/joined.yaml"


@pytest.fixture
def gateway(vm: Machine, site: Site) -> Iterator[ScriptedServer]:
    """A gateway that plays a script, on a web port, which the machine has joined."""
    site.set_up("sshd", "--no-prompt")
    vm.shell(f"echo 10.0.2.2 {NAME} >> /etc/hosts")
    with scripted_server(port=8080, name=NAME) as server:
        files = {
            "/etc/iampass/gateway-secret": SECRET,
            "/etc/iampass/gateway-ca.pem": Path(server.ca_file).read_text(),
            JOINED: f"application_id: h-abcdefghijkl\ngateways: [{server.url}]\n",
        }
        for path, text in files.items():
            vm.write(path, text, 0o640, "_iampass")
        yield server
        vm.run("rm", *files)


def test_the_agent_tells_the_gateway_which_machine_it_is(
    vm: Machine, site: Site, gateway: ScriptedServer, tmp_path: Path
) -> None:
    gateway.add(started(gateway), polled("active"), answer(200, {"status": True}))
    assert got_in(site.ssh("alice"), "alice")
    copy = tmp_path / "machine-id"
    copy.write_text(vm.read("/etc/machine-id"))
    told = parse_qs(urlsplit(gateway.requests[0].target).query)
    assert told["machine"] == [machine_digest(str(copy))] != [""]
