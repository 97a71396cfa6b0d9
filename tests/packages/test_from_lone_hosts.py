"""docs/fleet/moving-to-a-fleet.md, typed on booted machines: two hosts of their own become hosts of a gateway while
people log in to both all the time."""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.packages.administrator import NAMES, built
from tests.packages.booted import PATIENCE, Booted
from tests.packages.gateway_hosts import IAMPASS, IAMPASS_NAME, SECRET, Host, hosts_of, invited, start_iampass
from tests.packages.kept_logins import sessions, wait_for
from tests.packages.people import KEY, SSH, WHO, People
from tests.packages.phone import Phone, approving_all, token_of
from tests.packages.test_gateway_page import FIRST, SET_UP, gateway, phone
from tests.packages.typed_page import TypedPage, skip_if_partly_run
from tests.support.terminal import Terminal

__all__ = ["gateway", "phone"]
MOVE = "docs/fleet/moving-to-a-fleet.md"
PEOPLE = "Take the people over"
JOIN = "Let the hosts join"
BACK = "Take a host back"
SETTINGS = f"""\
application_id: my-application
server: https://{IAMPASS_NAME}:{IAMPASS}
ca_file: /etc/iampass/ca.pem
exempt: {{users: [exempt]}}
session: {{keep: true, check: 2s}}
"""


@dataclass
class Logins:
    """One login after the other of an account, in a thread of its own, until it is stopped."""

    host: Host
    user: str
    outcomes: list[tuple[bool, str]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._log_in, daemon=True)
        self.thread.start()

    def _log_in(self) -> None:
        while not self.stopped.wait(0.5):
            words = ("ssh", "-n", *KEY, *SSH, f"{self.user}@127.0.0.1", WHO)
            done = self.host.machine.run(*words, check=False)
            inside = f"In as {self.user}." in done.stdout
            self.outcomes.append((inside, time.strftime("%H:%M:%S ") + done.stdout + done.stderr))

    @property
    def lost(self) -> list[str]:
        """What those have said that did not get in."""
        return [said for inside, said in self.outcomes if not inside]


@pytest.fixture(scope="module")
def page() -> TypedPage:
    return TypedPage("docs/fleet/gateway.md", MOVE)


@pytest.fixture(scope="module")
def hosts(gateway: Booted, phone: Phone, root: Path) -> Iterator[list[Host]]:
    """Two hosts that ask IAMPASS themselves, with tables, settings and codes of their own."""
    package = " ".join(f"./{each.name}" for each in built((*NAMES, "pam-iampass-gateway")))
    gateway.shell(f"cd /root/packages && DEBIAN_FRONTEND=noninteractive apt-get install -y {package}")
    users = [token_of(user) for user in ("alice", "bob", "carol")]
    start_iampass(gateway, *users)
    ca = gateway.read("/etc/iampass-ca.pem")
    with hosts_of(gateway, root) as found:
        for host in found:
            host.type("apt-get install -y ./libpam-iampass_*.deb")
            host.machine.write("/etc/iampass/ca.pem", ca)
            host.machine.write("/etc/iampass/application-secret", f"{SECRET}\n", 0o640, "_iampass")
            host.machine.write("/etc/iampass/iampass.yaml", SETTINGS, 0o640, "_iampass")
            table = f"alice: {token_of('alice')}\nbob: {{token: {token_of('bob')}, methods: [device]}}\n"
            host.machine.write("/etc/iampass/users.yaml", table, 0o640, "_iampass")
            host.machine.shell("install -d -o root -g _iampass -m 0750 /etc/iampass/users.d")
        found[-1].machine.write(
            "/etc/iampass/users.d/carol.yaml", f"carol: {token_of('carol')}\n", 0o640, "_iampass"
        )
        for host in found:
            host.type("pam-iampass setup sshd --force")
            host.type("pam-iampass recovery new alice")
        yield found


@pytest.fixture(scope="module")
def everybody_approves(phone: Phone, hosts: list[Host]) -> Iterator[None]:
    """All people approve what their phones ask."""
    with approving_all(phone):
        yield


@pytest.fixture(scope="module")
def kept(hosts: list[Host], everybody_approves: None) -> Iterator[list[Terminal]]:
    """A login of bob on each host, which goes on."""
    found = []
    for host in hosts:
        terminal = People(host.machine).ssh("bob", "echo I stay; exec sleep infinity")
        Terminal.open.discard(terminal)
        terminal.expect("I stay")
        found.append(terminal)
    yield found
    for terminal in found:
        terminal.kill()


@pytest.fixture(scope="module")
def logins(hosts: list[Host], kept: list[Terminal]) -> Iterator[list[Logins]]:
    """alice, who is asked, and the exempt account log in to both hosts all the time."""
    found = [Logins(host, user) for host in hosts for user in ("alice", "exempt")]
    yield found
    for each in found:
        each.stopped.set()
    for each in found:
        each.thread.join()


def more(logins: list[Logins]) -> None:
    """Wait until each of them has logged in twice more, the second time from begin to end."""
    before = [len(each.outcomes) for each in logins]

    def all_have() -> bool:
        return all(len(each.outcomes) >= number + 2 for each, number in zip(logins, before))

    wait_for(all_have, "logins", 3 * PATIENCE)


def test_two_hosts_ask_iampass_themselves(hosts: list[Host]) -> None:
    for host in hosts:
        assert "All is well." in host.type("pam-iampass check --settings")


def copy_tables(gateway: Booted, host: Host, page: TypedPage) -> None:
    """What the page copies with scp: here the machines do not let each other in."""
    gateway.run("sh", "-c", page.command(PEOPLE, "mkdir").replace("web1", host.name))
    source, target = shlex.split(page.command(PEOPLE, "scp -r"))[2:]
    assert target == "web1/"
    path = source.partition(":")[2]
    for file in host.machine.shell(f"find {path} -type f").split():
        below = Path(file).relative_to(Path(path).parent)
        gateway.write(f"/root/{host.name}/{below}", host.machine.read(file), 0o600)


def test_the_gateway_takes_over_their_tables(
    gateway: Booted, hosts: list[Host], page: TypedPage, logins: list[Logins]
) -> None:
    init = page.command(SET_UP, "pam-iampass-gateway init")
    to_sandbox = f"--server https://127.0.0.1:{IAMPASS} --server-ca-file /etc/iampass-ca.pem"
    gateway.run("sh", "-c", f"{init} {to_sandbox} --secret-file -", stdin=f"{SECRET}\n")
    for host in hosts:
        copy_tables(gateway, host, page)
        typed = page.command(PEOPLE, "pam-iampass-gateway user import").replace("web1", host.name)
        gateway.run("sh", "-c", typed)
    shown = page.type(gateway, PEOPLE, "pam-iampass-gateway user list").stdout
    assert [shown.count(word) for word in ("registered", "staff")] == [3, 3]


def test_they_join_one_after_the_other(
    gateway: Booted, hosts: list[Host], page: TypedPage, logins: list[Logins]
) -> None:
    for host in hosts:
        more(logins)
        invite = page.command(FIRST, "pam-iampass-gateway host invite").replace("web1.example.com", host.name)
        host.type(invited(gateway, invite))
        said = host.type(f"{page.command(JOIN, 'pam-iampass check')} --json", check=False)
        found = {each["id"]: each["severity"] for each in json.loads(said)["findings"]}
        assert "gateway-secret-left" in found
        assert "error" not in found.values(), found
    more(logins)
    page.type(gateway, JOIN, "pam-iampass-gateway recovery new")


def test_no_login_was_lost(
    gateway: Booted, hosts: list[Host], kept: list[Terminal], logins: list[Logins]
) -> None:
    for each in logins:
        each.stopped.set()
    for each in logins:
        each.thread.join()
        print(each.host.name, each.user, len(each.outcomes))
        assert each.lost == []
    asked = gateway.run("pam-iampass-gateway", "log", "--json").stdout
    assert all(f'"{host.name}"' in asked for host in hosts)
    assert all(terminal.isalive() for terminal in kept)
    assert all(any(each["user"] == "bob" for each in sessions(host.machine)) for host in hosts)


def test_a_host_goes_back(hosts: list[Host], phone: Phone, page: TypedPage, everybody_approves: None) -> None:
    host = hosts[-1]
    host.type(page.command(BACK, "pam-iampass leave"))
    assert "10 of 10" in host.type(page.command(JOIN, "pam-iampass recovery list"))
    assert People(host.machine).ssh("alice").finish() == 0
    assert "All is well" in host.type("pam-iampass check --settings")


def test_the_whole_page_is_typed(request: pytest.FixtureRequest, page: TypedPage) -> None:
    skip_if_partly_run(request)
    assert TypedPage(MOVE).not_typed() <= page.typed
