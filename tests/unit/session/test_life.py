"""The life of a kept session: every event in every state, and what no sequence of events can do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.config.value_types import Enforcement
from pam_iampass.enforcer.protocol import Reason, Verb
from pam_iampass.outcome import SessionEvent
from pam_iampass.session import life
from pam_iampass.session.kept_session import EndCause, State
from tools.docs import session_life
from tools.docs.session_life import BASE, EVENTS, LOGIN, OPENER, STATES, effect

ROOT = Path(__file__).parents[3]
NAMES = list(EVENTS)

ENDS = "→ ending; IAMPASS is notified; `session_ended`"
ENFORCED = "→ ending; IAMPASS is notified; enforcer: end; `session_ended`"
AWAY = "→ away; enforcer: {}; `session_away`"
CLOSED = "→ ending; enforcer: {}; `session_ended`"
ATTACHED = "attached too; `session_opened`"

#: What happens in the states asked, approved, open, away and ending.
EXPECTED = {
    "the phone approves": ("→ approved", "-", "-", "-", "-"),
    "the phone does not approve, or the agent was restarted": ("→ ending; IAMPASS is notified", *"----"),
    "the application ends, and has opened no login session": ("-", ENDS, "-", "-", "-"),
    "a login session is opened": (
        *("-", "→ open; `session_opened`", ATTACHED),
        "attached too; enforcer: revoke; `session_opened`",
        "attached too",
    ),
    "the same, of a login that was neither approved nor covered": ("-", "-", "-", "-", "-"),
    "an attached login is over, not the last": ("-", "-", "-", "-", "-"),
    "the last attached login is over": ("-", "-", ENDS, ENDS, "-"),
    "the process of the last login ends, and no covered connection is to open": (
        "-",
        "-",
        ENFORCED,
        ENFORCED,
        "-",
    ),
    "the same, while a covered connection is to open": ("-", "-", "-", "-", "-"),
    "the agent was restarted, and cannot tell whether a login still runs": (
        *("covers nothing any more", "covers nothing any more", "covers nothing any more"),
        *("-", "-"),
    ),
    "IAMPASS, asked before it covers a login, knows no phone of the person": (
        *("covers nothing any more", "covers nothing any more", "covers nothing any more"),
        *("-", "-"),
    ),
    "IAMPASS: `active`": ("-", "-", "-", "→ open; `session_back`", "-"),
    "the same, after `when_away: lock`, with `unlock_on_return`": (
        *("-", "-", "-"),
        "→ open; enforcer: unlock; `session_back`",
        "-",
    ),
    "IAMPASS twice: `walkaway`, `when_away: revoke`": ("-", *(AWAY.format("revoke"),) * 2, "-", "-"),
    "the same, `when_away: lock`": ("-", *(AWAY.format("lock"),) * 2, "-", "-"),
    "the same, `when_away: end`": ("-", ENFORCED, ENFORCED, "-", "-"),
    "IAMPASS twice: `closed`, `failed`, `timeout` or `cancelled`, `when_closed: end`": (
        *("-", *(CLOSED.format("end"),) * 3, "-"),
    ),
    "the same, `when_closed: lock`": ("-", *(CLOSED.format("lock"),) * 3, "-"),
    "the same, `when_closed: revoke`": ("-", *(CLOSED.format("revoke"),) * 3, "-"),
    "IAMPASS twice: the person has no phone, `when_closed: end`": ("-", *(ENFORCED,) * 3, "-"),
    "`longest` is over, `when_closed: end`": ("-", *(ENFORCED,) * 3, "-"),
    "an administrator ends it, whatever `when_closed` says": (
        *("→ ending; IAMPASS is notified", *(ENFORCED,) * 3, "-"),
    ),
    "it covers a login": ("-", "counted", "counted", "-", "-"),
    "IAMPASS has been notified": ("-", "-", "-", "-", "-"),
    "the enforcer has ended the logins": ("-", "-", "-", "-", "-"),
    "the enforcer knows no such login": ("-", "-", "-", "-", "→ forgotten"),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_event_does_in_every_state_what_the_table_says(name: str) -> None:
    assert tuple(effect(kept, EVENTS[name](kept)) for kept in STATES.values()) == EXPECTED[name]


def test_the_page_shows_the_table() -> None:
    assert (ROOT / "docs/reference/session-life.md").read_text("utf-8") == session_life.page()


#: What can make the enforcer act: IAMPASS (twice), an administrator, the limit of the settings, and the end of the
#: process of a login, of which then only what it has left is ended.
POSITIVE = (
    "IAMPASS",
    "the same",
    "`longest`",
    "an administrator",
    "a login session is opened",
    "the process",
)


@given(st.lists(st.sampled_from(NAMES), max_size=12))
def test_no_sequence_of_events_ends_anything_without_a_positive_answer_or_gives_anything_back(
    names: list[str],
) -> None:
    kept = BASE
    for name in names:
        before, step = kept, EVENTS[name](kept)
        kept = step.kept
        if kept.wanted is not None and kept.wanted is not before.wanted:
            assert name.startswith(POSITIVE)
        if kept.wanted in (Verb.END, Verb.LOCK):
            assert any(each.startswith(("IAMPASS twice", *POSITIVE[1:4], "the process")) for each in names)
        assert kept.revoked >= before.revoked
        assert kept.told >= before.told
        assert (kept.state is State.ENDING) >= (before.state is State.ENDING)
        assert kept.approved == 0.0 or "the phone approves" in names
        if step.record is SessionEvent.ENDED:
            assert before.state is not State.ENDING


def test_only_one_record_tells_of_the_end() -> None:
    kept = STATES["open"]
    step = life.closed(kept, "closed")
    assert step.record is SessionEvent.ENDED
    assert "ended on the phone" in step.reason
    over = life.login_over(step.kept, LOGIN.pid, closed=True)
    assert (over.record, over.kept.is_over) == (None, False), "processes of it may be left"
    assert life.enforced(over.kept, Verb.END, anything=True).kept.is_over


def test_a_session_of_a_gateway_may_have_been_ended_there() -> None:
    step = life.closed(replace(STATES["open"], of_gateway=True), "closed")
    assert "at the gateway" in step.reason
    assert step.kept.why is Reason.GATEWAY


def test_what_was_locked_stays_locked_unless_the_settings_say_otherwise() -> None:
    rules = replace(BASE.rules, when_away=Enforcement.LOCK)
    away = life.away(replace(STATES["open"], rules=rules)).kept
    locked = life.enforced(away, Verb.LOCK, anything=True).kept
    assert (locked.locked, locked.wanted) == (True, None)
    back = life.active(locked)
    assert (back.record, back.kept.wanted, back.kept.revoked) == (SessionEvent.BACK, None, True)
    rules = replace(rules, unlock_on_return=True)
    assert life.active(replace(locked, rules=rules)).kept.wanted is Verb.UNLOCK


def test_a_login_that_is_opened_after_the_end_is_ended_as_well() -> None:
    ended = life.closed(STATES["open"], "closed").kept
    done = life.enforced(ended, Verb.END, anything=True).kept
    late = life.opened(replace(done, awaited=(OPENER,)), replace(LOGIN, pid=9)).kept
    assert (late.wanted, late.ended_by) == (Verb.END, EndCause.PHONE)
    assert not life.login_over(late, LOGIN.pid, closed=True).kept.is_over


def test_to_a_shared_account_in_sshd_only_the_process_that_was_approved_attaches() -> None:
    """The id is no secret, and whoever uses the account is the same user: another one's login could name it."""
    approved = replace(STATES["approved"], through_sshd=True, user="deploy", approver="alice")
    own = replace(LOGIN, pid=OPENER.pid, user="deploy")
    assert life.opened(approved, replace(own, pid=OPENER.pid + 1)).kept == approved
    kept = life.opened(approved, own).kept
    assert kept.attached == (own,)
    assert kept.awaited == ()
