"""Writes the audit records: one for each login, to the journal or, on machines without one, to syslog."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pam_iampass.audit.sinks import Delivery, JournalSink, Sink, SyslogSink
from pam_iampass.outcome import Decision, Login, Outcome, Result
from pam_iampass.text import clean, quoted

IDENTIFIER = "pam_iampass"
AUTHPRIV = 10

DEBUG, INFO, NOTICE, WARNING, ERROR = 7, 6, 5, 4, 3

#: A MESSAGE_ID for each kind of event; `packaging/systemd/pam_iampass.catalog` explains them.
MESSAGE_IDS = {
    Outcome.APPROVED: "523576a4eec643df8145bec39979057a",
    Outcome.RECOVERED: "ee25852542e34f3dac6daab6e3a3c85b",
    Outcome.BYPASSED: "59c9466df3094b8fae63c1bb5d55f27e",
    Outcome.EXEMPT: "b688c31154c046038449f506dd1fc48d",
    Outcome.DENIED: "6e65508231fb43308282523ef3854ca2",
    Outcome.TIMED_OUT: "2a9f48eb50134c26b9e07bcb8f3e2b98",
    Outcome.NO_DEVICE: "2001835b12bf477b91137dd7e50cfc1d",
    Outcome.UNLISTED: "040a753178634587989181d1f6bf06e7",
    Outcome.UNAVAILABLE: "d368b5f945be4457b30fbae60e8c25bf",
    Outcome.MISCONFIGURED: "950f6284c57948689c6ea334fb48ad4f",
    Outcome.THROTTLED: "4d5f8db0a5f64d39a25eeafaf68e0457",
    Outcome.CANCELLED: "e5e796369c37413d8fb130c5a9ec86d0",
}
SESSION_LEFT_OPEN = "896fc53d479b499c882d05946e95a6cb"
BYPASS_MADE = "d24ea0ee48d549d4a0327840fe7a1637"
BYPASS_ENDED = "a865918a2f3c4e4d9b0a899ab65ab585"

_PRIORITIES = {Result.SUCCESS: INFO, Result.IGNORED: NOTICE, Result.DENIED: WARNING}


class Journal:
    """Writes audit records to the first sink that accepts them."""

    def __init__(self, *sinks: Sink) -> None:
        self._delivery = Delivery(sinks or (JournalSink(), SyslogSink()))

    def record(self, login: Login, decision: Decision) -> None:
        """Write the audit record of a login."""
        elapsed = round(decision.elapsed * 1000)
        fields = {
            "MESSAGE": _message(login, decision, elapsed),
            "MESSAGE_ID": MESSAGE_IDS[decision.outcome],
            "PRIORITY": str(_priority(decision)),
            "IAMPASS_OUTCOME": decision.outcome.value,
            "IAMPASS_RESULT": decision.result.value,
            **_fields(login),
            "IAMPASS_RHOST": clean(login.rhost or ""),
            "IAMPASS_REASON": clean(decision.reason, 2000),
            "IAMPASS_ELAPSED_MS": str(elapsed),
        }
        self._write(fields)

    def left_open(self, login: Login, reason: str) -> None:
        """Record that an IAMPASS session could not be ended; it ends when its duration is over."""
        approver = quoted(login.participants.approver)
        fields = {
            "MESSAGE": f"the IAMPASS session of {approver} could not be ended: {clean(reason)}",
            "MESSAGE_ID": SESSION_LEFT_OPEN,
            "PRIORITY": str(WARNING),
            **_fields(login),
            "IAMPASS_REASON": clean(reason),
        }
        self._write(fields)

    def bypass(self, message_id: str, text: str, fields: Mapping[str, str]) -> None:
        """Record that a bypass was made or is over (BYPASS_MADE, BYPASS_ENDED)."""
        cleaned = {name: clean(value) for name, value in fields.items()}
        self._write({"MESSAGE": clean(text), "MESSAGE_ID": message_id, "PRIORITY": str(WARNING), **cleaned})

    def note(self, text: str, priority: int = DEBUG) -> None:
        """Write a line for troubleshooting that is not an audit record."""
        self._write({"MESSAGE": clean(text), "PRIORITY": str(priority)})

    def _write(self, fields: dict[str, str]) -> None:
        common = {
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "SYSLOG_FACILITY": str(AUTHPRIV),
            "SYSLOG_PID": str(os.getpid()),
        }
        self._delivery.deliver({**fields, **common})


def _priority(decision: Decision) -> int:
    if decision.outcome is Outcome.MISCONFIGURED:
        return ERROR
    loud = decision.outcome in (Outcome.RECOVERED, Outcome.BYPASSED)
    return WARNING if loud else _PRIORITIES[decision.result]


def _fields(login: Login) -> dict[str, str]:
    """Who logs in, who called, who must approve, and where."""
    return {
        "IAMPASS_USER": clean(login.user),
        "IAMPASS_CALLER": clean(login.participants.caller),
        "IAMPASS_APPROVER": clean(login.participants.approver),
        "IAMPASS_SERVICE": clean(login.service),
    }


def _message(login: Login, decision: Decision, elapsed: int) -> str:
    """The record as one line, from which the fields can be parsed on machines without a journal."""
    people = login.participants
    line = (
        f"outcome={decision.outcome.value} result={decision.result.value} user={quoted(login.user)}"
        f" service={quoted(login.service)} rhost={quoted(login.rhost)}"
        f" caller={quoted(people.caller or None)} approver={quoted(people.approver or None)} elapsed_ms={elapsed}"
    )
    return f"{line} reason={quoted(decision.reason)}" if decision.reason else line
