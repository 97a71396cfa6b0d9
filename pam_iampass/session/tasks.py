"""What is done about kept sessions: asking IAMPASS, telling it, and having the enforcer act."""

from __future__ import annotations

import math
from typing import Callable

from pam_iampass.audit.journal import ERROR, WARNING, SessionRecord
from pam_iampass.client import (
    AuthenticationAPI,
    Deadline,
    ManagementAPI,
    ManagementAPIResult,
    Session,
    Status,
)
from pam_iampass.client.errors import IampassError, LocalFailure, NotFound, Unavailable
from pam_iampass.enforcer.protocol import EnforcerUnavailable, Reason, Reply, Request, Result
from pam_iampass.errors import PamIampassError
from pam_iampass.outcome import SessionEvent
from pam_iampass.session import life
from pam_iampass.session.entry import Entry, Task
from pam_iampass.session.kept_session import SESSION_MARGIN, KeptSession
from pam_iampass.session.pacing import SECOND_LOOK, Pacing
from pam_iampass.session.registry import Registry

#: The longest that one call to IAMPASS may take. Seconds.
CALL_TIMEOUT = 5.0
#: How long until IAMPASS is asked again whether the person has a phone. Seconds.
PHONE_INTERVAL = 300.0
#: How long IAMPASS gives no usable answer before the journal says so. Seconds.
SILENCE = 3600.0
#: How often is looked whether that is so. Seconds.
LOOK_INTERVAL = 10.0
#: How long until the enforcer is asked again: an end takes 5 s and is wanted until the login is over. Seconds.
ENFORCE_INTERVAL = 5.0
LONGEST_ENFORCE_INTERVAL = 60.0
#: How long until it is asked again after it has done it: by then the end of the login has been seen. Seconds.
ENFORCED_INTERVAL = 1.0

#: The API of the settings in a file. Raises PamIampassError.
Connect = Callable[[str], AuthenticationAPI]
#: The same for what an application can ask about its users. Raises PamIampassError.
Manage = Callable[[str], ManagementAPI]
#: `enforcer.protocol.ask`, or a substitute.
Ask = Callable[[Request], Reply]
#: `status_of`, or a substitute.
AskStatus = Callable[[KeptSession, Connect, Deadline], Status]


def status_of(kept: KeptSession, connect: Connect, deadline: Deadline) -> Status:
    """What IAMPASS says about a session now. Raises IampassError, PamIampassError and ValueError."""
    return _session(kept, connect).get_status(deadline, attempts=1)


def _session(kept: KeptSession, connect: Connect) -> Session:
    return Session.Schema(connect(kept.config)).loads(kept.session)


class Tasks:
    """Does the tasks of entries that are busy meanwhile. Nothing here raises."""

    def __init__(
        self, registry: Registry, pacing: Pacing, connect: Connect, manage: Manage, ask: Ask
    ) -> None:
        self._registry = registry
        self._pacing = pacing
        self._connect = connect
        self._manage = manage
        self._ask = ask
        self._silence_reported = self._unaskable_reported = self._pause_reported = False
        self._look_at = 0.0
        self._last_failure = "calls to IAMPASS hang"

    def do(self, entry: Entry, task: Task) -> None:
        """Do a task, and put the entry back in order."""
        try:
            _DO[task](self, entry)
        except Exception as error:  # noqa: BLE001 - one session must not end the keeping of the others
            self._registry.journal.note(f"a kept session: {type(error).__name__} in {task.value}", ERROR)
            later = self._registry.clock() + LONGEST_ENFORCE_INTERVAL
            entry.poll_at, entry.tell_at, entry.enforce_at = (later,) * 3
        finally:
            self._registry.done(entry, task)

    def _end_longest(self, entry: Entry) -> None:
        self._registry.change(entry.kept.id, life.longest)

    def _poll(self, entry: Entry) -> None:
        registry, pacing, kept = self._registry, self._pacing, entry.kept
        now, check = registry.clock(), kept.rules.check
        if now < pacing.paused_until:
            entry.poll_at = pacing.postponed(now, check)
            return
        entry.poll_at = pacing.next(entry.poll_at, now, check)
        try:
            status = status_of(kept, self._connect, Deadline.after(CALL_TIMEOUT))
        except (IampassError, PamIampassError, ValueError) as error:
            self._failed(entry, error)
            return
        with registry.lock:
            pacing.answered()
            entry.unanswered_since, entry.unaskable = math.inf, False
            self._unaskable_reported = self._pause_reported = False
        self._answered(entry, status)

    def _answered(self, entry: Entry, status: Status) -> None:
        """Only what is reported twice in a row ends or locks anything."""
        registry, ident = self._registry, entry.kept.id
        if status is Status.active:
            entry.suspect = None
            registry.change(ident, life.active)
            self._look_for_phone(entry)
        elif status.in_progress:
            entry.suspect = None
        elif entry.suspect is None or entry.suspect.away is not status.away:
            entry.suspect, entry.poll_at = status, registry.clock() + SECOND_LOOK
        elif status.away:
            registry.change(ident, life.away)
        else:
            registry.change(ident, lambda kept: life.closed(kept, status.name))

    def _look_for_phone(self, entry: Entry) -> None:
        """A phone may have been reported lost on another machine: that ends no session at IAMPASS."""
        registry, kept, now = self._registry, entry.kept, self._registry.clock()
        if now < entry.phone_at:
            return
        entry.phone_at, once = now + PHONE_INTERVAL, entry.without_phone
        try:
            found = self._manage(kept.config).has_registered_mobile_device(
                kept.token, deadline=Deadline.after(CALL_TIMEOUT)
            )
        except (IampassError, PamIampassError, ValueError):
            entry.without_phone = False
            return
        entry.without_phone = found is ManagementAPIResult.no_mobile_device
        if entry.without_phone and once:
            registry.change(kept.id, life.no_phone)
        elif entry.without_phone:
            entry.phone_at, entry.poll_at = now, now + SECOND_LOOK

    def _failed(self, entry: Entry, error: Exception) -> None:
        """Nothing happens to anybody. The journal says so once, if a user can have caused it; else after an hour."""
        registry = self._registry
        with registry.lock:
            now = registry.clock()
            asked, paused = self._pacing.failed(error, now), self._pacing.paused_until > now
            entry.poll_at = max(entry.poll_at, now + asked)
            report_pause = paused and asked > 0 and not self._pause_reported
            self._pause_reported = self._pause_reported or report_pause
            entry.suspect, entry.unaskable = None, isinstance(error, LocalFailure)
            report_unaskable = entry.unaskable and not self._unaskable_reported
            self._unaskable_reported = self._unaskable_reported or entry.unaskable
            explained = (IampassError, PamIampassError)
            self._last_failure = error.diagnostics() if isinstance(error, explained) else str(error)
        if report_unaskable:
            what = f"kept sessions cover nothing, and their end on the phone is not seen: {error}"
            registry.journal.note(f"{what}. A user can have caused this. {LocalFailure.remedy}", ERROR)
        if report_pause:
            what = f"IAMPASS asks for fewer polls: no kept session is polled for {asked:g} s"
            registry.journal.note(f"{what}, and its end on the phone is not seen: {error}", WARNING)

    def look_for_silence(self) -> None:
        """The journal says once that IAMPASS has given no usable answer for an hour, also if all calls hang."""
        registry = self._registry
        with registry.lock:
            now = registry.clock()
            if now < self._look_at:
                return
            self._look_at = now + LOOK_INTERVAL
            silent = [each for each in registry.entries.values() if _silent(each, now)]
            report, self._silence_reported = bool(silent) and not self._silence_reported, bool(silent)
            why = self._last_failure
        if report:
            kept, count = silent[0].kept, len(silent)
            others = f" (and about {count - 1} others)" if count > 1 else ""
            people = kept.user, kept.approver, kept.service, kept.rhost
            record = SessionRecord(SessionEvent.SILENT, kept.id, *people, f"{why}{others}", warning=True)
            registry.journal.session(record)

    def _tell(self, entry: Entry) -> None:
        registry, kept = self._registry, entry.kept
        try:
            _session(kept, self._connect).destroy(Deadline.after(CALL_TIMEOUT), attempts=1)
        except NotFound:
            pass
        except (IampassError, PamIampassError, ValueError) as error:
            if registry.clock() < kept.ends_at + SESSION_MARGIN:
                wait = error.retry_after if isinstance(error, Unavailable) else None
                entry.tell_at = max(
                    self._pacing.first(registry.clock() + CALL_TIMEOUT, kept.rules.check),
                    registry.clock() + min(wait or 0.0, SILENCE),
                )
                return
        registry.change(kept.id, life.told)

    def _enforce(self, entry: Entry) -> None:
        registry, kept, verb = self._registry, entry.kept, entry.kept.wanted
        if verb is None:
            return
        try:
            reply = self._ask(Request(verb, kept.id, kept.why or Reason.CLOSED))
        except EnforcerUnavailable as unavailable:
            reply = Reply(Result.FAILED, unavailable.diagnostics())
        interval = min(ENFORCE_INTERVAL * 2**entry.enforcements, LONGEST_ENFORCE_INTERVAL)
        entry.enforcements += 1
        done = reply.result is Result.DONE
        entry.enforce_at = registry.clock() + (ENFORCED_INTERVAL if done else interval)
        logins = f"session {kept.id} of {kept.user}"
        if reply.result is Result.NOTHING and entry.kept.attached and entry.enforcements == 1:
            goes_on = "unless they have just ended, they go on"
            registry.journal.note(f"the enforcer knows no login of {logins}: {goes_on}", WARNING)
        if reply.result is not Result.FAILED or not (entry.kept.attached or entry.kept.awaited):
            registry.change(kept.id, lambda each: life.enforced(each, verb, anything=done))
        elif entry.enforcements == 1:
            text = f"the enforcer could not {verb.value} the logins of {logins}"
            registry.journal.note(f"{text}: {reply.problem}. It is asked again", WARNING)


def _silent(entry: Entry, now: float) -> bool:
    return entry.kept.is_let_in and now - entry.unanswered_since >= SILENCE


_DO = {
    Task.END_LONGEST: Tasks._end_longest,
    Task.POLL: Tasks._poll,
    Task.TELL: Tasks._tell,
    Task.ENFORCE: Tasks._enforce,
}
