"""Watches kept sessions: notices logins that end, asks IAMPASS, tells it, and has the enforcer act."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Collection
from typing import Callable

from pam_iampass.audit.journal import ERROR, WARNING, SessionRecord
from pam_iampass.client import Deadline, ManagementAPI, ManagementAPIResult, Status
from pam_iampass.client.errors import IampassError, LocalFailure, NotFound, Unavailable
from pam_iampass.enforcer import protocol as enforcer
from pam_iampass.enforcer.protocol import (
    EnforcerReply,
    EnforcerRequest,
    EnforcerResult,
    EnforcerUnavailable,
    Reason,
)
from pam_iampass.errors import PamIampassError
from pam_iampass.outcome import SessionEvent
from pam_iampass.session import life
from pam_iampass.session.at_gateway import AtGateways
from pam_iampass.session.kept_session import SESSION_MARGIN, State
from pam_iampass.session.schedule import SECOND_LOOK, Scheduled, Task
from pam_iampass.session.store import KeptSessions, at_iampass, status_of
from pam_iampass.text import one_line

#: The longest that one call to IAMPASS may take. Seconds.
CALL_TIMEOUT = 5.0
#: How long until IAMPASS is asked again whether the person has a phone. Seconds.
PHONE_INTERVAL = 300.0
#: How long IAMPASS gives no usable answer before the journal says so. Seconds.
SILENCE = 3600.0
#: How often the watcher looks whether that is so. Seconds.
LOOK_INTERVAL = 10.0
#: How long until the enforcer is asked again: an end takes 5 s and is wanted until the login is over. Seconds.
ENFORCE_INTERVAL = 5.0
LONGEST_ENFORCE_INTERVAL = 60.0
#: How long until it is asked again after it has done it: by then the end of the login has been seen. Seconds.
ENFORCED_INTERVAL = 1.0
#: Threads that ask IAMPASS.
CALLERS = 8
#: Threads for what does not wait for IAMPASS: calls that hang hold up no end. The enforcer takes 5 s to end a login.
ENFORCERS = 16
#: Tasks that are due within this time are handed out together. Seconds.
LEAST_WAIT = 0.1
#: The longest that it waits, and how long after an error. Seconds.
TICK = 0.5
#: How long the agent, when it stops, tells IAMPASS of sessions that have just ended. Seconds.
STOP_TIMEOUT = 8.0
#: How long an idle thread waits for more. Seconds.
IDLE = 1.0

#: The API of the settings in a file, for what an application can ask about its users. Raises PamIampassError.
Manage = Callable[[str], ManagementAPI]
#: `enforcer.protocol.ask`, or a substitute.
Ask = Callable[[EnforcerRequest], EnforcerReply]


class SessionWatcher:
    """The thread that runs while there are sessions: it sees logins that end, and hands out the tasks that are due."""

    def __init__(self, sessions: KeptSessions, manage: Manage, ask: Ask = enforcer.ask) -> None:
        self._sessions = sessions
        self._tasks = Tasks(sessions, manage, ask)
        self._at_gateways = AtGateways(sessions, self._tasks)
        self._callers, self._enforcers = Workers(CALLERS), Workers(ENFORCERS)
        self._thread: threading.Thread | None = None
        self._stop_at: float | None = None
        sessions.on_change = self._changed

    def stop(self) -> None:
        """Tell IAMPASS of the sessions that have just ended, and end. All others go on in the next agent."""
        with self._sessions.lock:
            thread, self._stop_at = self._thread, time.monotonic() + STOP_TIMEOUT
        self._at_gateways.stop()
        if thread is not None:
            self._sessions.descriptors.wake()
            thread.join(STOP_TIMEOUT + 1.0)

    def _changed(self, entry: Scheduled) -> None:
        sessions = self._sessions
        if entry.kept.id not in sessions.entries:
            sessions.descriptors.remove_all(entry.kept.id)
        if self._thread is None and sessions.entries and self._stop_at is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="sessions")
            try:
                self._thread.start()
            except RuntimeError:  # out of threads: the next change tries again
                self._thread = None
        sessions.descriptors.wake()

    def _run(self) -> None:
        """Watch until there is no session any more."""
        sessions = self._sessions
        while True:
            try:
                for process in sessions.descriptors.wait(sessions.wait(LEAST_WAIT, TICK)):
                    sessions.process_ended(process)
                for entry, task in sessions.take_due():
                    self._hand_out(entry, task)
                self._at_gateways.look()
                self._tasks.look_for_silence()
            except Exception as error:  # noqa: BLE001 - the sessions must go on being watched
                sessions.journal.note(f"kept sessions: {type(error).__name__} in their watcher", ERROR)
                time.sleep(TICK)
            if self._is_finished():
                return

    def _is_finished(self) -> bool:
        with self._sessions.lock:
            entries, now = self._sessions.entries, self._sessions.clock()
            finished = not entries
            if self._stop_at is not None:
                ending = [each for each in entries.values() if each.kept.state is State.ENDING]
                telling = any(not each.kept.told and each.tell_at <= now for each in ending)
                finished = time.monotonic() > self._stop_at or not telling
            if finished:
                self._thread = None
            return finished

    def _hand_out(self, entry: Scheduled, task: Task) -> None:
        if self._stop_at is not None and task is not Task.TELL:
            return
        workers = self._callers if task.is_call else self._enforcers
        try:
            workers.submit(lambda: self._tasks.do(entry, task))
        except RuntimeError:  # out of threads
            self._sessions.done(entry, task)


class Workers:
    """A pool of at most `most` threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Have a thread do it. `job` raises nothing. Raises RuntimeError if no thread can be started."""
        with self._lock:
            starts = self._idle <= self._jobs.qsize() and self._threads < self._most
            if starts:
                threading.Thread(target=self._run, daemon=True, name="session").start()
                self._threads += 1
            self._jobs.put(job)

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            try:
                job = self._jobs.get(timeout=IDLE)
            except queue.Empty:
                with self._lock:
                    self._idle -= 1
                    if self._jobs.empty():
                        self._threads -= 1
                        return
                continue
            with self._lock:
                self._idle -= 1
            job()


class Tasks:
    """Does the tasks of entries that are busy meanwhile. Nothing here raises."""

    def __init__(self, sessions: KeptSessions, manage: Manage, ask: Ask) -> None:
        self._sessions = sessions
        self._manage = manage
        self._ask = ask
        self._silence_reported = self._unaskable_reported = self._pause_reported = False
        self._look_at = 0.0
        self._last_failure = "calls to IAMPASS hang"

    def do(self, entry: Scheduled, task: Task) -> None:
        """Do a task, and put the entry back in order."""
        try:
            {
                Task.END_LONGEST: self._end_longest,
                Task.POLL: self._poll,
                Task.TELL: self._tell,
                Task.ENFORCE: self._enforce,
            }[task](entry)
        except Exception as error:  # noqa: BLE001 - one session must not end the keeping of the others
            self._sessions.journal.note(f"a kept session: {type(error).__name__} in {task.value}", ERROR)
            later = self._sessions.clock() + LONGEST_ENFORCE_INTERVAL
            entry.poll_at, entry.tell_at, entry.enforce_at = (later,) * 3
        finally:
            self._sessions.done(entry, task)

    def _end_longest(self, entry: Scheduled) -> None:
        self._sessions.change(entry.kept.id, life.longest)

    def _poll(self, entry: Scheduled) -> None:
        sessions, pacing, kept = self._sessions, self._sessions.pacing, entry.kept
        now, check = sessions.clock(), kept.rules.check
        if now < pacing.paused_until:
            entry.poll_at = pacing.postponed(now, check)
            return
        entry.poll_at = pacing.next(entry.poll_at, now, check)
        try:
            status = status_of(kept, sessions.connect, Deadline.after(CALL_TIMEOUT))
        except (IampassError, PamIampassError, ValueError) as error:
            self._failed(entry, error)
            return
        with sessions.lock:
            pacing.answered()
        self.answered([entry])
        # Only what is said twice in a row ends or locks anything.
        ends = status is not Status.active and not status.in_progress
        if ends and (entry.suspect is None or entry.suspect.away is not status.away):
            entry.suspect, entry.poll_at = status, sessions.clock() + SECOND_LOOK
            return
        if not ends:
            entry.suspect = None
        self.told(entry, status)

    def told(self, entry: Scheduled, status: Status) -> None:
        """Do what a status asks for: one that IAMPASS has said twice, to this machine or to its gateway."""
        sessions, ident = self._sessions, entry.kept.id
        if status is Status.active:
            sessions.change(ident, life.active)
            self._look_for_phone(entry)
        elif status.away:
            sessions.change(ident, life.away)
        elif status.ended:
            sessions.change(ident, lambda kept: life.closed(kept, status.name))

    def answered(self, entries: Collection[Scheduled]) -> None:
        """There was a usable answer about these sessions."""
        with self._sessions.lock:
            for entry in entries:
                entry.unanswered_since, entry.unaskable = math.inf, False
            self._unaskable_reported = self._pause_reported = False

    def _look_for_phone(self, entry: Scheduled) -> None:
        """A phone may have been reported lost on another machine: that ends no session at IAMPASS."""
        sessions, kept, now = self._sessions, entry.kept, self._sessions.clock()
        if now < entry.phone_at:
            return
        entry.phone_at, once = now + PHONE_INTERVAL, entry.without_phone
        try:
            manager = self._manage(kept.config)
            if manager.transport.origin.gateways:  # a gateway ends the sessions of a person who loses a phone
                return
            found = manager.has_registered_mobile_device(kept.token, deadline=Deadline.after(CALL_TIMEOUT))
        except (IampassError, PamIampassError, ValueError):
            entry.without_phone = False
            return
        entry.without_phone = found is ManagementAPIResult.no_mobile_device
        if entry.without_phone and once:
            sessions.change(kept.id, life.no_phone)
        elif entry.without_phone:
            entry.phone_at, entry.poll_at = now, now + SECOND_LOOK

    def _failed(self, entry: Scheduled, error: Exception) -> None:
        """Nothing happens to anybody. The journal says so once, if a user can have caused it; else after an hour."""
        sessions = self._sessions
        with sessions.lock:
            now = sessions.clock()
            asked, paused = sessions.pacing.failed(error, now), sessions.pacing.paused_until > now
            entry.poll_at = max(entry.poll_at, now + asked)
            report_pause = paused and asked > 0 and not self._pause_reported
            self._pause_reported = self._pause_reported or report_pause
        self.unanswered([entry], error)
        if report_pause:
            what = f"IAMPASS asks for fewer polls: no kept session is polled for {asked:g} s"
            sessions.journal.note(f"{what}, and its end on the phone is not seen: {error}", WARNING)

    def unanswered(self, entries: Collection[Scheduled], error: Exception) -> None:
        """There was no usable answer about these sessions. Nothing happens to anybody."""
        sessions, unaskable = self._sessions, isinstance(error, LocalFailure)
        with sessions.lock:
            for entry in entries:
                entry.suspect, entry.unaskable = None, unaskable
                entry.unanswered_since = min(entry.unanswered_since, sessions.clock())
            report_unaskable = unaskable and not self._unaskable_reported
            self._unaskable_reported = self._unaskable_reported or unaskable
            explained = (IampassError, PamIampassError)
            self._last_failure = one_line(error.diagnostics()) if isinstance(error, explained) else str(error)
        if report_unaskable:
            what = f"kept sessions cover nothing, and their end on the phone is not seen: {error}"
            sessions.journal.note(f"{what}. A user can have caused this. {LocalFailure.remedy}", ERROR)

    def look_for_silence(self) -> None:
        """The journal says once that IAMPASS has given no usable answer for an hour, also if all calls hang."""
        sessions = self._sessions
        with sessions.lock:
            now = sessions.clock()
            if now < self._look_at:
                return
            self._look_at = now + LOOK_INTERVAL
            silent = [
                each
                for each in sessions.entries.values()
                if each.kept.is_let_in and now - each.unanswered_since >= SILENCE
            ]
            report, self._silence_reported = bool(silent) and not self._silence_reported, bool(silent)
            why = self._last_failure
        if report:
            kept, count = silent[0].kept, len(silent)
            others = f" (and about {count - 1} others)" if count > 1 else ""
            people = kept.user, kept.approver, kept.service, kept.rhost
            reason = f"{why}{others}"
            record = SessionRecord(
                SessionEvent.SILENT, kept.id, *people, reason, warning=True, person=kept.person
            )
            sessions.journal.session(record)

    def _tell(self, entry: Scheduled) -> None:
        sessions, kept = self._sessions, entry.kept
        try:
            at_iampass(kept, sessions.connect).destroy(Deadline.after(CALL_TIMEOUT), attempts=1)
        except NotFound:
            pass
        except (IampassError, PamIampassError, ValueError) as error:
            if sessions.clock() < kept.ends_at + SESSION_MARGIN:
                wait = error.retry_after if isinstance(error, Unavailable) else None
                entry.tell_at = max(
                    sessions.pacing.first(sessions.clock() + CALL_TIMEOUT, kept.rules.check),
                    sessions.clock() + min(wait or 0.0, SILENCE),
                )
                return
        sessions.change(kept.id, life.told)

    def _enforce(self, entry: Scheduled) -> None:
        sessions, kept, verb = self._sessions, entry.kept, entry.kept.wanted
        if verb is None:
            return
        try:
            reply = self._ask(EnforcerRequest(verb, kept.id, kept.why or Reason.CLOSED, kept.leads_on))
        except EnforcerUnavailable as unavailable:
            reply = EnforcerReply(EnforcerResult.FAILED, one_line(unavailable.diagnostics()))
        interval = min(ENFORCE_INTERVAL * 2**entry.enforcements, LONGEST_ENFORCE_INTERVAL)
        entry.enforcements += 1
        done = reply.result is EnforcerResult.DONE
        entry.enforce_at = sessions.clock() + (ENFORCED_INTERVAL if done else interval)
        logins = f"session {kept.id} of {kept.user}"
        if reply.result is EnforcerResult.NOTHING and entry.kept.attached and entry.enforcements == 1:
            goes_on = "unless they have just ended, they go on"
            sessions.journal.note(f"the enforcer knows no login of {logins}: {goes_on}", WARNING)
        if reply.result is not EnforcerResult.FAILED or not (entry.kept.attached or entry.kept.awaited):
            sessions.change(kept.id, lambda each: life.enforced(each, verb, anything=done))
        elif entry.enforcements == 1:
            text = f"the enforcer could not {verb.value} the logins of {logins}"
            sessions.journal.note(f"{text}: {reply.problem}. It is asked again", WARNING)
