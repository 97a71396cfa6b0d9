"""The pages in front of a real gateway: all that each role finds by their links, and that looking changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pam_iampass.fleet import denials, hosts, passkeys, phones, records, sessions
from pam_iampass.fleet import people as of_people
from pam_iampass.fleet.view import View
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people import people
from tests.gateway.test_codes import Named
from tests.gateway.test_reports import report, take
from tests.portal.conftest import SignIn
from tests.portal.test_app import state
from tests.support.acts_socket import RunningActs
from tests.support.gateway import HOST, HostCaller, RunningGateway
from tests.support.portal import Visitor
from tests.support.portal_rows import ROWS, ringing
from tests.support.sandbox import Sandbox
from tests.support.scripted_gateway import Shown

HERE = f"name-of-{HOST}"
_VIEWS: Mapping[str, View[Any]] = {
    "mine": passkeys.OWN,
    "people": of_people.PEOPLE,
    "sessions": sessions.SESSIONS,
    "throttle": of_people.LIMITS,
    "hosts": hosts.HOSTS,
    "records": records.RECORDS,
    "hours": records.HOURS,
    "may": of_people.MAY,
    "denials": denials.DENIALS,
    "phone": phones.PHONE,
    "bypasses": of_people.BYPASSES,
    "attention": records.ATTENTION,
    "rings": sessions.RINGS,
}


@pytest.fixture
def fleet(server: RunningGateway, sandbox: Sandbox) -> HostCaller:
    """staffer is logged in, and is asked once more; a second host waits."""
    sandbox.add_user("token-of-staffer")
    caller = HostCaller(server)
    begun = caller.ask("staffer", service="sshd", remote="192.0.2.7").authentication
    sandbox.approve(sandbox.wait_for_request("token-of-staffer"))
    assert caller.answer(begun) == "active"
    caller.ask("staffer", service="sudo", remote="192.0.2.8", timeout="60")
    server.add_host("h-bbbbbbbbbbbb")
    server.change_host("h-bbbbbbbbbbbb", status=HostStatus.WAITING, admitted=False)
    return caller


def crawl(visitor: Visitor) -> dict[str, Shown]:
    """All pages and parts of pages that are found by links."""
    found, ahead = dict[str, Shown](), ["/"]
    while ahead:
        path = ahead.pop()
        if path not in found:
            answer = visitor.get(path)
            if "Content-Disposition" in answer.headers:  # what is downloaded has no links
                continue
            shown = found[path] = Shown(answer.status, answer.text)
            parts = shown.all("span", "hx-get")
            ahead += [
                link for link in (*shown.links, *parts) if link.startswith("/") and "until=" not in link
            ]
    return found


def paths_of(found: Mapping[str, Shown]) -> set[str]:
    return {path for path in found if "?" not in path}


@pytest.mark.parametrize(
    ("person", "finds", "is_offered"),
    [
        ("alice", {"/", "/log", "/people/alice/phone"}, {}),
        (
            "sam",
            {"/people/staffer", "/people/iris", f"/hosts/{HERE}", "/access"},
            {"/people/staffer": set(), f"/hosts/{HERE}": set()},
        ),
        (
            "dora",
            {"/people/staffer", "/logins"},
            {"/people/staffer": {"phone_verify", "bypass", "person_link"}},
        ),
        (
            "iris",
            {"/people/staffer", "/people/sam", "/logins", "/hosts/name-of-h-bbbbbbbbbbbb"},
            {"/people/staffer": {"phone_verify"}, "/hosts/name-of-h-bbbbbbbbbbbb": {"host_admit"}},
        ),
    ],
)
def test_all_links_of_each_role_lead_to_pages_and_looking_changes_nothing(
    fleet: HostCaller,
    signed_in: SignIn,
    server: RunningGateway,
    person: str,
    finds: set[str],
    is_offered: Mapping[str, set[str]],
) -> None:
    visitor = signed_in(person)

    async def remember(gateway: Gateway, connection: Connection) -> None:
        for each in (await people.listing(gateway, connection))[0]:
            await people.change(gateway, connection, each.name, had_phone=True)

    server.transaction(remember)  # a look at the phone does so
    before = state(server)
    found = crawl(visitor)
    assert state(server) == before
    assert {path: shown.status for path, shown in found.items() if shown.status != 200} == {}
    assert finds <= found.keys()
    for path, offers in is_offered.items():
        assert found[path].offers >= offers if offers else found[path].offers == set()
    if person == "alice":
        assert paths_of(found) == finds
    if person == "dora":
        assert not any("iris" in path or path.startswith("/hosts") for path in found)
        assert [visitor.get(f"/people/{name}").status for name in ("iris", "alice", "nobody")] == [404] * 3


def test_what_root_of_a_host_reports_hides_neither_acts_nor_logins_of_a_person(
    fleet: HostCaller, signed_in: SignIn, server: RunningGateway, acts: RunningActs
) -> None:
    """Not the 120 reports of a host that staffer may use either; those of another host are one line."""
    groups = {**server.settings.groups, "databases": GroupSettings(frozenset({"dba"}))}
    for gateway in (server.gateway, acts.gateway):
        gateway.settings = replace(gateway.settings, groups=groups)
    server.add_host("h-cccccccccccc", group="databases")
    staffer, iris, dora = (signed_in(name) for name in ("staffer", "iris", "dora"))
    cleared = iris.act("throttle_clear", touch=True, person="staffer")
    assert cleared.status == 200, cleared.words
    taken_over = HostCaller(Named(server, "h-cccccccccccc"))

    def flood(host: HostCaller) -> None:
        for _ in range(6):
            take(host, *(report(user="staffer", service="x") for _ in range(20)))

    flood(taken_over)
    for visitor, path in ((staffer, "/"), (dora, "/people/staffer")):
        words = visitor.get(path).words
        assert words.count("reported only by the host") == 1
        assert "120 logins, reported only by the host on name-of-h-cccccccccccc" in words
        assert ("limits cleared" in words, "approved" in words) == (True, True)
    assert staffer.get("/log?person=staffer&host=name-of-h-cccccccccccc").words.count("192.0.2.9") == 100
    flood(fleet)
    for visitor, path in ((staffer, "/"), (dora, "/people/staffer")):
        words = visitor.get(path).words
        assert words.count(f"exempt from approval, reported by the host on {HERE}") == 20
        assert "limits cleared" in words
        assert "120 logins, reported only by the host on name-of-h-cccccccccccc" in words


def test_who_is_asked_sees_by_which_host_and_others_do_not(fleet: HostCaller, signed_in: SignIn) -> None:
    mine = signed_in("staffer").get("/").words
    assert f"{HERE} sudo from 192.0.2.8" in mine
    assert "No request for you" in signed_in("iris").get("/").words


def test_a_help_desk_reads_the_same_about_whom_it_does_not_help_and_a_name_that_nobody_has(
    fleet: HostCaller, signed_in: SignIn, server: RunningGateway
) -> None:
    server.add_person("staffer-of-it", "token-of-another", ("staff", "it"))
    dora, names = signed_in("dora"), ("staffer-of-it", "iris", "alice", "unknown")
    for path in ("/people/{}", "/people?search={}"):
        told = [dora.get(path.format(name)) for name in names]
        assert len({(each.status, each.text.replace(name, "NAME")) for each, name in zip(told, names)}) == 1
        assert "has a group that the help desk does not help. Ask an administrator." in told[0].words
    unknown = signed_in("iris").get("/people/nobody")
    assert (unknown.status, "This page does not exist" in unknown.words) == (404, True)


def test_what_hosts_make_of_the_phone_is_a_part_of_the_page(fleet: HostCaller, signed_in: SignIn) -> None:
    dora = signed_in("dora")
    assert dora.get("/people/staffer/phone").words == "registered"
    assert dora.get("/people/iris/phone").status == 404


@pytest.mark.parametrize("name", _VIEWS)
def test_the_rows_of_other_tests_have_the_fields_of_a_gateway(name: str) -> None:
    shown = {field for fields in _VIEWS[name].fields.values() for field in fields}
    rows: Sequence[Mapping[str, Any]] = [ringing()] if name == "rings" else ROWS[name]
    missing = {"parent"} if name == "rings" else set()
    assert {field for row in rows for field in row} - missing <= shown


@pytest.mark.parametrize("query", ["since=x", "until=0001-01-01T00:00:00%2B14:00"])
def test_a_time_that_is_none_is_said_and_is_no_failure(signed_in: SignIn, query: str) -> None:
    shown = signed_in("alice").get(f"/log?{query}")
    assert (shown.status, 'class="problem"' in shown.text) == (200, True)
