"""The portal at its port: signing in, acts, and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import secrets
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pam_iampass.config.value_types import network
from pam_iampass.fleet.act import Role
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.base.statements import one, replace
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.serving import acts_service
from pam_iampass.gateway.sign_in import passkeys, sign_ins
from pam_iampass.portal import app, settings
from pam_iampass.portal.calls import Look
from pam_iampass.portal.offers import OFFERS
from pam_iampass.portal.sign_in import SIGN_IN
from pam_iampass.portal.visit import TEMPLATES, Visit, local_address, page
from tests.portal.conftest import SignIn
from tests.support.acts_socket import RunningActs, with_passkey
from tests.support.deadline import PATIENCE
from tests.support.gateway import RunningGateway
from tests.support.portal import Answer, RunningPortal, Visitor, free_port
from tests.support.sandbox import Sandbox

POSTS = (
    "/sign-in",
    "/sign-in/challenge",
    "/sign-out",
    "/link",
    "/link/challenge",
    "/link/ring",
    "/link/answer",
    "/passkey/challenge",
    "/act/answer",
    "/act/sign_in_end",
    "/act/sign_in_end/challenge",
    "/act/sign_in_end/ring",
)
PAGE = """
{% extends "base.html" %}
{% block title %}My account{% endblock %}
{% block main %}<h1>Hello {{ visit.person }}</h1>
{% for name in offers %}{{ offer(name, person=person) }}{% endfor %}{% endblock %}
"""


async def mine(request: web.Request, visit: Visit) -> web.Response:
    """A page that its reader has asked for. It offers each act for the person in the query."""
    await visit.view("mine")
    template = request.app[TEMPLATES].from_string(PAGE)
    return page(request, template, offers=OFFERS, person=request.query.get("person", visit.person))


async def part(request: web.Request, visit: Visit) -> web.Response:
    """What a page asks for by itself."""
    return web.Response(text=str(len((await visit.view("mine")).rows)))


async def broken(request: web.Request, visit: Visit) -> web.Response:
    raise RuntimeError("a mistake")


ROUTES = (("/", mine), ("/part", part), ("/broken", broken))


@pytest.fixture
def portal(acts: RunningActs, port: int, origin: str) -> Iterator[RunningPortal]:
    with RunningPortal(settings.PortalSettings(origin), acts.path, port, routes=ROUTES) as running:
        yield running


def state(server: RunningGateway, *but: str) -> dict[str, list[str]]:
    """All rows of the database, without when a sign-in was last used, and without these tables."""
    tables = server.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = {}
    for name in {row["tablename"] for row in tables} - {"lease_holder", *but}:  # gateways hold leases
        rows = server.rows(f"SELECT to_jsonb(each) - 'active_at' - 'mac' AS row FROM {name} AS each")
        found[name] = sorted(json.dumps(row["row"], sort_keys=True) for row in rows)
    return found


# Signing in and acts


def test_who_has_a_passkey_signs_in_acts_and_signs_out(signed_in: SignIn, server: RunningGateway) -> None:
    alice = signed_in("alice")
    assert "Hello alice" in alice.get("/").words
    done = alice.act("phone_lost", person="alice", back="/?x=1")
    assert "Approvals from this phone are now rejected." in done.words
    assert 'href="/?x=1"' in done.text
    token = alice.cookies["__Host-sign-in"]
    assert "You are signed out" in alice.post("/sign-out").words
    assert alice.cookies == {}
    alice.cookies["__Host-sign-in"] = token
    assert alice.get("/").status == 401, "it has ended at the gateway, too"
    assert alice.post("/sign-out").status == 200


def test_who_is_not_signed_in_signs_in_where_they_wanted_to_go(
    signed_in: SignIn, portal: RunningPortal
) -> None:
    stranger = Visitor(portal)
    shown = stranger.get("/?since=1%22%3E")
    assert (shown.status, 'name="to" value="/?since=1%22%3E"' in shown.text) == (401, True)
    assert "any more" not in shown.words
    alice = signed_in("alice")
    assert alice.sign_in("/?since=1").headers["Location"] == "/?since=1"


ELSEWHERE = (
    "//evil.example",
    "/\\evil.example",
    "https://evil.example",
    "evil",
    "",
    "/\n",
    "/\t/evil.example",
    "/é",
    "\\/x",
)


def test_nobody_is_sent_elsewhere(signed_in: SignIn) -> None:
    alice = signed_in("alice")
    for elsewhere in ELSEWHERE:
        assert local_address(elsewhere) == "/"
        assert alice.sign_in(elsewhere).headers["Location"] == "/"
        assert 'href="/"' in alice.act("session_end", person="alice", back=elsewhere).text


def test_no_page_of_the_portal_links_elsewhere(portal: RunningPortal) -> None:
    shown = Visitor(portal).get("//evil.example/sign-in")
    assert 'href="//' not in shown.text


def test_an_act_with_a_touch_over_just_this_form(signed_in: SignIn, server: RunningGateway) -> None:
    iris = signed_in("iris")
    form = {"person": "alice", "seconds": "3600", "reason": "ticket 17", "services": "sshd", "once": "0" * 16}
    assert "alice can log in without the phone until" in iris.act("bypass", touch=True, **form).words
    form["once"] = "1" * 16
    assert iris.authenticator is not None
    options = iris.ask("/act/bypass/challenge", form)["options"]
    touch = json.dumps(iris.authenticator.get(options))
    for changed in ({"person": "bob"}, {"seconds": "86400"}, {"services": ""}, {"once": "2" * 16}):
        refused = iris.post("/act/bypass", {**form, **changed, "touch": touch})
        assert (refused.status, "Your confirmation is not valid" in refused.words) == (403, True), changed
    assert "twice" not in iris.post("/act/bypass", {**form, "touch": touch}).words
    for again in ({**form, "touch": touch}, form):
        assert "You sent this twice. It was done once." in iris.post("/act/bypass", again).words
    assert [each.get("what") for each in server.records].count("bypass") == 2
    another = {**form, "once": "3" * 16}
    assert iris.post("/act/bypass", another).status == 403, "there is no touch"
    codes = {"person": "alice", "once": "4" * 16}
    assert "The codes are shown only now." in iris.act("recovery_new", touch=True, **codes).words
    repeated = iris.post("/act/recovery_new", codes)
    assert ("The result was shown only once." in repeated.words, "<li><code>" in repeated.text) == (
        True,
        False,
    )
    assert iris.post("/act/phone_lost", codes).status == 403, "the id was of another act"


def test_after_a_restart_of_the_gateway_an_act_is_not_done_again_and_its_outcome_is_not_known(
    server: RunningGateway, tmp_path: Path, port: int, origin: str, acts_settings: GatewaySettings
) -> None:
    running = RunningActs(acts_settings, tmp_path)
    with RunningPortal(settings.PortalSettings(origin), running.path, port, routes=ROUTES) as portal:
        with running as acts:
            alice = Visitor(portal, with_passkey(acts, "alice"))
            alice.sign_in()
            form = {"person": "alice", "once": "5" * 16}
            assert "No logins have ended" in alice.post("/act/session_end", form).words
        with RunningActs(acts_settings, tmp_path):
            again = alice.post("/act/session_end", form)
    assert (again.status, says(again, "The outcome is not known")) == (503, True)
    assert [
        row["fields"]["what"] for row in server.rows("SELECT fields FROM record WHERE kind = 'act'")
    ].count("session_end") == 1


def test_what_is_shown_once_is_in_no_address_no_log_and_no_cache(
    signed_in: SignIn, capfd: pytest.CaptureFixture[str]
) -> None:
    iris = signed_in("iris")
    done = iris.act("recovery_new", touch=True, person="alice", back="/")
    codes = re.findall("<li><code>(.*)</code></li>", done.text)
    assert len(codes) == 10
    assert done.headers["Cache-Control"] == "no-store"
    link = re.search(
        r"https://[^<]*/link#[\w-]{43}", iris.act("person_link", touch=True, person="carol").text
    )
    assert link is not None
    shown = iris.get("/").text
    logged = "".join(capfd.readouterr())
    for secret in (*codes, link[0][-43:]):
        assert secret not in shown + logged


def test_each_role_is_offered_what_it_may_do(signed_in: SignIn) -> None:
    def offered(name: str, person: str) -> set[str]:
        return set(re.findall('action="/act/([a-z_]*)"', signed_in(name).get(f"/?person={person}").text))

    own = {name for name, offer in OFFERS.items() if Role.SELF in offer.by}
    for name in ("alice", "sam", "dora", "iris"):
        assert offered(name, name) == own, "people act for themselves as everybody does"
    assert offered("alice", "bob") == offered("sam", "bob") == set()
    assert offered("dora", "staffer") == {name for name, offer in OFFERS.items() if Role.HELPDESK in offer.by}
    assert offered("iris", "bob") == {name for name, offer in OFFERS.items() if Role.ADMIN in offer.by}


def test_what_is_not_offered_is_refused_at_the_socket(signed_in: SignIn, server: RunningGateway) -> None:
    from_signing_in = ("record", "passkey", "sign_in", "nonce")
    before = state(server, *from_signing_in)
    alice = signed_in("alice")
    for name, form in {
        "phone_lost": {"person": "bob"},
        "host_suspend": {"host": "web-1"},
        "person_link": {"person": "alice"},
    }.items():
        assert alice.post(f"/act/{name}", form).status in (400, 403), name
        assert alice.post(f"/act/{name}/challenge", form, Accept="application/json").status in (400, 403), (
            name
        )
    dora = signed_in("dora")
    assert "You have no permission for this" in dora.act("phone_lost", person="alice").words
    assert alice.post("/act/enroll", {"person": "alice"}).status == 404
    assert alice.post("/act/operator_link", {"person": "alice"}).status == 404
    assert state(server, *from_signing_in) == before


def test_what_the_gateway_refuses_is_said_with_its_words(signed_in: SignIn) -> None:
    iris = signed_in("iris")
    refused = iris.act("host_admit", touch=True, host="no-such-host", back="/hosts")
    assert refused.status == 409
    assert "This is not possible now: no person and no host has this name" in refused.words
    assert 'href="/hosts"' in refused.text
    signed_in("alice")
    again = iris.act("person_link", touch=True, person="alice").words
    assert "this person has a passkey already: let the link replace it if it is lost" in again
    long = iris.act("bypass", person="alice", seconds="3600", reason="r" * 5000)
    assert (long.status, "reason:" in long.words) == (400, True)
    assert iris.post("/act/bypass", {"person": "alice", "seconds": "1"}).status == 400


# What every answer has, and what is refused


def test_every_answer_has_the_headers(signed_in: SignIn, portal: RunningPortal) -> None:
    stranger, alice = Visitor(portal), signed_in("alice")
    answers = [
        *(
            stranger.get(path)
            for path in ("/", "/sign-in", "/link", "/nothing", "/static/portal.js", "/static/x")
        ),
        *(stranger.post(path) for path in POSTS),
        stranger.post("/sign-out", Origin=None),
        alice.get("/"),
        alice.get("/broken"),
        alice.act("session_end", person="alice"),
    ]
    for answer in answers:
        for name, value in app.HEADERS.items():
            assert answer.headers.get_all(name) == [value], (answer.status, name)
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    policy = app.HEADERS["Content-Security-Policy"]
    for directive in (
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
        "base-uri 'none'",
    ):
        assert directive in policy
    assert "unsafe" not in policy
    assert [answer.headers["Cache-Control"] for answer in answers if answer.status != 200 or not answer.text]
    for answer in answers:
        assert answer.headers["Cache-Control"] in ("no-store", "no-cache")


def test_a_file_is_kept_by_the_digest_in_its_address(portal: RunningPortal) -> None:
    stranger = Visitor(portal)
    addresses = re.findall('(?:src|href)="(/static/[^"]*)"', stranger.get("/sign-in").text)
    assert len(addresses) >= 4
    for address in addresses:
        assert "immutable" in stranger.get(address).headers["Cache-Control"]


FOREIGN = (
    None,
    "null",
    "",
    "https://evil.example",
    "https://evil.iampass.example.com",
    "https://example.com",
    "http://iampass.example.com",
    "https://iampass.example.com:8443",
    "https://iampass.example.com.evil.example",
    "https://IAMPASS.example.com",
    "https://iampass.example.com/",
    "https://iampass.example.com https://evil.example",
)


def test_what_another_origin_sends_does_nothing(signed_in: SignIn, server: RunningGateway) -> None:
    alice = signed_in("alice")
    before = state(server)
    for sent in FOREIGN:
        for path in POSTS:
            refused = alice.post(path, {"person": "alice"}, Origin=sent)
            assert (refused.status, refused.cookies) == (403, {}), (sent, path)
            assert "This request did not come from a page of the portal." in refused.words
    assert state(server) == before
    assert alice.get("/").status == 200


def test_two_origins_are_none(signed_in: SignIn, portal: RunningPortal) -> None:
    alice = signed_in("alice")
    with socket.create_connection(("127.0.0.1", portal.port)) as connection:
        origin = f"Origin: {portal.settings.origin}\r\n"
        connection.sendall(
            f"POST /act/sign_in_end HTTP/1.1\r\nHost: x\r\n{origin}{origin}Connection: close\r\n"
            f"Cookie: __Host-sign-in={alice.cookies['__Host-sign-in']}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert connection.makefile("rb").readline().split()[1] == b"403"


def test_a_token_that_was_planted_before_is_replaced_and_a_planted_binding_is_worth_nothing(
    signed_in: SignIn, acts: RunningActs, portal: RunningPortal
) -> None:
    attacker = signed_in("bob")
    alice = Visitor(portal, with_passkey(acts, "alice"))
    alice.cookies.update(attacker.cookies)
    assert "Hello bob" in alice.get("/").words
    assert alice.sign_in().status == 303
    assert alice.cookies["__Host-sign-in"] != attacker.cookies["__Host-sign-in"]
    assert "Hello alice" in alice.get("/").words
    # What the attacker's browser was asked for, answered by the attacker, counts in no other browser.
    assert attacker.authenticator is not None
    options = attacker.ask("/sign-in/challenge")["options"]
    answer = {"touch": json.dumps(attacker.authenticator.get(options))}
    assert alice.post("/sign-in", answer).status == 403
    alice.cookies["__Host-begin"] = secrets.token_urlsafe(32)
    assert alice.post("/sign-in", answer).status == 403
    assert "Hello alice" in alice.get("/").words
    assert attacker.post("/sign-in", answer).status == 303


def test_cookies_are_kept_from_scripts_and_other_names(signed_in: SignIn, portal: RunningPortal) -> None:
    begun = Visitor(portal).post("/sign-in/challenge", Accept="application/json")
    answered = signed_in("alice").sign_in()
    for name, said in (*begun.cookies.items(), *answered.cookies.items()):
        words = {word.strip().lower() for word in said.split(";")[1:]}
        assert name.startswith("__Host-")
        assert {"path=/", "secure", "httponly", "samesite=lax"} <= words
        assert not any(word.startswith("domain") for word in words)
    assert set(answered.cookies) == {"__Host-begin", "__Host-sign-in"}
    assert answered.cookies["__Host-begin"].startswith('"";'), "it is gone once it was used"


def _with_cookies(portal: RunningPortal, cookies: str) -> Answer:
    return Visitor(portal).send("GET", "/", headers={"Cookie": cookies})


def test_a_page_of_a_name_beside_the_portals_signs_nobody_in(
    signed_in: SignIn, portal: RunningPortal
) -> None:
    """wiki.example.com can set a cookie for example.com, but none that begins with __Host-. It sets `theme` to a text
    with a space, which browsers keep and send."""
    alice, mallory = signed_in("alice").cookies[SIGN_IN], signed_in("bob").cookies[SIGN_IN]
    own, planted = f"{SIGN_IN}={alice}", f"theme=dark {SIGN_IN}={mallory}"
    for cookies in (f"{own}; {planted}", f"{planted}; {own}"):
        assert "<bdi>alice</bdi>" in _with_cookies(portal, cookies).text


@pytest.mark.parametrize("set_by_others", ["theme=dark mode on", "a{b=1", "x=; a b"])
def test_a_page_of_a_name_beside_the_portals_shuts_nobody_out(
    signed_in: SignIn, portal: RunningPortal, set_by_others: str
) -> None:
    alice = signed_in("alice").cookies[SIGN_IN]
    assert _with_cookies(portal, f"{SIGN_IN}={alice}; {set_by_others}").status == 200


@pytest.mark.parametrize(("site", "destination"), [("same-site", "image"), ("cross-site", "document")])
def test_pages_of_other_names_keep_no_sign_in_from_ending(
    signed_in: SignIn, acts: RunningActs, site: str, destination: str
) -> None:
    """wiki.example.com shows an image from the portal's name (the cookie is sent: SameSite goes by example.com), any
    site opens it in a window. Each time counts as something that the person has done."""
    alice = signed_in("alice")
    server = acts.gateway.database

    async def active() -> Any:
        async with server.statement() as connection:
            return await one(connection, "SELECT active_at FROM sign_in")

    before = acts.run(active())
    mode = "navigate" if destination == "document" else "no-cors"
    shown = alice.get("/", **{"Sec-Fetch-Site": site, "Sec-Fetch-Dest": destination, "Sec-Fetch-Mode": mode})
    assert shown.status == (200 if mode == "navigate" else 403)
    assert acts.run(active()) == before


def test_looking_at_pages_changes_nothing_but_when_somebody_was_last_there(
    signed_in: SignIn, server: RunningGateway
) -> None:
    iris = signed_in("iris")
    before, seen, addresses = (
        state(server),
        set[str](),
        ["/", "/part", "/broken", "/sign-in", "/link", *POSTS],
    )
    while addresses:
        address = addresses.pop()
        seen.add(address)
        answer = iris.get(address)
        assert answer.cookies == {}, address
        found = re.findall('(?:href|hx-get|action)="(/[^"#]*)"', answer.text)
        addresses += {each.replace("&amp;", "&") for each in found} - seen - set(addresses)
    assert state(server) == before


def test_a_form_is_utf_8(portal: RunningPortal) -> None:
    """32 KiB of Punycode cost 0.2 s of the only thread, for who has not signed in and needs no page for it."""
    kind = "application/x-www-form-urlencoded; charset=punycode"
    body = b"touch=x-" + b"b" * 100
    headers = {"Origin": portal.settings.origin, "Content-Type": kind}
    shown = Visitor(portal).send("POST", "/sign-in", body, headers)
    assert "is not a form" in shown.text


def test_hostile_forms_and_headers(signed_in: SignIn, capfd: pytest.CaptureFixture[str]) -> None:
    alice = signed_in("alice")
    kind = {"Origin": alice.portal.settings.origin, "Content-Type": "application/x-www-form-urlencoded"}
    for body in (b"\xff\xfe=\xff", b"person=%ff%00", b"person=a\0b", b"&&&=&=", b"person=" + b"a" * 20_000):
        answer = alice.send("POST", "/act/session_end", body, kind)
        assert answer.status in (400, 403, 413), body[:20]
    for content_type in (
        "multipart/form-data; boundary=x",
        "application/json",
        "application/x-www-form-urlencoded; charset=none-such",
    ):
        answer = alice.send(
            "POST", "/act/session_end", b"person=alice", {**kind, "Content-Type": content_type}
        )
        assert answer.status == 400, content_type
    for touch in ("[]", "{", "[" * 10_000, '{"a": "\\ud800"}', "null", '{"id": 1}'):
        answer = alice.post("/sign-in", {"touch": touch})
        assert answer.status in (400, 403), touch[:20]
    assert alice.send("POST", "/act/session_end", b"a" * (app.MOST_BYTES + 1), kind).status == 413
    for cookie in ("__Host-sign-in=\xff", "__Host-sign-in=a; __Host-sign-in=b", "=;=;", '__Host-sign-in="\\'):
        assert alice.send("GET", "/sign-in", headers={"Cookie": cookie}).status == 200
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_page_that_has_failed_says_so_and_nothing_else(
    signed_in: SignIn, capfd: pytest.CaptureFixture[str]
) -> None:
    failed = signed_in("alice").get("/broken")
    assert (failed.status, "This page has failed" in failed.words, "mistake" in failed.text) == (
        500,
        True,
        False,
    )
    assert "a mistake" in capfd.readouterr().err


# Addresses


FORWARDED: tuple[tuple[list[str], str, str], ...] = (
    ([], "192.0.2.66", "127.0.0.1"),
    (["127.0.0.1"], "192.0.2.66", "192.0.2.66"),
    (["127.0.0.1"], "198.51.100.1, 192.0.2.67", "192.0.2.67"),
    (["127.0.0.0/8", "10.0.0.0/8"], "198.51.100.1, 192.0.2.68, 10.1.2.3", "192.0.2.68"),
    (["127.0.0.1"], "192.0.2.66, evil", "127.0.0.1"),
    (["127.0.0.1"], "::ffff:192.0.2.69", "192.0.2.69"),
    (["127.0.0.1"], "fe80::1%eth0", "fe80::1"),
    (["127.0.0.1"], "", "127.0.0.1"),
    (["10.0.0.0/8"], "192.0.2.66", "127.0.0.1"),
)


def test_only_a_proxy_of_the_settings_says_whose_request_it_is(acts: RunningActs, origin: str) -> None:
    authenticator = with_passkey(acts, "alice")
    for proxies, forwarded, found in FORWARDED:
        trusted = settings.PortalSettings(origin, tuple(map(network, proxies)))
        with RunningPortal(trusted, acts.path, free_port()) as portal:
            alice = Visitor(portal, authenticator)
            options = alice.ask("/sign-in/challenge")["options"]
            form = {"touch": json.dumps(authenticator.get(options))}
            assert alice.post("/sign-in", form, **{"X-Forwarded-For": forwarded}).status == 303
        (own,) = acts.call(Look(alice.cookies["__Host-sign-in"], "mine")).rows
        assert own["sign_ins"][-1]["remote"] == found, (proxies, forwarded)


# What is away, and what is over


def test_a_page_that_asks_by_itself_keeps_nobody_signed_in(
    signed_in: SignIn, server: RunningGateway, acts: RunningActs
) -> None:
    alice = signed_in("alice")
    digest = passkeys.digest_of(alice.cookies["__Host-sign-in"])

    def was_used(ago: timedelta) -> None:
        async def write(gateway: Any, connection: Any) -> None:
            (row,) = [each for each in server_rows if each["digest"] == digest]
            values = gateway.keys.verified("sign_in", row)
            changed = {**values, "active_at": now - ago}
            await replace(connection, "sign_in", "digest", gateway.keys.sealed("sign_in", changed))

        server_rows = server.rows("SELECT * FROM sign_in")
        now = server.rows("SELECT now() AS now")[0]["now"]
        server.transaction(write)

    was_used(sign_ins.IDLE / 2)
    before = server.rows("SELECT active_at FROM sign_in")
    assert alice.get("/part", **{"HX-Request": "true"}).status == 200
    assert server.rows("SELECT active_at FROM sign_in") == before
    was_used(sign_ins.IDLE + timedelta(minutes=1))
    over = alice.get("/part", **{"HX-Request": "true"})
    assert (over.status, over.headers["HX-Refresh"]) == (401, "true")
    shown = alice.get("/")
    assert (shown.status, "Your sign-in has ended" in shown.words) == (401, True)
    alice.cookies.clear()  # as after signing out in another tab
    sent = alice.post("/act/session_end", {"person": "alice", "back": "/?x"})
    assert (sent.status, "Your sign-in has ended Nothing was changed." in sent.words) == (401, True)
    assert 'name="to" value="/?x"' in sent.text


def says(answer: Answer, title: str) -> bool:
    return answer.status == 503 and title in answer.words


def test_who_finds_no_call_left_in_a_sign_in_is_shown_where_to_sign_in_again(
    signed_in: SignIn, acts: RunningActs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has stolen its cookie keeps its calls, so that signing out does not end it either."""
    alice = signed_in("alice")
    monkeypatch.setattr(acts_service, "MOST_AT_ONCE", 0)
    shown = alice.get("/")
    assert (shown.status, 'href="/sign-in"' in shown.text) == (429, True)


def test_the_gateway_is_away_and_comes_back(
    server: RunningGateway, tmp_path: Path, port: int, origin: str, acts_settings: GatewaySettings
) -> None:
    running = RunningActs(acts_settings, tmp_path)
    with RunningPortal(settings.PortalSettings(origin), running.path, port, routes=ROUTES) as portal:
        with running as acts:
            alice = Visitor(portal, with_passkey(acts, "alice"))
            alice.sign_in()
            assert "Hello alice" in alice.get("/").words
        assert says(alice.get("/"), "The gateway does not answer")
        assert says(
            alice.post("/act/session_end", {"person": "alice"}), "first check whether the action was done"
        )
        asked = alice.post("/sign-in/challenge", Accept="application/json")
        assert (asked.status, "Try again" in asked.json["says"]) == (503, True)
        assert alice.get("/part", **{"HX-Request": "true"}).status == 503
        with RunningActs(acts_settings, tmp_path):
            assert "Hello alice" in alice.get("/").words, "nothing is lost"
        out = alice.post("/sign-out")
        assert (out.status, "has removed your sign-in" in out.words, alice.cookies) == (200, True, {})


def test_a_restored_database_that_waits_is_said(signed_in: SignIn, acts: RunningActs) -> None:
    alice = signed_in("alice")
    acts.gateway.restored = True
    assert says(alice.get("/"), "The gateway's database is an old copy")
    assert says(alice.post("/act/session_end", {"person": "alice"}), "The gateway's database is an old copy")
    acts.gateway.restored = False
    assert alice.get("/").status == 200


def test_after_a_restore_the_passkey_is_confirmed_before_anything_is_shown(
    acts: RunningActs, portal: RunningPortal, server: RunningGateway, sandbox: Sandbox
) -> None:
    alice = Visitor(portal, with_passkey(acts, "alice"))
    server.transaction(restored.confirm)
    assert alice.sign_in().status == 303
    shown = alice.get("/")
    assert (shown.status, "Approve your passkey" in shown.words, "Hello" in shown.words) == (403, True, False)
    assert alice.act("session_end", person="alice").status == 403
    phone = alice.ask("/act/passkey_confirm/ring", {"person": "alice"})["phone"]
    sandbox.wait_for_request("token-of-alice")
    sandbox.approve("token-of-alice")
    assert alice.ask("/act/answer", {"phone": phone})["state"] == "approved"
    assert alice.act("passkey_confirm", touch=True, person="alice", phone=phone).status == 200
    assert "Hello alice" in alice.get("/").words


# Connections


def test_one_address_leaves_connections_for_others_and_a_proxy_all_to_nobody_else(
    acts: RunningActs, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "BOUNDS", dataclasses.replace(app.BOUNDS, connections=8, of_one_address=5))

    def connected(port: int, address: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(address, 0))

    def is_answered(port: int, address: str) -> bool:
        with connected(port, address) as connection:
            try:
                connection.sendall(b"GET /sign-in HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return connection.recv(100).startswith(b"HTTP/1.1 200")
            except ConnectionError:
                return False

    for proxies, of_one, is_refused in (((), 5, True), (("127.0.0.2",), 6, False)):
        trusted = settings.PortalSettings(origin, tuple(map(network, proxies)))
        with RunningPortal(trusted, acts.path, free_port()) as portal, contextlib.ExitStack() as held:
            for _ in range(of_one):
                held.enter_context(connected(portal.port, "127.0.0.2"))
            assert is_answered(portal.port, "127.0.0.2") is not is_refused
            assert is_answered(portal.port, "127.0.0.3") is is_refused
