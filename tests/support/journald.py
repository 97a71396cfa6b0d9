"""A real journald, for the isolated root."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

DAEMON = "/usr/lib/systemd/systemd-journald"
SOCKET = Path("/run/systemd/journal/socket")


class Journald:
    """Runs journald and reads its records. Only inside `isolated-root.sh`: it takes the machine's own sockets."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Journald:
        machine_id = Path("/etc/machine-id")
        if not machine_id.exists() or len(machine_id.read_text().strip()) != 32:
            machine_id.write_text(uuid.uuid4().hex + "\n")
        drop_in = Path("/etc/systemd/journald.conf.d/zz-test.conf")
        drop_in.parent.mkdir(parents=True, exist_ok=True)
        # Not compressed: libsystemd reads compressed files only if libzstd is installed.
        drop_in.write_text(
            "[Journal]\nStorage=volatile\nCompress=no\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\nForwardToWall=no\n"
        )
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it takes records."""
        SOCKET.parent.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen([DAEMON], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not SOCKET.exists() and time.monotonic() < until:
            time.sleep(0.02)
        assert SOCKET.exists(), "journald did not start"

    def stop(self) -> None:
        """Stop it; its sockets go too."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None
        for path in SOCKET.parent.iterdir():
            if path.is_socket():
                path.unlink()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it hang, with no room in its socket."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(BlockingIOError):
                sender.setblocking(False)
                sender.connect(str(SOCKET))
                while True:
                    sender.send(b"MESSAGE=filling\n")
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def clear(self) -> None:
        """Restart without any records."""
        self.stop()
        shutil.rmtree("/run/log/journal")
        self.start()

    def cursor(self) -> str:
        """The cursor of the newest record; empty if there is none."""
        records = self._read("-n", "1")
        return str(records[-1]["__CURSOR"]) if records else ""

    def records(self, after: str = "", **fields: str) -> list[dict[str, Any]]:
        """The records of pam_iampass after a cursor that have these fields."""
        arguments = ["-t", "pam_iampass", *(f"{name}={value}" for name, value in fields.items())]
        if after:
            arguments += ["--after-cursor", after]
        return self._read(*arguments)

    def everything(self, after: str = "") -> list[dict[str, Any]]:
        """All records after a cursor, from all programs."""
        return self._read(*(["--after-cursor", after] if after else []))

    def wait_for(self, after: str) -> list[dict[str, Any]]:
        """The records, once there is one."""
        until = time.monotonic() + 60.0
        while not (found := self.records(after)) and time.monotonic() < until:
            time.sleep(0.05)
        return found

    def explained(self, after: str) -> str:
        """The output of `journalctl -x` for the records of pam_iampass."""
        command = ["journalctl", "-q", "--no-pager", "-x", "-t", "pam_iampass"]
        command += ["--after-cursor", after] if after else []
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _read(self, *arguments: str) -> list[dict[str, Any]]:
        subprocess.run(["journalctl", "-q", "--sync"], check=False, capture_output=True)
        command = ["journalctl", "-q", "--no-pager", "-o", "json", "--all", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()]
