"""Hosts of a fleet: each with a network, files, processes, control groups and a name of its own, on one machine.

For the isolated root. `python -m tests.support.fleet` is what runs on a host.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from tests.support.agent import RunningAgent, running_enforcer
from tests.support.control_group import ControlGroup
from tests.support.deadline import PATIENCE
from tests.support.sshd import Login, Sshd

GATEWAY_ADDRESS = "10.77.0.1"
_OWN = ("/etc", "/home", "/var/lib/iampass", "/var/lib/pam-iampass")
"""What a host has a copy of. /run and /tmp are empty at first."""
_NETWORK_NAMESPACE = Path(__file__).with_name("network-namespace.sh")
_LOGIN = "/usr/local/lib/new-login"
_NEW_LOGIN = """\
#!/bin/sh
# What logind does where there is systemd: the process that opens the session, and all that it starts, are in a control
# group of their own, which no other user can enter.
[ "$PAM_TYPE" = open_session ] || exit 0
session=c$PPID
scope=/sys/fs/cgroup/user.slice/user-$(id -u "$PAM_USER").slice/session-$session.scope
mkdir -p "$scope"
echo "$PPID" > "$scope/cgroup.procs"
echo "XDG_SESSION_ID=$session" > /run/new-login
"""
_SESSION = f"""\
session required pam_exec.so quiet {_LOGIN}
session required pam_env.so conffile=/dev/null envfile=/run/new-login
-session optional pam_systemd.so
"""
"""With pam_systemd, which does nothing here, so that `setup` puts our line where there is a name of the session."""


@contextlib.contextmanager
def network() -> Iterator[None]:
    """A network for hosts. The machine itself is `GATEWAY_ADDRESS` in it."""
    _run("ip", "link", "add", "fleet", "type", "bridge")
    try:
        _run("ip", "address", "add", f"{GATEWAY_ADDRESS}/24", "dev", "fleet")
        _run("ip", "link", "set", "fleet", "up")
        yield
    finally:
        _run("ip", "link", "delete", "fleet")


@contextlib.contextmanager
def running_hosts(
    names: Iterable[str], users: tuple[str, ...], gateway: str
) -> Iterator[dict[str, FleetHost]]:
    """Hosts with a network, which have the machine's files as they are now. One key of a client logs in to all, and
    they know the machine by the name of its gateway."""
    folder = Path(tempfile.mkdtemp(dir="/var/lib"))
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "client-key"))
    with Path("/etc/hosts").open("a") as known:
        known.write(f"{GATEWAY_ADDRESS} {gateway}\n")
    Path("/var/lib/pam-iampass").mkdir(exist_ok=True)
    with contextlib.ExitStack() as running:
        running.enter_context(network())
        hosts = {}
        for number, name in enumerate(names):
            hosts[name] = FleetHost(name, number, folder, users)
            running.callback(hosts[name].stop)
        yield hosts


class FleetHost:
    """A host with an agent and an sshd, which has the machine's files as they are now."""

    def __init__(self, name: str, number: int, folder: Path, users: tuple[str, ...]) -> None:
        """Starts it. `folder` is for the keys of all hosts' sshds, which the machine has, too."""
        self.name = name
        self.address = f"10.77.0.{10 + number}"
        self._sshd = Sshd(folder / name, keys=folder, address=self.address)
        self._group = ControlGroup(f"{name}-{secrets.token_hex(4)}")
        self._network = Path(f"/run/network-of-{name}")
        _run(str(_NETWORK_NAMESPACE), str(self._network), "ip link set lo up")
        own = ("--mount", "--propagation", "private", "--uts", "--cgroup", "--pid", "--fork")
        program = [sys.executable, "-m", "tests.support.fleet", name, self.address, str(folder), *users]
        self._process = subprocess.Popen(
            [
                *("nsenter", f"--net={self._network}"),
                *("unshare", *own, "--kill-child", "--mount-proc", "--", *program),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            preexec_fn=self._group.enter,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "has its files\n"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.pid = int(children.read_text())
        cable = f"to-{name.partition('.')[0]}"
        _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        _run("ip", "link", "set", cable, "master", "fleet", "up")
        self._process.stdin.write("has a network\n")
        self._process.stdin.flush()

    def wait(self) -> None:
        """Wait until its sshd listens."""
        assert self._process.stdout is not None
        self._sshd.port = int(self._process.stdout.readline())

    def command(self, *words: str) -> list[str]:
        """A command that root of the host runs."""
        return [
            "nsenter",
            f"--target={self.pid}",
            "--mount",
            "--net",
            "--uts",
            "--pid",
            "--wd=/",
            "--",
            *words,
        ]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it."""
        return subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def reload_sshd(self) -> None:
        """Have its sshd read its configuration again, and wait until it has: it writes its pid file anew once it
        listens."""
        file = self._sshd.pid_file
        before = file.stat().st_mtime_ns
        done = self.run("sh", "-c", f"kill -HUP $(cat {file})")
        assert done.returncode == 0, done.stdout
        until = time.monotonic() + PATIENCE
        while not file.exists() or file.stat().st_mtime_ns == before:
            assert time.monotonic() < until, "sshd does not listen again"
            time.sleep(0.02)

    def login(self, user: str, *remote: str, options: tuple[str, ...] = (), timeout: float) -> Login:
        """A person logs in from the machine."""
        return self._sshd.login(user, *remote, options=options, timeout=timeout)

    def know(self, others: Iterable[FleetHost], user: str) -> None:
        """The user goes on from here to other hosts, which ssh knows by the first parts of their names."""
        names = "".join(
            f"Host {each.name.partition('.')[0]}\nHostName {each.address}\nPort {each._sshd.port}\n"
            for each in others
        )
        known = "".join(
            (each._sshd.client_key.parent / each.name / "known-hosts").read_text() for each in others
        )
        script = f"""
            cd ~{user}/.ssh
            install -m 600 -o {user} {self._sshd.client_key} id_ed25519
            echo '{names}' > /etc/ssh/ssh_config.d/fleet.conf
            echo '{known}' > /etc/ssh/ssh_known_hosts
        """
        done = self.run("sh", "-euc", script)
        assert done.returncode == 0, done.stdout

    @contextlib.contextmanager
    def inside(self) -> Iterator[Executor]:
        """A thread in the host's network."""

        def enter() -> None:
            with open(f"/proc/{self.pid}/ns/net", encoding="ascii") as space:
                os.setns(space.fileno(), os.CLONE_NEWNET)  # type: ignore[attr-defined]  # Python 3.12

        with ThreadPoolExecutor(1, initializer=enter) as thread:
            yield thread

    def stop(self) -> None:
        """Stop it; nothing of it is left."""
        self._process.communicate(timeout=PATIENCE)
        self._group.remove(60)
        _run("umount", str(self._network))
        self._network.unlink()


def main() -> None:
    """Be a host until standard input is closed."""
    name, address, folder, *users = sys.argv[1:]
    _take_files()
    socket.sethostname(name)
    Path("/etc/hostname").write_text(f"{name}\n")
    Path("/etc/machine-id").write_text(f"{secrets.token_hex(16)}\n")
    with Path("/etc/hosts").open("a") as names:
        names.write(f"127.0.1.1 {name}\n")
    print("has its files", flush=True)
    sys.stdin.readline()
    _run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    _run("ip", "link", "set", "eth0", "up")
    _prepare_logins(name, users)
    with (
        RunningAgent(),
        running_enforcer(),
        Sshd(Path(folder) / name, keys=Path(folder), address=address) as sshd,
    ):
        for user in users:
            sshd.admit(user)
        print(sshd.port, flush=True)
        sys.stdin.read()


def _take_files() -> None:
    """Make copies of the folders that a host has of its own, and empty ones."""
    own = Path("/mnt")
    _run("mount", "-t", "tmpfs", "-o", "mode=0755", "own", str(own))
    for folder in _OWN:
        copy = own / folder.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        _run("cp", "-a", folder, str(copy))
    run = own / "run"
    for folder in ("iampass/logins", "sshd", "lock", "user", "systemd/journal", "isolated-root/bytecode"):
        (run / folder).mkdir(parents=True)
    # The journal is that of the machine.
    for folder in ("systemd/journal", "isolated-root/bytecode"):
        _run("mount", "--bind", f"/run/{folder}", str(run / folder))
    for folder in _OWN:
        _run("mount", "--bind", str(own / folder.lstrip("/")), folder)
    _run("mount", "-t", "tmpfs", "-o", "mode=1777", "tmp", "/tmp")
    _run("mount", "--rbind", str(run), "/run")


def _prepare_logins(name: str, users: Iterable[str]) -> None:
    """Give each login a control group, and a prompt with the host's name; show no message of the day."""
    _run("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    program, sshd = Path(_LOGIN), Path("/etc/pam.d/sshd")
    program.parent.mkdir(exist_ok=True)
    program.write_text(_NEW_LOGIN)
    program.chmod(0o755)
    lines = [line for line in sshd.read_text().splitlines(True) if "pam_motd" not in line]
    lines.insert(lines.index("@include common-session\n"), _SESSION)
    sshd.write_text("".join(lines))
    Path("/etc/profile.d/prompt.sh").write_text(f"PS1='{name.partition('.')[0]}$ '\n")
    for user in users:
        Path(f"/home/{user}/.hushlogin").touch()


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"


if __name__ == "__main__":
    main()
