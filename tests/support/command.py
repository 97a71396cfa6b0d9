"""Commands, run without a terminal in processes that have imported their modules already."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import tempfile
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
    answer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        answer,
    ):
        given.write(typed.encode())
        given.seek(0)
        request = json.dumps({"argv": argv, "environment": environment})
        with theirs:
            descriptors = [file.fileno() for file in (given, output, errors, theirs)]
            socket.send_fds(_server(package, *folders), [request.encode()], descriptors)
        answer.settimeout(timeout)
        child = int(answer.recv(32))
        try:
            status = os.waitstatus_to_exitcode(int(answer.recv(32)))
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            raise
        shown = []
        for file in (output, errors):
            file.seek(0)
            shown.append(file.read().decode())
        return subprocess.CompletedProcess(argv, status, *shown)


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
