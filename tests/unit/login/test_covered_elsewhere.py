"""Logins on a host of a gateway that a login on another host covers: real connections, and a gateway that says so."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pam_iampass.enforcer.protocol import Reason, Verb
from pam_iampass.errors import StateError
from pam_iampass.outcome import PamCode
from tests.client.talk import polled, started
from tests.support.door import AccountDoor, Told
from tests.support.scripted_server import Request, ScriptedServer, Step, answer, scripted_server
from tests.support.sessions import Keeping, keeping
from tests.support.setting import ME, Setting
from tests.support.world import wait_until

HOST = "h-abcdefghijkl"
COVERED: dict[str, Any] = {
    "session_status": "active",
    "covered": {"host": "bastion", "age": 600},
    "wait": 25,
    "version": 1,
}


class Gateway:
    """A gateway that covers each start that names a connection, and approves the others."""

    def __init__(self) -> None:
        self.server: ScriptedServer
        self.says: dict[str, Any] = COVERED
        """The answer to a start with a connection."""
        self.covers_all = False
        """Whether it is the answer to any start."""
        self.status = "active"

    def answer(self, request: Request) -> Step:
        path = urlsplit(request.target).path
        if path.startswith("/authentication/"):
            covers = self.covers_all or "connection" in query(request)
            return started(self.server, **(of_request(request, self.says) if covers else {}))
        if path.startswith("/fleet/"):
            return answer(200, {"changed": {}})
        return polled(self.status) if request.method == "GET" else answer(200, {"status": True})

    @property
    def starts(self) -> list[dict[str, str]]:
        return [query(each) for each in self.server.requests if "/authenticate_user/" in each.target]

    @property
    def ends(self) -> int:
        return sum("/logout/" in each.target for each in self.server.requests)


def query(request: Request) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(request.target).query).items()}


def of_request(request: Request, says: dict[str, Any]) -> dict[str, Any]:
    """What a gateway says, of this request unless it names another one."""
    covered = says.get("covered")
    if not isinstance(covered, dict) or "request_id" not in query(request):
        return says
    nonce = (request.header("Authentication") or "").split(":")[1]
    return {**says, "covered": {"request_id": query(request)["request_id"], "nonce": nonce, **covered}}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway()
    with scripted_server(always={"GET": found.answer, "POST": found.answer}) as found.server:
        yield found


@contextmanager
def joined(world: Setting, gateway: Gateway, **settings: str) -> Iterator[Keeping]:
    """The agent of a host of the gateway."""
    world.write("ca.pem", Path(gateway.server.ca_file).read_text())
    told = {
        "gateways": f"[{gateway.server.url}]",
        "application_id": HOST,
        "unavailable": "ignore",
        **settings,
    }
    with keeping(world, **told) as agent:
        yield agent


@pytest.fixture
def host(world: Setting, gateway: Gateway) -> Iterator[Keeping]:
    with joined(world, gateway) as agent:
        yield agent


@pytest.fixture(params=["127.0.0.1", "::1"])
def connection(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What sshd tells of a connection that it has accepted."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((request.param, 0), family=family))
        client = stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
        server = stack.enter_context(listener.accept()[0])
        own, there = client.getsockname(), client.getpeername()
        yield {
            "ssh_auth_info": "publickey ssh-ed25519 AAAA",
            "ssh_connection": f"{own[0]} {own[1]} {there[0]} {there[1]}",
            "sockets": f"{os.fstat(listener.fileno()).st_ino} {os.fstat(server.fileno()).st_ino} ",
            "uid": "0",
        }


def log_in(agent: Keeping, connection: dict[str, Any], **items: Any) -> Told:
    return agent.door(**{**connection, **items}).finish()


def test_a_login_that_one_on_another_host_covers_is_ignored_recorded_and_kept(
    host: Keeping, gateway: Gateway, connection: dict[str, Any]
) -> None:
    told = log_in(host, connection)
    assert (told.code, told.said) == (PamCode.IGNORE, ["Approved by your login on bastion."])
    assert [start["connection"] for start in gateway.starts] == [connection["ssh_connection"]]
    record = host.outcome()
    assert (record["IAMPASS_OUTCOME"], record["IAMPASS_RESULT"]) == ("covered", "ignored")
    assert (record["IAMPASS_COVERED_BY"], record["IAMPASS_SESSION"]) == ("bastion", told.kept)
    assert (
        record["IAMPASS_REASON"] == f"the connection begins in a login of {ME} on bastion, says the gateway"
    )
    assert told.kept is not None
    login = host.open(told.kept)
    kept = host.kept(told.kept)
    assert kept is not None
    assert (kept.covered_by, kept.approver, len(kept.attached)) == ("bastion", ME, 1)
    assert gateway.ends == 0
    login.end()
    wait_until(lambda: gateway.ends == 1, "the gateway was not told of the end")


def test_in_the_account_phase_nothing_is_shown(host: Keeping, connection: dict[str, Any]) -> None:
    """sshd would send it as a banner, to scp and rsync as well."""
    told = host.door(AccountDoor, **connection).finish()
    assert (told.code, told.said, told.errors) == (PamCode.IGNORE, [], [])


def test_it_covers_sudo_as_the_settings_say_while_the_gateway_says_that_it_is_active(
    host: Keeping, gateway: Gateway, connection: dict[str, Any]
) -> None:
    kept = log_in(host, connection).kept
    assert kept is not None
    host.open(kept)
    assert host.login(service="sudo", audit_session="42").code == PamCode.IGNORE
    gateway.status = "walkaway"
    assert host.login(service="sudo", audit_session="42").code == PamCode.ABORT


def test_it_covers_sudo_only_for_as_long_as_the_approval_on_the_phone(
    host: Keeping, gateway: Gateway, connection: dict[str, Any]
) -> None:
    gateway.says = {**COVERED, "covered": {"host": "bastion", "age": 15 * 60}}
    kept = log_in(host, connection).kept
    assert kept is not None
    host.open(kept)
    assert host.login(service="sudo", audit_session="42").code == PamCode.SUCCESS
    assert host.outcome()["IAMPASS_OUTCOME"] == "approved"


@pytest.mark.parametrize(
    ("status", "reason"), [("closed", Reason.GATEWAY), ("walkaway", Reason.AWAY)], ids=["closed", "walkaway"]
)
def test_it_ends_as_the_settings_say_when_the_gateway_says_that_the_other_one_has(
    world: Setting, gateway: Gateway, connection: dict[str, Any], status: str, reason: Reason
) -> None:
    session = "{keep: true, check: 2s, when_away: end}"
    with joined(world, gateway, session=session) as host:
        kept = log_in(host, connection).kept
        assert kept is not None
        login = host.open(kept)
        gateway.status = status
        wait_until(lambda: login.over, "the login goes on")
        assert [(each.verb, each.reason) for each in host.asked][:1] == [(Verb.END, reason)]


def test_it_covers_no_further_connection(
    world: Setting, gateway: Gateway, connection: dict[str, Any]
) -> None:
    """Another process of the other host could come from the same address, with the same key."""
    session = "{keep: true, check: 2s, covers_connections: true}"
    with joined(world, gateway, session=session) as host:
        kept = log_in(host, connection).kept
        assert kept is not None
        host.open(kept)
        log_in(host, connection)
        assert len(gateway.starts) == 2, "this one is asked for, too"


# A host says nothing of a connection that it does not know to be that of the login, or that it could not end


@pytest.mark.parametrize(
    "items",
    [
        {"uid": "1000"},
        {"uid": None},
        {"ssh_auth_info": None},
        {"sockets": None},
        {"sockets": "1 2 3 "},
        {"ssh_connection": "UNKNOWN 65535 UNKNOWN 65535"},
        {"ssh_connection": None},
    ],
    ids=str,
)
def test_a_connection_that_is_not_known_to_be_that_of_sshd_is_not_named(
    host: Keeping, gateway: Gateway, connection: dict[str, Any], items: dict[str, Any]
) -> None:
    """sudo and su have a caller, who may have set what they read."""
    given = {name: value for name, value in {**connection, **items}.items() if value is not None}
    if "uid" not in given:
        given["uid"] = ""
    assert log_in(host, given).code == PamCode.SUCCESS
    assert [start.get("connection") for start in gateway.starts] == [None]


def test_the_connection_of_another_login_is_not_named(host: Keeping, gateway: Gateway) -> None:
    """A file of the user, which pam_env reads where the administrator lets it, may name one that is covered."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        ends = []
        for _ in range(2):
            client = stack.enter_context(socket.create_connection(listener.getsockname()))
            ends.append((client, stack.enter_context(listener.accept()[0])))
        (theirs, _), (_, own) = ends
        named = "{} {} {} {}".format(*theirs.getsockname(), *theirs.getpeername())
        sockets = f"{os.fstat(own.fileno()).st_ino} "
        forged = {"ssh_auth_info": "", "ssh_connection": named, "sockets": sockets, "uid": "0"}
        assert log_in(host, forged).code == PamCode.SUCCESS
    assert [start.get("connection") for start in gateway.starts] == [None]


@pytest.mark.parametrize(
    "settings",
    [
        {"session": "{keep: false}"},
        {"services": "{test: {session: {keep: false}}}"},
        {"services": "{test: {approver: {users: [carol]}}}"},
    ],
    ids=["nothing is kept", "nothing is kept of this service", "a second person must approve"],
)
def test_what_could_not_be_ended_or_asks_a_second_person_is_not_covered(
    world: Setting, gateway: Gateway, connection: dict[str, Any], settings: dict[str, str]
) -> None:
    with joined(world, gateway, **settings) as host:
        assert log_in(host, connection).code == PamCode.SUCCESS
    assert [start.get("connection") for start in gateway.starts] == [None]


def test_iampass_itself_is_told_of_no_connection(world: Setting, connection: dict[str, Any]) -> None:
    with keeping(world) as agent:
        assert (
            log_in(agent, connection).code == PamCode.SUCCESS
        )  # the sandbox refuses what IAMPASS does not know


# What a gateway must say


@pytest.mark.parametrize(
    "says",
    [
        {"session_status": "active", "covered": {}},
        {"session_status": "active", "covered": {"host": "", "age": 0}},
        {"session_status": "active", "covered": {"host": 7, "age": 0}},
        {"session_status": "active", "covered": {"host": "bastion"}},
        {"session_status": "active", "covered": {"host": "bastion", "age": -1}},
        {"session_status": "active", "covered": {"host": "bastion", "age": 0, "nonce": "1"}},
        {"session_status": "active", "covered": {"host": "bastion", "age": 0, "request_id": "A" * 22}},
        {"session_status": "active", "covered": "bastion"},
        {"session_status": "active", "covered": True},
        {"session_status": "active"},
    ],
    ids=str,
)
def test_active_alone_lets_nobody_in(
    host: Keeping, gateway: Gateway, connection: dict[str, Any], says: dict[str, Any]
) -> None:
    gateway.says = says
    assert log_in(host, connection).code == PamCode.MAXTRIES
    assert host.outcome()["IAMPASS_RESULT"] == "denied"


def test_covered_without_active_is_an_ordinary_request(
    host: Keeping, gateway: Gateway, connection: dict[str, Any]
) -> None:
    gateway.says = {"session_status": "pending", "covered": COVERED["covered"]}
    assert log_in(host, connection).code == PamCode.SUCCESS
    assert host.outcome()["IAMPASS_OUTCOME"] == "approved"


def test_a_login_for_which_no_connection_was_named_is_not_covered(
    host: Keeping, gateway: Gateway, connection: dict[str, Any]
) -> None:
    del connection["sockets"]
    gateway.covers_all = True
    assert log_in(host, connection).code == PamCode.MAXTRIES
    assert host.outcome()["IAMPASS_RESULT"] == "denied"


# What cannot be kept


def refuse(*_arguments: object) -> None:
    raise StateError("the disk is full")


def cannot_see(*_arguments: object) -> tuple[int, int]:
    raise OSError(1, "Operation not permitted")


@pytest.mark.parametrize(
    ("what", "fails"),
    [
        ("pam_iampass.session.store.SessionStore.write", refuse),
        ("pam_iampass.agent.application.RemoteApplication.opener", cannot_see),
    ],
    ids=["it cannot be stored", "its process cannot be seen"],
)
def test_a_login_whose_session_cannot_be_kept_is_not_covered_and_asks_the_phone(
    host: Keeping,
    gateway: Gateway,
    connection: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    fails: Callable[..., Any],
) -> None:
    monkeypatch.setattr(what, fails)
    assert log_in(host, connection).code == PamCode.SUCCESS
    assert host.outcome()["IAMPASS_OUTCOME"] == "approved"
    first, second = gateway.starts
    assert "connection" in first
    assert "connection" not in second
    assert first["request_id"] != second["request_id"]
    wait_until(lambda: gateway.ends == 2, "a session is left at the gateway")
