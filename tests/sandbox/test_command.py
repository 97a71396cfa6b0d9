"""`pam-iampass sandbox`, as scripts and people meet it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pexpect
import pytest
import yaml

from pam_iampass.sandbox import Sandbox
from pam_iampass.sandbox.fault_options import FAULTS
from tests.sandbox.signer import Caller

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-W", "error", "-c", "from pam_iampass.cli.sandbox import command; command()"]
READY = "Sandbox ready at https://127.0.0.1:"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=20,
    )


class Running:
    """The command, with its output read line by line until it is ready."""

    def __init__(self, state: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "--listen", "127.0.0.1:0", "--state", str(state), *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.lines: list[str] = []
        self.read_until(READY)
        self.url = self.lines[-1].split()[-1]
        self.state = state

    def read_until(self, text: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return line
        raise AssertionError(f"{text!r} is not in {self.lines}: {self.process.communicate()}")

    def caller(self) -> Caller:
        return caller_of(self.url, self.state)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err


def caller_of(url: str, state: Path) -> Caller:
    """A caller that knows what somebody knows who pasted the configuration."""
    known = SimpleNamespace(
        url=url,
        port=int(url.rpartition(":")[2]),
        ca_file=state / "ca.pem",
        application_id="sandbox",
        application_secret=(state / "application-secret").read_text().strip(),
    )
    return Caller(cast(Sandbox, known))


@contextmanager
def running(state: Path, *arguments: str) -> Iterator[Running]:
    command = Running(state, *arguments)
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.process.kill()
        command.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: int) -> None:
    with running(tmp_path / "state", "--user", "alice", "--fault", "start:hang") as command:
        connection = command.caller().connect()
        connection.request("POST", "/authentication/authenticate_user/sandbox/alice")
        command.read_until("fault")
        assert command.stop(number) == (0, "", "")
        connection.close()


def test_it_tells_what_happens_in_a_line_each(tmp_path: Path) -> None:
    arguments = ("--user", "alice", "--user", "bob:no-device", "--auto", "approve")
    with running(tmp_path / "state", *arguments) as command:
        caller = command.caller()
        begun = caller.start("alice", "?methods=device").authentication
        assert command.read_until("requested").split()[1:] == ["requested", "alice", "#1", "device"]
        assert command.read_until("approved").split()[1:] == ["approved", "alice", "#1"]
        assert caller.end(begun) is True
        assert command.read_until("ended").split()[1:] == ["ended", "alice", "#1", "by", "client"]
        caller.start("bob")
        assert command.read_until("not started").split()[1:] == ["not", "started", "bob", "NO_MOBILE_DEVICE"]
        caller.start("\x1b[2J\u202eevil" + "x" * 200)
        line = command.read_until("404")
        assert "\x1b" not in line
        assert "\u202e" not in line
        assert line.count("\n") == 1
        assert "\x1b" not in "".join(command.lines)


def test_the_configuration_that_it_prints_is_ready_to_paste(tmp_path: Path) -> None:
    state = tmp_path / "a state"
    (tmp_path / "iampass.yaml").write_text("mine: kept\n")
    modes = {"iampass.yaml": 0o640, "application-secret": 0o640, "sandbox-ca.pem": 0o644}
    with running(state, "--user", "no", "--user", "bob:no-device", "--user", "a b") as command:
        lines = [line for line in command.lines if line.startswith("install ")]
        assert len(lines) == len(modes)
        for line, (target, mode) in zip(lines, modes.items()):
            here = re.sub("-o root -g (iampass|root)", "", line).replace("/etc/iampass", str(tmp_path))
            subprocess.run(here, shell=True, check=True)
            assert stat.S_IMODE((tmp_path / target).stat().st_mode) == mode
        assert yaml.safe_load((tmp_path / "iampass.yaml").read_text()) == {
            "application_id": "sandbox",
            "application_secret_file": "/etc/iampass/application-secret",
            "server": command.url,
            "ca_file": "/etc/iampass/sandbox-ca.pem",
            "users": "/etc/iampass/users.yaml",
            "services": {"su": {"approver": "caller"}, "su-l": {"approver": "caller"}},
        }
        assert (tmp_path / "iampass.yaml.~1~").read_text() == "mine: kept\n"
        assert added_users(command.lines) == {"no": "no", "bob": "bob", "a b": "a b"}
        secret = (state / "application-secret").read_text()
        assert (tmp_path / "application-secret").read_text() == secret
        assert secret.strip() not in "".join(command.lines)


def added_users(lines: list[str]) -> dict[str, str]:
    """Users and tokens of the commands that add them to the table."""
    words = [shlex.split(line) for line in lines if line.startswith("pam-iampass user add ")]
    assert {each[4] for each in words} <= {"--token"}
    return {each[3]: each[5] for each in words}


def test_a_script_answers_with_the_command_that_was_printed(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--user", "alice") as command:
        caller = command.caller()
        begun = caller.start("alice").authentication
        (line,) = [line for line in command.lines if "curl" in line]
        if not Path("/usr/bin/curl").exists():
            token = (tmp_path / "state" / "control-token").read_text().strip()
            caller.send("POST", "/sandbox/requests/1/approve", {"Authorization": f"Bearer {token}"})
        else:
            here = line.replace("curl", "curl --silent --fail")
            subprocess.run(here, shell=True, check=True, capture_output=True)
        assert caller.poll(begun) == "active"


def test_options_reach_the_sandbox(tmp_path: Path) -> None:
    arguments = ["--user", "alice", "--request-timeout", "0.05", "--auto", "ignore"]
    misbehaving = ["--clock-skew", "-1000", "--fault", "start:status=503,retry-after=2,times=2"]
    with running(tmp_path / "state", *arguments, *misbehaving) as command:
        caller = command.caller()
        assert [caller.start("alice").status for _ in range(3)] == [503, 503, 401]
        assert "STALE_TIMESTAMP" in command.read_until("refused")
    with running(tmp_path / "state", *arguments, "--application-secret", "mine") as command:
        assert (tmp_path / "state" / "application-secret").read_text() == "mine\n"
        command.caller().start("alice")
        assert "timed out" in command.read_until("timed out")


def test_on_a_terminal_requests_are_answered_by_typing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    arguments = [*COMMAND[1:], "--listen", "127.0.0.1:0", "--state", str(state), "--user", "alice"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    options: Any = {"cwd": str(ROOT), "env": environment, "encoding": "utf-8", "timeout": 10, "echo": False}
    terminal = pexpect.spawn(COMMAND[0], arguments, **options)
    try:
        terminal.expect(r"(https://127\.0\.0\.1:[0-9]+/phone#\S+)")
        assert terminal.match.group(1) == (state / "phone-address").read_text().strip()
        terminal.expect(r"Sandbox ready at (https://127\.0\.0\.1:[0-9]+)")
        caller = caller_of(str(terminal.match.group(1)), state)
        first, second = (caller.start("alice").authentication for _ in range(2))
        terminal.expect("answer: a 2 or d 2")
        terminal.sendline("a")
        terminal.expect(r"which one\? waiting: 1 \(alice\), 2 \(alice\)")
        terminal.sendline("yes")
        terminal.expect("a NUMBER approves")
        terminal.sendline("a 1")
        terminal.expect("\x1b\\[1;32mapproved")
        terminal.sendline("d")
        terminal.expect("denied")
        assert (caller.poll(first), caller.poll(second)) == ("active", "cancelled")
        terminal.sendline("d 9")
        terminal.expect("there is no request 9")
        terminal.sendeof()
        caller.start("alice")
        terminal.expect("#3")
        terminal.kill(signal.SIGINT)
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)
    assert terminal.exitstatus == 0


def test_a_device_that_was_registered_outlives_a_restart_of_the_same_command(tmp_path: Path) -> None:
    arguments = ("--user", "alice", "--user", "bob:no-device")
    with running(tmp_path / "state", *arguments) as command:
        caller = command.caller()
        caller.post(caller.manage("add_users"), {"users": ["carol"]})
        link = caller.get(caller.manage("device_registration_link", "bob")).json["register_url"]
        assert caller.send("POST", link.removeprefix(command.url), {}).status == 200
        command.stop()
    with running(tmp_path / "state", *arguments) as command:
        caller = command.caller()
        assert caller.get(caller.manage("has_registered_mobile_device", "bob")).json == {
            "device_registered": True
        }
        assert added_users(command.lines) == {"alice": "alice", "bob": "bob", "carol": "carol"}


def test_the_phone_key_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    with running(tmp_path / "state") as command:
        address = (tmp_path / "state" / "phone-address").read_text().strip()
        page, _, key = address.partition("#")
        assert page == f"{command.url}/phone"
        assert key not in "\n".join(command.lines)
        assert f"{tmp_path / 'state' / 'phone-address'}" in "\n".join(command.lines)


def test_other_addresses_than_loopback_are_refused() -> None:
    result = run("--listen", "0.0.0.0:0")
    assert result.returncode == 1
    assert "--allow-remote" in result.stderr
    assert READY not in result.stdout


def test_a_port_in_use_is_an_error_in_a_line() -> None:
    with Sandbox() as sandbox:
        result = run("--listen", f"127.0.0.1:{sandbox.port}")
    assert result.returncode == 1
    what = f"cannot listen on 127.0.0.1 port {sandbox.port}: Address already in use"
    assert result.stderr == f"Error: {what}; choose another with --listen\n"


@pytest.mark.parametrize("address", ["8443", "localhost", "localhost:", ":1", "[::1]", "h:x", "h:65536"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    result = run("--listen", address)
    assert result.returncode == 2
    assert "is not HOST:PORT" in result.stderr


def test_a_wrong_fault_is_refused_with_the_table() -> None:
    result = run("--fault", "start:levitate")
    assert result.returncode == 2
    assert "'levitate' is no fault" in result.stderr
    assert all(row.example in result.stderr for row in FAULTS)


def test_help_shows_examples_and_every_fault() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert "pam-iampass sandbox --user alice --auto approve --delay 2" in result.stdout
    assert all(row.example in result.stdout and row.meaning in result.stdout for row in FAULTS)
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_a_reader_that_goes_away_does_not_stop_it(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--user", "alice", "--auto", "approve") as command:
        assert command.process.stdout is not None
        command.process.stdout.close()
        caller = command.caller()
        begun = [caller.start("alice").authentication for _ in range(3)][-1]
        assert caller.end(begun) is True
        assert command.process.poll() is None
