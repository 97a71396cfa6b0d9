"""The page about the life of a kept session, `docs/reference/session-life.md`: every event in every state, as the code
has it."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable

from pam_iampass.config.settings import SessionSettings
from pam_iampass.config.value_types import Enforcement
from pam_iampass.enforcer.protocol import Verb
from pam_iampass.session import life
from pam_iampass.session.kept_session import AttachedLogin, EndCause, KeptSession, Opener, State

_HEAD = """\
<!-- Made by `make pages` from `pam_iampass/session/life.py`. -->
# The life of a kept session

What happens to a session that is kept as long as a login ([sessions.md](../one-server/sessions.md)), for each event in
each state. `-` means that nothing changes, and events that never change anything are left out, such as an outage of
IAMPASS, a 404, a 5xx or an invalid response. Names such as `session_ended` are [records](records.md).

| state | |
| --- | --- |
| asked | The request is on the phone. |
| approved | The phone has approved, and the login session is not open yet. |
| open | A login session is attached. IAMPASS is asked every `check`. |
| away | As open, after IAMPASS reported twice that the phone is no longer near. The session covers nothing. |
| ending | The session covers nothing. IAMPASS is notified until it confirms, the enforcer until the logins are over. |

"""

LOGIN = AttachedLogin(1, "alice", 1000, "sshd", 7)
OPENER = Opener(2)
_RULES = SessionSettings()
BASE = KeptSession(
    *("5f0c" * 8, State.ASKED, "", "", "alice", "alice", "sshd", "", False, "", None, ()),
    *(_RULES, 1.0, 0.0, 0.0),
)

#: A session in each state, by its name.
STATES = {
    "asked": BASE,
    "approved": replace(BASE, state=State.APPROVED, approved=2.0, awaited=(OPENER,)),
    "open": replace(BASE, state=State.OPEN, approved=2.0, attached=(LOGIN,)),
    "away": replace(BASE, state=State.OPEN, approved=2.0, attached=(LOGIN,), away=True, revoked=True),
    "ending": replace(
        *(BASE,),
        state=State.ENDING,
        approved=2.0,
        attached=(LOGIN,),
        revoked=True,
        ended_by=EndCause.PHONE,
        told=True,
        wanted=Verb.END,
    ),
}

Event = Callable[[KeptSession], life.Step]


def _with(rules: dict[str, object], event: Event) -> Event:
    return lambda kept: event(replace(kept, rules=replace(_RULES, **rules)))  # type: ignore[arg-type]


def _back(kept: KeptSession) -> life.Step:
    rules = replace(_RULES, unlock_on_return=True)
    return life.active(replace(kept, rules=rules, locked=kept.away))


def _awaited(kept: KeptSession) -> KeptSession:
    return replace(kept, awaited=() if kept.state is State.ASKED else (OPENER,))


#: Every event, by its description.
EVENTS: dict[str, Event] = {
    "the phone approves": lambda kept: life.approved(kept, 2.0, 2.0, OPENER),
    "the phone does not approve, or the agent was restarted": life.not_approved,
    "the application ends, and has opened no login session": lambda kept: life.not_opened(kept, OPENER.pid),
    "a login session is opened": lambda kept: life.opened(_awaited(kept), replace(LOGIN, pid=2)),
    "the same, of a login that was neither approved nor covered": lambda kept: life.opened(
        replace(kept, awaited=()), replace(LOGIN, pid=2)
    ),
    "an attached login is over, not the last": lambda kept: life.login_over(
        replace(kept, attached=(*kept.attached, replace(LOGIN, pid=3))) if kept.attached else kept,
        3,
        closed=True,
    ),
    "the last attached login is over": lambda kept: life.login_over(kept, 1, closed=True),
    "the process of the last login ends, and no covered connection is to open": lambda kept: life.login_over(
        kept, 1, closed=False
    ),
    "the same, while a covered connection is to open": lambda kept: life.login_over(
        _awaited(kept), 1, closed=False
    ),
    "the agent was restarted, and cannot tell whether a login still runs": life.revoked,
    "IAMPASS, asked before it covers a login, knows no phone of the person": life.revoked,
    "IAMPASS: `active`": life.active,
    "the same, after `when_away: lock`, with `unlock_on_return`": _back,
    "IAMPASS twice: `walkaway`, `when_away: revoke`": life.away,
    "the same, `when_away: lock`": _with({"when_away": Enforcement.LOCK}, life.away),
    "the same, `when_away: end`": _with({"when_away": Enforcement.END}, life.away),
    "IAMPASS twice: `closed`, `failed`, `timeout` or `cancelled`, `when_closed: end`": lambda kept: life.closed(
        kept, "closed"
    ),
    "the same, `when_closed: lock`": _with(
        {"when_closed": Enforcement.LOCK}, lambda kept: life.closed(kept, "closed")
    ),
    "the same, `when_closed: revoke`": _with(
        {"when_closed": Enforcement.REVOKE}, lambda kept: life.closed(kept, "closed")
    ),
    "IAMPASS twice: the person has no phone, `when_closed: end`": life.no_phone,
    "`longest` is over, `when_closed: end`": life.longest,
    "an administrator ends it, whatever `when_closed` says": _with(
        {"when_closed": Enforcement.REVOKE}, life.administrator
    ),
    "it covers a login": lambda kept: life.covered(kept, 3.0, None),
    "IAMPASS has been notified": life.told,
    "the enforcer has ended the logins": lambda kept: life.enforced(kept, Verb.END, anything=True),
    "the enforcer knows no such login": lambda kept: life.enforced(kept, Verb.END, anything=False),
}


def page() -> str:
    """The page in docs/."""
    rows: list[tuple[str, list[str]]] = []
    for description, event in EVENTS.items():
        cells = [effect(kept, event(kept)) for kept in STATES.values()]
        if rows and rows[-1][1] == cells:
            rows[-1] = (f"{rows[-1][0]}; or {description}", cells)
        elif set(cells) != {"-"}:
            rows.append((description, cells))
    lines = [f"| event | {' | '.join(STATES)} |", f"| --- |{' --- |' * len(STATES)}"]
    lines += [f"| {description} | {' | '.join(cells)} |" for description, cells in rows]
    return _HEAD + "\n".join(lines) + "\n"


def effect(before: KeptSession, step: life.Step) -> str:
    """What an event has changed, in words."""
    after = step.kept
    before = replace(before, rules=after.rules, locked=before.locked or (before.away and not after.away))
    parts = []
    state = _state(after)
    if state != _state(before):
        parts.append(f"→ {state}")
    elif len(after.attached) > len(before.attached):
        parts.append("attached too")
    if after.revoked and not before.revoked and after.state is before.state and not after.away:
        parts.append("covers nothing any more")
    if after.covered != before.covered:
        parts.append("counted")
    if after.state is State.ENDING and not after.told and before.state is not State.ENDING:
        parts.append("IAMPASS is notified")
    if after.wanted is not None and after.wanted is not before.wanted:
        parts.append(f"enforcer: {after.wanted.value}")
    if step.record is not None:
        parts.append(f"`{step.record.value}`")
    return "; ".join(parts) or "-"


def _state(kept: KeptSession) -> str:
    if kept.is_over:
        return "forgotten"
    return "away" if kept.away else kept.state.value
