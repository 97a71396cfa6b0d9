"""Programs, run without a terminal in processes that have imported their modules already."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

COMMAND = "/usr/bin/pam-iampass"
PACKAGES = "/usr/lib/python3/dist-packages"


def run_command(
    *arguments: str, environment: dict[str, str] | None = None, typed: str = "", timeout: float = 90.0
) -> subprocess.CompletedProcess[str]:
    """Run the installed `pam-iampass` as root, as `run_imported` does; returns what it printed."""
    return run_imported(
        "pam_iampass.cli",
        (PACKAGES,),
        (COMMAND, *arguments),
        dict(os.environ) if environment is None else environment,
        typed,
        timeout,
    )


def run_imported(
    package: str,
    folders: tuple[str, ...],
    argv: tuple[str, ...],
    environment: dict[str, str],
    typed: str,
    timeout: float,
) -> subprocess.CompletedProcess[str]:
    """Run the command of a package in `folders`, from a process that has already imported it; returns what it printed.

    For tests that run it often. What a test changes about Python or the packages has no effect here.
    """
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        given.write(typed.encode())
        given.seek(0)
        standard = (given.fileno(), output.fileno(), errors.fileno())
        process = ImportedProcess(package, folders, argv, environment, standard)
        try:
            status = process.wait(timeout)
        except TimeoutError:
            process.signal(signal.SIGKILL)
            process.wait()
            raise
        shown = []
        for file in (output, errors):
            file.seek(0)
            shown.append(file.read().decode())
        return subprocess.CompletedProcess(argv, status, *shown)


class ImportedProcess:
    """A process as `run_imported` makes it."""

    def __init__(
        self,
        package: str,
        folders: Sequence[str],
        argv: Sequence[str],
        environment: dict[str, str],
        standard: Sequence[int],
    ) -> None:
        """Start it. `standard` are the descriptors of its standard input, output and error."""
        self._answer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps({"argv": argv, "environment": environment})
        with theirs:
            socket.send_fds(_server(package, *folders), [request.encode()], [*standard, theirs.fileno()])
        self.pid = int(self._answer.recv(32))
        self._status: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; its status, as that of Popen. Raises TimeoutError."""
        if self._status is None:
            self._answer.settimeout(timeout)
            self._status = os.waitstatus_to_exitcode(int(self._answer.recv(32)))
            self._answer.close()
        return self._status

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@functools.cache
def _server(package: str, *folders: str) -> socket.socket:
    """The connection to the process that starts a command; both end with the tests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        program = Path(__file__).with_name("command_server.py")
        process = subprocess.Popen(
            ["/usr/bin/python3", "-IS", str(program), package, *folders],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            cwd="/",
        )

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours
