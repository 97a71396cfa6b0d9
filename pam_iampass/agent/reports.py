"""Tells the gateway of logins of which it has not decided: exempt accounts, bypasses and codes of this host, outages.

A login waits for none of it: it puts its report into a queue in memory once it is answered. A thread sends them, and
what cannot be sent yet is written to the agent's file. The queue is bounded, and what it has no room for is counted.
"""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Callable, Union

from pam_iampass.client import AuthenticationAPI, Deadline
from pam_iampass.client.errors import IampassError, ProtocolError
from pam_iampass.errors import PamIampassError, StateError
from pam_iampass.outcome import Decision, Login
from pam_iampass.system.boot import machine_digest
from pam_iampass.system.database import Database
from pam_iampass.text import clean

MOST = 500
"""The most reports that wait."""
AT_ONCE = 20
"""The most reports in one call."""
LARGEST = 14 * 1024
"""Bytes of a call's reports: a gateway takes 16 KiB."""
GATHER = 1.0
"""How long others are waited for after the first one. Seconds."""
AGAIN, LONGEST = 5.0, 300.0
"""The first and the longest pause after a failure, about. Seconds."""
ANSWER = 20.0
"""How long a call may take. Seconds."""

Members = dict[str, Union[str, int]]


@dataclass(frozen=True)
class Report:
    """One login, or a number of logins that the queue had no room for."""

    config: str
    """The settings that name the gateway."""
    at: float
    """Unix time."""
    members: Members
    """What the gateway is told, without its age."""


class LoginReports:
    """The queue. Every method may be called in any thread."""

    def __init__(
        self,
        database: Database,
        connect: Callable[[str], AuthenticationAPI],
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`connect` returns the API of the settings in a file, and raises PamIampassError. `chance` is a number from 0
        to 1."""
        self._database = database
        self._connect = connect
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()
        self._queue: dict[str, Report] = {}
        """The reports by the ids of their logins, the oldest first."""
        self._lost = Counter[str]()
        """The logins that found no room, by settings."""
        self._written: set[str] = set()
        """The ids that are in the file."""
        self._work = threading.Event()
        self._stopped = threading.Event()
        database.on_open.append(self._read)

    def add(self, config: str, login: Login, decision: Decision) -> None:
        """Report a login with these settings."""
        people = login.participants
        texts = {
            "outcome": decision.outcome.value,
            "user": login.user,
            "service": login.service,
            "remote": login.address or login.rhost or "",
            "caller": people.caller,
            "approver": people.approver,
            "person": people.person,
            "reason": decision.reason,
        }
        self.put(config, login.id, self._clock(), texts)

    def put(self, config: str, id: str, at: float, texts: dict[str, str]) -> None:
        """Put a report into the queue."""
        members: Members = {"login": id}
        members.update(
            (name, clean(text, 200 if name == "reason" else 100)) for name, text in texts.items() if text
        )
        with self._lock:
            if len(self._queue) < MOST:
                self._queue.setdefault(id, Report(config, at, members))
            else:
                self._lost[config] += 1
        self._work.set()

    def start(self) -> None:
        """Send what there is, in a thread of its own, until `stop`."""
        threading.Thread(target=self._run, daemon=True, name="reports").start()

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped.set()
        self._work.set()

    def _run(self) -> None:
        pause = AGAIN
        while not self._stopped.is_set():
            self._work.wait()
            self._work.clear()
            self._stopped.wait(GATHER)
            while not self._stopped.is_set() and not self.send():
                self._stopped.wait(pause * (0.5 + self._chance()))
                pause = min(pause * 2, LONGEST)
            pause = AGAIN

    def send(self) -> bool:
        """Send all that there is, at one gateway after the other; whether it has arrived."""
        while (batch := self._batch()) is not None:
            config, reports = batch
            understood = True
            try:
                api = self._connect(config)
                if api.transport.origin.gateways:
                    api.report(
                        list(map(self._told, reports)), machine_digest(), deadline=Deadline.after(ANSWER)
                    )
            except (IampassError, PamIampassError, ValueError) as error:
                if not isinstance(error, ProtocolError) or error.may_have_started:
                    return False
                understood = False  # nor will the gateway the next time
            with self._lock:
                for report in reports:
                    self._queue.pop(str(report.members["login"]), None)
                    if not understood:
                        self._lost[config] += int(report.members.get("lost", 1))
            if not understood:
                return False
        return True

    def write(self) -> None:
        """Write to the file what waits. Where that fails, it waits in memory only."""
        with self._lock:
            waiting = dict(self._queue)
        new, gone = waiting.keys() - self._written, self._written - waiting.keys()
        if not new and not gone:
            return
        rows = [(id, json.dumps([waiting[id].config, waiting[id].at, waiting[id].members])) for id in new]
        with suppress(StateError), self._database.transaction() as connection:
            connection.executemany("DELETE FROM reports WHERE login = ?", [(id,) for id in gone])
            connection.executemany("INSERT OR REPLACE INTO reports VALUES (?, ?)", rows)
            self._written = set(waiting)

    def _batch(self) -> tuple[str, list[Report]] | None:
        """The next reports, all with the same settings; None if there are none."""
        with self._lock:
            for config, number in self._lost.items():
                id = secrets.token_hex(16)
                self._queue[id] = Report(config, self._clock(), {"login": id, "lost": number})
            self._lost.clear()
            if not self._queue:
                return None
            config = next(iter(self._queue.values())).config
            found, size = list[Report](), 0
            for report in self._queue.values():
                if report.config != config:
                    continue
                size += len(json.dumps(self._told(report))) + 2
                if len(found) == AT_ONCE or (found and size > LARGEST):
                    break
                found.append(report)
        return config, found

    def _told(self, report: Report) -> Members:
        return {**report.members, "ago": max(round(self._clock() - report.at), 0)}

    def _read(self, connection: sqlite3.Connection) -> None:
        rows: list[tuple[str, Any]] = [
            (id, json.loads(content))
            for id, content in connection.execute("SELECT login, content FROM reports")
        ]
        with self._lock:
            for id, (config, at, members) in rows:
                self._queue.setdefault(id, Report(config, float(at), members))
        self._written = {id for id, _ in rows}
        self._work.set()
