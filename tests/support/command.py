"""The installed command `pam-iampass`, run without a terminal."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

COMMAND = "/usr/bin/pam-iampass"
PACKAGES = "/usr/lib/python3/dist-packages"
ONE_AT_A_TIME = threading.Lock()


def run_command(
    *arguments: str, environment: dict[str, str] | None = None, typed: str = "", timeout: float = 90.0
) -> subprocess.CompletedProcess[str]:
    """Run `pam-iampass` as root, from a process that has already imported it; returns what it printed.

    For tests that run it often. What a test changes about Python or the packages has no effect here.
    """
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        ONE_AT_A_TIME,
    ):
        given.write(typed.encode())
        given.seek(0)
        request = {
            "argv": [COMMAND, *arguments],
            "environment": dict(os.environ) if environment is None else environment,
        }
        server = _server()
        server.settimeout(timeout)
        socket.send_fds(
            server, [json.dumps(request).encode()], [given.fileno(), output.fileno(), errors.fileno()]
        )
        child = int(server.recv(32))
        try:
            status = os.waitstatus_to_exitcode(int(server.recv(32)))
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            server.recv(32)
            raise
        shown = []
        for file in (output, errors):
            file.seek(0)
            shown.append(file.read().decode())
        return subprocess.CompletedProcess([COMMAND, *arguments], status, *shown)


@functools.cache
def _server() -> socket.socket:
    """The connection to the process that runs the commands; both end with the tests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            ["/usr/bin/python3", "-IS", str(Path(__file__).with_name("command_server.py")), PACKAGES],
            stdin=theirs.fileno(),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            cwd="/",
        )

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours
