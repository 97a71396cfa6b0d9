"""The pages: what each role sees and is offered, and what hostile texts do to them, namely nothing."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest

from pam_iampass.portal.calls import HOW_TO_USE_CODES
from pam_iampass.portal.offers import OFFERS, REQUEST, outcome
from pam_iampass.portal.pages import Row, tree
from pam_iampass.portal.plot import plot
from pam_iampass.portal.shown import browser, duration, moment
from pam_iampass.portal.shown import name as name_of
from pam_iampass.portal.words import OUTCOMES
from tests.support.portal_rows import HOST, NEW, ROWS, example_result, login, ringing
from tests.support.scripted_gateway import ScriptedGateway, Shown

ROLES: Mapping[str, tuple[str, ...]] = {
    "person": (),
    "auditor": ("auditor",),
    "helpdesk": ("helpdesk",),
    "admin": ("admin",),
}
PAGES = ("/", "/people", "/people/bob", "/access", "/logins", "/hosts", f"/hosts/{HOST}", "/log")
_OWN = {"session_not_me", "session_end", "phone_lost", "phone_new", "recovery_new", "recovery_revoke",
        "passkey_add", "passkey_remove", "sign_in_end"}  # fmt: skip
_OF_OTHERS = {"session_end", "phone_verify", "phone_lost", "phone_new", "recovery_new", "recovery_revoke",
              "bypass", "bypass_end", "throttle_clear", "person_link"}  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedGateway]:
    with ScriptedGateway() as running:
        yield running


@pytest.fixture
def gateway(running: ScriptedGateway) -> ScriptedGateway:
    """alice looks at pages. She and bob have logins and records, and there are three hosts."""
    running.person, running.roles, running.rows, running.rings = "alice", (), dict(ROWS), [ringing()]
    running.errors, running.asked, running.by_themselves = {}, [], []
    return running


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_its_pages_and_is_offered_what_it_may_do(gateway: ScriptedGateway, role: str) -> None:
    gateway.roles = ROLES[role]
    mine = gateway.get("/")
    assert mine.offers == _OWN
    pages = [link for link in dict.fromkeys(mine.links) if link in ("/people", "/logins", "/hosts", "/log")]
    assert (
        pages
        == {
            "person": ["/log"],
            "auditor": ["/people", "/hosts", "/log"],
            "helpdesk": ["/people", "/logins", "/log"],
            "admin": ["/people", "/logins", "/hosts", "/log"],
        }[role]
    )
    gateway.rows["sessions"] = [login("1", user="bob")]
    bob, host, waiting = (
        gateway.get(f"/{page}").offers for page in ("people/bob", f"hosts/{HOST}", f"hosts/{NEW}")
    )
    assert bob == (_OF_OTHERS if role in ("helpdesk", "admin") else set())
    of_hosts = {"host_suspend", "host_addresses", "host_note", "session_end"} if role == "admin" else set()
    assert host - {"session_end"} == of_hosts - {"session_end"}
    assert (
        waiting >= of_hosts | {"host_admit", "host_resume"}
        if role == "admin"
        else not waiting & {"host_admit"}
    )
    assert not gateway.get("/people/alice").offers - {"session_end"}, "the rest is on My account"


@pytest.mark.parametrize("role", ROLES)
def test_the_access_review_is_a_page_and_a_table_for_auditors_and_admins(
    gateway: ScriptedGateway, role: str
) -> None:
    gateway.roles = ROLES[role]
    is_linked = "/access" in gateway.get("/people").links
    assert is_linked == (role in ("auditor", "admin"))
    shown = gateway.get("/access")
    assert "/hosts?group=servers&status=suspended" in shown.links
    assert "/people/mallory" not in shown.links, "nobody has this page"
    assert "may not log in 1 servers in staff; these hosts are suspended" in shown.words
    lines = gateway.get("/access.csv").text.splitlines()
    assert lines[1:] == [
        "mallory,tampered,,,,0,no,was not written by a gateway: cannot log in",
        "alice,active,staff,servers,active,2,yes,in staff",
        "alice,active,staff,servers,suspended,1,no,in staff; these hosts are suspended",
        "'=bob,leaving,,,,0,no,no hosts admit the person",
    ]


def test_a_help_desk_is_offered_nothing_for_people_whom_it_does_not_help(gateway: ScriptedGateway) -> None:
    gateway.roles = ("helpdesk",)
    gateway.rows["people"] = [{**row, "is_helped": False} for row in ROWS["people"]]
    gateway.rows["sessions"] = bobs = [login("2", user="bob", is_helped=False)]
    bob = gateway.get("/people/bob")
    assert (bob.offers, "The help desk cannot help this person" in bob.words) == (set(), True)
    gateway.rows["sessions"] = [login("1"), *bobs]
    given = gateway.get("/logins").all("input", "value")
    assert (given.count("1"), given.count("2")) == (2, 0), "two acts for alice's own login"


def test_who_has_reported_a_phone_lost_is_told_so_until_there_is_another(gateway: ScriptedGateway) -> None:
    since = ROWS["mine"][0]["passkeys"][0]["made_at"]
    gateway.rows["mine"] = [{**ROWS["mine"][0], "phone_lost_at": since}]
    gateway.rows["phone"] = [{"user": "alice", "phone": "lost", "lost_at": since}]
    mine = gateway.get("/")
    assert "Your phone is reported lost" in mine.words
    needs_phone = {"phone_new", "recovery_new", "passkey_add"}
    assert mine.offers == (_OWN | {"code_for_lost_phone"}) - {"phone_lost"} - needs_phone
    gateway.rows["mine"] = [{**gateway.rows["mine"][0], "code_for_lost_phone": False}]
    assert gateway.get("/").offers == _OWN - {"phone_lost"} - needs_phone
    gateway.rows["phone"] = [{"user": "alice", "phone": "registered", "lost_at": since}]
    mine = gateway.get("/")
    assert "reported lost" not in mine.words
    assert mine.offers == _OWN


def test_the_page_of_a_person_says_why_they_cannot_log_in_and_what_mends_it(gateway: ScriptedGateway) -> None:
    gateway.roles = ("helpdesk",)
    shown = gateway.get("/people/bob?host=web1")
    label = OFFERS["throttle_clear"].label
    assert f"First ask the person. {label}" in shown.words
    assert "IAMPASS had no phone of the person. This is over." in shown.words
    assert "Requests of accounts that act for them2 of 10 in the last hour" in shown.words
    assert ("denials", {"person": "bob", "host": "web1"}) in gateway.asked
    assert "host" not in shown.all("input", "name")
    gateway.roles = ("admin",)
    assert "host" in gateway.get("/people/bob").all("input", "name"), "only admins name any host"


@pytest.mark.parametrize("role", ROLES)
def test_hostile_texts_change_nothing_of_any_page(gateway: ScriptedGateway, role: str) -> None:
    """Whatever the texts are, a page has the same elements with the same attributes."""
    gateway.roles = ROLES[role]
    given, shown = dict(gateway.rows), list[list[Shown]]()
    for name, text in (("plain", "text"), (_HOSTILE.replace("/", ""), _HOSTILE)):
        gateway.person = name
        gateway.rows = {view: [_with_texts(row, name, text) for row in rows] for view, rows in given.items()}
        gateway.rings = [_with_texts(ringing(), name, text)]
        paths = [path.replace("bob", quote(name, "")).replace(HOST, quote(name, "")) for path in PAGES]
        shown.append([gateway.get(path) for path in [*paths, "/rings", f"/log?person={quote(name, '')}"]])
    for plain, hostile in zip(*shown):
        assert (plain.status, hostile.status) == (200, 200)
        assert [(tag, [*found]) for tag, found in hostile.elements if tag != "wbr"] == [
            (tag, [*found]) for tag, found in plain.elements
        ], "in a name, lines may end at some places"
        assert hostile.words.isprintable()
        assert all(link.startswith(("/", "#")) for link in hostile.links)


_HOSTILE = (
    "\"'><img src=x onerror=alert(1)>\u202egnp.exe\u2066\u200b\x1b[31m\r\nX: y {{ 7*7 }} &quot; javascript:alert(1)"
    "</p></main><script>alert(1)</script>"
)
_NAMES = {
    "user",
    "host",
    "person",
    "name",
    "caller",
    "asker",
    "approver",
    "group",
    "groups",
    "remote",
    "service",
}
_AS_THEY_ARE = {"id", "parent", "session", "login", "kind"}


def _with_texts(row: Mapping[str, Any], name: str, text: str) -> dict[str, Any]:
    """A row with other texts. Ids and times are the gateway's own."""

    def other(field: str, value: Any) -> Any:
        if isinstance(value, list):
            return [_with_texts(each, name, text) if isinstance(each, dict) else name for each in value]
        if not isinstance(value, str) or field in _AS_THEY_ARE or re.match(r"\d{4}-\d\d-\d\dT", value):
            return value
        return name if field in _NAMES else text

    return {field: other(field, value) for field, value in row.items()}


def test_a_form_has_a_name_as_it_is_even_if_it_is_shown_otherwise(gateway: ScriptedGateway) -> None:
    gateway.roles, name = ("admin",), "b\u200bob"
    gateway.rows["people"] = [{**ROWS["people"][1], "user": name}]
    shown = gateway.get(f"/people/{quote(name)}")
    assert "b\\u200bob" in shown.words
    given = [found for tag, found in shown.elements if tag == "input" and found.get("name") == "person"]
    assert {found["value"] for found in given} >= {name}


def test_times_of_records_and_sign_ins_have_seconds_and_none_is_text_of_the_gateway(
    gateway: ScriptedGateway,
) -> None:
    """A script shows each `<time>` in the zone of the reader."""
    until = "2026-03-04T05:06:07+00:00"
    act = {
        **ROWS["records"][-3],
        "time": "2026-03-04T04:06:07+00:00",
        "until": until,
        "reason": "on all hosts",
    }
    gateway.rows["records"] = [act]
    shown = gateway.get("/log")
    assert {"2026-03-04T04:06:07+00:00", until} <= {*shown.all("time", "datetime")}
    assert "until 2026-03-04 05:06 UTC; on all hosts" in shown.words
    assert "2026-03-04 04:06:07 UTC" in shown.words
    gateway.rows["records"] = []
    began = [datetime.fromisoformat(row["began_at"]) for row in ROWS["mine"][0]["sign_ins"]]
    mine = gateway.get("/")
    assert [f"{time:%Y-%m-%d %H:%M:%S} UTC" in mine.words for time in began] == [True, True]
    exact = [found for tag, found in mine.elements if tag == "time" and "data-exact" in found]
    assert len(exact) == len(began)


@pytest.mark.parametrize("role", ROLES)
def test_an_empty_part_says_so(gateway: ScriptedGateway, role: str) -> None:
    gateway.roles = ROLES[role]
    own = {**ROWS["mine"][0], "codes_left": 0, "passkeys": [], "sign_ins": []}
    gateway.rows, gateway.rings = {"mine": [own]}, ()
    assert "No request for you" in gateway.get("/").words
    assert "You have no open logins" in gateway.get("/").words
    for path, said in {
        "/people": "No people yet",
        "/people?search=x": (
            "You cannot help a person with this name" if role == "helpdesk" else "No person found"
        ),
        "/logins": "No open login",
        "/hosts": "No host has joined",
        "/hosts?search=x": "No host found",
        "/log": "No record",
    }.items():
        assert said in gateway.get(path).words
    assert gateway.get("/people/bob").status == gateway.get("/hosts/web").status == 404


def test_people_and_hosts_are_shown_a_hundred_at_a_time(gateway: ScriptedGateway) -> None:
    gateway.roles = ("admin",)
    gateway.rows["people"] = [{**ROWS["people"][0], "user": f"p{number:03}"} for number in range(150)]
    (following,) = (link for link in gateway.get("/people?search=p").links if "after" in link)
    assert following == "/people?search=p&after=p099"
    gateway.get(following)
    assert gateway.asked[-1] == ("people", {"search": "p", "after": "p099"})
    gateway.rows["hosts"] = [{**ROWS["hosts"][0], "name": f"web{number:03}"} for number in range(150)]
    (following,) = (link for link in gateway.get("/hosts?search=web").links if "from" in link)
    rest = gateway.get(following)
    assert ("/hosts/web099" in rest.links, "/hosts/web100" in rest.links) == (False, True)
    assert not [link for link in rest.links if "from" in link]


def test_hosts_that_wait_come_first_and_are_found_by_group_and_status(gateway: ScriptedGateway) -> None:
    gateway.roles = ("admin",)

    def found(query: str) -> list[str]:
        return [link[7:] for link in gateway.get(f"/hosts{query}").links if link.startswith("/hosts/")]

    assert found("") == [NEW, HOST, "web.example.com"]
    assert found("?group=databases") == [HOST]
    assert found("?status=suspended&name=web") == ["web.example.com"]


@pytest.mark.parametrize("role", ["auditor", "admin"])
def test_a_silent_host_says_so_and_comes_right_after_hosts_that_wait(
    gateway: ScriptedGateway, role: str
) -> None:
    gateway.roles = ROLES[role]
    known, new, suspended = ROWS["hosts"]
    last = {"seen": "2026-01-02T03:04:05+00:00", "seen_within_a_day": False}
    silent = {**known, "name": "z.example.com", **last}
    never = {**known, "name": "n.example.com", "seen": None, "seen_within_a_day": False}
    gateway.rows["hosts"] = [known, never, new, {**suspended, **last}, silent]

    def found(query: str) -> list[str]:
        return [link[7:] for link in gateway.get(f"/hosts{query}").links if link.startswith("/hosts/")]

    assert found("") == [NEW, "n.example.com", "z.example.com", HOST, "web.example.com"]
    assert found("?status=silent") == ["n.example.com", "z.example.com"], "a suspended host has to be silent"
    joined = datetime.fromisoformat(known["joined"]).astimezone(timezone.utc)
    for name, since in (("z.example.com", "2026-01-02 03:04"), ("n.example.com", f"{joined:%Y-%m-%d %H:%M}")):
        assert f"{name} silent since {since} UTC" in gateway.get("/hosts").words
        assert f"{name} silent since {since} UTC" in gateway.get(f"/hosts/{name}").words
    assert "silent" not in gateway.get(f"/hosts/{HOST}").words
    assert f"{HOST} active" in gateway.get(f"/hosts/{HOST}").words


@pytest.mark.parametrize("role", ["auditor", "admin"])
def test_the_note_on_a_host_is_in_the_list_and_on_its_page(gateway: ScriptedGateway, role: str) -> None:
    gateway.roles = ROLES[role]
    for page in ("/hosts", f"/hosts/{HOST}"):
        assert "rack 4, ask Zoë" in gateway.get(page).words


def test_older_records_are_those_before_the_oldest_that_no_host_has_reported_late(
    gateway: ScriptedGateway,
) -> None:
    late, *others = ROWS["records"]
    assert late["kind"] == "report"
    (older,) = (
        link for link in gateway.get("/log?host=web&since=").links if "until" in link and "host" in link
    )
    assert older == f"/log?host=web&until={quote(min(row['time'] for row in others), '')}"


def test_a_filter_of_the_log_is_passed_on(gateway: ScriptedGateway) -> None:
    gateway.get(
        "/log?person=bob&host=web&service=sshd&outcome=denied&let_in=1&session=ab&since=2026-01-01T00:00:00Z"
    )
    (asked,) = (filter for view, filter in gateway.asked if view == "records")
    assert asked == {
        "person": "bob", "hosts": ["web"], "services": ["sshd"], "outcomes": ["denied"], "let_in": True,
        "session": "ab", "since": "2026-01-01T00:00:00Z", "last": 100,
    }  # fmt: skip
    gateway.asked.clear()
    gateway.get("/log?within=day")
    (asked,) = (filter for view, filter in gateway.asked if view == "records")
    ago = datetime.now(timezone.utc) - datetime.fromisoformat(asked["since"])
    assert timedelta(days=1) <= ago < timedelta(days=2)


def test_the_log_is_filtered_by_kind_of_act_actor_and_address_and_the_plot_obeys(
    gateway: ScriptedGateway,
) -> None:
    gateway.roles = ("admin",)
    shown = gateway.get(
        "/log?act=bypass&actor=dora&address=192.0.2.&within=week&outcome=denied&let_in=1&host=web"
    )
    asked = {view: filter for view, filter in gateway.asked if view in ("records", "hours")}
    assert (asked["records"]["acts"], asked["records"]["by"]) == (["bypass"], "dora")
    same = {"remote": "192.0.2.", "outcomes": ["denied"], "let_in": True, "hosts": ["web"]}
    for view in asked.values():
        assert {name: view[name] for name in same} == same
    assert asked["hours"]["hours"] == 168
    assert shown.all("option", "value").count("bypass_end") == 1, "each kind of act can be chosen"
    assert "Logins of the last" not in shown.words, "acts are no logins"
    assert "Logins of the last 7 days" in gateway.get("/log?within=week").words
    assert "/log.csv?act=bypass&actor=dora" in gateway.get("/log?act=bypass&actor=dora").links


@pytest.mark.parametrize("role", ["person", "auditor"])
def test_what_the_log_shows_is_downloaded_and_no_cell_begins_a_formula(
    gateway: ScriptedGateway, role: str
) -> None:
    gateway.roles = ROLES[role]
    gateway.rows["records"] = [{**ROWS["records"][-3], "reason": '=HYPERLINK("x")', "caller": "+zoe\x1b"}]
    visitor = gateway.visitor
    answer = visitor.get("/log.csv?act=bypass")
    assert gateway.asked[-1] == ("records", {"acts": ["bypass"], "last": 500})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="log.csv"'
    (row,) = csv.DictReader(answer.text.splitlines())
    assert (row["what"], row["reason"], row["caller"]) == ("bypass", '\'=HYPERLINK("x")', "'+zoe\\x1b")
    answer = visitor.get("/log.json")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(answer.text) == gateway.rows["records"], "as the gateway shows them to this role"
    gateway.errors = {"records": "BAD_FIELD"}
    assert visitor.get("/log.csv?host=%2F").status == 400


def test_more_records_than_the_gateway_answers_at_once_are_downloaded_each_once(
    gateway: ScriptedGateway,
) -> None:
    gateway.roles = ("auditor",)
    gateway.rows["records"] = [{**ROWS["records"][0], "id": number} for number in range(1, 501)]
    gateway.visitor.get("/log.csv")
    asked = [filter for view, filter in gateway.asked if view == "records"]
    assert asked[:2] == [{"last": 500}, {"last": 500, "before": 1}]
    assert len(asked) == 20, "there is a limit"


def test_what_cannot_be_searched_for_is_said_on_the_page(gateway: ScriptedGateway) -> None:
    gateway.roles, gateway.errors = ("admin",), {"people": "BAD_FIELD", "sessions": "BAD_FIELD"}
    shown = gateway.get("/people?search=%2F")
    assert (shown.status, "search is wrong" in shown.words) == (200, True)
    assert shown.all("input", "aria-describedby") == ["problem"]
    assert "search is wrong" in gateway.get("/logins?search=%2F").words


def test_what_asks_is_answered_once_it_has_changed_and_only_new_requests_are_announced(
    gateway: ScriptedGateway,
) -> None:
    first, second = ringing("r1"), {**ringing("r2"), "host": "db.example.com"}
    gateway.rings, gateway.rows["sessions"] = [first, second], ()
    part = gateway.get("/rings?seen=other&asked=r1")
    said = "sent you a request: sshd from 203.0.113.7, to run sudo apt upgrade (in /home/alice)."
    assert part.words.endswith(f" db.example.com {said}")
    assert part.words.count("sent you a request:") == 1
    assert part.all("input", "value").count("/") == 2, "the acts lead back to the page"
    (again,) = part.all("section", "hx-get")
    assert again.startswith("/rings?seen=r1%2Cr2&asked=r1.r2&")
    gateway.errors = {"/rings": "BUSY"}
    assert (gateway.get(again).status, gateway.get(again).text) == (204, "")


def test_a_request_that_is_over_keeps_its_place_without_a_button_and_others_do_not_change_theirs(
    gateway: ScriptedGateway,
) -> None:
    over = {**ringing("r1"), "status": "denied", "seconds_left": 9}
    gateway.rings = [ringing("r4", status="waits"), ringing("r3"), ringing("r2", status="waits"), over]
    gateway.rows["sessions"] = ()
    part = gateway.get("/rings?seen=other&asked=r1.r2.r3")
    assert part.all("li", "data-request") == ["r1", "r2", "r3", "r4"]
    assert part.all("input", "value").count("r1") == 0, "nothing can be done about what is over"
    assert (
        f"{HOST} sshd by root from 203.0.113.7 Runs sudo apt upgrade (in /home/alice) denied asked at"
        in part.words
    )
    assert f"to run sudo apt upgrade (in /home/alice). {HOST}: denied." in part.words
    assert gateway.get("/rings?seen=other&asked=r2").all("li", "data-request") == ["r2", "r3", "r4"]
    assert gateway.get("/").all("li", "data-request") == ["r3", "r4", "r2"], (
        "the one on the phone comes first"
    )


@pytest.mark.parametrize("path", [*PAGES, "/rings", "/attention", "/people/bob/phone"])
def test_what_a_page_asks_for_by_itself_keeps_no_sign_in_from_ending(
    gateway: ScriptedGateway, path: str
) -> None:
    gateway.roles = ("admin",)
    gateway.get(path)
    assert gateway.by_themselves == []
    asked = len(gateway.asked)
    gateway.get(path, by_itself=True)
    assert gateway.by_themselves == [view for view, _ in gateway.asked[asked:]] != []


@pytest.mark.parametrize(
    "path", ["/logins", "/logins?search=bob", "/people/bob", f"/hosts/{HOST}", "/log", "/log?within=day"]
)
def test_pages_about_what_happens_now_renew_their_parts_also_those_that_are_empty(
    gateway: ScriptedGateway, path: str
) -> None:
    gateway.roles = ("admin",)
    for rows in (dict(ROWS), {"people": ROWS["people"], "hosts": ROWS["hosts"]}):
        gateway.rows = rows
        shown = gateway.get(path)
        (asked,), (parts,) = shown.all("div", "hx-get"), shown.all("div", "hx-select-oob")
        assert asked == path
        ids = [found["id"] for _, found in shown.elements if "id" in found]
        assert {*parts.split(",")} <= {f"#{id}" for id in ids}
        assert len(ids) == len({*ids}), "each id once: by it, a part stays unfolded"
    assert not gateway.get("/log?until=2026-01-01T00:00:00Z").all("div", "hx-get"), (
        "older records stay as they are"
    )


def test_who_has_several_logins_ends_them_all_at_once_and_reads_how_many(gateway: ScriptedGateway) -> None:
    gateway.roles = ("admin",)
    for path, whose in (("/", {"person": "alice"}), ("/people/alice", {"person": "alice"})):
        gateway.rows["sessions"] = [login(str(number)) for number in range(4)]
        shown = gateway.get(path)
        assert "End all 4 logins All these logins end at once" in shown.words
        assert shown.words.count("This login ends at once.") == 8, "by either button"
        assert shown.words.count("7 h left") == 4
        gateway.rows["sessions"] = [login("1")]
        assert "End all" not in gateway.get(path).words
        gateway.rows["sessions"] = [login("1"), login("2", "1")]
        assert "This login and the login below it end at once." in gateway.get(path).words
        gateway.result = {"ended": 4, "errors": 0}
        gateway.act("session_end", **whose)
        assert gateway.asked[-1] == ("session_end", {**whose, "everything": False})
    assert "End all 3 logins here" in gateway.get(f"/hosts/{HOST}").words


def test_logins_are_replaced_once_others_are_open_or_one_has_changed_and_new_ones_are_announced(
    gateway: ScriptedGateway,
) -> None:
    gateway.rings, gateway.rows["sessions"] = (), [login("1")]
    (ask,) = gateway.get("/").all("section", "hx-get")
    gateway.rings = [ringing()]
    part = gateway.get(ask)
    assert part.all("section", "id") == ["rings"], "the logins are those of before"
    gateway.rows["sessions"] = [login("1"), login("2", host="web.example.com"), login("3", host="(gateway)")]
    part = gateway.get(ask)
    assert part.all("section", "id") == ["rings", "logins"]
    assert part.words.endswith("You are logged in to web.example.com.")
    (ask,) = part.all("section", "hx-get")
    gateway.rows["sessions"] = [{**row, "status": "away"} for row in gateway.rows["sessions"]]
    gateway.rings = ()
    part = gateway.get(ask)
    assert part.all("section", "id") == ["rings", "logins"]
    assert "A login of yours" not in part.words


def test_what_a_login_runs_is_on_its_card_in_its_record_and_said(gateway: ScriptedGateway) -> None:
    part = gateway.get("/rings?seen=other&known=")
    runs = "sudo apt upgrade (in /home/alice)"
    assert f"Runs {runs}" in part.words
    assert f"to run {runs}." in part.words
    gateway.rings = [ringing(command=None)]
    assert "Runs" not in gateway.get("/rings?seen=more").words
    assert "Runs sudo id (in /)" in gateway.get("/").words


def test_the_number_of_requests_is_in_the_title_and_the_icon_says_that_there_are_some(
    gateway: ScriptedGateway,
) -> None:
    over = {**ringing("r3"), "status": "denied", "seconds_left": 9}
    gateway.rings = [ringing(), ringing("r2", status="waits"), over]
    mine = gateway.get("/")
    assert mine.words.startswith("(2) My account · IAMPASS")
    (shown, quiet, asks) = (mine.all("link", name)[0] for name in ("href", "data-quiet", "data-asks"))
    assert (shown == asks, asks != quiet) == (True, True)
    gateway.rings = ()
    mine = gateway.get("/")
    assert mine.words.startswith("My account · IAMPASS")
    assert mine.all("link", "href")[0] == quiet


def test_a_tab_in_the_background_does_not_wait_for_requests(gateway: ScriptedGateway) -> None:
    (ask,) = gateway.get("/").all("section", "hx-get")
    assert gateway.get(f"{ask}&brief=1").status == 204, "at once, although nothing has changed"
    gateway.rings = ()
    assert gateway.get(f"{ask}&brief=1").status == 200


def test_links_ids_and_codes_have_a_button_that_copies_them(gateway: ScriptedGateway) -> None:
    gateway.roles = ("admin",)
    gateway.result = {
        "codes": ["abcd-efgh-jkmn"],
        "url": "https://iampass.example.com/link#x",
        "ends_at": None,
    }
    sheet, host = gateway.act("recovery_new", person="bob"), gateway.get(f"/hosts/{NEW}")
    for shown, number in ((sheet, 2), (host, 4)):
        copied = [found for tag, found in shown.elements if tag == "button" and "data-copy" in found]
        assert len(copied) == number
        ids = [found["id"] for _, found in shown.elements if "id" in found]
        assert all(found["data-copy"] in ids for found in copied)


def test_what_a_help_desk_asks_can_only_be_denied_on_the_phone(gateway: ScriptedGateway) -> None:
    asked = {
        "host": "(helpdesk)",
        "service": "helpdesk",
        "caller": "dora",
        "purpose": "a call to the help desk",
    }
    gateway.rings, gateway.rows["sessions"] = [{**ringing(), **asked}], ()
    mine = gateway.get("/")
    assert "The help desk by dora from 203.0.113.7: a call to the help desk" in mine.words
    assert "deny the request on your phone" in mine.words
    assert "session_not_me" not in mine.offers
    gateway.roles, gateway.rows["sessions"] = ("helpdesk",), [{**login("1", status="asked"), **asked}]
    assert gateway.get("/people/alice").offers == set()
    assert "session_not_me" not in gateway.get("/logins").offers
    gateway.rings = [{**ringing(), "host": "(gateway)", "service": "portal", "purpose": "a further passkey"}]
    assert "The portal by root from 203.0.113.7: a further passkey" in gateway.get("/").words
    assert "session_not_me" in gateway.get("/").offers


def test_what_lets_a_person_in_without_the_phone_now_is_on_their_page(gateway: ScriptedGateway) -> None:
    for role, offers in (("auditor", set()), ("helpdesk", {"bypass_end"}), ("admin", {"bypass_end"})):
        gateway.roles = (role,)
        bob = gateway.get("/people/bob")
        assert f"on {HOST}, hosts of servers through sshd by dora, since" in bob.words
        assert "ticket 4711" in bob.words
        assert bob.offers & {"bypass_end"} == offers
    gateway.roles = ()
    mine = gateway.get("/")
    assert "You can log in without the phone until" in mine.words
    assert (
        f"on {HOST}, hosts of servers through sshd by dora, since" in mine.words,
        "bypass_end" in mine.offers,
    ) == (True, False)
    gateway.roles = ("admin",)
    gateway.rows["bypasses"] = [{**ROWS["bypasses"][0], "services": [], "hosts": [], "groups": []}]
    assert "on all hosts by dora" in gateway.get("/people/bob").words
    gateway.rows["bypasses"] = ()
    assert "bypass_end" not in gateway.get("/people/bob").offers
    assert "without the phone until" not in gateway.get("/").words


def test_the_number_of_what_needs_attention_is_in_the_navigation_and_the_first_of_it_on_the_first_page(
    gateway: ScriptedGateway,
) -> None:
    assert (gateway.get("/").all("span", "hx-get"), gateway.get("/attention").words) == (
        ["/people/alice/phone"],
        "",
    )
    gateway.roles, matters = ("admin",), len(ROWS["attention"])
    for path in PAGES:
        assert "/attention" in gateway.get(path).all("span", "hx-get"), path
    assert gateway.get("/attention").words == f"{matters} matters need attention"
    mine = gateway.get("/")
    first = "Needs attention now The database was changed from outside: person mallory."
    for shown in (mine, gateway.get("/log")):
        assert first in shown.words, "what may be an attack comes first"
        assert f"{NEW} waits for admission" in shown.words
        assert f"/hosts/{NEW}" in shown.links
    assert "2 more in the Log" in mine.words
    gateway.rows["attention"] = ()
    assert "Needs attention" not in gateway.get("/").words
    assert gateway.get("/attention").words == ""


def test_a_sign_in_that_began_later_is_ended_by_signing_in_again(gateway: ScriptedGateway) -> None:
    mine = gateway.get("/")
    assert "curl/8" in mine.words
    assert mine.words.count("This sign-in is newer than yours. To end it, first sign in again.") == 1
    assert mine.all("form", "action").count("/act/sign_in_end") == 1
    assert "/sign-in" in mine.links


def test_people_of_whom_no_phone_was_seen_are_found_and_their_pages_go_on(gateway: ScriptedGateway) -> None:
    gateway.roles = ("helpdesk",)
    gateway.rows["people"] = [{**ROWS["people"][0], "user": f"p{number:03}"} for number in range(150)]
    shown = gateway.get("/people?search=p&phone=unseen")
    assert gateway.asked[-1] == ("people", {"search": "p", "phone_unseen": True})
    assert "The gateway has not seen a phone of these people" in shown.words
    (following,) = (link for link in shown.links if "after" in link)
    assert following == "/people?search=p&phone=unseen&after=p099"
    gateway.rows["people"] = []
    assert "has seen a phone of each person" in gateway.get("/people?phone=unseen").words


def test_codes_are_a_sheet_to_print_with_whose_they_are_and_how_one_is_used(gateway: ScriptedGateway) -> None:
    gateway.roles, gateway.result = ("helpdesk",), {"codes": ["abcd-efgh-jkmn", "pqrs-tuvw-xyz2"]}
    for person in ("bob", "alice"):
        sheet = gateway.act("recovery_new", person=person, back="/people/bob")
        assert f"For{person} Made at{gateway.url} On" in sheet.words
        assert "abcd-efgh-jkmn pqrs-tuvw-xyz2 Instructions for" in sheet.words
        assert HOW_TO_USE_CODES in sheet.words
        assert "use the print function of your browser" in sheet.words
        assert sheet.all("button", "hidden") == [""], "a script shows what prints"
        assert "abcd-efgh-jkmn" not in str([found for _, found in sheet.elements]), (
            "in no address and no field"
        )


@pytest.mark.parametrize("name", OFFERS)
def test_what_has_come_of_each_act_is_shown(gateway: ScriptedGateway, name: str) -> None:
    gateway.roles = ("admin",)
    gateway.result = example_result(OFFERS[name].result)
    shown = gateway.act(name, person="bob", host=HOST, seconds="900")
    offer, given = OFFERS[name], {"person": "bob", "host": HOST}
    said = outcome(offer, gateway.result, given, is_own=False, name=name_of, moment=moment)
    assert shown.status == 200
    if offer.answer is None:
        assert shown.words.startswith(f"{said.title} · IAMPASS")
        assert " ".join(said.heading.striptags().split()) in shown.words
    assert said.then in shown.words


@pytest.mark.parametrize(
    ("answer", "reason", "title", "look"),
    [
        ("approved", "", "Approved on the phone.", "answer yes"),
        ("denied", "", "Denied. Do nothing for this caller.", "answer no"),
        ("over", "", "No answer. Do nothing for this caller.", "answer wait"),
        ("over", "NO_MOBILE_DEVICE", "No request sent. Do nothing for this caller.", "answer wait"),
    ],
)
def test_whether_a_caller_was_verified_is_the_title_in_words_colour_and_sign(
    gateway: ScriptedGateway, answer: str, reason: str, title: str, look: str
) -> None:
    gateway.roles, gateway.result = ("helpdesk",), {"answer": answer, "reason": reason}
    shown = gateway.act("phone_verify", person="bob")
    assert shown.words.startswith(f"{title} · IAMPASS")
    assert shown.all("h1", "class") == [look]
    assert re.search(r"\. For bob · \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", shown.words), (
        "whose phone answered, and when, is said first: a help desk has several calls"
    )
    gateway.repeated = True
    shown = gateway.act("phone_verify", person="bob")
    gateway.repeated = False
    assert "For bobYou sent this twice." in shown.words, "an old answer gets no new time"


def test_a_caller_who_approved_on_the_phone_is_marked_on_their_page_and_in_the_records(
    gateway: ScriptedGateway,
) -> None:
    gateway.roles = ("helpdesk",)
    marked = "approved on the phone at 2026-12-03 10:31 UTC"
    unverified = "Callernot verified by you in the last 10 minutes"
    shown = gateway.get("/people/bob").words
    assert (marked in shown, unverified in shown) == (False, True)
    assert "Ring to verify a caller not verified" in shown
    at = {"caller_verified": "2026-12-03T10:31:05+00:00"}
    gateway.rows["people"] = [{**row, **at} for row in ROWS["people"]]
    shown = gateway.get("/people/bob").words
    assert (f"Caller{marked}" in shown, unverified in shown) == (True, False)
    assert "Ring to verify a caller verified at 2026-12-03 10:31 UTC" in shown
    gateway.rows["records"] = [{**row, **at} for row in ROWS["records"] if row["kind"] == "act"]
    assert f"; the caller {marked}" in gateway.get("/log").words


def test_acts_that_weaken_security_are_marked_and_say_whether_the_caller_was_verified(
    gateway: ScriptedGateway,
) -> None:
    gateway.roles = ("helpdesk",)
    weaken = {"phone_new", "recovery_new", "bypass", "throttle_clear", "person_link"}
    unverified, verified = "You have not verified this caller.", "The caller approved on the phone at"
    shown = gateway.get("/people/bob")
    assert (shown.words.count(unverified), verified in shown.words) == (len(weaken), False)
    assert shown.words.count("weakens security") == len(weaken)
    assert shown.links.count("#phone_verify-of-all") == len(weaken)
    (renewed,) = shown.all("div", "hx-select-oob")
    assert {"#caller-state", *(f"#caller-of-{name}" for name in weaken)} <= {*renewed.split(",")}, (
        "a mark runs out meanwhile"
    )
    gateway.rows["people"] = [
        {**row, "caller_verified": "2026-12-03T10:31:05+00:00"} for row in ROWS["people"]
    ]
    said = gateway.get("/people/bob").words
    assert (unverified in said, said.count(f"{verified} 2026-12-03 10:31 UTC.")) == (False, len(weaken))
    assert "weakens security" not in gateway.get("/").words, "what people do for themselves"
    gateway.roles = ("admin",)
    host = gateway.get(f"/hosts/{NEW}")
    assert "Resume this host weakens security" in host.words
    assert unverified not in host.words, "nobody calls about a host"


def test_a_request_is_cancelled_and_a_login_is_ended(gateway: ScriptedGateway) -> None:
    gateway.roles = ("helpdesk",)
    gateway.rows["sessions"] = [login("1", user="bob", status="waits")]
    shown = gateway.get("/people/bob")
    assert "End this request" in shown.words
    assert "End this login" not in shown.words
    assert shown.all("input", "name").count(REQUEST) == 1
    gateway.result = {"ended": 1, "errors": 0}
    ended = gateway.act("session_end", person="bob", session="1", **{REQUEST: "yes"})
    assert ended.words.startswith("1 request of bob has ended")
    assert REQUEST not in gateway.asked[-1][1], "it is for the words alone"


@pytest.mark.parametrize(
    ("path", "error", "link", "text"),
    [
        ("/people?search=x", "AWAY", "/people?search=x", "Try again"),
        ("/people", "NOT_PERMITTED", "/", "Go to My account"),
        ("/hosts/none.example.com", "", "/hosts", "Go to Hosts"),
    ],
)
def test_a_page_that_cannot_be_shown_leads_on(
    gateway: ScriptedGateway, path: str, error: str, link: str, text: str
) -> None:
    gateway.roles, gateway.errors = ("admin",), {"people": error} if error else {}
    shown = gateway.get(path)
    assert (link in shown.links, text in shown.words) == (True, True)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"status": "stopped"}, "because several people denied its requests"),
        ({"status": "suspended"}, "Nobody can log in here by phone until"),
        ({"seen_within_a_day": False}, "heard nothing from this host for a day"),
    ],
)
def test_the_page_of_a_host_says_what_its_state_means(
    gateway: ScriptedGateway, row: Mapping[str, Any], says: str
) -> None:
    gateway.roles = ("auditor",)
    assert _is_hidden("means", gateway.get(f"/hosts/{HOST}")), "as long as all is well"
    gateway.rows["hosts"] = [{**ROWS["hosts"][0], **row}]
    shown = gateway.get(f"/hosts/{HOST}")
    assert says in shown.words
    assert not _is_hidden("means", shown)


def _is_hidden(id: str, shown: Shown) -> bool:
    return any("hidden" in each for _, each in shown.elements if each.get("id") == id)


def test_no_two_things_are_read_as_one(gateway: ScriptedGateway) -> None:
    gateway.roles = ("admin",)
    assert "waits for admission , slowed down" in gateway.get("/hosts").words
    plot = gateway.get("/log").words
    assert ("1 denied up to" in plot, "highest bar: 6 now" in plot) == (False, True)


def test_the_code_for_a_lost_phone_is_shown_with_how_to_use_it_and_where(gateway: ScriptedGateway) -> None:
    gateway.result = {"codes": ["abcd-efgh-jkmn"]}
    sheet = gateway.act("code_for_lost_phone", person="alice")
    assert "ssh -o PreferredAuthentications=keyboard-interactive,publickey alice@HOST" in sheet.words
    assert "Hosts of these groups accept the code: servers." in sheet.words
    assert "Hosts of these groups accept no code: databases." in sheet.words
    assert "In sudo, su and at a console" in sheet.words
    gateway.errors = {"may": "DATABASE_AWAY"}
    sheet = gateway.act("code_for_lost_phone", person="alice")
    assert ("abcd-efgh-jkmn" in sheet.words, "keyboard-interactive" in sheet.words) == (True, True)
    assert "accept" not in sheet.words.partition("How to use")[2], (
        "the code is shown in any case, and only once"
    )
    gateway.errors = {}
    assert "keyboard-interactive" not in gateway.act("recovery_new", person="alice").words


def test_the_page_of_a_lost_phone_says_what_has_ended_and_what_comes_next(gateway: ScriptedGateway) -> None:
    gateway.result = {"ended": 0, "errors": 0, "bypasses": 0, "codes_left": 0, "disabled": True}
    assert (
        "Approvals from this phone are now rejected. The help desk or an administrator makes the link"
        in gateway.act("phone_lost", person="alice").words
    )
    gateway.result = {"ended": 1, "errors": 0, "bypasses": 1, "codes_left": 10, "disabled": False}
    said = gateway.act("phone_lost", person="alice").words
    for part in (
        "1 login has ended.",
        "Logins now need the phone again.",
        "10 recovery codes are still valid.",
    ):
        assert part in said


def test_what_the_portal_itself_asks_for_has_words(gateway: ScriptedGateway) -> None:
    gateway.rings = [{**ringing(), "host": "(gateway)", "service": "portal", "purpose": "recovery_new"}]
    assert "from 203.0.113.7: new recovery codes" in gateway.get("/").words
    assert "the portal sent you a request: new recovery codes from" in gateway.get("/rings?seen=other").words
    gateway.rings = [{**ringing(), "purpose": "recovery_new"}]
    assert ": recovery_new" in gateway.get("/").words, "what a host says is shown as it is"


def test_of_very_many_logins_the_first_are_listed_and_the_page_says_so(gateway: ScriptedGateway) -> None:
    gateway.roles = ("admin",)
    for number, says in ((200, " · 200 logins and requests"), (201, " · the first 200 logins and requests")):
        gateway.rows["sessions"] = [login(str(each)) for each in range(number)]
        shown = gateway.get("/logins")
        assert len(shown.all("li", "data-login")) == 200
        assert says in shown.words
        assert ("Not all logins are listed." in shown.words) == (number > 200)


def test_the_logins_of_now_say_of_when_they_are_and_are_looked_at_again(gateway: ScriptedGateway) -> None:
    gateway.roles = ("helpdesk",)
    shown = gateway.get("/logins?search=bob")
    assert "/logins?search=bob" in shown.links
    assert re.search(r"As of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\s?: look again", shown.words)


def test_an_owner_is_told_which_account_acts_for_them(gateway: ScriptedGateway) -> None:
    gateway.rings = [{**ringing(), "user": "claude", "agent": "claude"}]
    gateway.rows["sessions"] = ()
    mine = gateway.get("/")
    assert "claude, for you" in mine.words
    assert "second person" not in mine.words
    assert ("session_decline" in mine.offers, "session_not_me" in mine.offers) == (True, False)
    gateway.rings, gateway.rows["sessions"] = (), [login("1", asker="claude", agent="claude")]
    mine = gateway.get("/")
    assert f"claude on {HOST} Acts for: you" in mine.words


def test_a_second_person_is_told_whose_login_it_is_and_declines_it_without_saying_that_it_is_not_theirs(
    gateway: ScriptedGateway,
) -> None:
    gateway.rings = [{**ringing(), "user": "bob", "purpose": "sudo -i"}]
    gateway.rows["sessions"] = ()
    mine = gateway.get("/")
    assert "bob wants to log in. You are the second person who must approve." in mine.words
    assert ("session_decline" in mine.offers, "session_not_me" in mine.offers) == (True, False)
    gateway.rings, gateway.rows["sessions"] = (), [login("1", asker="bob")]
    mine = gateway.get("/")
    assert f"bob on {HOST} Second person: you" in mine.words
    assert ("session_decline" in mine.offers, "session_not_me" in mine.offers) == (True, False)
    gateway.roles = ("helpdesk",)
    assert f"bob on {HOST} Second person: alice" in gateway.get("/logins").words.replace("you", "alice")


def test_sessions_are_shown_below_those_that_let_them_in_up_to_a_depth() -> None:
    found = tree([*map(Row, (login("a"), login("b", "a"), login("c", "gone"), login("d", "b")))])
    assert [each.row["id"] for each in found] == ["a", "c"]
    assert found[0].below[0].below[0].row["id"] == "d"
    (root,) = tree([Row(login(str(number), str(number - 1) if number else None)) for number in range(400)])
    depth, number, level = 0, 1, root.below
    while level:
        depth, number, level = depth + 1, number + len(level), [each for one in level for each in one.below]
    assert (depth, number) == (5, 400)


def test_the_plot_has_a_bar_for_each_hour_and_counts_only_what_let_somebody_in() -> None:
    now = datetime(2026, 5, 4, 12, 34, tzinfo=timezone.utc)
    rows = [
        {"hour": "2026-05-04T12:00:00+00:00", "logins": dict.fromkeys((*OUTCOMES, "some_new_one"), 2)},
        {"hour": "2026-05-04T13:00:00+02:00", "logins": {"approved": 1}},
        {"hour": "2026-05-01T00:00:00+00:00", "logins": {"approved": 99}},
    ]
    made = plot(rows, now)
    assert (len(made.bars), made.most, made.totals) == (48, 28, (3, 8, 18))
    last, before = made.bars[-1], made.bars[-2]
    assert (before.counts, last.counts) == ((1, 0, 0), (2, 8, 18))
    assert sum(part.height for part in last.parts) == pytest.approx(100, abs=0.1)
    assert [part.look for part in last.parts] == ["yes", "quiet", "no"]
    assert plot([], now).totals == (0, 0, 0)


def test_durations_and_browsers_are_shown_in_few_words() -> None:
    assert [duration(number) for number in (-1, 0.4, 119, 120, 7199, 7200, 27000, 172800)] == [
        "0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "7 h 30 min", "2 days",
    ]  # fmt: skip
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    assert [browser(agent) for agent in (firefox, "curl/8", "")] == [
        "Firefox on Linux",
        "curl/8",
        "a browser",
    ]


def test_lists_and_files_are_compressed_but_no_page_with_a_search_an_act_a_code_or_a_link(
    gateway: ScriptedGateway,
) -> None:
    gateway.roles, gateway.result = (
        ROLES["admin"],
        {"codes": ["abcd-efgh-jkmn"], "url": None, "ends_at": None},
    )
    visitor, gzip = gateway.visitor, {"Accept-Encoding": "gzip, deflate, br"}
    lists = {"/people", "/hosts", "/log"}
    searches = [f"{path}?x=abcd" for path in lists]
    for path in [*PAGES, *searches, "/rings", "/attention", "/sign-in", "/link", "/nothing", "/hosts/none"]:
        answer = visitor.get(path, **gzip)
        is_compressed = answer.headers["Content-Encoding"] == "gzip"
        assert is_compressed == (path in lists), path
        assert not is_compressed or int(answer.headers["Content-Length"]) < len(answer.text) / 2
        assert not is_compressed or "/act/" not in answer.text
    codes = visitor.post("/act/recovery_new", {"person": "bob"}, **gzip)
    assert "abcd-efgh-jkmn" in codes.text
    assert codes.headers["Content-Encoding"] is None
    for address in re.findall('(?:src|href)="(/static/[^"]*)"', visitor.get("/log").text):
        for options in (gzip, {}):
            answer = visitor.get(address, **options)
            assert answer.headers["Content-Encoding"] == ("gzip" if options else None)
            assert answer.headers["Vary"] == "Accept-Encoding"


def test_the_page_of_a_host_reads_no_other_host_and_no_session_of_others(gateway: ScriptedGateway) -> None:
    gateway.roles = ROLES["admin"]
    gateway.get(f"/hosts/{HOST}")
    assert [asked for asked in gateway.asked if asked[0] in ("hosts", "sessions")] == [
        ("hosts", {"host": HOST}),
        ("sessions", {"host": HOST}),
    ]
