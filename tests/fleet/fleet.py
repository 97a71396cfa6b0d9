"""Six booted machines: two gateways, a PostgreSQL pair, a bastion and a host behind it. All else is this machine.

Here is IAMPASS with everybody's phone, and people log in from here. docs/fleet/gateway.md says what is typed on the
machines.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import trustme

from pam_iampass.sandbox.sessions import SandboxSession
from tests.fleet import pair
from tests.packages.administrator import NAMES, Administrator, built
from tests.packages.booted import PATIENCE, Booted
from tests.packages.kept_logins import wait_for
from tests.packages.people import WHO, type_password
from tests.packages.typed_page import TypedPage
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

BRIDGE = "fleet"
DOMAIN = "example.com"
DATABASES, GATEWAYS, HOSTS = ("db1", "db2"), ("gw1", "gw2"), ("bastion", "web1")
HERE = "10.79.0.1"
ADDRESSES = {name: f"10.79.0.{number}" for number, name in enumerate((*DATABASES, *GATEWAYS, *HOSTS), 11)}
PEOPLE = ("alice", "bob")
IAMPASS, PORT = 9443, 8443
SECRET = "s3cret"
UNIT = "pam-iampass-gateway.service"
ETC = "/etc/iampass-gateway"
POLICY = f"""\
gateways: [{", ".join(f'"https://{name}.{DOMAIN}:{PORT}"' for name in GATEWAYS)}]
groups:
  bastion: {{people: [staff], admit: true, codes: true}}
  web: {{people: [staff], covered_by: [bastion]}}
"""
#: All that is in iampass.yaml of the hosts.
SETTINGS = "session: {keep: true, when_away: end, covers: {services: [sudo], for: 15m}}\n"


class Fleet:
    """The machines by their names, and what people and administrators do."""

    def __init__(self, origin: dict[str, Booted], iampass: Sandbox, key: Path) -> None:
        """The machines do not run yet. `origin` has the files of each, `key` is everybody's ssh key."""
        self.iampass = iampass
        self.tokens: dict[str, str] = {}
        """The IAMPASS tokens of the people who are enrolled."""
        self._key = key
        self.machines = {name: Booted(files, name, BRIDGE) for name, files in origin.items()}
        names = f"127.0.0.1 localhost\n{HERE} iampass.{DOMAIN}\n"
        names += "".join(f"{address} {name}.{DOMAIN} {name}\n" for name, address in ADDRESSES.items())
        for name, machine in self.machines.items():
            etc = machine.root / "etc"
            (etc / "hostname").write_text(f"{name}.{DOMAIN}\n")
            (etc / "hosts").write_text(names)
            (etc / "machine-id").write_text(f"{secrets.token_hex(16)}\n")
            network = (
                f"[Match]\nName=host0\n[Network]\nAddress={ADDRESSES[name]}/24\nLinkLocalAddressing=no\n"
            )
            (etc / "systemd/network/10-fleet.network").write_text(network)

    def gateway(self, *words: str, at: str = GATEWAYS[0]) -> str:
        """`pam-iampass-gateway` on a gateway; what it printed."""
        return self.machines[at].run("pam-iampass-gateway", *words).stdout

    def ssh(self, user: str, host: str, *remote: str, options: tuple[str, ...] = ()) -> Terminal:
        """ssh from this machine to a host."""
        return Terminal([*self.ssh_words(user, host, *options), *(remote or (WHO,))], timeout=PATIENCE)

    def ssh_words(self, user: str, host: str, *options: str) -> list[str]:
        """The command, without that for the host."""
        given = (
            "PreferredAuthentications=publickey,keyboard-interactive",
            "NumberOfPasswordPrompts=1",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        )
        words = ["ssh", "-F", "none", "-i", str(self._key), *(f"-o{each}" for each in given)]
        return [*words, *options, f"{user}@{ADDRESSES[host]}"]

    @property
    def primary(self) -> Booted:
        """The database that is written to."""
        (found,) = (self.machines[name] for name in DATABASES if pair.is_primary(self.machines[name]))
        return found

    def peer(self, machine: Booted) -> Booted:
        """The other one of two gateways or databases."""
        (two,) = (names for names in (DATABASES, GATEWAYS) if machine.name in names)
        (other,) = (name for name in two if name != machine.name)
        return self.machines[other]

    def rings(self) -> int:
        """How often a phone has rung."""
        return len(self.iampass.sessions)

    def ringing(self, user: str, before: int) -> SandboxSession:
        """The request on the phone of a person, once there is one after the first `before`."""
        session = self.iampass.wait_for_session(
            lambda each: each.undecided and each.number > before and each.user == self.tokens[user],
            PATIENCE,
            f"the phone of {user} rings",
        )
        assert self.rings() == before + 1
        return session

    def register(self, user: str, said: str) -> None:
        """Open the registration link that a command has printed for a person, who has no phone yet."""
        [link] = re.findall("https://.*", said)
        before = self.iampass.users
        self.iampass.open_link(link.strip())
        [self.tokens[user]] = (each for each, has in self.iampass.users.items() if has and not before[each])

    def forget(self, *people: str) -> None:
        """Nobody has to wait because of what was before."""
        for user in people or PEOPLE:
            self.gateway("throttle", "clear", user)

    def gateway_of(self, host: str) -> str:
        """The gateway to which a host is connected."""
        address = ipaddress.IPv4Address(ADDRESSES[host])
        there = f"{int.from_bytes(address.packed, sys.byteorder):08X}:"

        def connected() -> list[str]:
            found = []
            for name in GATEWAYS:
                table = Path(f"/proc/{self.machines[name].pid}/net/tcp").read_text()
                for local, remote, state in (line.split()[1:4] for line in table.splitlines()):
                    if local.endswith(f":{PORT:04X}") and remote.startswith(there) and state == "01":
                        found.append(name)
            return found

        return wait_for(connected, "the host is connected to a gateway")[0]

    def readiness(self, name: str) -> str:
        """What a gateway says at /readyz."""
        read = "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8444, timeout=10);"
        read += " c.request('GET', '/readyz'); print(c.getresponse().read().decode())"
        return self.machines[name].run("python3", "-c", read, check=False).stdout

    def is_ready(self, name: str) -> bool:
        """Whether a gateway can answer hosts."""
        return '"ready": true' in self.readiness(name)

    def wait_until_ready(self, *names: str) -> None:
        """Wait until gateways can answer hosts."""
        for name in names or GATEWAYS:
            try:
                wait_for(functools.partial(self.is_ready, name), f"{name} is ready")
            except AssertionError:
                print(name, self.readiness(name))
                raise


class Login:
    """An ssh login with a shell, which the person has approved, and that lasts."""

    def __init__(self, fleet: Fleet, user: str, host: str) -> None:
        before = fleet.rings()
        self.terminal = fleet.ssh(user, host, "exec sh -i", options=("-tt",))
        self.number = fleet.ringing(user, before).number
        """Of the session at IAMPASS."""
        fleet.iampass.approve(self.number)
        self.terminal.expect(r"\$ ")

    def type(self, command: str, answer: str) -> bool:
        """Type a command; whether it says that, and the login did not end."""
        self.terminal.sendline(command)
        return bool(self.terminal.expect([answer, "closed"]) == 0)

    def lives(self) -> bool:
        """Whether the shell answers."""
        return self.type("echo alive-$((40 + 2))", "alive-42")

    def ends(self) -> bool:
        """Wait until it was ended."""
        return self.terminal.finish() != 0

    def sudo(self) -> bool:
        """Type a sudo, and the password; whether it runs as root."""
        self.terminal.sendline(f"sudo -k sh -c '{WHO}'")
        type_password(self.terminal)
        return bool(self.terminal.expect([r"In as root\.", "denied|try again"]) == 0)


def set_up(fleet: Fleet) -> None:
    """The pair, the gateways, the people and the hosts."""
    page = TypedPage("docs/fleet/gateway.md")
    authority = trustme.CA()
    primary, standby = (fleet.machines[name] for name in DATABASES)
    for name in DATABASES:
        pair.configure(fleet.machines[name], authority)
    pair.make_database(primary)
    pair.follow(standby, primary)
    pair.wait_for_standby(primary)

    first, second = (fleet.machines[name] for name in GATEWAYS)
    home = "/var/lib/iampass-gateway"
    for gateway in (first, second):
        gateway.shell(
            f"""
            systemctl disable -q --now postgresql {pair.UNIT}
            install -d -o _iampass-gateway -g _iampass-gateway -m 700 {home} {home}/.postgresql
            """
        )
        gateway.write(f"{home}/.postgresql/root.crt", authority.cert_pem.bytes().decode())
        gateway.write(f"{home}/.pgpass", f"*:*:iampass:{pair.ROLE}:{pair.PASSWORD}\n", 0o600)
        gateway.run("chown", "_iampass-gateway:", f"{home}/.pgpass")
        gateway.write("/etc/iampass-ca.pem", fleet.iampass.ca_file.read_text())
    names = " ".join(f"--name {name}.{DOMAIN}" for name in GATEWAYS)
    init = page.command("The gateway", "pam-iampass-gateway init")
    init = init.replace("--name gateway.example.com", names).replace("my-application", "demo")
    init += (
        f" --secret-file - --server https://iampass.{DOMAIN}:{IAMPASS} --server-ca-file /etc/iampass-ca.pem"
    )
    first.run("sh", "-c", f"{init} --database '{pair.connection()}'", stdin=SECRET)
    first.shell(
        f"""
        sed -i '/^groups:$/d; /^  default: {{everybody: true}}$/d' {ETC}/gateway.yaml
        cat >> {ETC}/gateway.yaml <<'end'\n{POLICY}end
        """
    )
    files = first.shell(f"tar -C {ETC} -c . | base64")
    second.run("sh", "-c", f"base64 -d | tar -C {ETC} -x", stdin=files)
    for name in GATEWAYS:
        page.type(fleet.machines[name], "More hosts", "systemctl restart pam-iampass-gateway")
        fleet.wait_until_ready(name)

    for user in PEOPLE:
        fleet.register(user, fleet.gateway("enroll", user, "--group", "staff", "--no-wait"))
    for name, group in zip(HOSTS, ("bastion", "web")):
        host, full = fleet.machines[name], f"{name}.{DOMAIN}"
        invited = fleet.gateway("host", "invite", "--name", full, "--group", group)
        [join] = re.findall("^ +(pam-iampass join .*)", invited, re.M)
        host.write("/etc/iampass/iampass.yaml", SETTINGS, 0o640, "_iampass")
        host.shell(join)
        if group == "bastion":
            fleet.gateway("host", "admit", full)
        host.run("pam-iampass", "check", "--settings")
        for service in ("sshd", "sudo"):
            host.run("pam-iampass", "setup", service, "--force")


@contextlib.contextmanager
def running(root: Path) -> Iterator[Fleet]:
    """The machines, switched on, with a network. Nothing is set up yet."""
    _here("ip", "link", "set", "lo", "up")
    _here("ip", "link", "add", BRIDGE, "type", "bridge")
    _here("ip", "address", "add", f"{HERE}/24", "dev", BRIDGE)
    _here("ip", "link", "set", BRIDGE, "up")
    with contextlib.ExitStack() as stack:
        listen = ("0.0.0.0", IAMPASS)
        iampass = stack.enter_context(
            Sandbox("demo", SECRET, listen, names=(f"iampass.{DOMAIN}",), allow_remote=True)
        )
        host, server = _installed(root, stack)
        key = Path(host.root / "root/key")
        origin = {name: host if name in HOSTS else server for name in ADDRESSES}
        fleet = Fleet(origin, iampass, key)
        for machine in fleet.machines.values():
            stack.callback(machine.close)
        for machine in fleet.machines.values():
            machine.switch_on()
        for machine in fleet.machines.values():
            machine.wait()
        yield fleet


def _installed(root: Path, stack: contextlib.ExitStack) -> tuple[Booted, Booted]:
    """The files of a host, and of a gateway or database: what `apt install` leaves. Both machines are shut down."""
    host = Booted(root, "host")
    stack.callback(host.close)
    host.boot()
    administrator = Administrator(host, PEOPLE)
    administrator.make_people()
    administrator.install(*built(NAMES[:1]))
    host.shell(
        """
        systemctl enable -q systemd-networkd
        sed 's/^/* /' /etc/ssh/ssh_host_ed25519_key.pub > /etc/ssh/ssh_known_hosts
        for user in alice bob; do
            install -m 600 -o $user -g $user /root/key /home/$user/.ssh/id_ed25519
        done
        """
    )
    host.shut_down()
    server = Booted(host, "server")
    stack.callback(server.close)
    server.boot()
    Administrator(server, PEOPLE).install(*built((*NAMES[:1], "pam-iampass-gateway")))
    server.shut_down()
    for machine in (host, server):  # apt's cache, of which each machine would have a copy
        for folder in ("cache/apt", "lib/apt/lists"):
            shutil.rmtree(machine.var / folder)
    return host, server


def _here(*words: str) -> None:
    subprocess.run(words, check=True)
