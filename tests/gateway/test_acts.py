"""Acts at a gateway: who may do them, what they must be given, whom their records name, and what they lock."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg
import pytest

from pam_iampass.fleet.act import Role
from pam_iampass.gateway.acts.act import Act, perform
from pam_iampass.gateway.acts.hosts import AdmitHost
from pam_iampass.gateway.acts.names import UnknownName
from pam_iampass.gateway.acts.people import (
    BypassPhone,
    ChangePerson,
    EndBypasses,
    LeavePerson,
    NewCodes,
    ReturnPerson,
    RevokeCodes,
)
from pam_iampass.gateway.acts.phones import EnrollPhone, NewPhone, Registration
from pam_iampass.gateway.acts.sessions import EndSessions, meant
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person, PersonStatus, Source
from pam_iampass.gateway.requests import bypasses
from pam_iampass.gateway.sign_in.actors import Actor, ActRefused, NotPermitted
from tests.support.gateway import HOST, HostCaller, RunningGateway
from tests.support.gateway_command import GatewayCommand
from tests.support.sandbox import Sandbox
from tests.support.world import PATIENCE, wait_until

ROOT = Actor("zoe", frozenset({Role.ROOT}), "command", {"remote": "192.0.2.9"})
OTHERS = [Role.SELF, Role.AUDITOR, Role.HELPDESK, Role.ADMIN]


def test_the_record_of_an_act_names_the_actor_and_how_they_are_known(gateway_server: RunningGateway) -> None:
    bypass = gateway_server.run(
        perform(gateway_server.gateway, ROOT, BypassPhone("alice", 60.0, reason="4711"))
    )
    assert bypass.made_by == "zoe"
    (record,) = gateway_server.records
    assert {key: record[key] for key in ("kind", "what", "person", "caller", "known_by", "remote")} == {
        "kind": "act",
        "what": "bypass",
        "person": "alice",
        "caller": "zoe",
        "known_by": "command",
        "remote": "192.0.2.9",
    }
    assert record["until"] == bypass.ends_at.isoformat()
    assert record["reason"] == "through all services, on all hosts; 4711", (
        "without a time of the gateway's zone"
    )


@pytest.mark.parametrize("name", ["alice", "zoe"])
def test_nobody_but_root_of_a_gateway_can_act(gateway_server: RunningGateway, name: str) -> None:
    actor = Actor(name, frozenset(OTHERS), "sign-in")
    with pytest.raises(NotPermitted, match="recovery_new"):
        gateway_server.run(perform(gateway_server.gateway, actor, NewCodes("alice")))
    assert gateway_server.transaction(lambda g, c: codes.stored(g, c, "alice")) is None
    assert gateway_server.records == []


def test_an_act_that_fails_changes_nothing_and_leaves_no_record(gateway_server: RunningGateway) -> None:
    act = BypassPhone("alice", 60.0, groups=("servers", "nowhere"))
    with pytest.raises(Exception, match="nowhere"):
        gateway_server.run(perform(gateway_server.gateway, ROOT, act))
    assert gateway_server.transaction(bypasses.listing) == ([], 0)
    assert gateway_server.records == []


@pytest.mark.parametrize(
    "act", [BypassPhone("alcie", 60.0), EndBypasses("alcie"), EndSessions(person="alcie")]
)
def test_a_name_that_nobody_has_is_an_error_that_says_who_may_be_meant(
    gateway_server: RunningGateway, act: Any
) -> None:
    with pytest.raises(UnknownName, match='"alcie" is not known here') as error:
        gateway_server.run(perform(gateway_server.gateway, ROOT, act))
    assert error.value.remedy.startswith("did you mean alice? Otherwise see: ")
    assert gateway_server.records == []


def test_what_a_row_that_no_gateway_has_written_has_is_taken_away(gateway_server: RunningGateway) -> None:
    gateway_server.run(perform(gateway_server.gateway, ROOT, NewCodes("alice")))
    gateway_server.rows("UPDATE person SET groups = '{staff}' WHERE name = 'alice'")
    assert gateway_server.run(perform(gateway_server.gateway, ROOT, RevokeCodes("alice")))


@pytest.mark.parametrize(("actor", "target"), [("alice", "bob"), ("bob", "alice")])
def test_actor_and_target_are_locked_in_the_order_of_their_names(
    gateway_server: RunningGateway, actor: str, target: str
) -> None:
    act = EndBypasses(target)
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with ThreadPoolExecutor() as pool, psycopg.connect(gateway_server.settings.database) as other:
        other.execute("SELECT 1 FROM person WHERE name = 'alice' FOR UPDATE")
        by = Actor(actor, frozenset({Role.ROOT}), "command")
        performed = pool.submit(gateway_server.run, perform(gateway_server.gateway, by, act))
        try:
            wait_until(lambda: gateway_server.rows(waits), "nothing waits for the row of alice")
            gateway_server.rows("SELECT 1 FROM person WHERE name = 'bob' FOR UPDATE NOWAIT")
            assert gateway_server.records == []
        finally:
            other.rollback()
        assert performed.result(PATIENCE) == 0
    assert [record["caller"] for record in gateway_server.records] == [actor]


def test_a_new_phone_is_registered_by_the_link_or_by_a_message_to_the_number_that_is_known_here(
    gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    def register(act: Act[Registration]) -> str | None:
        return gateway_server.run(perform(gateway_server.gateway, ROOT, act)).url

    sandbox.add_user("token-of-alice", device=False)
    link = register(NewPhone("alice"))
    assert link is not None
    sandbox.open_link(link)
    assert sandbox.users["token-of-alice"]
    with pytest.raises(ActRefused, match="no phone number"):
        register(NewPhone("alice", sends=True))
    number = "+15551234567"
    gateway_server.transaction(lambda g, c: people.change(g, c, "alice", phone_number=number))
    assert register(NewPhone("alice", sends=True)) is None
    assert register(EnrollPhone("alice", "+442012345678")) is None
    assert [message.phone_number for message in sandbox.messages] == [number, "+442012345678"]
    assert [(each["what"], each["reason"]) for each in gateway_server.records] == [
        ("phone_new", "IAMPASS is asked for a link"),
        ("phone_new", "IAMPASS is asked to send a link"),
        ("enroll", "IAMPASS is asked to send a link"),
    ]


def test_a_new_phone_waits_until_the_lost_one_is_disabled_and_is_not_for_who_has_left(
    gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    gateway_server.transaction(lambda g, c: people.change(g, c, "alice", phone_to_disable=True))
    gateway_server.transaction(lambda g, c: people.change(g, c, "bob", status=PersonStatus.LEAVING))
    for name, why in (("alice", "IAMPASS has not disabled the lost phone"), ("bob", "cannot log in")):
        for act in (NewPhone(name), EnrollPhone(name)):
            with pytest.raises(ActRefused, match=why):
                gateway_server.run(perform(gateway_server.gateway, ROOT, act))
    assert gateway_server.records == []


def test_the_sessions_that_all_parameters_are_true_of_are_ended(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alice, bob = (caller.ask(name).authentication for name in ("alice", "bob"))
    here = f"name-of-{HOST}"

    def end(**terms: Any) -> list[str]:
        done = gateway_server.run(perform(gateway_server.gateway, ROOT, EndSessions(**terms)))
        return [session.person for session in done.were_open]

    assert end(person="alice", session=str(gateway_server.session(bob).id)) == []
    assert end(person="alice", host=here) == ["alice"]
    assert end(session=str(gateway_server.session(alice).id)) == [], "it is known, and over"
    assert end(everything=True) == ["bob"]
    acts = [record for record in gateway_server.records if record["kind"] == "act"]
    assert [(act["person"], act["host"]) for act in acts] == [
        ("alice", None),
        ("alice", here),
        (None, None),
        ("bob", None),
    ]


def test_the_row_of_a_host_that_no_gateway_has_written_is_not_sealed_anew(
    gateway_server: RunningGateway,
) -> None:
    gateway_server.rows("UPDATE host SET status = 'waiting', admitted = false")
    with pytest.raises(ActRefused, match="was not written by a gateway"):
        gateway_server.run(perform(gateway_server.gateway, ROOT, AdmitHost(f"name-of-{HOST}")))
    assert gateway_server.records == []


def test_another_host_than_the_one_that_was_compared_is_not_admitted(gateway_server: RunningGateway) -> None:
    admit = AdmitHost(f"name-of-{HOST}", id="h-bbbbbbbbbbbb")
    with pytest.raises(ActRefused, match=f"has another id by now: {HOST}"):
        gateway_server.run(perform(gateway_server.gateway, ROOT, admit))
    assert gateway_server.records == []
    assert gateway_server.run(perform(gateway_server.gateway, ROOT, AdmitHost(admit.host, id=HOST))).admitted


def test_a_name_that_a_person_and_a_host_have_means_the_sessions_of_both(
    gateway_server: RunningGateway,
) -> None:
    name = f"name-of-{HOST}"
    gateway_server.add_person(name, "token-of-both")
    both = [EndSessions(person=name), EndSessions(host=name)]
    assert gateway_server.transaction(lambda _, connection: meant(connection, name)) == both


def test_a_person_is_changed_as_they_were_read_and_by_whom_they_come_from(
    gateway_server: RunningGateway,
) -> None:
    def change(person: Person, group: str, *, by_directory: bool = False) -> ChangePerson:
        return ChangePerson(person.name, person.changed_at, (group,), "", "", by_directory)

    def perform_as_root(act: Act[Any]) -> Any:
        return gateway_server.run(perform(gateway_server.gateway, ROOT, act))

    def now(name: str) -> Any:
        return gateway_server.transaction(partial(people.find, name=name))

    gateway_server.transaction(lambda g, c: people.change(g, c, "bob", source=Source.LDAP))
    alice, bob = now("alice"), now("bob")
    alice_now = perform_as_root(change(alice, "oncall"))
    for act, why in (
        (change(alice, "staff"), "was changed meanwhile"),
        (change(alice_now, "staff", by_directory=True), "was added here"),
        (change(bob, "staff"), "comes from the directory"),
        (LeavePerson(alice_now.name, alice_now.changed_at), "is not as the directory was read"),
        (LeavePerson(bob.name, alice.changed_at), "was changed meanwhile"),
        (ReturnPerson(bob.name, bob.changed_at, ("staff",), "", ""), "is not as the directory was read"),
    ):
        with pytest.raises(ActRefused, match=why):
            perform_as_root(act)
    assert (now("alice"), now("bob")) == (alice_now, bob)
    assert [(each["what"], each["person"]) for each in gateway_server.records] == [("user_change", "alice")]


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        (("bypass", "end"), {"user": "alcie", "ended": 0}),
        (("recovery", "revoke"), {"user": "alcie", "revoked": False}),
        (("session", "end"), {"ended": [], "at_iampass": True}),
        (("throttle", "clear"), {"user": "alcie", "cleared": False}),
    ],
)
def test_what_ends_something_for_a_name_that_nobody_has_fails_unless_it_may_be_missing(
    place: GatewayCommand, verb: tuple[str, str], told: object
) -> None:
    before = place.records
    assert '"alcie" is not known here\n    did you mean alice?' in place.said(*verb, "alcie", status=1)
    assert place.told(*verb, "alcie", "--if-exists") == told
    assert place.records == before
