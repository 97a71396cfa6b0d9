"""The socket of the portal: who may connect, what is taken from the peer, and what floods leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import resource
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.records import REFUSALS_A_MINUTE
from pam_iampass.gateway.base.settings import OperatorSettings, PortalSettings
from pam_iampass.gateway.check import examination
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import PersonStatus
from pam_iampass.gateway.serving import acts_calls, acts_service
from pam_iampass.gateway.serving.acts_calls import CALLS
from pam_iampass.gateway.serving.acts_service import BOUNDS, MOST_AT_ONCE, MOST_OF_STRANGERS
from pam_iampass.gateway.sign_in import sign_ins
from pam_iampass.gateway.sign_in.actors import ProofRefused
from pam_iampass.gateway.sign_in.sign_ins import MOST_SIGN_INS, SignIn
from pam_iampass.portal import calls
from pam_iampass.portal.calls import Call, Error
from pam_iampass.portal.gateway import GatewayAway, GatewayError
from pam_iampass.server.strangers import Strangers
from tests.support.acts_socket import Browser, RunningActs, received, request, signed_in, with_passkey
from tests.support.gateway import HOST, RunningGateway
from tests.support.sandbox import Sandbox
from tests.support.world import PATIENCE, wait_until

NOBODY = 65534
OPERATORS = OperatorSettings(frozenset({"it"}), frozenset({"sec"}), frozenset({"desk"}), frozenset({"staff"}))
PORTAL = PortalSettings("https://iampass.example.com")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where everybody can reach the socket."""
    for each in (tmp_path, *tmp_path.parents[:-2]):
        each.chmod(0o755)
    return tmp_path


@pytest.fixture
def server(gateway_server: RunningGateway) -> RunningGateway:
    """What serves hosts beside it. dora is of the help desk and helps alice, iris is an admin."""
    gateway_server.add_person("dora", "token-of-dora", ("desk",))
    gateway_server.add_person("iris", "token-of-iris", ("it",))
    gateway_server.add_person("staffer", "token-of-staffer", ("staff",))
    return gateway_server


@pytest.fixture
def acts(server: RunningGateway, folder: Path) -> Iterator[RunningActs]:
    with RunningActs(with_portal(server), folder) as running:
        yield running


@pytest.fixture
def patient(server: RunningGateway, folder: Path) -> Iterator[RunningActs]:
    """The same for root and nobody, who can connect for long and send nothing."""
    bounds = dataclasses.replace(BOUNDS, seconds=10 * PATIENCE)
    with RunningActs(with_portal(server), folder, uids=(0, NOBODY), bounds=bounds) as running:
        yield running


def with_portal(server: RunningGateway) -> Any:
    return dataclasses.replace(server.settings, operators=OPERATORS, portal=PORTAL)


def answer_of(reply: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the JSON of an answer."""
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else {}


def ask(acts: RunningActs, path: str, value: object, **more: Any) -> tuple[int, dict[str, Any]]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return answer_of(acts.send(request(path, body, **more)))


def is_served(acts: RunningActs) -> bool:
    return bool(acts.call(calls.BeginSignIn(secrets.token_urlsafe(32))).options["challenge"])


def is_open(connection: socket.socket) -> bool:
    """Whether the service has not closed this connection, on which nothing was sent."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


# Who may connect


_CONNECTS = """
import os, socket, sys
os.setgid(65534), os.setgroups([]), os.setuid(int(sys.argv[2]))
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
try:
    sock.sendall(sys.stdin.buffer.read())
    print(sock.recv(100))
except ConnectionError as error:
    print(b"")
"""


def as_user(uid: int, acts: RunningActs, sent: bytes) -> str:
    """What this user is answered, as Python shows it."""
    command = [sys.executable, "-c", _CONNECTS, str(acts.path), str(uid)]
    return subprocess.run(command, input=sent, capture_output=True, check=True).stdout.decode()


def test_another_user_at_the_socket_is_answered_nothing(
    acts: RunningActs, capsys: pytest.CaptureFixture[str]
) -> None:
    asks = request("/sign-in/challenge", json.dumps({"binding": "b" * 43}).encode())
    assert as_user(0, acts, asks).startswith("b'HTTP/1.1 200")
    for _ in range(3):
        assert as_user(NOBODY, acts, asks) == "b''\n"
    assert as_user(1, acts, asks) == "b''\n"
    assert capsys.readouterr().err.splitlines() == [
        f"refused: a connection of the user with the id {NOBODY}",
        "refused: a connection of the user with the id 1",
    ]


def test_the_portal_can_connect_and_leaves_connections_for_root(patient: RunningActs) -> None:
    asks = request("/sign-in/challenge", json.dumps({"binding": "b" * 43}).encode())
    assert as_user(NOBODY, patient, asks).startswith("b'HTTP/1.1 200")
    held = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _HOLDS,
            str(patient.path),
            str(NOBODY),
            str(PATIENCE),
            str(BOUNDS.of_one_address),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert held.stdin is not None
    assert held.stdout is not None
    assert int(held.stdout.readline()) == BOUNDS.of_one_address
    assert is_served(patient)
    held.stdin.close()
    assert held.wait(PATIENCE) == 0
    held.stdout.close()


_HOLDS = """
import os, select, socket, sys
os.setgid(65534), os.setgroups([]), os.setuid(int(sys.argv[2]))
held = []
for _ in range(int(sys.argv[4]) + 50):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(sys.argv[1])
    held.append(sock)
ended = 0
while ended < 50:
    ready, _, _ = select.select(held, [], [], float(sys.argv[3]))
    if not ready:
        break
    for sock in ready:
        assert sock.recv(1) == b""
        held.remove(sock)
        ended += 1
print(len(held), flush=True)
sys.stdin.read()
"""


# What is taken from the peer


def test_two_thousand_connections_are_as_many_as_are_allowed(patient: RunningActs) -> None:
    acts = patient
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8192, hard)), hard))
    try:
        with contextlib.ExitStack() as held:
            made = [held.enter_context(acts.connected()) for _ in range(2000)]
            wait_until(lambda: sum(map(is_open, made)) == BOUNDS.of_one_address, "they are not bounded")
            with pytest.raises(GatewayAway):
                is_served(acts)

        def is_served_again() -> bool:
            with contextlib.suppress(GatewayAway):
                return is_served(acts)
            return False

        wait_until(is_served_again, "connections that have ended still count")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_body_that_is_too_large_is_refused_before_it_has_come(acts: RunningActs) -> None:
    head = request("/sign-in", b"").replace(b"Content-Length: 0", b"Content-Length: 16385")
    assert answer_of(acts.send(head))[0] == 413
    chunked = head.replace(b"Content-Length: 16385", b"Transfer-Encoding: chunked")
    with acts.connected() as connection:
        connection.sendall(chunked)
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                connection.sendall(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        assert received(connection)[:12] in (b"HTTP/1.1 413", b"")
    assert is_served(acts)


def test_a_slow_peer_holds_nobody_up(server: RunningGateway, folder: Path) -> None:
    bounds = dataclasses.replace(BOUNDS, seconds=0.5, idle_seconds=0.5)
    with RunningActs(with_portal(server), folder, bounds=bounds) as acts:
        parts = (b"", b"POST /sign-in HT", request("/sign-in", b"{}" * 50)[:-50])
        with contextlib.ExitStack() as held:
            slow = [held.enter_context(acts.connected()) for _ in parts]
            for connection, sent in zip(slow, parts):
                connection.sendall(sent)
            assert is_served(acts)
            found = [received(connection) for connection in slow]
        assert found[:2] == [b"", b""]
        assert found[2].startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe{}",
        b'{"binding": "a", "binding": "b"}',
        b'{"binding": NaN}',
        b'{"binding": "\\ud800"}',
        b'{"binding": "\\u0000"}',
        b"[" * 8000,
        b'{"a":' * 3000,
        b'{"binding": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(acts: RunningActs, body: bytes) -> None:
    status, answer = ask(acts, "/sign-in/challenge", body)
    assert (status, answer["error"]) == (400, "BAD_BODY")
    assert "parameter" not in answer


def test_a_call_has_one_path_one_method_and_one_type_of_content(acts: RunningActs) -> None:
    for path in ("/", "/sign-in/", "//sign-in", "/sign-in?x=1", "/Sign-in", "/session/x/status", "/../act"):
        assert ask(acts, path, {})[1]["error"] == "UNKNOWN_CALL", path
    assert ask(acts, "/sign-in", {}, method="GET")[1]["error"] == "WRONG_METHOD"
    assert ask(acts, "/sign-in", {}, kind="text/plain")[1]["error"] == "BAD_BODY"
    assert acts.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").startswith(b"HTTP/1.0 400")


_GOOD: dict[str, Any] = {
    "token": "t" * 43,
    "binding": "b" * 43,
    "answer": {},
    "remote": "192.0.2.1",
    "agent": "Firefox",
    "phone": "5f0c8e1d-2b7a-4f36-9c04-d1e8a7b65f32",
    "label": "laptop",
    "act": "phone_lost",
    "parameters": {},
    "once": "0" * 16,
    "touch": {},
    "view": "people",
    "filter": {},
    "by_itself": True,
    "seen": "5" * 32,
}


def good(call: type[Call[Any]]) -> dict[str, Any]:
    """A value of each field of a call, which is as it must be and means nothing."""
    return {each.name: _GOOD[each.name] for each in dataclasses.fields(call)}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.PATH)
def test_each_field_that_is_wrong_is_named(acts: RunningActs, call: type[Call[Any]]) -> None:
    given, path = good(call), call.PATH
    for name, value in given.items():
        wrong: list[object] = [None, 3, 1.5, ["x"], "\n", "é" * 700]
        wrong += [True] if not isinstance(value, bool) else [0]
        wrong += ["{}"] if isinstance(value, dict) else [{"x": 1}]
        wrong += ["None", "192.0.2.01", "::ffff:192.0.2.1", "fe80::1%eth0"] if name == "remote" else []
        for each in wrong:
            status, answer = ask(acts, path, {**given, name: each})
            assert (status, answer["error"], answer["parameter"]) == (400, "BAD_FIELD", name), each
    for name, is_needed in {
        each.name: each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        for each in dataclasses.fields(call)
    }.items():
        if is_needed:
            _, answer = ask(acts, path, {key: value for key, value in given.items() if key != name})
            assert (answer["error"], answer["parameter"]) == ("BAD_FIELD", name)
    _, answer = ask(acts, path, {**given, "x\x1b[2J": 1})
    assert (answer["error"], answer["parameter"]) == ("BAD_FIELD", "x\\x1b[2J")


@pytest.mark.parametrize("call", list(CALLS)[1:], ids=lambda call: call.PATH)
def test_a_stranger_is_told_nothing(acts: RunningActs, call: type[Call[Any]]) -> None:
    given, path = good(call), call.PATH
    if "parameters" in given:
        given["parameters"] = {"person": "alice"}
    status, answer = ask(acts, path, given)
    error = Error.NOT_SIGNED_IN if Error.NOT_SIGNED_IN in call.ERRORS else Error.REFUSED
    assert answer == {"error": error.name, "detail": error.words}
    assert status == error.status
    if "parameters" in given:
        given["parameters"] = {"person": "nobody-has-this-name"}
        assert ask(acts, path, given) == (status, answer)


def test_a_parameter_of_an_act_and_a_filter_of_a_view_are_named_when_they_are_wrong(
    acts: RunningActs,
) -> None:
    alice = signed_in(acts, "alice")
    for parameters, name in (
        ({}, "person"),
        ({"person": 3}, "person"),
        ({"person": "alice", "end_codes": "x"}, "end_codes"),
        ({"person": "alice", "x": 1}, "x"),
    ):
        with pytest.raises(GatewayError) as error:
            alice.act("phone_lost", touch=False, **parameters)
        assert (error.value.code, error.value.parameter) == ("BAD_FIELD", f"parameters.{name}")
    for view, filter, name in (
        ("people", {"search": 3}, "search"),
        ("people", {"x": 3}, "x"),
        ("throttle", {}, "person"),
        ("records", {"since": "yesterday"}, "since"),
        ("records", {"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ("records", {"hosts": "web"}, "hosts"),
        ("records", {"hosts": [["web"]]}, "hosts"),
        ("records", {"outcomes": ["approved", "x"]}, "outcomes"),
        ("records", {"last": 501}, "last"),
        ("records", {"last": True}, "last"),
    ):
        with pytest.raises(GatewayError) as error:
            alice.look(view, **filter)
        assert (error.value.code, error.value.parameter) == ("BAD_FIELD", f"filter.{name}")


# Signing in, acting, looking


def test_somebody_signs_in_looks_and_acts(
    acts: RunningActs, server: RunningGateway, sandbox: Sandbox
) -> None:
    alice = signed_in(acts, "alice")
    (row,) = alice.look("people")
    assert row["user"] == "alice"
    (own,) = alice.look("mine")
    assert (own["codes_left"], own["phone_lost_at"]) == (0, None)
    assert [each["label"] for each in own["passkeys"]] == ["laptop"]
    assert [each["agent"] for each in own["sign_ins"]] == ["Firefox"]
    assert [each["what"] for each in alice.look("records", person="alice")] == ["sign_in"]
    (limits,) = alice.look("throttle", person="alice")
    assert limits["pending"] == 0
    assert alice.look("throttle", person="bob") == alice.look("throttle", person="nobody") == []
    assert alice.look("hosts") == []
    lost = alice.act("phone_lost", touch=False, person="alice")
    assert lost == {"ended": 0, "errors": 0, "bypasses": 0, "codes_left": 0, "disabled": True}
    record = server.records[-2]
    assert (record["what"], record["caller"], record["known_by"]) == ("phone_lost", "alice", "sign-in")
    assert alice.act("sign_in_end", touch=False, person="alice") == {"number": 1}
    with pytest.raises(GatewayError, match="NOT_SIGNED_IN"):
        alice.look("people")


def test_an_error_names_no_host_and_no_person(acts: RunningActs, server: RunningGateway) -> None:
    dora = signed_in(acts, "dora", by_root=True)
    near = f"name-of-{HOST}"[:-1]
    with pytest.raises(GatewayError) as error:
        dora.act("bypass", person="staffer", seconds=60, hosts=[near])
    assert (error.value.code, error.value.detail) == ("ACT_REFUSED", "no person and no host has this name")
    alice = signed_in(acts, "alice")
    for host in (f"name-of-{HOST}", near):
        ended = alice.act("session_end", touch=False, person="alice", host=host)
        assert ended == {"ended": 0, "errors": 0}


# Floods


def test_floods_leave_a_bounded_number_of_rows(acts: RunningActs, server: RunningGateway) -> None:
    tables = ("nonce", "link", "sign_in", "record")

    def rows() -> dict[str, int]:
        return {name: server.rows(f"SELECT count(*) AS n FROM {name}")[0]["n"] for name in tables}

    before = rows()
    for _ in range(100):
        ask(acts, "/sign-in/challenge", good(calls.BeginSignIn))
        ask(acts, "/sign-in", good(calls.SignIn))
        ask(acts, "/act", {**good(calls.DoAct), "parameters": {"person": "alice"}})
        ask(acts, "/link/ring", good(calls.RingForLink))
    after = rows()
    assert after.pop("record") > before.pop("record")
    assert after == before
    # As the database's clock says: the flood itself may take more than a minute.
    most = server.rows(
        "SELECT max(n) AS n FROM (SELECT count(*) OVER (ORDER BY at RANGE '59.999 seconds' PRECEDING) AS n"
        " FROM record WHERE fields ? 'refused') AS counted"
    )
    assert most[0]["n"] <= REFUSALS_A_MINUTE
    authenticator = with_passkey(acts, "alice")
    for _ in range(MOST_SIGN_INS + 5):
        binding = secrets.token_urlsafe(32)
        options = acts.call(calls.BeginSignIn(binding)).options
        acts.call(calls.SignIn(binding, authenticator.get(options), "192.0.2.7"))
    assert rows()["sign_in"] == MOST_SIGN_INS


def in_parallel(number: int, act: Callable[[], object]) -> list[threading.Thread]:
    """Threads in which this is done, whether it is refused or not."""

    def go() -> None:
        with contextlib.suppress(GatewayError):
            act()

    threads = [threading.Thread(target=go) for _ in range(number)]
    for each in threads:
        each.start()
    return threads


def let_go(acts: RunningActs, event: asyncio.Event, held: list[threading.Thread]) -> None:
    """Let threads end that wait for an event in the service."""

    async def go() -> None:
        event.set()

    acts.run(go())
    for each in held:
        each.join(PATIENCE)


def test_a_stolen_sign_in_leaves_few_records_a_minute_and_does_not_keep_its_owner_from_ending_it(
    acts: RunningActs, server: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_ins, "RECORDS_A_MINUTE", 4)
    counted = sign_ins.require_few_records

    async def count_slowly(connection: Connection, found: SignIn) -> None:
        await counted(connection, found)
        await asyncio.sleep(0.5)  # whatever else is counted meanwhile counts the same

    monkeypatch.setattr(sign_ins, "require_few_records", count_slowly)
    thief, owner = signed_in(acts, "alice"), signed_in(acts, "alice")
    for each in in_parallel(MOST_AT_ONCE, lambda: end_nothing(thief)):
        each.join(PATIENCE)
    assert [record["sign_in"] for record in server.records if record["what"] == "sign_in_end"] == [
        server.records[0]["sign_in"]
    ] * 3, "the record of the sign-in itself is the first one"
    with pytest.raises(GatewayError, match="BUSY"):
        end_nothing(thief)
    with pytest.raises(GatewayError, match="BUSY"):
        thief.act("recovery_new", person="alice")
    assert owner.act("sign_in_end", touch=False, person="alice") == {"number": 2}


def end_nothing(browser: Browser) -> None:
    browser.act(
        "sign_in_end", touch=False, person=browser.person, sign_in="5f0c8e1d-2b7a-4f36-9c04-d1e8a7b65f32"
    )


def test_one_sign_in_takes_neither_all_connections_nor_all_waits_for_phones(
    acts: RunningActs, server: RunningGateway, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts_service, "MOST_HELD", MOST_AT_ONCE)
    monkeypatch.setattr(acts_calls, "_PHONE_SECONDS", 10 * PATIENCE)
    thief, bob = signed_in(acts, "alice"), signed_in(acts, "bob")
    ringing = {}
    for browser in (thief, bob):
        begun = acts.call(calls.RingForAct(browser.token, "passkey_add", "192.0.2.7"))
        ringing[browser.person] = calls.WaitForPhone(browser.token, str(begun.phone))
        sandbox.wait_for_request(f"token-of-{browser.person}")
    waits = in_parallel(MOST_AT_ONCE, lambda: acts.call(ringing["alice"]))
    wait_until(lambda: acts.service.held == {"alice": MOST_AT_ONCE}, "they are not held")
    with pytest.raises(GatewayError, match="BUSY"):
        thief.look("mine")
    assert bob.look("mine")
    assert acts.call(ringing["bob"]).state == "asked", "it has not waited"
    sandbox.deny("token-of-bob")
    wait_until(lambda: acts.call(ringing["bob"]).state == "denied", "it is not told")
    sandbox.deny("token-of-alice")
    for each in waits:
        each.join(PATIENCE)
    thief.look("mine")


def test_sign_ins_of_strangers_wait_for_each_other_and_leave_connections_for_others(
    acts: RunningActs, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, begun, may_end = signed_in(acts, "bob"), list[str](), asyncio.Event()

    async def sign_in(gateway: Gateway, binding: str, *_: object) -> sign_ins.NewSignIn:
        begun.append(binding)
        await may_end.wait()
        raise ProofRefused("it was held")

    monkeypatch.setattr(sign_ins, "sign_in", sign_in)
    strangers = in_parallel(20, lambda: acts.call(calls.SignIn(**good(calls.SignIn))))
    wait_until(lambda: len(begun) == MOST_OF_STRANGERS, "they do not begin")
    for _ in range(20):  # the service has looked at its connections that often
        bob.look("mine")
    assert len(begun) == MOST_OF_STRANGERS
    let_go(acts, may_end, strangers)
    assert len(begun) == 20


def test_made_up_tokens_wait_for_each_other_and_keep_nobody_waiting_who_has_signed_in(
    acts: RunningActs, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, waiting = 40, 10
    acts.service.strangers = Strangers(MOST_OF_STRANGERS, waiting)
    bob, found, may_end = signed_in(acts, "bob"), sign_ins.find, asyncio.Event()
    begun, refused = list[str](), list[str]()

    async def find(gateway: Gateway, connection: Connection, token: str) -> SignIn:
        if token != bob.token:
            begun.append(token)
            await may_end.wait()
        return await found(gateway, connection, token)

    def look() -> None:
        try:
            acts.call(calls.ShowSignIn(secrets.token_urlsafe(32)))
        except GatewayError as error:
            refused.append(error.code)

    monkeypatch.setattr(sign_ins, "find", find)
    strangers = in_parallel(number, look)
    most = number - waiting - MOST_OF_STRANGERS
    wait_until(lambda: len(refused) == most or len(begun) > MOST_OF_STRANGERS, "all of them wait")
    assert refused == ["BUSY"] * most
    for _ in range(20):
        bob.look("mine")
    assert len(begun) == MOST_OF_STRANGERS
    let_go(acts, may_end, strangers)
    assert refused[most:] == ["NOT_SIGNED_IN"] * (number - most)


@pytest.mark.parametrize(
    "call", [call for call in CALLS if "token" in good(call)], ids=lambda call: call.PATH
)
def test_a_token_that_was_found_lately_is_looked_for_all_the_same(
    acts: RunningActs, call: type[Call[Any]]
) -> None:
    given = good(call)
    if "parameters" in given:
        given["parameters"] = {"person": "alice"}
    acts.service.strangers.found(given["token"])
    assert ask(acts, call.PATH, given)[1]["error"] in ("NOT_SIGNED_IN", "REFUSED")
    assert not acts.service.strangers.knows(given["token"])


def test_the_sign_ins_of_one_person_take_few_waits_for_phones(
    acts: RunningActs, server: RunningGateway, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts_service, "MOST_HELD_OF_ONE", 1)
    monkeypatch.setattr(acts_calls, "_PHONE_SECONDS", 10 * PATIENCE)
    waits = {}
    for name, person in (("first", "alice"), ("second", "alice"), ("bob", "bob")):
        token = signed_in(acts, person).token
        begun = acts.call(calls.RingForAct(token, "passkey_add", "192.0.2.7"))
        waits[name] = calls.WaitForPhone(token, str(begun.phone))
        sandbox.wait_for_request(f"token-of-{person}")
    held = in_parallel(1, lambda: acts.call(waits["first"]))
    wait_until(lambda: acts.service.held["alice"] == 1, "it is not held")
    assert acts.call(waits["second"]).state == "waits", "it has not waited"
    held += in_parallel(1, lambda: acts.call(waits["bob"]))
    wait_until(lambda: acts.service.held["bob"] == 1, "it is not held")
    for person in ("alice", "bob"):
        sandbox.deny(f"token-of-{person}")
    for each in held:
        each.join(PATIENCE)
    wait_until(lambda: not acts.service.held, "somebody is counted for ever")


def test_one_sign_in_has_one_view_read_while_others_wait_for_theirs(
    acts: RunningActs, server: RunningGateway
) -> None:
    alice, bob = signed_in(acts, "alice"), signed_in(acts, "bob")

    def waiting() -> int:
        return len(acts.service.views._waiters or ())

    acts.run(acts.service.views.acquire())
    looks = in_parallel(MOST_AT_ONCE, lambda: alice.look("mine"))
    wait_until(lambda: waiting() == 1, "none waits")
    wait_until(acts.service.under_way[alice.token].locked, "not all have come")
    looks += in_parallel(1, lambda: bob.look("mine"))
    wait_until(lambda: waiting() > 1, "bob does not wait")
    for _ in range(20):
        assert is_served(acts)
        assert waiting() == 2
    acts.service.views.release()
    for each in looks:
        each.join(PATIENCE)


# The database was restored; the service stops


def test_an_old_copy_of_the_database_answers_nothing(acts: RunningActs) -> None:
    acts.gateway.restored = True
    for call in CALLS:
        assert ask(acts, call.PATH, good(call))[1]["error"] == "RESTORED"


def test_the_service_stops_although_a_call_waits_for_a_phone(
    acts: RunningActs, server: RunningGateway, sandbox: Sandbox
) -> None:
    alice = signed_in(acts, "alice")
    ringing = acts.call(calls.RingForAct(alice.token, "passkey_add", "192.0.2.7"))
    assert ringing.reason is None
    assert ringing.phone is not None
    sandbox.wait_for_request("token-of-alice")
    told: list[str] = []

    def wait() -> None:
        try:
            while True:
                told.append(acts.call(calls.WaitForPhone(alice.token, str(ringing.phone))).state)
        except GatewayError as error:
            told.append(error.code)

    waits = threading.Thread(target=wait)
    waits.start()
    wait_until(lambda: bool(acts.service.held), "the call is not held")
    acts.stop()
    waits.join(PATIENCE)
    assert told[-1] in ("STOPPING", "AWAY")  # a machine that is slow has no second for an answer


def test_the_client_says_that_there_is_no_gateway(folder: Path) -> None:
    acts = object.__new__(RunningActs)
    acts.path = folder / "nothing.sock"
    with pytest.raises(GatewayAway):
        is_served(acts)


def test_check_finds_passkeys_of_people_who_are_gone(acts: RunningActs, server: RunningGateway) -> None:
    def found() -> list[tuple[str, str]]:
        problems = acts.run(examination.passkeys(acts.gateway))
        return [(problem.kind, problem.key) for problem in problems]

    for name in ("alice", "bob", "carol"):
        with_passkey(acts, name)
    assert found() == []
    server.transaction(
        lambda gateway, connection: people.change(gateway, connection, "alice", status=PersonStatus.LEAVING)
    )
    server.transaction(
        lambda gateway, connection: people.change(gateway, connection, "bob", token="token-of-another-bob")
    )
    assert found() == [("passkeys-of-nobody", "alice"), ("passkeys-of-nobody", "bob")]
