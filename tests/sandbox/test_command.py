"""`pam-iampass sandbox`, as scripts and people meet it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pexpect
import pytest

from tests.sandbox.signer import Caller
from tests.support.deadline import PATIENCE
from tests.support.sandbox import Sandbox

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
        timeout=PATIENCE,
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
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


def caller_of(url: str, state: Path) -> Caller:
    """A caller that knows only what the pasted configuration says."""
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
    with running(tmp_path / "state", "--user", "alice") as command:
        command.caller().start("alice")
        command.read_until("requested")
        assert command.stop(number) == (0, "", "")


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


def test_a_script_answers_with_the_command_that_was_printed(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--user", "alice") as command:
        caller = command.caller()
        begun = caller.start("alice").authentication
        (line,) = [line for line in command.lines if "curl" in line]
        if shutil.which("curl") is None:
            token = (tmp_path / "state" / "control-token").read_text().strip()
            caller.send("POST", "/sandbox/requests/1/approve", {"Authorization": f"Bearer {token}"})
        else:
            here = line.replace("curl", "curl --silent --fail")
            subprocess.run(here, shell=True, check=True, capture_output=True)
        assert caller.poll(begun) == "active"


def test_options_reach_the_sandbox(tmp_path: Path) -> None:
    arguments = ["--user", "alice", "--request-timeout", "1s", "--auto", "ignore"]
    with running(tmp_path / "state", *arguments, "--application-secret", "mine") as command:
        assert (tmp_path / "state" / "application-secret").read_text() == "mine\n"
        command.caller().start("alice")
        assert "timed out" in command.read_until("timed out")


def test_on_a_terminal_requests_are_answered_by_typing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    arguments = [*COMMAND[1:], "--listen", "127.0.0.1:0", "--state", str(state), "--user", "alice"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    options: Any = {"cwd": str(ROOT), "env": environment, "encoding": "utf-8", "timeout": 60, "echo": False}
    terminal = pexpect.spawn(COMMAND[0], arguments, **options)
    try:
        terminal.expect(r"(https://127\.0\.0\.1:[0-9]+/phone#\S+)\s")
        assert terminal.match.group(1) == (state / "phone-address").read_text().strip()
        terminal.expect(r"Sandbox ready at (https://127\.0\.0\.1:[0-9]+)\s")
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


def test_a_port_in_use_is_an_error_in_a_line() -> None:
    with Sandbox() as sandbox:
        result = run("--listen", f"127.0.0.1:{sandbox.port}")
    assert result.returncode == 1
    what = f"cannot listen on 127.0.0.1 port {sandbox.port}: Address already in use"
    assert result.stderr == f"Error: {what}; choose another with --listen\n"


@pytest.mark.parametrize("address", ["8443", "localhost", "localhost:", ":1", "[::1]", "h:x", "h:65536"])
def test_an_invalid_address_is_refused(address: str) -> None:
    result = run("--listen", address)
    assert result.returncode == 2
    assert "is not HOST:PORT" in result.stderr


def test_a_reader_that_goes_away_does_not_stop_it(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--user", "alice", "--auto", "approve") as command:
        assert command.process.stdout is not None
        command.process.stdout.close()
        caller = command.caller()
        begun = [caller.start("alice").authentication for _ in range(3)][-1]
        assert caller.end(begun) is True
        assert command.process.poll() is None


def test_options_of_the_server_are_not_those_of_use() -> None:
    result = run("--user", "alice", "use", "/nowhere")
    assert result.returncode == 2
    assert "`use` has options of its own" in result.stderr
