"""What an attack on the portal's socket has found. Each test says how it should be, and fails as long as it is not."""

from __future__ import annotations

import dataclasses
import secrets
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from pam_iampass.gateway import acts_calls, acts_service
from pam_iampass.portal import calls as client
from pam_iampass.portal.gateway import GatewayError
from tests.gateway.test_acts_socket import folder, server, with_portal
from tests.support.acts_socket import REMOTE, Browser, RunningActs, signed_in, with_passkey
from tests.support.authenticator import Authenticator
from tests.support.gateway import RunningGateway
from tests.support.sandbox import Sandbox
from tests.support.world import wait_until

__all__ = ["folder", "server"]
finding = pytest.mark.xfail(strict=True, raises=AssertionError)


@pytest.fixture
def acts(server: RunningGateway, folder: Path) -> Iterator[RunningActs]:
    settings = dataclasses.replace(with_portal(server), self_service=frozenset({"staff"}))
    with RunningActs(settings, folder) as running:
        yield running


def refused(act: Callable[[], Any]) -> str:
    """The error of a call; empty if it was answered."""
    try:
        act()
    except GatewayError as error:
        return error.code
    return ""


def in_parallel(number: int, act: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=refused, args=(act,)) for _ in range(number)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def sign_in(acts: RunningActs, authenticator: Authenticator) -> Browser:
    binding = secrets.token_urlsafe(32)
    answer = authenticator.get(acts.call(client.BeginSignIn(binding)).options)
    begun = acts.call(client.SignIn(binding, answer, REMOTE))
    return Browser(acts, authenticator, begun.person, begun.token)


def ring_in_vain(acts: RunningActs, sandbox: Sandbox, thief: Browser, token: str) -> None:
    """Ring as often as a token alone can."""
    for at in range(30):
        ringing = acts.call(client.RingForAct(thief.token, "passkey_add", f"192.0.2.{at + 10}"))
        if ringing.phone is None:
            return
        sandbox.time_out(sandbox.wait_for_request(token))
        while acts.call(client.WaitForPhone(thief.token, ringing.phone)).state in ("asked", "waits"):
            pass


@finding
def test_a_stolen_sign_in_does_not_keep_its_owner_from_ending_it(
    acts: RunningActs, server: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts_calls, "MOST_ACTS", 5)
    thief, owner = signed_in(acts, "alice"), signed_in(acts, "alice")
    for _ in range(6):
        refused(lambda: thief.act("sign_in_end", touch=False, person="alice", sign_in=str(uuid.uuid4())))
        server.rows("UPDATE record SET at = now()")  # however slow this machine is
    assert not refused(lambda: owner.act("sign_in_end", touch=False, person="alice"))


@finding
def test_acts_at_the_same_time_are_no_more_than_are_allowed(
    acts: RunningActs, server: RunningGateway
) -> None:
    alice = signed_in(acts, "alice")
    in_parallel(140, lambda: alice.act("sign_in_end", touch=False, person="alice", sign_in=str(uuid.uuid4())))
    assert sum(each.get("what") == "sign_in_end" for each in server.records) <= acts_calls.MOST_ACTS


@finding
def test_signing_in_leaves_a_bounded_number_of_records(acts: RunningActs, server: RunningGateway) -> None:
    authenticator = with_passkey(acts, "alice")
    for _ in range(70):
        sign_in(acts, authenticator)
    assert sum(each.get("what") == "sign_in" for each in server.records) <= acts_calls.MOST_ACTS


@finding
def test_a_token_alone_has_iampass_asked_a_bounded_number_of_times(
    acts: RunningActs, sandbox: Sandbox
) -> None:
    thief, before = signed_in(acts, "alice"), len(sandbox.calls)
    for _ in range(100):
        refused(lambda: thief.act("recovery_new", touch=False, person="alice"))
    assert len(sandbox.calls) - before <= acts_calls.MOST_ACTS


@finding
def test_one_person_does_not_take_all_waits_for_phones(acts: RunningActs, sandbox: Sandbox) -> None:
    thief, bob = signed_in(acts, "alice"), signed_in(acts, "bob")
    ringing = str(acts.call(client.RingForAct(thief.token, "passkey_add", REMOTE)).phone)
    sandbox.wait_for_request("token-of-alice")
    own = str(acts.call(client.RingForAct(bob.token, "passkey_add", REMOTE)).phone)
    sandbox.wait_for_request("token-of-bob")
    waits = threading.Thread(
        target=in_parallel,
        args=(acts_service.MOST_HELD, lambda: acts.call(client.WaitForPhone(thief.token, ringing))),
    )
    waits.start()
    wait_until(lambda: acts.service.held == acts_service.MOST_HELD, "they are not held")
    sandbox.deny("token-of-bob")
    found = refused(lambda: acts.call(client.WaitForPhone(bob.token, own)))
    sandbox.time_out("token-of-alice")
    waits.join()
    assert found == ""


@finding
def test_one_persons_views_do_not_keep_others_waiting(acts: RunningActs, server: RunningGateway) -> None:
    server.rows(
        "INSERT INTO record (at, kind, host, person, fields) SELECT now() - i * interval '1 second', 'decision',"
        " 'h.example.com', 'alice', jsonb_build_object('outcome', 'denied', 'session', gen_random_uuid()::text)"
        " FROM generate_series(1, 100000) AS i"
    )
    alice = signed_in(acts, "alice")
    many = threading.Thread(
        target=in_parallel, args=(140, lambda: alice.look("records", session="zzzz", services=["none"]))
    )
    many.start()
    waiting = 0
    while many.is_alive():
        waiting = max(waiting, len(acts.service.views._waiters or ()))
        many.join(0.01)
    assert waiting <= 20


@finding
def test_a_token_alone_keeps_no_help_desk_from_verifying_the_person(
    acts: RunningActs, sandbox: Sandbox
) -> None:
    ring_in_vain(acts, sandbox, signed_in(acts, "alice"), "token-of-alice")
    iris = signed_in(acts, "iris", by_root=True)
    assert "were not approved" not in iris.act("phone_verify", person="alice")["reason"]


@finding
def test_some_stolen_sign_ins_shut_nobody_else_out_of_what_needs_the_phone(
    acts: RunningActs, sandbox: Sandbox, server: RunningGateway
) -> None:
    for n in range(10):
        server.add_person(f"thief{n}", f"token-of-thief{n}")
        sandbox.add_user(f"token-of-thief{n}")
        ring_in_vain(acts, sandbox, signed_in(acts, f"thief{n}"), f"token-of-thief{n}")
    bob = signed_in(acts, "bob")
    assert acts.call(client.RingForAct(bob.token, "passkey_add", "198.51.100.77")).reason is None


@finding
def test_an_act_that_is_refused_for_another_reason_is_a_record(
    acts: RunningActs, server: RunningGateway
) -> None:
    desk = signed_in(acts, "dora", by_root=True)
    with_passkey(acts, "staffer")
    assert refused(lambda: desk.act("person_link", person="staffer")) == "ACT_REFUSED"
    assert [each for each in server.records if each.get("refused") == "person_link"]
