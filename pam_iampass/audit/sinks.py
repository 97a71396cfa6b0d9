"""Where records go: journald, or syslog on machines without it. No login waits for them.

systemd-python and syslog(3) are not used: their calls have no time-out, and keep Python's lock while they block.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from pam_iampass.system.unix_sockets import send_datagram

JOURNAL_SOCKET = "/run/systemd/journal/socket"
SYSLOG_SOCKET = "/dev/log"
#: How long a record waits for room in a log that is full. Seconds.
LONGEST_WAIT = 5.0
#: How many records may wait; further ones are lost.
MOST_WAITING = 5000
#: Characters of one field. All fields of a record fit into a datagram (net.core.wmem_default, 208 KiB).
LONGEST_FIELD = 2048

Fields = dict[str, str]


class Sink(Protocol):
    """A destination of records."""

    def write(self, fields: Fields, patience: float = 0.0) -> None:
        """Write one record; wait for room at most `patience` seconds.

        Raises BlockingIOError where there is no room (and `patience` is 0), else OSError.
        """


class JournalSink:
    """journald, by its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/)."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path

    def write(self, fields: Fields, patience: float = 0.0) -> None:
        # Each value has its length in front of it, so that none can pass for further fields.
        record = bytearray()
        for name, value in fields.items():
            data = value[:LONGEST_FIELD].encode("utf-8", "backslashreplace")
            record += name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
        send_datagram(self._path, record, patience)


class SyslogSink:
    """A syslog daemon, by its local protocol (RFC 3164)."""

    def __init__(self, path: str = SYSLOG_SOCKET) -> None:
        self._path = path

    def write(self, fields: Fields, patience: float = 0.0) -> None:
        priority = int(fields["SYSLOG_FACILITY"]) * 8 + int(fields["PRIORITY"])
        tag = f"{fields['SYSLOG_IDENTIFIER']}[{fields['SYSLOG_PID']}]"
        message = fields["MESSAGE"][: 2 * LONGEST_FIELD]
        line = f"<{priority}>{time.strftime('%b %e %H:%M:%S')} {tag}: {message}"
        send_datagram(self._path, line.encode("utf-8", "backslashreplace"), patience)


class Delivery:
    """Gives records to the first sink that is there. One without room is waited for in another thread."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, Fields]] = deque()
        self._running = False

    def deliver(self, fields: Fields) -> None:
        """Deliver a record, now or within LONGEST_WAIT. Does not wait, and raises nothing."""
        for sink in self._sinks:
            try:
                sink.write(fields)
            except BlockingIOError:
                self._wait(fields)
            except OSError:
                continue
            return

    def _wait(self, fields: Fields) -> None:
        with self._lock:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append((time.monotonic() + LONGEST_WAIT, fields))
            if self._running:
                return
            try:
                # Not a daemon: the process of a single login ends only when its record is written.
                threading.Thread(target=self._run, daemon=False).start()
            except RuntimeError:  # out of threads: the next record starts one
                return
            self._running = True

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running = False
                    return
                until, fields = self._waiting.popleft()
            for sink in self._sinks:
                try:
                    sink.write(fields, max(until - time.monotonic(), 0.0))
                except OSError:
                    continue
                break
