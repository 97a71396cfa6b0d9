"""A program in its own terminal, for tests that play the user."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import subprocess
import termios
from collections.abc import Sequence
from typing import ClassVar

import pexpect
from pexpect.fdpexpect import fdspawn

ROWS, COLUMNS = 24, 200
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "xterm"}


class Terminal(fdspawn):  # type: ignore[misc]
    """Runs a command, with this as its controlling terminal.

    pexpect's own `spawn` forks this process, which is not safe where there are threads (the sandbox's);
    so it is setsid(1) that makes the terminal the command's own.
    """

    #: Terminals whose program may still run.
    open: ClassVar[set[Terminal]] = set()

    def __init__(
        self,
        command: Sequence[str],
        timeout: float = 90,
        environment: dict[str, str] | None = None,
        columns: int = COLUMNS,
    ) -> None:
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**ENVIRONMENT, **(environment or {})},
        )
        os.close(slave)
        self.open.add(self)
        # Not by select(2), which knows no descriptor above 1023.
        super().__init__(master, timeout=timeout, encoding="utf-8", codec_errors="replace", use_poll=True)
        self._shown = io.StringIO()
        self.logfile_read = self._shown

    @property
    def shown(self) -> str:
        """The output so far, with plain line ends."""
        return self._shown.getvalue().replace("\r\n", "\n")

    def __str__(self) -> str:
        return f"a terminal that shows:\n{self.shown}"  # in pexpect's errors

    @property
    def lines(self) -> list[str]:
        """Its lines, without the empty ones."""
        return [line for line in self.shown.split("\n") if line.strip()]

    def sendeof(self) -> None:
        """Type Ctrl-D."""
        self.send("\x04")

    def finish(self) -> int:
        """Wait until the program has ended; returns its exit status."""
        self.expect(pexpect.EOF)
        status = self.process.wait(self.timeout)
        self.open.discard(self)
        self.close()
        return status

    def kill(self) -> None:
        """Kill the program, and read its output."""
        self.process.kill()
        self.finish()

    @classmethod
    def kill_all(cls) -> None:
        """Kill the programs of all terminals that may still run."""
        for terminal in list(cls.open):
            terminal.kill()
