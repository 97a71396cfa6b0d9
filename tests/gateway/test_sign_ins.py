"""Signing in, links and touches: who counts as whom, for what, how often and for how long."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Callable

import psycopg
import pytest

from pam_iampass.fleet.act import Role
from pam_iampass.gateway.acts import ACTS
from pam_iampass.gateway.acts.act import Act, challenge, first_outcome, made_for, perform, ring
from pam_iampass.gateway.acts.passkeys import (
    AddPasskey,
    CodeForLostPhone,
    ConfirmPasskey,
    EndOperator,
    EndSignIns,
    LinkOperator,
    LinkPerson,
    RemovePasskey,
    passkey_options,
)
from pam_iampass.gateway.acts.people import BypassPhone, ClearLimits, EndBypasses, NewCodes, RevokeCodes
from pam_iampass.gateway.acts.phones import NewPhone, ReportLostPhone
from pam_iampass.gateway.acts.requests import DisownSession, VerifyCaller
from pam_iampass.gateway.acts.sessions import EndSessions
from pam_iampass.gateway.acts.views import show_people, show_records, show_sessions
from pam_iampass.gateway.base.connection import Connection, UnknownOutcome
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.reasons import RefusedStart
from pam_iampass.gateway.base.records import Filter, reason_of
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import PersonStatus
from pam_iampass.gateway.requests import own_requests
from pam_iampass.gateway.requests.own_requests import Answer
from pam_iampass.gateway.requests.sessions import HostSession
from pam_iampass.gateway.sign_in import links, passkeys, sign_ins, touches
from pam_iampass.gateway.sign_in.actors import (
    Actor,
    ActRefused,
    BadParameter,
    NotPermitted,
    NotSignedIn,
    ProofRefused,
    Repeated,
    TooMany,
)
from pam_iampass.gateway.sign_in.sign_ins import SignedIn
from pam_iampass.gateway.sign_in.webauthn import Refused
from tests.gateway.test_acts import ROOT
from tests.support.authenticator import Authenticator, Deviation
from tests.support.browser_of import (
    OPERATORS,
    PORTAL,
    REMOTE,
    Browser,
    browser_of,
    rewrite,
    sign_in,
    with_passkey,
)
from tests.support.gateway import RunningGateway, settings_for
from tests.support.gateway_command import GatewayCommand
from tests.support.sandbox import HttpStatus, Sandbox
from tests.support.world import PATIENCE, wait_until

PEOPLE = {
    "ann": ("staff",),
    "ben": ("staff",),
    "max": ("staff", "vip"),
    "nog": (),
    "zoe": ("it",),
    "dan": ("desk",),
    "sue": ("sec",),
}
"""ann and ben are helped. max is in another group, too, and nog in none. The others are operators. None has a phone."""


@pytest.fixture
def running(
    conninfo: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningGateway]:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    settings = settings_for(
        conninfo,
        sandbox,
        tmp_path,
        portal=PORTAL,
        operators=OPERATORS,
        self_service=frozenset({"staff"}),
    )
    with RunningGateway(settings) as running:
        running.transaction(restored.begin)
        for name, groups in PEOPLE.items():
            running.add_person(name, f"token-of-{name}", groups)
        yield running


@pytest.fixture
def zoe(running: RunningGateway) -> Browser:
    """An admin, who has used root's link."""
    return browser_of(running, "zoe", by_root=True)


@pytest.fixture
def ann(running: RunningGateway) -> Browser:
    return browser_of(running, "ann")


def again(running: RunningGateway, browser: Browser) -> Browser:
    """The same person, who signs in once more with the passkey."""
    return dataclasses.replace(browser, token=sign_in(running, browser.authenticator).token)


def regroup(running: RunningGateway, name: str, *groups: str) -> None:
    """What the directory does."""
    running.transaction(lambda g, c: people.change(g, c, name, groups=groups))


def refusals(running: RunningGateway) -> list[dict[str, Any]]:
    return [record for record in running.records if record.get("what") == "refused"]


def put_back(running: RunningGateway, table: str, row: dict[str, Any]) -> None:
    """What the owner of the database does with a row of earlier."""
    places = ", ".join(["%s"] * len(row))
    running.rows(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


def has_codes(running: RunningGateway, name: str) -> bool:
    return running.transaction(lambda g, c: codes.stored(g, c, name)) is not None


# Who may do what to whom

READ_AT = datetime(2026, 12, 1, tzinfo=timezone.utc)
DESCRIBED = {"changed_at": READ_AT, "groups": ("staff",), "display_name": "", "phone_number": ""}
PARAMETERS: dict[str, dict[str, object]] = {
    "bypass": {"seconds": 60.0},
    "host_invite": {"group": "web", "seconds": 60.0},
    "host_revoke": {"invite": "i-aaaaaaaaaaaa"},
    "passkey_add": {"label": "laptop", "answer": "{}"},
    "passkey_remove": {"passkey": "A" * 43},
    "session_decline": {"session": str(uuid.UUID(int=1))},
    "session_not_me": {"session": str(uuid.UUID(int=1))},
    "user_change": DESCRIBED,
    "user_leave": {"changed_at": READ_AT},
    "user_return": DESCRIBED,
}
"""What an act needs besides a person or a host, to be made."""
TARGETS = ("self", "helped", "in another group too", "in no group", "operator", "unknown", "a host")
CLAIMS = {"ann": Role.SELF, "dan": Role.HELPDESK, "zoe": Role.ADMIN, "sue": Role.AUDITOR}


def matrix(name: str) -> Iterator[tuple[str, Act[Any]]]:
    """Every act that is declared, with every kind of target, as this person does them."""
    names = dict(zip(TARGETS, (name, "ben", "max", "nog", "sue" if name != "sue" else "zoe", "nobody")))
    made: Any
    for made in ACTS.values():
        given = PARAMETERS.get(made.declared.name, {})
        if "person" in made.declared.checks:
            for target in TARGETS[:-1]:
                yield target, made(person=names[target], **given)
        elif "host" in made.declared.checks:
            yield "a host", made(host="web1.example.com", **given)
        else:
            yield "a host", made(**given)


def expected(declared: Any, role: Role, target: str) -> Role | None:
    """The role by which somebody may do this, as the design says."""
    if target == "self":
        return Role.SELF if Role.SELF in declared.by else None
    if role is Role.HELPDESK and target != "helped":
        return None
    return role if role is not Role.SELF and role in declared.by else None


def _outcome(browser: Browser, act: Act[Any]) -> type[Exception] | None:
    """What becomes of an act without a touch."""
    try:
        browser.do_without_touch(act)
    except ActRefused as error:
        return type(error)
    return None


@pytest.mark.parametrize("by_root", [True, False], ids=["root", "other"])
@pytest.mark.parametrize("name", CLAIMS)
def test_each_act_is_for_whom_it_is_declared_and_a_token_alone_does_not_touch(
    running: RunningGateway, name: str, by_root: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_ins, "RECORDS_A_MINUTE", 1000)
    browser = browser_of(running, name, by_root=by_root)
    role = CLAIMS[name] if by_root else Role.SELF
    found = {}
    # What ends the sign-in itself comes last.
    cells = sorted(matrix(name), key=lambda cell: (cell[1].declared.name == "sign_in_end", cell[0] == "self"))
    for target, act in cells:
        where, as_role = (act.declared.name, target), expected(act.declared, role, target)
        found[where] = (as_role is not None, as_role in act.declared.touch), _outcome(browser, act)
    wrong = {
        where: (is_permitted, needs_touch, error)
        for where, ((is_permitted, needs_touch), error) in found.items()
        if not (
            error is NotPermitted
            if not is_permitted
            else error is ProofRefused
            if needs_touch
            else error in (None, ActRefused)
        )
    }
    assert wrong == {}
    assert {record["what"] for record in running.records if record["kind"] == "act"} <= {
        "sign_in",
        "refused",
        "phone_lost",
        "session_end",
        "sign_in_end",
    }


def test_an_admin_acts_with_a_touch_and_the_record_says_who_it_was(
    running: RunningGateway, zoe: Browser
) -> None:
    zoe.do(BypassPhone("max", 60.0, reason="4711"))
    record = running.records[-1]
    assert {key: record[key] for key in ("what", "person", "caller", "known_by", "remote")} == {
        "what": "bypass",
        "person": "max",
        "caller": "zoe",
        "known_by": "sign-in",
        "remote": REMOTE,
    }


def test_people_with_a_role_act_for_themselves_as_the_people_that_they_are(
    running: RunningGateway, zoe: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-zoe")
    with pytest.raises(ProofRefused):
        zoe.do(NewCodes("zoe"))
    assert refusals(running)[-1]["reason"] == "it was not approved on the phone"
    assert not has_codes(running, "zoe")


def test_a_passkey_by_another_link_gives_no_role_also_after_a_promotion(
    running: RunningGateway, zoe: Browser, ann: Browser
) -> None:
    regroup(running, "ann", "it")
    with pytest.raises(NotPermitted):
        ann.do(EndBypasses("ben"))
    further = _further_passkey(running, zoe)
    begun = sign_in(running, further)
    assert begun.roles == {Role.SELF}, "a further passkey is by no link of root's"


def test_a_directory_makes_no_admin_of_a_help_desk_with_roots_passkey(running: RunningGateway) -> None:
    dan = browser_of(running, "dan", by_root=True)
    regroup(running, "dan", "desk", "it")
    with pytest.raises(NotPermitted):
        dan.do(BypassPhone("max", 60.0))
    assert sign_in(running, dan.authenticator).roles == {Role.SELF, Role.HELPDESK}
    Link(running, LinkOperator("dan")).use()
    (row,) = running.rows("SELECT roles FROM passkey WHERE person = 'dan' ORDER BY made_at DESC LIMIT 1")
    assert row["roles"] == ["admin", "helpdesk"]


@pytest.mark.parametrize("when", ["before", "locked"])
def test_a_group_that_is_taken_away_between_challenge_and_completion_takes_the_role(
    running: RunningGateway, zoe: Browser, when: str
) -> None:
    act = BypassPhone("ben", 60.0)
    touch = zoe.touch(act)
    demote = "UPDATE person SET groups = '{}', mac = %s WHERE name = 'zoe'"
    row = {**running.rows("SELECT * FROM person WHERE name = 'zoe'")[0], "groups": []}
    mac = running.gateway.keys.sealed("person", row)["mac"]
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with ThreadPoolExecutor() as pool, psycopg.connect(running.settings.database) as other:
        other.execute(demote.encode(), (mac,))
        if when == "before":
            other.commit()
        performed = pool.submit(zoe.do, act, touch)
        try:
            if when != "before":
                wait_until(lambda: running.rows(waits), "nothing waits for the row of zoe")
        finally:
            other.commit()
        with pytest.raises(NotPermitted):
            performed.result(PATIENCE)
    assert running.rows("SELECT 1 FROM bypass") == []


def test_the_token_of_a_sign_in_alone_revokes_no_codes(
    running: RunningGateway, ann: Browser, zoe: Browser
) -> None:
    ann.do(NewCodes("ann"))
    with pytest.raises(ActRefused, match="revokes none of your own codes"):
        ann.do_without_touch(ReportLostPhone("ann", end_codes=True))
    assert has_codes(running, "ann")
    zoe.do(ReportLostPhone("ann", end_codes=True))
    assert not has_codes(running, "ann")


@pytest.mark.parametrize(("actor", "target"), [("zoe", "ann"), ("ann", "zoe")])
def test_who_has_signed_in_and_the_target_are_locked_in_the_order_of_their_names(
    running: RunningGateway, actor: str, target: str
) -> None:
    running.transaction(lambda g, c: people.change(g, c, actor, groups=("it",)))
    browser = browser_of(running, actor, by_root=True)
    act = EndBypasses(target)
    touch = browser.touch(act)
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with ThreadPoolExecutor() as pool, psycopg.connect(running.settings.database) as other:
        other.execute("SELECT 1 FROM person WHERE name = 'ann' FOR UPDATE")
        performed = pool.submit(browser.do, act, touch)
        try:
            wait_until(lambda: running.rows(waits), "nothing waits for the row of ann")
            running.rows("SELECT 1 FROM person WHERE name = 'zoe' FOR UPDATE NOWAIT")
            running.rows("SELECT 1 FROM sign_in FOR UPDATE NOWAIT")
        finally:
            other.rollback()
        assert performed.result(PATIENCE) == 0


# A touch


def test_an_act_is_done_once_over_all_gateways_and_its_touch_is_good_for_no_other(
    running: RunningGateway, zoe: Browser
) -> None:
    act, once = EndBypasses("ben"), zoe.once
    touch = zoe.touch(act)
    zoe.do(act, touch)
    here = running.gateway
    other = Gateway(here.settings, here.database, here.keys, here.iampass)
    done = len(running.records)
    for gateway in (here, other):
        with pytest.raises(Repeated):
            running.run(perform(gateway, SignedIn(zoe.token, REMOTE, touch, once=once), act))
    assert len(running.records) == done
    for made in (secrets.token_hex(8), "", "0" * 17, once.upper() + " "):
        with pytest.raises(ProofRefused):
            running.run(perform(here, SignedIn(zoe.token, REMOTE, touch, once=made), act))
    assert len(refusals(running)) == 4


def test_the_repeat_of_an_act_is_told_what_came_of_it_without_what_is_shown_once(
    running: RunningGateway, zoe: Browser, ann: Browser
) -> None:
    act, once = NewCodes("ben"), zoe.once
    touch = zoe.touch(act)
    assert len(zoe.do(act, touch)) == 10
    by = SignedIn(zoe.token, REMOTE, touch, once=once)
    assert running.run(first_outcome(running.gateway, by, act)) == {"codes": None}
    with pytest.raises(ProofRefused):
        running.run(first_outcome(running.gateway, by, NewCodes("max")))
    another = SignedIn(ann.token, REMOTE, once=once)
    with pytest.raises(UnknownOutcome):
        running.run(first_outcome(running.gateway, another, act))
    ann.once = once
    ann.do_without_touch(ReportLostPhone("ann"))


def test_the_same_act_at_the_same_time_is_done_once_and_both_are_told_what_came_of_it(
    running: RunningGateway, zoe: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ben")
    act = VerifyCaller("ben")
    by = SignedIn(zoe.token, REMOTE, zoe.touch(act), once=zoe.once)

    async def do() -> Mapping[str, Any]:
        try:
            return dataclasses.asdict(act.told(await perform(running.gateway, by, act)))
        except Repeated:
            return await first_outcome(running.gateway, by, act)

    with ThreadPoolExecutor(3) as pool:
        told = [pool.submit(running.run, do()) for _ in range(3)]
        sandbox.approve(sandbox.wait_for_request("token-of-ben"))
        assert {each.result(PATIENCE)["answer"] for each in told} == {"approved"}
    assert len(running.rows("SELECT 1 FROM session WHERE person = 'ben'")) == 1


def verify(running: RunningGateway, sandbox: Sandbox, browser: Browser, name: str, what: str) -> None:
    """Have a caller asked on the phone, who does this there."""
    with ThreadPoolExecutor() as pool:
        performed = pool.submit(browser.do, VerifyCaller(name))
        getattr(sandbox, what)(sandbox.wait_for_request(f"token-of-{name}"))
        performed.result(PATIENCE)
    assert marked(running, browser, name) == [what == "approve"]


def marked(running: RunningGateway, browser: Browser, *names: str) -> list[bool]:
    """Whether the page of each person, and the record of an act for them, say that they approved on the phone."""
    found = []
    for name in names:

        async def shown(gateway: Gateway, connection: Connection, name: str = name) -> datetime | None:
            actor = await sign_ins.actor(gateway, connection, browser.token, REMOTE)
            (row,), _ = await show_people(gateway, connection, actor, name=name)
            return row.get("caller_verified")

        at = running.transaction(shown)
        browser.do(EndBypasses(name))
        record = running.records[-1]
        assert record["what"] == "bypass_end"
        assert record.get("caller_verified") == (at and at.isoformat())
        found.append(at is not None)
    return found


@pytest.fixture
def dan(running: RunningGateway) -> Browser:
    """The help desk."""
    return browser_of(running, "dan", by_root=True)


def test_a_caller_who_approved_on_the_phone_is_marked_for_this_operator_sign_in_and_person(
    running: RunningGateway, zoe: Browser, dan: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ben")
    elsewhere = again(running, dan)
    verify(running, sandbox, dan, "ben", "approve")
    assert marked(running, dan, "ben", "ann") == [True, False]
    assert marked(running, elsewhere, "ben") == [False]
    assert marked(running, zoe, "ben") == [False]
    dan.do(ReportLostPhone("ben"))
    (lost,) = (
        record for record in running.records if record.get("what") == "phone_lost" and "caller" in record
    )
    assert "; the caller approved on the phone at " in reason_of(lost), "it was true when the act began"


def test_the_mark_of_a_caller_ends_after_ten_minutes(
    running: RunningGateway, dan: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ben")
    verify(running, sandbox, dan, "ben", "approve")
    at = running.rows("SELECT at FROM verified")[0]["at"]
    rewrite(running, "verified", "person", "ben", at=at - timedelta(minutes=9))
    assert marked(running, dan, "ben") == [True]
    rewrite(running, "verified", "person", "ben", at=at - timedelta(minutes=10))
    assert marked(running, dan, "ben") == [False]


@pytest.mark.parametrize("by", ["dan", "ben"])
def test_the_mark_of_a_caller_ends_when_the_phone_is_reported_lost(
    running: RunningGateway, dan: Browser, sandbox: Sandbox, by: str
) -> None:
    sandbox.add_user("token-of-ben")
    verify(running, sandbox, dan, "ben", "approve")
    if by == "ben":
        browser_of(running, "ben").do_without_touch(ReportLostPhone("ben"))
    else:
        dan.do(ReportLostPhone("ben"))
    assert marked(running, dan, "ben") == [False]


def test_a_caller_who_denies_the_next_request_is_marked_no_more(
    running: RunningGateway, dan: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ben")
    verify(running, sandbox, dan, "ben", "approve")
    verify(running, sandbox, dan, "ben", "deny")


def test_a_marked_caller_spares_an_operator_nothing(
    running: RunningGateway, dan: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ben")
    verify(running, sandbox, dan, "ben", "approve")
    with pytest.raises(ProofRefused):
        dan.do_without_touch(EndBypasses("ben"))
    regroup(running, "ben", "staff", "vip")
    with pytest.raises(NotPermitted):
        dan.do_without_touch(EndBypasses("ben"))


def test_no_row_that_a_gateway_has_not_written_marks_a_caller(
    running: RunningGateway, dan: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ben")
    verify(running, sandbox, dan, "ben", "approve")
    running.rows("UPDATE verified SET person = 'ann'")
    assert marked(running, dan, "ann", "ben") == [False, False]


def test_a_caller_is_verified_also_if_the_sign_in_ends_meanwhile(
    running: RunningGateway, dan: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ben")
    with ThreadPoolExecutor() as pool:
        performed = pool.submit(dan.do, VerifyCaller("ben"))
        request = sandbox.wait_for_request("token-of-ben")
        running.rows("DELETE FROM sign_in")
        sandbox.approve(request)
        assert performed.result(PATIENCE).answer is Answer.APPROVED
    assert running.rows("SELECT 1 FROM verified") == []


def test_an_act_whose_id_stands_in_the_database_is_not_done(running: RunningGateway, zoe: Browser) -> None:
    act, once = EndBypasses("ben"), zoe.once
    touch, statement = zoe.touch(act), "INSERT INTO nonce SELECT 'act ' || id, %s, now() + '1 h' FROM sign_in"
    running.rows(statement, int(once, 16))
    done = len(running.records)
    by = SignedIn(zoe.token, REMOTE, touch, once=once)
    with pytest.raises(Repeated):
        running.run(perform(running.gateway, by, act))
    with pytest.raises(UnknownOutcome):
        running.run(first_outcome(running.gateway, by, act))
    assert len(running.records) == done


def test_an_act_that_was_not_done_can_be_done_with_its_id(running: RunningGateway, zoe: Browser) -> None:
    act = EndBypasses("ben")
    by = SignedIn(zoe.token, REMOTE, once=zoe.once)
    with pytest.raises(ProofRefused):
        running.run(perform(running.gateway, by, act))
    with pytest.raises(UnknownOutcome):
        running.run(first_outcome(running.gateway, by, act))
    assert zoe.do(act) == 0


def test_a_touch_is_good_for_nothing_but_what_its_challenge_was_made_for(
    running: RunningGateway, zoe: Browser
) -> None:
    act = BypassPhone("ben", 60.0)
    again = Browser(running, zoe.authenticator, "zoe", sign_in(running, zoe.authenticator).token)
    another = browser_of(running, "zoe", by_root=True)
    signing_in = zoe.authenticator.get(sign_ins.sign_in_options(running.gateway, "a"))
    wrong: dict[str, dict[str, Any]] = {
        "other parameters": zoe.touch(BypassPhone("ben", 61.0)),
        "another person": zoe.touch(BypassPhone("max", 60.0)),
        "another act": zoe.touch(EndBypasses("ben")),
        "another sign-in": again.touch(act),
        "another passkey": another.touch(act),
        "another purpose": signing_in,
        "nothing": {},
    }
    for what, touch in wrong.items():
        with pytest.raises(ProofRefused):
            zoe.do(act, touch)
            pytest.fail(what)
    # Another passkey of the same person over the very challenge of this sign-in.
    options = running.run(challenge(running.gateway, SignedIn(zoe.token, REMOTE, once=zoe.once), act))
    options["allowCredentials"] = []
    with pytest.raises(ProofRefused):
        zoe.do(act, another.authenticator.get(options))
    # A touch signs nobody in.
    with pytest.raises(ProofRefused):
        running.run(sign_ins.sign_in(running.gateway, "a", zoe.touch(act), REMOTE, ""))
    assert running.rows("SELECT 1 FROM bypass") == []
    assert len(refusals(running)) == len(wrong) + 2


@pytest.mark.parametrize("seconds", [touches.SECONDS + 1, -touches.SECONDS * 10])
def test_a_late_touch_is_refused_and_one_of_a_clock_that_is_far_ahead(
    running: RunningGateway, zoe: Browser, seconds: int
) -> None:
    act = EndBypasses("ben")
    touch = zoe.touch(act)
    running.clock_skew = seconds
    with pytest.raises(ProofRefused):
        zoe.do(act, touch)
    assert refusals(running)[-1]["reason"] == "for ben: the challenge is not good any more"


def test_a_challenge_is_bound_to_its_purpose_and_to_who_was_given_it(running: RunningGateway) -> None:
    made = touches.challenge(running.gateway, "act", "a sign-in", {"act": "bypass"})

    def spend(challenge: bytes, purpose: str, who: str, act: str) -> None:
        running.transaction(lambda g, c: touches.spend(g, c, challenge, purpose, who, {"act": act}))

    good = (made, "act", "a sign-in", "bypass")
    for at, wrong in enumerate((made[:-1], "passkey", "another", "enroll")):
        with pytest.raises(Refused, match="for something else"):
            spend(*(*good[:at], wrong, *good[at + 1 :]))  # type: ignore[arg-type]
    for broken in (b"", bytes(48), bytes([made[0] ^ 1]) + made[1:]):
        with pytest.raises(Refused, match="for something else"):
            spend(broken, *good[1:])
    spend(*good)
    with pytest.raises(Refused, match="spent before"):
        spend(*good)


def test_an_act_that_cannot_be_done_spends_no_touch(running: RunningGateway, zoe: Browser) -> None:
    act = BypassPhone("ben", 60.0, groups=("later",))
    touch = zoe.touch(act)
    for _ in range(2):
        with pytest.raises(ActRefused, match="not in the settings"):
            zoe.do(act, touch)


def test_each_refusal_of_a_sign_in_is_a_record_and_those_of_strangers_say_when_no_more_are_written(
    running: RunningGateway, ann: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_ins, "REFUSALS_A_MINUTE", 2)
    monkeypatch.setattr(sign_ins, "RECORDS_A_MINUTE", 5)
    stranger = SignedIn("x", REMOTE)
    for _ in range(3):
        with pytest.raises(NotSignedIn):
            running.run(perform(running.gateway, stranger, EndBypasses("ben")))
        with pytest.raises(NotPermitted):
            ann.do_without_touch(EndBypasses("ben"))
    with pytest.raises(ActRefused, match="no such session"):
        ann.do_without_touch(DisownSession("ann", str(uuid.uuid4())))
    with pytest.raises(TooMany):
        ann.do_without_touch(EndBypasses("ben"))
    told: dict[str | None, list[str]] = {None: [], "ann": []}
    for record in refusals(running):
        told[record.get("caller")].append(record["reason"])
    unknown = "for ben: no sign-in has this token"
    assert told[None] == [unknown, f"{unknown}; what else is refused within this minute leaves no record"]
    assert told["ann"] == ['for ben: "ann" may not do this: bypass_end'] * 3 + ["ann has no such session"]


@pytest.mark.parametrize("who", ["ann", "dan"])
def test_what_was_refused_to_others_does_not_push_off_what_was_done_to_a_person(
    running: RunningGateway, zoe: Browser, who: str
) -> None:
    zoe.do(BypassPhone("ben", 60.0, reason="ticket 1"))
    other = browser_of(running, who, by_root=who == "dan")
    with pytest.raises(ActRefused):
        other.do_without_touch(BypassPhone("ben", 60.0))
    assert refusals(running)[-1]["reason"].startswith("for ben: ")
    ben = browser_of(running, "ben")

    async def read(gateway: Gateway, connection: Any) -> Any:
        actor = await sign_ins.actor(gateway, connection, ben.token, "")
        return await show_records(gateway, connection, actor, Filter("ben"), 20)

    assert [row.get("what") for row in running.transaction(read)] == ["bypass", "sign_in"]


def test_iampass_is_asked_nothing_without_the_touch_and_for_one_link_a_bounded_number_of_times(
    running: RunningGateway, ann: Browser, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_ins, "MOST_ASKED", 3)
    before = len(sandbox.calls)
    with pytest.raises(ProofRefused):
        ann.do_without_touch(NewCodes("ann"))
    assert len(sandbox.calls) == before
    link = Link(running, LinkPerson("ben"))
    for _ in range(3):
        answer = link.answer()
    asked = len(sandbox.calls)
    assert asked > before
    with pytest.raises(ProofRefused):
        link.use(answer)
    with pytest.raises(ProofRefused):
        link.answer()
    assert len(sandbox.calls) == asked


# Sign-ins


@pytest.mark.parametrize(
    ("column", "ago", "counts"),
    [
        ("active_at", sign_ins.IDLE - timedelta(minutes=1), True),
        ("active_at", sign_ins.IDLE, False),
        ("expires_at", timedelta(0), False),
    ],
)
def test_a_sign_in_ends_after_eight_hours_and_half_an_hour_without_anything_done(
    running: RunningGateway, ann: Browser, column: str, ago: timedelta, counts: bool
) -> None:
    (moment,) = running.rows("SELECT now() AS now")
    digest = passkeys.digest_of(ann.token)
    rewrite(running, "sign_in", "digest", digest, **{column: moment["now"] - ago})

    def look(by_itself: bool) -> Actor:
        return running.transaction(lambda g, c: sign_ins.actor(g, c, ann.token, REMOTE, by_itself=by_itself))

    if not counts:
        with pytest.raises(NotSignedIn):
            look(by_itself=False)
        with pytest.raises(NotSignedIn):
            ann.do_without_touch(EndSignIns("ann"))
        running.transaction(lambda _, connection: sign_ins.forget(connection))
        assert running.rows("SELECT 1 FROM sign_in") == []
        return

    def active_at() -> Any:
        return running.rows("SELECT active_at FROM sign_in")[0]["active_at"]

    before = active_at()
    assert look(by_itself=True).roles == {Role.SELF}
    assert active_at() == before, "what a page asks by itself keeps nobody signed in"
    look(by_itself=False)
    assert active_at() > before


def test_the_oldest_of_too_many_sign_ins_ends(running: RunningGateway, ann: Browser) -> None:
    tokens = [ann.token]
    tokens += [sign_in(running, ann.authenticator).token for _ in range(sign_ins.MOST_SIGN_INS)]
    assert running.rows("SELECT count(*) AS number FROM sign_in") == [{"number": sign_ins.MOST_SIGN_INS}]
    for token, is_over in ((tokens[0], True), (tokens[1], False), (tokens[-1], False)):
        browser = Browser(running, ann.authenticator, "ann", token)
        if is_over:
            with pytest.raises(NotSignedIn):
                browser.do_without_touch(EndSignIns("ann", str(uuid.uuid4())))
        else:
            browser.do_without_touch(EndSignIns("ann", str(uuid.uuid4())))


def test_few_sign_ins_of_a_person_begin_within_a_minute(running: RunningGateway, ann: Browser) -> None:
    for _ in range(sign_ins.SIGN_INS_A_MINUTE - 1):
        sign_in(running, ann.authenticator)
    with pytest.raises(TooMany):
        sign_in(running, ann.authenticator)
    browser_of(running, "ben")
    running.rows("UPDATE record SET at = at - interval '1 minute'")
    sign_in(running, ann.authenticator)


def test_an_answer_to_sign_in_is_good_once_in_the_browser_that_was_asked_for_it(
    running: RunningGateway, ann: Browser
) -> None:
    answer = ann.authenticator.get(sign_ins.sign_in_options(running.gateway, "a browser"))

    def begin(binding: str) -> sign_ins.NewSignIn:
        return running.run(sign_ins.sign_in(running.gateway, binding, answer, REMOTE, ""))

    with pytest.raises(ProofRefused):
        begin("another browser")
    begin("a browser")
    with pytest.raises(ProofRefused):
        begin("a browser")
    running.transaction(lambda g, c: people.change(g, c, "ann", status=PersonStatus.LEAVING))
    with pytest.raises(ProofRefused):
        sign_in(running, ann.authenticator)
    unknown = _unknown_passkey(running)
    with pytest.raises(ProofRefused):
        sign_in(running, unknown)
    answer = unknown.get(sign_ins.sign_in_options(running.gateway, "a browser"))
    with pytest.raises(ProofRefused):
        begin("another browser")
    reasons = [record["reason"] for record in refusals(running)]
    assert reasons == [
        "the challenge was made for something else",
        "the challenge was spent before",
        "ann cannot log in",
        "this passkey is not known",
        "the challenge was made for something else",
    ]


def _unknown_passkey(running: RunningGateway) -> Authenticator:
    authenticator = with_passkey(running, "ben")
    running.rows("DELETE FROM passkey WHERE person = 'ben'")
    return authenticator


def test_people_end_their_own_sign_ins_and_remove_their_own_passkeys(
    running: RunningGateway, ann: Browser
) -> None:
    ben = browser_of(running, "ben")
    other, ann = ann, again(running, ann)
    ids = {row["digest"]: row["id"] for row in running.rows("SELECT digest, id FROM sign_in")}
    assert ann.do_without_touch(EndSignIns("ann", str(ids[passkeys.digest_of(ben.token)]))) == 0
    assert ann.do_without_touch(EndSignIns("ann", str(ids[passkeys.digest_of(other.token)]))) == 1
    bens = running.rows("SELECT id FROM passkey WHERE person = 'ben'")[0]["id"]
    with pytest.raises(ActRefused, match="no such passkey"):
        ann.do(RemovePasskey("ann", bens))
    own = running.rows("SELECT id FROM passkey WHERE person = 'ann'")[0]["id"]
    ann.do(RemovePasskey("ann", own))
    with pytest.raises(NotSignedIn):
        ann.do_without_touch(EndSignIns("ann"))
    assert [row["person"] for row in running.rows("SELECT person FROM sign_in")] == ["ben"]


def test_a_further_passkey_removes_no_passkey_of_roots(running: RunningGateway, zoe: Browser) -> None:
    """A stolen laptop, with whose passkey no role counts, does not take the role from its owner."""
    (root,) = running.rows("SELECT id FROM passkey WHERE person = 'zoe'")
    laptop = browser_of(running, "zoe")
    (other,) = running.rows("SELECT id FROM passkey WHERE person = 'zoe' AND roles = '{}'")
    with pytest.raises(ActRefused, match="roles count with that passkey"):
        laptop.do(RemovePasskey("zoe", root["id"]))
    zoe.do(RemovePasskey("zoe", other["id"]))
    zoe.do(RemovePasskey("zoe", root["id"]))


@pytest.mark.parametrize("how", ["sign_in_end", "phone_lost"])
def test_a_stolen_token_ends_no_sign_in_that_began_later(
    running: RunningGateway, ann: Browser, how: str
) -> None:
    thief, owner = ann, again(running, ann)
    (row,) = running.rows("SELECT id FROM sign_in WHERE digest = %s", passkeys.digest_of(owner.token))
    if how == "sign_in_end":
        assert thief.do_without_touch(EndSignIns("ann", str(row["id"]))) == 0
        assert thief.do_without_touch(EndSignIns("ann")) == 1
    else:
        thief.do_without_touch(ReportLostPhone("ann"))
    assert owner.do_without_touch(EndSignIns("ann")) == (1 if how == "sign_in_end" else 2)


def test_a_passkey_is_removed_with_a_touch_alone_also_while_the_phone_is_lost(
    running: RunningGateway, ann: Browser, zoe: Browser
) -> None:
    """Laptop and phone may be in one bag. A thief can do the same: then a link brings the owner back."""
    (own,) = running.rows("SELECT id FROM passkey WHERE person = 'ann'")
    laptop = browser_of(running, "ann")
    (stolen,) = running.rows("SELECT id FROM passkey WHERE person = 'ann' AND id <> %s", own["id"])
    ann.do_without_touch(ReportLostPhone("ann"))
    with pytest.raises(ProofRefused):
        laptop.do_without_touch(RemovePasskey("ann", own["id"]))
    ann.do(RemovePasskey("ann", stolen["id"]))
    with pytest.raises(NotSignedIn):
        laptop.do_without_touch(EndSignIns("ann"))
    link = Link(running, LinkPerson("ann", replaces=True), by=zoe)
    assert link.use() == "ann"
    with pytest.raises(NotSignedIn):
        ann.do_without_touch(EndSignIns("ann"))


def test_a_help_desk_is_told_for_whom_it_does_nothing(running: RunningGateway, sandbox: Sandbox) -> None:
    for name in ("ann", "ben"):
        sandbox.add_user(f"token-of-{name}")
        running.run(own_requests.ask(running.gateway, name, "a call", REMOTE, "x"))
    regroup(running, "ben", "it")
    with_passkey(running, "ben", by_root=True)
    regroup(running, "ben", "staff")

    def helped(role: Role) -> list[list[bool | None]]:
        by = Actor("dan", frozenset({Role.SELF, role}), "sign-in", helps=frozenset({"staff"}))
        found, _ = running.transaction(lambda g, c: show_people(g, c, by))
        asked = running.transaction(lambda g, c: show_sessions(g, c, by))
        people, sessions = ({row["user"]: row.get("is_helped") for row in rows} for rows in (found, asked))
        return [[shown["ann"], shown["ben"]] for shown in (people, sessions)]

    assert helped(Role.HELPDESK) == [[True, False]] * 2
    assert helped(Role.ADMIN) == [[True, True]] * 2


# Links


class Link:
    """A link, and a browser that opens it."""

    def __init__(self, running: RunningGateway, act: Act[links.NewLink], by: Any = ROOT) -> None:
        self.running = running
        made = running.run(perform(running.gateway, by, act)) if by is ROOT else by.do(act)
        self.token = made.url.removeprefix(f"{PORTAL.origin}/link#")
        self.authenticator = Authenticator(PORTAL.origin)

    def answer(self, binding: str = "a browser") -> dict[str, Any]:
        offer = self.running.run(links.options(self.running.gateway, self.token, binding))
        return self.authenticator.create(offer.options)

    def use(self, answer: Any = None, binding: str = "a browser", phone: uuid.UUID | None = None) -> str:
        return self.running.run(
            links.use(
                self.running.gateway,
                self.token,
                binding,
                self.answer(binding) if answer is None else answer,
                "laptop",
                REMOTE,
                phone,
            )
        )


def test_a_link_is_spent_by_completing_it_only_and_signs_nobody_in(running: RunningGateway) -> None:
    link = Link(running, LinkOperator("zoe"))
    for _ in range(2):
        offer = running.run(links.options(running.gateway, link.token, "a scanner of mails"))
        assert (offer.person, offer.needs_phone) == ("zoe", False)
    answer = link.answer()
    with pytest.raises(BadParameter, match="label"):
        running.run(links.use(running.gateway, link.token, "a browser", answer, " ", REMOTE))
    with pytest.raises(ProofRefused):
        link.use(answer, "another browser")
    with pytest.raises(ProofRefused):
        link.use(Link(running, LinkOperator("sue")).answer())
    assert link.use(answer) == "zoe"
    for again in (answer, None):
        with pytest.raises(ProofRefused):
            link.use(again)
    assert running.rows("SELECT 1 FROM sign_in") == []
    assert sign_in(running, link.authenticator).roles == {Role.SELF, Role.ADMIN}
    assert running.rows("SELECT digest FROM link WHERE person = 'zoe'") == []
    added = next(record for record in running.records if record.get("what") == "passkey_add")
    assert (added["caller"], added["known_by"]) == ("zoe", "link")
    assert added["reason"] == "laptop; the link was made by zoe; passkeys replaced: 0"


def test_a_link_that_is_used_in_parallel_registers_one_passkey(
    running: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link(running, LinkOperator("zoe"))
    answers = [link.answer() for _ in range(4)]
    spent = touches.spend

    # Between the look for the link and its end. So the uses meet there on a slow machine, too.
    async def spend_slowly(*arguments: Any) -> None:
        await spent(*arguments)
        await asyncio.sleep(0.5)

    monkeypatch.setattr(touches, "spend", spend_slowly)

    def use(answer: Any) -> bool:
        try:
            return link.use(answer) == "zoe"
        except ProofRefused:
            return False

    with ThreadPoolExecutor() as pool:
        assert sorted(pool.map(use, answers)) == [False, False, False, True]
    assert len(running.rows("SELECT 1 FROM passkey")) == 1


def test_a_link_ends_with_its_time_a_newer_one_and_the_person(running: RunningGateway) -> None:
    def voided(end: Callable[[Link], None]) -> None:
        link = Link(running, LinkOperator("zoe"))
        answer = link.answer()
        end(link)
        with pytest.raises(ProofRefused):
            link.use(answer)
        with pytest.raises(ProofRefused):
            link.answer()

    def expire(link: Link) -> None:
        (moment,) = running.rows("SELECT now() AS now")
        rewrite(running, "link", "digest", passkeys.digest_of(link.token), expires_at=moment["now"])

    def remove(link: Link) -> None:
        (row,) = running.rows("SELECT * FROM link WHERE person = 'zoe'")
        add_again("zoe")
        put_back(running, "link", row)

    def add_again(name: str) -> None:
        running.transaction(lambda g, connection: people.remove(g, connection, name))
        running.add_person(name, f"token-{uuid.uuid4()}", PEOPLE[name])

    def make_another() -> None:
        Link(running, LinkOperator("zoe"))

    voided(expire)
    voided(lambda _: make_another())
    voided(lambda _: add_again("zoe"))
    voided(remove)
    assert running.rows("SELECT 1 FROM passkey") == []
    assert refusals(running)[-1]["reason"] == "it is of an earlier person of this name"


def test_who_has_a_phone_approves_there_before_a_link_registers_a_passkey(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-zoe")
    link = Link(running, LinkOperator("zoe"))
    offer = running.run(links.options(running.gateway, link.token, "a browser"))
    assert offer.needs_phone
    for phone in (None, uuid.uuid4()):
        with pytest.raises(ProofRefused):
            link.use(phone=phone)
    assert running.rows("SELECT 1 FROM passkey") == []
    # Reported lost, it spares whoever root or a help desk has verified the approval.
    running.run(perform(running.gateway, ROOT, ReportLostPhone("zoe")))
    assert link.use() == "zoe"


def test_a_link_for_others_replaces_no_passkey_of_roots_and_others_only_if_it_says_so(
    running: RunningGateway, zoe: Browser, ann: Browser
) -> None:
    sue = browser_of(running, "sue", by_root=True)
    for person, why in (("sue", "a link of root's"), ("ann", "has a passkey already")):
        with pytest.raises(ActRefused, match=why):
            zoe.do(LinkPerson(person))
    with pytest.raises(ActRefused, match="a link of root's"):
        zoe.do(LinkPerson("sue", replaces=True))
    Link(running, LinkOperator("dan"))
    with pytest.raises(ActRefused, match="root has made this person a link"):
        zoe.do(LinkPerson("dan"))
    with pytest.raises(ActRefused, match="no group that gives a role"):
        Link(running, LinkOperator("ben"))
    link = Link(running, LinkPerson("ann", replaces=True), by=zoe)
    link.use()
    with pytest.raises(NotSignedIn):
        ann.do_without_touch(EndSignIns("ann"))
    with pytest.raises(ProofRefused):
        sign_in(running, ann.authenticator)
    assert sign_in(running, link.authenticator).roles == {Role.SELF}
    sue.do_without_touch(EndSignIns("sue"))
    alert = next(record for record in running.records if record["kind"] == "alert")
    assert (alert["person"], alert["reason"]) == ("ann", "the passkeys of ann were replaced")


def test_a_link_made_for_a_first_passkey_adds_none_beside_one_of_roots(
    running: RunningGateway, zoe: Browser
) -> None:
    link = Link(running, LinkPerson("ben", replaces=True), by=zoe)
    answer = link.answer()
    regroup(running, "ben", "it")
    with_passkey(running, "ben", by_root=True)
    regroup(running, "ben", "staff")
    with pytest.raises(ActRefused, match="a link of root's"):
        link.use(answer)


def test_a_help_desk_has_nothing_of_somebody_who_becomes_an_operator(running: RunningGateway) -> None:
    dan = browser_of(running, "dan", by_root=True)
    early, late = (Link(running, LinkPerson(name), by=dan) for name in ("ann", "ben"))
    early.use()
    ann = Browser(running, early.authenticator, "ann", sign_in(running, early.authenticator).token)
    answer = late.answer()
    regroup(running, "ann", "staff", "it")
    regroup(running, "ben", "staff", "it")
    with pytest.raises(ActRefused, match="has a role"):
        late.use(answer)
    ann.do_without_touch(ReportLostPhone("ann"))
    with pytest.raises(ActRefused, match="no such code for this person"):
        ann.do(CodeForLostPhone("ann"))
    Link(running, LinkOperator("ann")).use()
    with pytest.raises(NotSignedIn):
        ann.do_without_touch(EndSignIns("ann"))
    with pytest.raises(ProofRefused):
        sign_in(running, early.authenticator)
    regroup(running, "ann", "staff")
    with pytest.raises(NotPermitted):
        dan.do(NewCodes("ann"))


# Further passkeys


def _further_passkey(running: RunningGateway, browser: Browser) -> Authenticator:
    authenticator = Authenticator(PORTAL.origin)
    options = running.run(passkey_options(running.gateway, browser.token))
    browser.do(AddPasskey(browser.person, "second", json.dumps(authenticator.create(options))))
    return authenticator


def test_a_further_passkey_is_added_once_and_belongs_to_one_person(
    running: RunningGateway, ann: Browser
) -> None:
    authenticator = Authenticator(PORTAL.origin)
    options = running.run(passkey_options(running.gateway, ann.token))
    answer = json.dumps(authenticator.create(options))
    ben = browser_of(running, "ben")
    with pytest.raises(ProofRefused):
        ben.do(AddPasskey("ben", "stolen", answer))
    ann.do(AddPasskey("ann", "second", answer))
    with pytest.raises(ProofRefused):
        ann.do(AddPasskey("ann", "third", answer))
    options = running.run(passkey_options(running.gateway, ben.token))
    same_id = authenticator.passkeys[0].id
    answer = json.dumps(Authenticator(PORTAL.origin).create(options, Deviation(credential_id=same_id)))
    with pytest.raises(ProofRefused):
        ben.do(AddPasskey("ben", "the same id", answer))
    assert sign_in(running, authenticator).person == "ann"
    assert refusals(running)[-1]["reason"] == "the id of the passkey is that of another one"


def test_a_person_has_a_bounded_number_of_passkeys(running: RunningGateway, ann: Browser) -> None:
    for _ in range(passkeys.MOST_PASSKEYS - 1):
        with_passkey(running, "ann")
    with pytest.raises(ActRefused, match="10 passkeys already"):
        _further_passkey(running, ann)


# The phone


def test_who_has_reported_the_phone_lost_gets_nothing_that_must_be_approved_on_it(
    running: RunningGateway, ann: Browser, sandbox: Sandbox
) -> None:
    ann.do(NewCodes("ann"))  # who has never had a phone has nothing to approve on
    assert has_codes(running, "ann")
    sandbox.add_user("token-of-ann")
    ann.do(RevokeCodes("ann"))
    with pytest.raises(ProofRefused):
        ann.do(NewCodes("ann"))
    with pytest.raises(ProofRefused):
        ann.do(NewCodes("ann"), phone=uuid.uuid4())
    ann.do_without_touch(ReportLostPhone("ann"))
    assert not sandbox.users["token-of-ann"], "IAMPASS has disabled it"
    with pytest.raises(ActRefused, match="was reported lost"):
        ann.do(NewCodes("ann"))
    assert not has_codes(running, "ann")


def test_who_had_a_phone_is_not_taken_for_somebody_who_never_had_one(
    running: RunningGateway, ann: Browser, sandbox: Sandbox
) -> None:
    """A stolen laptop registers no phone once IAMPASS has removed the one that it had, or knows the user no longer."""
    sandbox.add_user("token-of-ann")
    with pytest.raises(ProofRefused):
        ann.do(NewPhone("ann"))
    sandbox.delete_user("token-of-ann")
    for _ in range(2):
        with pytest.raises(ActRefused, match="or is gone"):
            ann.do(NewPhone("ann"))
        sandbox.add_user("token-of-ann", device=False)


def test_an_application_that_iampass_does_not_know_says_nothing_of_phones(
    running: RunningGateway, ann: Browser, sandbox: Sandbox
) -> None:
    for kind in ("has_device", "add_users"):
        sandbox.misbehave(kind, HttpStatus(404), times=None)
    with pytest.raises(ActRefused, match="does not say"):
        ann.do(NewCodes("ann"))
    sandbox.behave()
    ann.do(NewCodes("ann"))  # nobody remembers a phone


def approved(running: RunningGateway, sandbox: Sandbox, ring: Any, person: str, made_for: str) -> uuid.UUID:
    """The id of a request to a person, who has approved it."""
    session = running.run(ring)
    assert isinstance(session, HostSession), session
    assert session.reason is None
    sandbox.approve(f"token-of-{person}")

    def is_answered() -> bool:
        return running.run(own_requests.answer(running.gateway, session.id, made_for, 1.0)).is_final

    wait_until(is_answered, "nobody has answered")
    return session.id


def test_a_stolen_token_ends_no_request_of_a_help_desk(
    running: RunningGateway, ann: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ann")
    work = own_requests.ask(running.gateway, "ann", "a call to the help desk", REMOTE, "x", caller="dan")
    asked = running.run(work)
    assert isinstance(asked, HostSession), asked
    with pytest.raises(ActRefused, match="a help desk has you asked"):
        ann.do_without_touch(DisownSession("ann", str(asked.id)))
    for act in (EndSessions("ann"), EndSessions("ann", session=str(asked.id))):
        assert ann.do_without_touch(act).found == []
    assert running.run(own_requests.answer(running.gateway, asked.id, "x", 0.0)) is Answer.ASKED


def test_a_help_desk_with_a_touch_ends_the_wait_that_a_stolen_token_has_caused(
    running: RunningGateway, ann: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ann")
    dan = browser_of(running, "dan", by_root=True)

    def ask() -> HostSession | RefusedStart:
        return running.run(ring(running.gateway, SignedIn(ann.token, REMOTE), AddPasskey))

    def is_asked(found: HostSession | RefusedStart) -> bool:
        return isinstance(found, HostSession) and found.reason is None

    while is_asked(found := ask()):
        assert isinstance(found, HostSession)
        ann.do_without_touch(DisownSession("ann", str(found.id)))
    with pytest.raises(NotPermitted):
        ann.do_without_touch(ClearLimits("ann"))
    with pytest.raises(ProofRefused):
        dan.do_without_touch(ClearLimits("ann"))
    assert not is_asked(ask())
    dan.do(ClearLimits("ann"))
    assert is_asked(ask())


def test_an_approval_on_the_phone_is_good_for_one_act_in_one_sign_in(
    running: RunningGateway, ann: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ann")
    by = SignedIn(ann.token, REMOTE)
    sign_in_of_ann = running.transaction(lambda g, c: sign_ins.find(g, c, ann.token))

    def approve(act: type[Act[Any]]) -> uuid.UUID:
        return approved(running, sandbox, ring(running.gateway, by, act), "ann", made_for(sign_in_of_ann))

    for_passkey = approve(AddPasskey)
    other = Browser(running, ann.authenticator, "ann", sign_in(running, ann.authenticator).token)
    for_codes = approve(NewCodes)
    for browser, phone in ((ann, for_passkey), (other, for_codes)):
        with pytest.raises(ProofRefused):
            browser.do(NewCodes("ann"), phone=phone)
    assert len(ann.do(NewCodes("ann"), phone=for_codes)) == 10
    with pytest.raises(ProofRefused):
        ann.do(NewCodes("ann"), phone=for_codes)
    late = approve(NewCodes)
    other.do_without_touch(ReportLostPhone("ann"))
    with pytest.raises(NotSignedIn):
        ann.do(NewCodes("ann"), phone=late)
    with pytest.raises(NotPermitted):
        running.run(ring(running.gateway, SignedIn(other.token, REMOTE), BypassPhone))


def test_who_has_a_phone_uses_a_link_with_an_approval_on_it(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-zoe")
    link = Link(running, LinkOperator("zoe"))
    ring_for = links.ring(running.gateway, link.token, REMOTE)
    phone = approved(running, sandbox, ring_for, "zoe", links.made_for(link.token))
    newer = Link(running, LinkOperator("zoe"))
    with pytest.raises(ProofRefused):
        newer.use(phone=phone)
    again = links.ring(running.gateway, newer.token, REMOTE)
    phone = approved(running, sandbox, again, "zoe", links.made_for(newer.token))
    assert newer.use(phone=phone) == "zoe"


def test_who_is_no_operator_approves_a_passkey_of_before_a_restore_on_the_phone(
    running: RunningGateway, ann: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ann")
    running.transaction(restored.confirm)
    begun = sign_in(running, ann.authenticator)
    ann = Browser(running, ann.authenticator, "ann", begun.token)
    found = running.transaction(lambda g, c: sign_ins.find(g, c, ann.token))
    ring_it = ring(running.gateway, SignedIn(ann.token, REMOTE), ConfirmPasskey)
    phone = approved(running, sandbox, ring_it, "ann", made_for(found))
    ann.do(ConfirmPasskey("ann"), phone=phone)
    ann.do(RevokeCodes("ann"))
    assert sign_in(running, ann.authenticator).is_confirmed


def test_nothing_is_told_to_a_passkey_that_is_not_confirmed(running: RunningGateway) -> None:
    authenticator = with_passkey(running, "ann")
    running.transaction(restored.confirm)
    begun = sign_in(running, authenticator)
    assert not begun.is_confirmed
    with pytest.raises(NotPermitted):
        running.run(passkey_options(running.gateway, begun.token))


def test_reporting_the_phone_lost_ends_all_sign_ins_but_the_one_by_which_it_is_done(
    running: RunningGateway, ann: Browser, zoe: Browser
) -> None:
    other, ann = ann, again(running, ann)
    ann.do_without_touch(ReportLostPhone("ann"))
    with pytest.raises(NotSignedIn):
        other.do_without_touch(EndSignIns("ann"))
    zoe.do(ReportLostPhone("ann"))
    with pytest.raises(NotSignedIn):
        ann.do_without_touch(EndSignIns("ann"))
    zoe.do(EndBypasses("ann"))


def test_one_code_for_a_lost_phone_once_a_week_for_groups_that_the_settings_name(
    running: RunningGateway, ann: Browser, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-ann")
    with pytest.raises(ActRefused, match="is not reported lost"):
        ann.do(CodeForLostPhone("ann"))
    ann.do_without_touch(ReportLostPhone("ann"))
    assert ann.do(CodeForLostPhone("ann"))
    row = "SELECT ends_at - made_at AS time, cardinality(digests) AS codes FROM recovery"
    assert running.rows(row) == [{"time": timedelta(hours=12), "codes": 1}]
    with pytest.raises(ActRefused, match="within a week"):
        ann.do(CodeForLostPhone("ann"))
    running.rows(
        "UPDATE record SET at = at - interval '7 days' WHERE fields->>'what' = 'code_for_lost_phone'"
    )
    assert ann.do(CodeForLostPhone("ann"))
    sandbox.add_user("token-of-ann")
    with pytest.raises(ActRefused, match="there is another one"):
        ann.do(CodeForLostPhone("ann"))
    (moment,) = running.rows("SELECT now() AS now")
    rewrite(running, "recovery", "person", "ann", ends_at=moment["now"])
    assert not has_codes(running, "ann")
    alerts = [record["reason"] for record in running.records if record["kind"] == "alert"]
    assert alerts == ["ann has made a recovery code for a lost phone"]
    for name in ("zoe", "nog"):
        other = browser_of(running, name)
        other.do_without_touch(ReportLostPhone(name))
        with pytest.raises(ActRefused, match="no such code for this person"):
            other.do(CodeForLostPhone(name))


# The database


def test_rows_that_no_gateway_has_written_count_for_nobody(running: RunningGateway) -> None:
    for table, change in (
        ("sign_in", "expires_at = expires_at + interval '1 day'"),
        ("sign_in", "person = 'zoe'"),
        ("passkey", "roles = '{admin}'"),
        ("passkey", "public_key = public_key || 'A'"),
        ("passkey", "person = 'zoe'"),
    ):
        ann = browser_of(running, "ann")
        running.rows(f"UPDATE {table} SET {change}")
        with pytest.raises(NotSignedIn):
            ann.do_without_touch(EndSignIns("ann"))
        if table == "passkey":
            with pytest.raises(ProofRefused):
                sign_in(running, ann.authenticator)
        running.rows("DELETE FROM passkey")
    link = Link(running, LinkOperator("zoe"))
    answer = link.answer()
    running.rows("UPDATE link SET expires_at = expires_at + interval '1 day'")
    with pytest.raises(ProofRefused):
        link.use(answer)
    assert running.rows("SELECT 1 FROM passkey") == []


def test_a_database_whose_clock_was_set_back_prolongs_no_sign_in_and_no_link(
    running: RunningGateway, ann: Browser
) -> None:
    link, wall_clock = Link(running, LinkOperator("zoe")), running.gateway.clock
    hour_ahead: Callable[[], float] = lambda: wall_clock() + 3600  # noqa: E731
    for clock, is_over in ((hour_ahead, True), (wall_clock, False)):
        running.gateway.clock = clock
        asks: tuple[tuple[Callable[[], object], type[Exception]], ...] = (
            (lambda: ann.do_without_touch(EndSignIns("ann", str(uuid.uuid4()))), NotSignedIn),
            (link.answer, ProofRefused),
        )
        for ask, error in asks:
            with pytest.raises(error) if is_over else nullcontext():
                ask()


def test_a_sign_in_that_is_put_back_counts_until_it_would_be_over(
    running: RunningGateway, ann: Browser
) -> None:
    (row,) = running.rows("SELECT * FROM sign_in")
    ann.do_without_touch(EndSignIns("ann"))
    put_back(running, "sign_in", row)
    assert ann.do_without_touch(EndSignIns("ann")) == 1


def test_removing_a_person_ends_everything_and_a_later_one_of_the_name_has_nothing_of_it(
    running: RunningGateway, ann: Browser
) -> None:
    kept = {table: running.rows(f"SELECT * FROM {table}")[0] for table in ("passkey", "sign_in")}
    running.transaction(lambda g, connection: people.remove(g, connection, "ann"))
    assert not running.rows("SELECT 1 FROM passkey") + running.rows("SELECT 1 FROM sign_in")
    running.add_person("ann", "later-token-of-ann", ("staff",))
    for table, row in kept.items():
        put_back(running, table, row)
    with pytest.raises(NotSignedIn):
        ann.do_without_touch(EndSignIns("ann"))
    with pytest.raises(ProofRefused):
        sign_in(running, ann.authenticator)


def test_an_old_copy_of_the_database_serves_nothing_and_once_confirmed_operators_have_no_passkey(
    running: RunningGateway, ann: Browser, zoe: Browser, sandbox: Sandbox
) -> None:
    link = Link(running, LinkOperator("dan"))
    answer, begun = link.answer(), sign_ins.sign_in_options(running.gateway, "a")
    touch = zoe.touch(EndBypasses("ben"))
    kept = {table: running.rows(f"SELECT * FROM {table}") for table in ("passkey", "sign_in")}
    running.rows("UPDATE fleet SET old_copy = true")
    for ask in (
        lambda: ann.do_without_touch(EndSignIns("ann")),
        lambda: zoe.do(EndBypasses("ben"), touch),
        lambda: link.use(answer),
        lambda: running.run(sign_ins.sign_in(running.gateway, "a", ann.authenticator.get(begun), REMOTE, "")),
        lambda: running.transaction(lambda g, c: sign_ins.actor(g, c, ann.token, REMOTE)),
    ):
        with pytest.raises(ActRefused, match="old copy"):
            ask()
    running.rows("UPDATE fleet SET old_copy = NULL")
    void = running.transaction(restored.confirm)
    running.gateway.restored = False
    assert "sign-ins at the portal, and links" in void[0]
    assert "the passkeys of zoe by a link of root's" in void
    for table in ("link", "sign_in"):
        assert running.rows(f"SELECT 1 FROM {table}") == []
    for row in kept["passkey"]:
        if row["person"] == "zoe":
            put_back(running, "passkey", row)
    with pytest.raises(ProofRefused):
        sign_in(running, zoe.authenticator)
    # Who is no operator approves the passkey on the phone, and can do nothing else before.
    again = sign_in(running, ann.authenticator)
    assert not again.is_confirmed
    ann = Browser(running, ann.authenticator, "ann", again.token)
    with pytest.raises(NotPermitted):
        ann.do_without_touch(EndSignIns("ann"))
    with pytest.raises(NotPermitted):
        running.transaction(lambda g, c: sign_ins.actor(g, c, ann.token, REMOTE))
    with pytest.raises(ActRefused, match="no phone to approve it on"):
        ann.do(ConfirmPasskey("ann"))
    sandbox.add_user("token-of-ann")
    with pytest.raises(ProofRefused):
        ann.do(ConfirmPasskey("ann"))


# Root's command


def test_root_links_lists_and_ends_operators(gateway_command: GatewayCommand) -> None:
    place = gateway_command
    place.configure(f"operators: {{admin: [it]}}\nportal: {{origin: {PORTAL.origin}}}\n")
    place.said("user", "add", "zoe", "--group", "it")
    place.said("user", "add", "ann", "--group", "staff")
    place.transaction(lambda g, c: restored.begin(g, c))
    told = place.told("operator", "link", "zoe")
    assert told["url"].startswith(f"{PORTAL.origin}/link#")
    assert told["url"] not in str(place.records)
    assert "has no group that gives a role" in place.said("operator", "link", "ann", status=1)
    assert place.told("operator", "list") == {
        "operators": [{"user": "zoe", "roles": ["admin"], "passkeys": [], "other_passkeys": 0, "sign_ins": 0}]
    }
    assert "zoe" in place.said("operator", "list")
    assert place.told("operator", "end", "zoe", "--yes") == {"user": "zoe", "passkeys": 0}
    assert place.told("operator", "end", "nobody", "--yes", "--if-exists")["passkeys"] == 0
    assert [what for what, *_ in place.records][-2:] == ["operator_link", "operator_end"]


def test_ending_an_operator_removes_passkeys_sign_ins_and_the_link(
    running: RunningGateway, zoe: Browser
) -> None:
    link = Link(running, LinkOperator("zoe"))
    answer = link.answer()
    assert running.run(perform(running.gateway, ROOT, EndOperator("zoe"))) == 1
    with pytest.raises(NotSignedIn):
        zoe.do_without_touch(EndSignIns("zoe"))
    with pytest.raises(ProofRefused):
        link.use(answer)
