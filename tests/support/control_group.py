"""Control groups (cgroups(7), version 2) of machines and hosts that run on one machine."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path


class ControlGroup:
    """A new one below that of this process: whoever is in it is ended by nobody else's."""

    def __init__(self, name: str) -> None:
        self.path = _own() / name
        self.path.mkdir()

    def enter(self) -> None:
        """Move this process there."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def kill(self, patience: float) -> None:
        """End all that runs there, and wait for it."""
        (self.path / "cgroup.kill").write_text("1")
        until = time.monotonic() + patience
        while "populated 1" in (self.path / "cgroup.events").read_text():
            assert time.monotonic() < until, f"{self.path} still has processes"
            time.sleep(0.05)

    def remove(self, patience: float) -> None:
        """Remove the group, in which nothing runs."""
        until = time.monotonic() + patience
        for folder, _folders, _files in os.walk(self.path, topdown=False):
            while True:
                try:
                    os.rmdir(folder)
                    break
                except OSError as error:  # for a moment after the last process was reaped
                    if error.errno != errno.EBUSY or time.monotonic() > until:
                        raise
                time.sleep(0.05)


def _own() -> Path:
    """The folder of the group that this process is in."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _separator, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            mounted = Path(before.split()[4])
            for entry in Path("/proc/self/cgroup").read_text().splitlines():
                if entry.startswith("0::/"):
                    return mounted / entry[len("0::/") :]
    raise AssertionError("no control groups of version 2 are mounted here")
