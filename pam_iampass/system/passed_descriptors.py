"""The descriptors that systemd has passed to this process (sd_listen_fds_with_names(3))."""

from __future__ import annotations

import os

_FIRST = 3  # SD_LISTEN_FDS_START


def passed() -> list[tuple[str, int]]:
    """Their names and numbers, the sockets first; no program inherits them. Empty without systemd."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        return []
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found = [(names[number] if number < len(names) else "", _FIRST + number) for number in range(int(count))]
    for _name, descriptor in found:
        os.set_inheritable(descriptor, False)
    return found
