"""Writes the audit records, to the journal or, on machines without one, to syslog: one for each login, and those of
kept sessions."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass

from pam_iampass.audit.administrator import Administrator
from pam_iampass.audit.sinks import Delivery, JournalSink, Sink, SyslogSink
from pam_iampass.outcome import Decision, Login, Outcome, Result, SessionEvent
from pam_iampass.text import clean, quoted

IDENTIFIER = "pam_iampass"
AUTHPRIV = 10

DEBUG, INFO, NOTICE, WARNING, ERROR, CRITICAL, ALERT = 7, 6, 5, 4, 3, 2, 1

#: A MESSAGE_ID for each kind of event; `packaging/systemd/pam_iampass.catalog` explains them.
MESSAGE_IDS = {
    Outcome.APPROVED: "523576a4eec643df8145bec39979057a",
    Outcome.RECOVERED: "ee25852542e34f3dac6daab6e3a3c85b",
    Outcome.BYPASSED: "59c9466df3094b8fae63c1bb5d55f27e",
    Outcome.EXEMPT: "b688c31154c046038449f506dd1fc48d",
    Outcome.COVERED: "7e8d38ca42a7417fa9e2f2c13220cd1e",
    Outcome.DENIED: "6e65508231fb43308282523ef3854ca2",
    Outcome.TIMED_OUT: "2a9f48eb50134c26b9e07bcb8f3e2b98",
    Outcome.NO_DEVICE: "2001835b12bf477b91137dd7e50cfc1d",
    Outcome.UNLISTED: "040a753178634587989181d1f6bf06e7",
    Outcome.UNAVAILABLE: "d368b5f945be4457b30fbae60e8c25bf",
    Outcome.MISCONFIGURED: "950f6284c57948689c6ea334fb48ad4f",
    Outcome.THROTTLED: "4d5f8db0a5f64d39a25eeafaf68e0457",
    Outcome.CANCELLED: "e5e796369c37413d8fb130c5a9ec86d0",
}
SESSION_IDS = {
    SessionEvent.OPENED: "98c698ad0f1f434b9f7b1685c0fea92d",
    SessionEvent.ENDED: "12ad9a7002df4c74abf1dff2abd08040",
    SessionEvent.AWAY: "9c1989c77690476898297923dbbb7605",
    SessionEvent.BACK: "924fcd01281e45cd8e97ea59ea25a439",
    SessionEvent.SILENT: "9331695cdf244839a1a66c79129e0656",
}
ADMINISTRATION = "c4e452241ae646aaa4181591dc684616"
SESSION_LEFT_OPEN = "896fc53d479b499c882d05946e95a6cb"
BYPASS_OVER = "a865918a2f3c4e4d9b0a899ab65ab585"
GATEWAY_ALERT = "3d0c1a1e6f0b4f6a9a52b1c7c3f0d94e"
HOST_REPORT = "97ce577463006b9bcb12bd59e1a91e53"
BACKUP_FAILED = "3fecaceca3ce4aa4bbba8820dfe190e5"


class PamFileEvent(enum.Enum):
    """An event of a PAM file that setup has changed, by the name in the record."""

    RENEWED = "pam_file_renewed"
    OUT_OF_FORCE = "pam_file_out_of_force"
    OFF = "pam_file_off"


PAM_FILE_IDS = {
    PamFileEvent.RENEWED: "7cb7d543752c4dfc9b883fa6364f7e59",
    PamFileEvent.OUT_OF_FORCE: "36556ef57deb4e4e8292287d2faae885",
    PamFileEvent.OFF: "d2dc2049f61a417288e710adb6a3eff4",
}

_PRIORITIES = {Result.SUCCESS: INFO, Result.IGNORED: NOTICE, Result.DENIED: WARNING}


@dataclass(frozen=True)
class SessionRecord:
    """One event of a kept session, for its audit record. Texts are not cleaned."""

    event: SessionEvent
    session: str
    """The id of the session: ours, no secret."""
    user: str
    approver: str
    service: str
    rhost: str = ""
    reason: str = ""
    warning: bool = False
    """Whether an administrator should look at it."""
    person: str = ""
    """The person who logged in; empty if it is not known."""


class Act(enum.Enum):
    """An act of an administrator: the words of the command."""

    SETUP = "setup"
    SETUP_UNDO = "setup_undo"
    ENROLL = "enroll"
    USER_ADD = "user_add"
    KEY_ADD = "key_add"
    KEY_REMOVE = "key_remove"
    THROTTLE_CLEAR = "throttle_clear"
    RECOVERY_NEW = "recovery_new"
    RECOVERY_REVOKE = "recovery_revoke"
    BYPASS = "bypass"
    BYPASS_END = "bypass_end"
    BYPASS_OVER = "bypass_over"
    """Its time is over. The administrator in the record is the one who made it."""
    SESSION_END = "session_end"
    PHONE_LOST = "phone_lost"
    USER_REMOVE = "user_remove"
    JOIN = "join"
    LEAVE = "leave"
    SET = "set"


@dataclass(frozen=True)
class ActRecord:
    """One act of an administrator, for its audit record. Texts are not cleaned."""

    act: Act
    user: str
    """The person whom it concerns; empty for all, or for nobody in particular."""
    by: Administrator
    reason: str = ""
    """Its result, in words."""
    failed: bool = False
    service: str = ""
    """The PAM service of a bypass, or `all`."""


@dataclass(frozen=True)
class PamFileRecord:
    """An event of a PAM file that setup has changed. Texts are not cleaned."""

    event: PamFileEvent
    service: str
    """The service, as setup names it."""
    reason: str


class Journal:
    """Writes audit records to the first sink that accepts them."""

    def __init__(self, *sinks: Sink) -> None:
        self._delivery = Delivery(sinks or (JournalSink(), SyslogSink()))

    def record(self, login: Login, decision: Decision) -> None:
        """Write the audit record of a login."""
        priority = _PRIORITIES[decision.result]
        if decision.outcome in (Outcome.RECOVERED, Outcome.BYPASSED):
            priority = WARNING
        elif decision.outcome is Outcome.MISCONFIGURED:
            # Not denied: `rescue=` on the PAM line let somebody in.
            priority = ERROR if decision.result is Result.DENIED else ALERT
        fields = {
            "outcome": decision.outcome.value,
            "result": decision.result.value,
            "user": login.user,
            "service": login.service,
            "rhost": login.rhost,
            "caller": login.participants.caller or None,
            "approver": login.participants.approver or None,
            "elapsed_ms": str(round(decision.elapsed * 1000)),
            "login": login.id,
            **({"session": decision.session} if decision.session else {}),
            **({"covered_by": decision.covered_by} if decision.covered_by else {}),
            **({"command": login.participants.command} if login.participants.command else {}),
            **_person(login.participants.person, login.user, login.participants.approver),
        }
        self.write(MESSAGE_IDS[decision.outcome], priority, fields, decision.reason)

    def session(self, record: SessionRecord) -> None:
        """Write the record of an event of a kept session."""
        fields = {
            "event": record.event.value,
            "session": record.session,
            "user": record.user,
            "service": record.service,
            "rhost": record.rhost or None,
            "approver": record.approver,
            **_person(record.person, record.user, record.approver),
        }
        self.write(SESSION_IDS[record.event], WARNING if record.warning else INFO, fields, record.reason)

    def act(self, record: ActRecord) -> None:
        """Write the record of an act of an administrator."""
        by, is_bypass = record.by, record.act.value.startswith("bypass")
        fields = {
            "event": record.act.value,
            "result": "failed" if record.failed else "success",
            "user": record.user or None,
            "service": record.service or None,
            "caller": by.name,
            "rhost": by.rhost or None,
            "tty": by.tty or None,
        }
        sudo = f"by sudo of {by.sudo_user}" if by.sudo_user not in ("", by.name) else ""
        message_id = BYPASS_OVER if record.act is Act.BYPASS_OVER else ADMINISTRATION
        reason = "; ".join(filter(None, (record.reason, sudo)))
        self.write(message_id, WARNING if is_bypass else NOTICE, fields, reason)

    def pam_file(self, record: PamFileRecord) -> None:
        """Write the record of an event of a PAM file."""
        fields = {"event": record.event.value, "service": record.service}
        priority = CRITICAL if record.event is PamFileEvent.OFF else WARNING
        self.write(PAM_FILE_IDS[record.event], priority, fields, record.reason)

    def left_open(self, login: Login, reason: str) -> None:
        """Record that an IAMPASS session could not be ended; it ends when its duration is over."""
        people = login.participants
        fields = {
            "user": login.user,
            "service": login.service,
            "caller": people.caller,
            "approver": people.approver,
            "login": login.id,
        }
        text = f"the IAMPASS session of {quoted(people.approver)} could not be ended: {clean(reason)}"
        self.write(SESSION_LEFT_OPEN, WARNING, fields, reason, text)

    def note(self, text: str, priority: int = DEBUG) -> None:
        """Write a line for troubleshooting that is not an audit record."""
        self._deliver({"MESSAGE": clean(text), "PRIORITY": str(priority)})

    def write(
        self, message_id: str, priority: int, values: Mapping[str, str | None], reason: str, text: str = ""
    ) -> None:
        """Write a record with these values, None for unknown ones; their names are without the prefix, in lower case.

        Without a `text` its message is a line from which they can be parsed on machines without a journal.
        """
        words = [f"{name}={quoted(value, _limit(name))}" for name, value in values.items()]
        if reason:
            words.append(f"reason={quoted(reason)}")
        fields = {"MESSAGE": text or " ".join(words), "MESSAGE_ID": message_id, "PRIORITY": str(priority)}
        fields.update(
            (f"IAMPASS_{name.upper()}", clean(value or "", _limit(name))) for name, value in values.items()
        )
        self._deliver({**fields, "IAMPASS_REASON": clean(reason, 2000)})

    def _deliver(self, fields: dict[str, str]) -> None:
        common = {
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "SYSLOG_FACILITY": str(AUTHPRIV),
            "SYSLOG_PID": str(os.getpid()),
        }
        self._delivery.deliver({**fields, **common})


def _limit(name: str) -> int:
    """The longest value of a field: a command is described in up to 1,000 characters, and its folder."""
    return 2000 if name == "command" else 300


def _person(person: str, user: str, approver: str) -> dict[str, str]:
    """The field that says who logs in, where no other one does."""
    return {} if person in ("", user, approver) else {"person": person}
