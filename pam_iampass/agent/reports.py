"""Tells the gateway of logins that it has not decided: exempt accounts, bypasses and codes of this host, outages.

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
MOST_OF_ONE = 100
"""The most reports that wait of what one person does. Others keep room, however often that person runs sudo."""
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
LONGEST_AGO = 30 * 86400
"""The greatest age that a gateway is told, as it writes none beyond. The clock may have been wrong at the login."""

Members = dict[str, Union[str, int]]


@dataclass(frozen=True)
class Report:
    """One login, or a number of logins that the queue had no room for."""

    config: str
    """The settings that name the gateway."""
    at: float
    """Unix time."""
    members: Members
    """The members of the report, without its age."""

    @property
    def actor(self) -> str | int | None:
        """The user who acts: the caller of sudo and su, or else who logs in."""
        return self.members.get("caller", self.members.get("user"))


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
        self._tried: set[str] = set()
        """The ids that a gateway may know by now, of what waits."""
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
        if not self.put(config, login.id, self._clock(), texts):
            with self._lock:
                self._count_lost(config, 1)

    def put(self, config: str, id: str, at: float, texts: dict[str, str]) -> bool:
        """Put a report into the queue; whether it has room there. A login that has none is not counted."""
        members: Members = {"login": id}
        members.update(
            (name, clean(text, 200 if name == "reason" else 100)) for name, text in texts.items() if text
        )
        report = Report(config, at, members)
        with self._lock:
            of_one = [each for each in self._queue.values() if each.actor == report.actor]
            if len(self._queue) < MOST and len(of_one) < MOST_OF_ONE:
                self._queue.setdefault(id, report)
            has_room = id in self._queue
        self._work.set()
        return has_room

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
        failed = set[str]()
        while (batch := self._batch(failed)) is not None:
            config, reports = batch
            is_lost = True  # where the settings cannot be read
            try:
                api = self._connect(config)
                is_lost = False
                if api.transport.origin.gateways:
                    api.report(
                        list(map(self._told, reports)), machine_digest(), deadline=Deadline.after(ANSWER)
                    )
            except (IampassError, PamIampassError, ValueError) as error:
                failed.add(config)
                if isinstance(error, ProtocolError) and not error.may_have_started:
                    is_lost = True  # the gateway will understand it the next time as little
                if not is_lost:
                    continue
            with self._lock:
                for report in reports:
                    self._queue.pop(str(report.members["login"]), None)
                self._tried &= self._queue.keys()
                if is_lost:
                    self._count_lost(config, sum(int(report.members.get("lost", 1)) for report in reports))
        return not failed

    def write(self) -> None:
        """Write to the file what waits. Where that fails, it waits in memory only."""
        with self._lock:
            waiting = dict(self._queue)
        new, gone = waiting.keys() - self._written, self._written - waiting.keys()
        if not new and not gone:
            return
        rows = [(id, json.dumps([waiting[id].config, waiting[id].at, waiting[id].members])) for id in new]
        with suppress(StateError), self._database.lock:
            with self._database.transaction() as connection:
                connection.executemany("DELETE FROM reports WHERE login = ?", [(id,) for id in gone])
                connection.executemany("INSERT OR REPLACE INTO reports VALUES (?, ?)", rows)
            self._written = set(waiting)

    def _batch(self, failed: set[str]) -> tuple[str, list[Report]] | None:
        """The next reports, all with the same settings, which are none of the failed ones; None if there are none."""
        with self._lock:
            config = next((each.config for each in self._queue.values() if each.config not in failed), None)
            if config is None:
                return None
            found, size = list[Report](), 0
            for report in self._queue.values():
                if report.config != config:
                    continue
                size += len(json.dumps(self._told(report))) + 2
                if len(found) == AT_ONCE or (found and size > LARGEST):
                    break
                found.append(report)
            self._tried.update(str(report.members["login"]) for report in found)
        return config, found

    def _count_lost(self, config: str, number: int) -> None:
        """Add to the number of logins that found no room, under the lock. A gateway writes each id once: what it may
        know by now stays as it is."""
        for id, report in self._queue.items():
            if report.config == config and "lost" in report.members and id not in self._tried:
                number += int(report.members["lost"])
                del self._queue[id]
                break
        id = secrets.token_hex(16)
        self._queue[id] = Report(config, self._clock(), {"login": id, "lost": number})

    def _told(self, report: Report) -> Members:
        return {**report.members, "ago": min(max(round(self._clock() - report.at), 0), LONGEST_AGO)}

    def _read(self, connection: sqlite3.Connection) -> None:
        rows: list[tuple[str, Any]] = [
            (id, json.loads(content))
            for id, content in connection.execute("SELECT login, content FROM reports")
        ]
        with self._lock:
            for id, (config, at, members) in rows:
                self._queue.setdefault(id, Report(config, float(at), members))
            self._tried.update(id for id, _ in rows)
        self._written = {id for id, _ in rows}
        self._work.set()
