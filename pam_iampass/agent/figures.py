"""The figures of an agent for node_exporter's textfile collector: `agent.prom`, which everybody may read.

The folder belongs to the agent's user, and others read nothing else that it writes: an administrator makes a link to
the file where node_exporter looks (docs/one-server/operations.md). Measured with node_exporter 1.9: it follows links,
accepts an empty file, and reports an error for a broken link. The agent writes 8 kB in less than a millisecond.

`setup` writes a file of its own as root (`pam-files.prom`): the agent may be stopped, and root writes into no folder of
the agent's user. A port of the agent would be one more listener, which any local user can flood. The files say about as
much as `who` and `last`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from pam_iampass import __version__
from pam_iampass.agent.administration import status_of
from pam_iampass.audit.figures import ANSWER_BUCKETS, Sample, family, service_label
from pam_iampass.audit.journal import Journal, SessionRecord
from pam_iampass.audit.sinks import Sink
from pam_iampass.client.errors import Declined, IampassError, NotFound, Refused, Unavailable
from pam_iampass.login.agent_state import AgentState
from pam_iampass.outcome import RESULTS, Decision, Login, Outcome, SessionEvent
from pam_iampass.system import atomic_write

FOLDER = "metrics"
"""The name of the folder, which is beside the socket."""
FILE = "agent.prom"
#: A call that had less time says nothing about the server if it timed out. Seconds.
LEAST_SECONDS = 1.0
#: A server that was not called for as long is left out. Seconds.
FORGOTTEN_SECONDS = 3600.0

_CALLS = ("start", "poll", "end", "wait", "watch")
# Both answers of a person, whose time is measured.
_ANSWERS = (Outcome.APPROVED, Outcome.DENIED)
# What has not happened yet is 0: a rate needs the value before the first time.
_FIRST_SERVICES = ("sshd", "sudo", "su")


@dataclass
class _Server:
    """IAMPASS, or a gateway."""

    answers: bool
    """Whether it answers: one failure between two answers does not count."""
    since: float
    called: float
    failed: float | None = None
    """When it failed first since its last answer."""


class Figures:
    """Counts of what has happened since the agent was started. Every method may be called in any thread."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logins: Counter[tuple[str, Outcome, str]] = Counter()
        self._events: Counter[SessionEvent] = Counter()
        self._answers: dict[Outcome, list[float]] = {outcome: [] for outcome in _ANSWERS}
        """The number of answers in each bucket; then the number of all, and the sum of their seconds."""
        self._calls: dict[tuple[str, str], tuple[int, float]] = {}
        self._servers: dict[str, _Server] = {}
        for outcome in _ANSWERS:
            self._answers[outcome] = [0.0] * (len(ANSWER_BUCKETS) + 2)
        for service in _FIRST_SERVICES:
            self._know(service)

    def login(self, login: Login, decision: Decision) -> None:
        """Count a login."""
        service = service_label(login.service)
        with self._lock:
            self._know(service)
            self._logins[service, decision.outcome, decision.result.value] += 1
            if decision.outcome in self._answers and decision.elapsed:
                counts = self._answers[decision.outcome]
                for number, bucket in enumerate(ANSWER_BUCKETS):
                    counts[number] += decision.elapsed <= bucket
                counts[-2] += 1
                counts[-1] += decision.elapsed

    def session(self, event: SessionEvent) -> None:
        """Count what has happened to a kept session."""
        with self._lock:
            self._events[event] += 1

    def called(self, server: str, call: str, seconds: float, error: IampassError | None) -> None:
        """Count an attempt to make a call, as the `observe` of a Transport."""
        if isinstance(error, Unavailable) and error.timed_out and seconds < LEAST_SECONDS:
            return
        failed = error is not None and not isinstance(error, (Declined, NotFound, Refused))
        result = "failed" if failed else "refused" if isinstance(error, Refused) else "answered"
        key, now = (call if call in _CALLS else "other", result), self._clock()
        with self._lock:
            number, before = self._calls.get(key, (0, 0.0))
            self._calls[key] = number + 1, before + seconds
            known = self._servers.setdefault(server, _Server(not failed, now, now))
            known.called = now
            if not failed and not known.answers:
                known.answers, known.since = True, now
            elif failed and known.answers and known.failed is not None:
                known.answers, known.since = False, known.failed
            known.failed = (known.failed or now) if failed else None

    def write(self, folder: str, state: AgentState, pending: int) -> None:
        """Write the file, whole, unless the folder is missing or full. `pending` logins are being served."""
        text = "".join((*self._now(state, pending), *self._counted()))
        with contextlib.suppress(OSError), atomic_write.open_folder(folder) as found:
            new = f".{FILE}.new"
            atomic_write.write_new(found, new, text.encode("ascii"), mode=0o644, durable=False)
            atomic_write.rename(found, new, FILE)

    def _know(self, service: str) -> None:
        if (service, Outcome.APPROVED, "success") not in self._logins:
            self._logins.update(
                {(service, outcome, result.value): 0 for outcome in Outcome for result in RESULTS[outcome]}
            )

    def _now(self, state: AgentState, pending: int) -> Iterator[str]:
        """The figures of the present state."""

        def gauge(name: str, what: str, value: float, **labels: str) -> str:
            return family(name, "gauge", what, [Sample(value, labels)])

        now = self._clock()
        yield gauge("build_info", "The version of the agent.", 1, version=__version__)
        yield gauge("written_timestamp_seconds", "When the agent wrote this file.", round(now, 3))
        yield gauge("logins_pending", "Logins that the agent is serving.", pending)
        yield gauge("bypasses", "Bypasses in force.", len(state.bypasses.active()))
        yield gauge(
            "state_usable", "Whether the agent's file can be read and written.", int(not state.problem)
        )
        counts = Counter(map(status_of, state.kept_sessions()))
        samples = [
            Sample(counts[status], {"state": status}) for status in ("active", "away", "revoked", "ending")
        ]
        yield family("sessions", "gauge", "Kept sessions.", samples)
        with self._lock:
            servers = {
                name: server
                for name, server in self._servers.items()
                if now - server.called < FORGOTTEN_SECONDS
            }
            self._servers = servers
            answering = [server.since for server in servers.values() if server.answers]
            failing = [server.since for server in servers.values() if not server.answers]
        if servers:
            what = "Whether IAMPASS, or one of several gateways, answers; missing if it was not asked lately."
            yield gauge("reachable", what, int(bool(answering)))
            since = min(answering) if answering else max(failing)
            yield gauge("reachable_since_timestamp_seconds", "Since when that is so.", round(since, 3))
        samples = [
            Sample(len(answering), {"state": "answering"}),
            Sample(len(failing), {"state": "failing"}),
        ]
        yield family("servers", "gauge", "IAMPASS, or gateways, that were asked in the last hour.", samples)

    def _counted(self) -> Iterator[str]:
        """The figures of what was counted."""
        with self._lock:
            logins, events = Counter(self._logins), Counter(self._events)
            answers = {outcome: list(counts) for outcome, counts in self._answers.items()}
            calls = dict(self._calls)
        samples = [
            Sample(number, {"service": service, "outcome": outcome.value, "result": result})
            for (service, outcome, result), number in sorted(logins.items(), key=str)
        ]
        yield family("logins_total", "counter", "Logins that the agent has decided.", samples)
        samples = [Sample(events[event], {"event": event.value}) for event in SessionEvent]
        yield family("session_events_total", "counter", "What has happened to kept sessions.", samples)
        samples = []
        for outcome, counts in answers.items():
            label = {"outcome": outcome.value}
            bounds = (*map(str, ANSWER_BUCKETS), "+Inf")
            samples += [
                Sample(count, {**label, "le": bound}, "_bucket") for bound, count in zip(bounds, counts)
            ]
            samples += [Sample(counts[-1], label, "_sum"), Sample(counts[-2], label, "_count")]
        what = "How long it took from a request to the answer of the person."
        yield family("answer_seconds", "histogram", what, samples)
        samples = []
        for (call, result), (number, seconds) in sorted(calls.items()):
            labels = {"call": call, "result": result}
            samples += [
                Sample(round(seconds, 6), labels, "_sum"),
                Sample(number, labels, "_count"),
            ]
        what = "How long calls of IAMPASS or a gateway took, each attempt counted separately."
        yield family("call_seconds", "summary", what, samples)


class CountingJournal(Journal):
    """The journal of an agent, which counts what it records."""

    def __init__(self, figures: Figures, *sinks: Sink) -> None:
        super().__init__(*sinks)
        self._figures = figures

    def record(self, login: Login, decision: Decision) -> None:
        super().record(login, decision)
        self._figures.login(login, decision)

    def session(self, record: SessionRecord) -> None:
        super().session(record)
        self._figures.session(record.event)


def folder_beside(socket: str) -> str:
    """Where the agent that listens at `socket` writes."""
    return os.path.join(os.path.dirname(socket), FOLDER)
