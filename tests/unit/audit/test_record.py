"""Which entries of the journal are audit records, and what they say."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pam_iampass.audit.administrator import Administrator
from pam_iampass.audit.journal import Act, ActRecord, Journal, SessionRecord
from pam_iampass.audit.query import AuditRecord, Filter, interpret
from pam_iampass.outcome import Decision, Login, Outcome, Participants, Result, SessionEvent
from tests.support.setting import Records

TRUSTED = frozenset({0, 990})
WHEN = datetime(2026, 11, 24, 17, 30, tzinfo=timezone.utc)

LOGIN = Login("alice", "sshd", "192.0.2.7")
DOOR = "outcome=unavailable result=denied user=alice service=su rhost= reason=the module gave no result (errno 2)"


def entry(uid: int | None = 990, **fields: Any) -> dict[str, Any]:
    """An entry as the journal's reader returns it."""
    return {"__REALTIME_TIMESTAMP": WHEN, "SYSLOG_IDENTIFIER": "pam_iampass", "_UID": uid, **fields}


def written(decision: Decision, login: Login = LOGIN) -> dict[str, str]:
    """The fields that the module writes."""
    records = Records()
    Journal(records).record(login, decision)
    return records.fields[0]


def read(**changes: Any) -> AuditRecord | None:
    return interpret(entry(**changes), TRUSTED)


def test_what_the_module_wrote_is_read_back() -> None:
    decision = Decision(Outcome.DENIED, Result.DENIED, "USER_DECLINED", elapsed=3.25)
    found = read(**written(decision), _HOSTNAME="web17")
    assert found == AuditRecord(
        *(WHEN, "decision", "web17", "alice", "", "", "sshd", "192.0.2.7"),
        *("denied", "denied", 3250, "USER_DECLINED", 990, True),
        login=LOGIN.id,
    )


def test_a_login_that_a_door_has_let_in_has_an_id_of_its_place_in_the_journal() -> None:
    rescued = DOOR.replace("result=denied", "result=ignored")
    first, again, second = (read(MESSAGE=rescued, __CURSOR=cursor) for cursor in ("a", "a", "b"))
    assert first is not None
    assert second is not None
    assert first == again
    assert re.fullmatch("[0-9a-f]{32}", first.login)
    assert first.login != second.login


def test_who_called_and_who_approved_are_read_back() -> None:
    login = Login("root", "su", participants=Participants(caller="al ice", approver="bob"))
    fields = written(Decision(Outcome.APPROVED, Result.SUCCESS), login)
    assert ' user=root service=su rhost=- caller="al ice" approver=bob ' in fields["MESSAGE"]
    found = read(**fields)
    assert found is not None
    assert (found.user, found.caller, found.approver) == ("root", "al ice", "bob")


@pytest.mark.parametrize("through_syslog", [False, True])
def test_the_act_of_an_administrator_is_read_back(through_syslog: bool) -> None:
    records, by = Records(), Administrator("alice", "carol", "/dev/pts/1", "203.0.113.7")
    Journal(records).act(ActRecord(Act.SESSION_END, "bob", by, "2 of 2 sessions ended", failed=True))
    [fields] = records.fields
    assert fields["PRIORITY"] == "5"
    found = read(**({"MESSAGE": fields["MESSAGE"]} if through_syslog else fields))
    assert found is not None
    assert (found.event, found.result, found.user, found.caller) == ("session_end", "failed", "bob", "alice")
    assert (found.rhost, found.tty, found.reason) == (
        "203.0.113.7",
        "/dev/pts/1",
        "2 of 2 sessions ended; by sudo of carol",
    )
    assert (found.outcome, found.session, found.verified) == ("", "", True)


@pytest.mark.parametrize("user", ["alice", "a b", 'a "quoted" \\ name', "-", "a=b outcome=approved", ""])
def test_the_line_of_syslog_says_the_same_as_the_journals_fields(user: str) -> None:
    fields = written(
        Decision(Outcome.UNAVAILABLE, Result.IGNORED, 'no "route" to host', elapsed=1), Login(user, "s", None)
    )
    line = {name: fields[name] for name in ("MESSAGE", "SYSLOG_IDENTIFIER")}
    assert read(**line) == read(**fields)
    assert read(**line) is not None


def test_what_a_door_left_in_sshd_is_read() -> None:
    found = read(uid=0, SYSLOG_IDENTIFIER="sshd-session", MESSAGE=f"pam_iampass(su:auth): {DOOR}")
    assert found is not None
    assert (found.user, found.service, found.rhost, found.outcome) == ("alice", "su", "", "unavailable")
    assert found.reason == "the module gave no result (errno 2)"
    assert found.verified


def test_what_the_pam_python_door_left_is_read() -> None:
    found = read(uid=0, MESSAGE=DOOR)
    assert found is not None
    assert (found.outcome, found.verified) == ("unavailable", True)


@pytest.mark.parametrize("uid", [1000, 65534, None, "0", [0, 1000]])
def test_what_another_user_wrote_is_not_believed(uid: Any) -> None:
    assert read(uid=uid, **written(Decision(Outcome.APPROVED, Result.SUCCESS))) is None
    assert read(uid=uid, MESSAGE=DOOR) is None


def test_what_may_be_a_doors_in_the_process_of_a_user_is_marked() -> None:
    found = read(uid=1000, SYSLOG_IDENTIFIER="su", MESSAGE=f"pam_iampass(su:auth): {DOOR}")
    assert found is not None
    assert (found.verified, found.uid) == (False, 1000)


@pytest.mark.parametrize("uid", [0, 990, 1000])
def test_a_door_never_says_that_a_user_got_in(uid: int) -> None:
    line = DOOR.replace("result=denied", "result=success")
    assert read(uid=uid, SYSLOG_IDENTIFIER="su", MESSAGE=f"pam_iampass(su:auth): {line}") is None
    line = DOOR.replace("unavailable", "approved")
    assert read(uid=uid, SYSLOG_IDENTIFIER="su", MESSAGE=f"pam_iampass(su:auth): {line}") is None


@pytest.mark.parametrize(
    "message",
    [
        "",
        "the IAMPASS session of alice could not be ended: no answer",
        "outcome=unknown result=denied user=alice",
        f"Invalid user pam_iampass(su:auth): {DOOR}",
    ],
)
def test_other_lines_are_no_records(message: str) -> None:
    assert read(MESSAGE=message) is None


def test_records_of_other_programs_are_left_out() -> None:
    fields = {**written(Decision(Outcome.APPROVED, Result.SUCCESS)), "SYSLOG_IDENTIFIER": "cron"}
    assert read(uid=0, **fields) is None


@pytest.mark.parametrize("value", [b"al\xffice", ["al\\xffice", "bob"]])
def test_bytes_that_are_no_text_are_escaped_and_of_two_values_the_first_counts(value: Any) -> None:
    found = read(**{**written(Decision(Outcome.APPROVED, Result.SUCCESS)), "IAMPASS_USER": value})
    assert found is not None
    assert found.user == "al\\xffice"


@pytest.mark.parametrize("elapsed", ["", "-5", "1e9", "9" * 30, "٣"])
def test_an_impossible_time_is_left_out(elapsed: str) -> None:
    found = read(**{**written(Decision(Outcome.APPROVED, Result.SUCCESS)), "IAMPASS_ELAPSED_MS": elapsed})
    assert found is not None
    assert found.elapsed_ms == 0


SESSION = SessionRecord(
    SessionEvent.ENDED,
    "5f0c" * 8,
    "alice",
    "alice",
    "sshd",
    "192.0.2.7",
    'ended "on the phone"',
    True,
)


def event_record(record: SessionRecord = SESSION) -> dict[str, str]:
    """The fields of the record of an event."""
    records = Records()
    Journal(records).session(record)
    return records.fields[0]


def test_an_event_of_a_session_is_read_back() -> None:
    found = read(**event_record())
    assert found == AuditRecord(
        *(WHEN, "session", "", "alice", "", "alice", "sshd", "192.0.2.7"),
        *("", "", 0, 'ended "on the phone"', 990, True),
        session="5f0c" * 8,
        event="session_ended",
    )


def test_the_line_of_an_event_says_the_same_as_its_fields() -> None:
    fields = event_record()
    line = {name: fields[name] for name in ("MESSAGE", "SYSLOG_IDENTIFIER")}
    assert read(**line) == read(**fields)


def test_an_event_that_is_unknown_or_that_anybody_can_have_written_is_no_record() -> None:
    assert read(**{**event_record(), "IAMPASS_EVENT": "session_stolen"}) is None
    assert read(uid=1000, **event_record()) is None


def test_a_login_within_a_session_names_it() -> None:
    decision = Decision(Outcome.COVERED, Result.IGNORED, "approved 12 s ago", session="5f0c" * 8)
    fields = written(decision)
    assert fields["IAMPASS_SESSION"] == "5f0c" * 8
    found = read(**fields)
    assert found is not None
    assert (found.session, found.event, found.outcome) == ("5f0c" * 8, "", "covered")
    line = {name: fields[name] for name in ("MESSAGE", "SYSLOG_IDENTIFIER")}
    assert read(**line) == found


def test_events_are_selected_where_no_outcome_is() -> None:
    event = read(**event_record())
    login = read(**written(Decision(Outcome.COVERED, Result.IGNORED, session="5f0c" * 8)))
    other = read(**written(Decision(Outcome.APPROVED, Result.SUCCESS)))
    assert event is not None
    assert login is not None
    assert other is not None
    assert not Filter()(event)
    assert Filter(events=True)(event)
    assert not Filter(events=True, outcomes=frozenset({"covered"}))(event)
    story = Filter(session="5f0c", events=True)
    assert [story(record) for record in (event, login, other)] == [True, True, False]


def test_who_was_let_in_between_two_times_is_selected() -> None:
    exempt = read(**written(Decision(Outcome.EXEMPT, Result.IGNORED)))
    denied = read(**written(Decision(Outcome.UNLISTED, Result.DENIED), Login("bob", "sshd")))
    event = read(**event_record())
    found = [record for record in (exempt, denied, event) if record is not None]
    hour = timedelta(hours=1)
    for wanted, selected in (
        (Filter(let_in=True, events=True), [True, False, False]),
        (Filter(let_in=True, since=WHEN - hour, until=WHEN + hour), [True, False, False]),
        (Filter(until=WHEN, events=True), [False, False, False]),
        (Filter(login=LOGIN.id[:8]), [True, False, False]),
    ):
        assert list(map(wanted, found)) == selected
