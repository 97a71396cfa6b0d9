"""The pages for people who have signed in: each reads views and shows them. They change nothing.

What a role does not see is not in the rows that the gateway answers, so the templates ask for a field before they show
it. Acts are offered where their subject is shown (`offers.py`); whether they are permitted is the gateway's decision.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, cast
from urllib.parse import urlencode

from aiohttp import web

from pam_iampass.fleet.people import ACCESS_COLUMNS, ACCESS_NOT_INCLUDED, AccessRow, access_cells
from pam_iampass.fleet.records import RecordRow
from pam_iampass.fleet.sessions import ASKS
from pam_iampass.portal.calls import WaitForRings
from pam_iampass.portal.gateway import GatewayError
from pam_iampass.portal.offers import OFFERS
from pam_iampass.portal.plot import HOURS, plot
from pam_iampass.portal.visit import Handler, Visit, compressed, page
from pam_iampass.portal.words import ASKERS, PHONES, WORDS
from pam_iampass.text import csv_cell

PAGE = 100
"""Rows of a page."""
_MOST_LOGINS = 200
"""Logins of the page that lists those of the whole fleet, which renews itself every few seconds."""
LAST = 20
"""Records on a page about something else."""
_DEEPEST = 5
_MOST_PAGES = 20
_BRIEF_SECONDS = 1.0
_MOST_RECORDS = 500
"""Records of one answer of the gateway."""
_HELP = (
    "phone_verify",
    "phone_lost",
    "phone_new",
    "recovery_new",
    "recovery_revoke",
    "bypass",
    "throttle_clear",
    "person_link",
)
"""The acts on the page of a person, for callers, in their order there."""
_URGENT = {"damaged": 0, "alert": 1}
"""The places of what needs attention first, by its kind."""
_COLUMNS = tuple(RecordRow.__annotations__)
_HOURS = {"day": 24, "week": 168, "month": 168}
"""The hours of the plot of the page Log, where they are not HOURS."""
_WITHIN = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}


class Row(dict[str, Any]):
    """A row as a template reads it: what the reader does not see is None."""

    def __missing__(self, name: str) -> None:
        return None


@dataclass(frozen=True)
class Login:
    """An open session, with those that were let in or are asked for because of it."""

    row: Row
    depth: int
    below: list[Login] = field(default_factory=list)

    @property
    def number(self) -> int:
        """The number of logins that this one and those below it are."""
        return 1 + sum(each.number for each in self.below)


def tree(rows: Sequence[Row]) -> list[Login]:
    """The sessions as trees. Parents come before their children; one that is not among the rows is left out."""
    roots, found = list[Login](), dict[str, Login]()
    for row in rows:
        above = found.get(row["parent"]) if row.get("parent") else None
        made = Login(row, above.depth + 1 if above else 0)
        (above.below if above else roots).append(made)
        # What is deeper stands beside its parent: a page has room for no more.
        found[row["id"]] = made if made.depth < _DEEPEST or above is None else above
    return roots


@dataclass(frozen=True)
class Found:
    """Rows of a view."""

    rows: Sequence[Row] = ()
    more: bool = False
    """Whether there are more, which were left out."""
    problem: str = ""
    """Why the filter that was given cannot be one."""


async def _view(visit: Visit, name: str, **filter: Any) -> Found:
    """The rows of a view, with what is given of the filter."""
    try:
        rows = await visit.view(name, **_given(filter))
    except GatewayError as error:
        if error.code != "BAD_FIELD":
            raise
        return Found(problem=f"{error.parameter.rpartition('.')[2]} {error.detail}")
    return Found([*map(Row, rows.rows)], rows.more)


def _given(filter: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in filter.items() if value}


async def _records(visit: Visit, **filter: Any) -> Found:
    """Records, the newest first."""
    found = await _view(visit, "records", **filter)
    return Found(found.rows[::-1], found.more, found.problem)


async def _acts(visit: Visit, **filter: Any) -> Found:
    """The last acts. They have a list of their own, since root of a host can report any number of logins."""
    return await _records(visit, **filter, kinds=["act"], last=LAST)


async def _logins(visit: Visit, **filter: Any) -> Found:
    """The last logins and alerts. Numbers of logins that only a host reports come first."""
    found = await _records(visit, **filter, kinds=["decision", "report", "alert"], last=LAST)
    return replace(found, rows=sorted(found.rows, key=lambda row: row["number"] is None))


def _address(request: web.Request, **changes: str) -> str:
    """The address of the page with other values in its query."""
    query = {name: value for name, value in {**request.query, **changes}.items() if value}
    return f"{request.path}?{urlencode(query)}" if query else request.path


def _page(request: web.Request, template: str, **context: Any) -> web.Response:
    return page(request, template, query=Row(request.query), **context)


def _list(request: web.Request, template: str, **context: Any) -> web.Response:
    """A page without acts. Without a search it is compressed."""
    answer = _page(request, template, **context)
    return answer if request.query_string else compressed(request, answer)


# What whoever has signed in has


async def account(request: web.Request, visit: Visit) -> web.Response:
    # `seen` is read before the logins that it stands for: what changes between the two is then shown at once.
    now = await visit.call(WaitForRings(visit.token))
    own, matters, logins, bypasses, acts, past = await asyncio.gather(
        _view(visit, "mine"),
        _attention(visit),
        _own_logins(visit),
        _view(visit, "bypasses", person=visit.person),
        _acts(visit, concerns=visit.person),
        _logins(visit, concerns=visit.person),
    )
    asking, is_lost = _asking(map(Row, now.rows)), False
    if own.rows[0]["phone_lost_at"]:  # since then there may be another one
        phones = await _view(visit, "phone", person=visit.person)
        is_lost = not any(row["phone"] == "registered" for row in phones.rows)
    return _page(
        request,
        "account.html",
        **_live(asking, now.seen, logins),
        requests=len(asking),
        own=own.rows[0],
        attention=matters,
        is_lost=is_lost,
        bypasses=bypasses.rows,
        later=_later_sign_ins(own.rows[0]["sign_ins"], visit.sign_in),
        acts=acts.rows,
        past=past.rows,
    )


async def rings(request: web.Request, visit: Visit) -> web.Response:
    """The parts of the page that say what asks now and where the person is logged in, as soon as one has changed. The
    page asks for them by itself."""
    query = request.query
    seen, asked, known = (
        query.get("seen", ""),
        *(query.get(name, "").split(".") for name in ("asked", "known")),
    )
    # A tab in the background does not wait: a browser has few connections to one server.
    patience = _BRIEF_SECONDS if "brief" in query else None
    try:
        answer = await asyncio.wait_for(visit.call(WaitForRings(visit.token, seen)), patience)
        if answer.seen == seen:
            return web.Response(status=204)
        logins = await _own_logins(visit)
    except asyncio.TimeoutError:
        return web.Response(status=204)
    except GatewayError as error:
        if error.code != "BUSY":
            raise
        return web.Response(status=204)  # the page asks again in some seconds
    # A request keeps its place on the page, also for some seconds once it is over: a button that moves there would be
    # pressed instead of its own.
    found = [*map(Row, answer.rows)]
    had = sorted((row for row in found if _short(row) in asked), key=lambda row: asked.index(_short(row)))
    new = _asking(row for row in found if row not in had)
    live = _live([*had, *new], answer.seen, logins)
    return _page(
        request,
        "rings.html",
        **live,
        new=new,
        entered=[row for row in logins if _short(row) not in (*asked, *known) and row["host"] not in ASKERS],
        has_other_logins=live["held"] != query.get("held"),
        back="/",
    )


def _asking(rows: Iterable[Row]) -> list[Row]:
    """The requests that are not over; the one on the phone comes first."""
    return sorted((row for row in rows if row["status"] in ASKS), key=lambda row: row["status"] != "asked")


async def attention(request: web.Request, visit: Visit) -> web.Response:
    """The part of the navigation with the number of what needs attention now. Scripts of the page ask for it."""
    return _page(request, "attention.html", number=len(await _attention(visit)))


async def _attention(visit: Visit) -> list[Row]:
    """The rows that need attention now. Possible attacks come first."""
    found = await _view(visit, "attention") if visit.roles else Found()
    return sorted(found.rows, key=lambda row: _URGENT.get(row["kind"], len(_URGENT)))


async def _own_logins(visit: Visit) -> list[Row]:
    """The logins that the person has approved and that are open."""
    found = await _view(visit, "sessions", person=visit.person)
    return [row for row in found.rows if row["status"] not in ASKS]


def _live(rows: Sequence[Row], seen: str, logins: Sequence[Row]) -> dict[str, Any]:
    """The context of the parts that are kept up to date, with the marks by which a script sees that they are."""
    held = repr([(row["id"], row["status"]) for row in logins])
    return {
        "rows": rows,
        "seen": seen,
        "logins": tree(logins),
        "asked": ".".join(map(_short, rows)),
        "known": ".".join(map(_short, logins)),
        "held": hashlib.sha256(held.encode()).hexdigest()[:16],
    }


def _short(row: Row) -> str:
    """The beginning of a session's id: an address has no room for many whole ones."""
    return str(row["id"])[:8]


def _later_sign_ins(sign_ins: Sequence[Mapping[str, Any]], own: str) -> set[str]:
    """The ids of the sign-ins that have begun after one's own. The gateway ends none of them: the token of the own one
    may have been stolen, and no touch is needed."""
    began = {each["id"]: datetime.fromisoformat(each["began_at"]) for each in sign_ins}
    return {id for id, time in began.items() if own in began and time > began[own]}


# People


async def people(request: web.Request, visit: Visit) -> web.Response:
    query = request.query
    found = await _view(
        visit,
        "people",
        search=query.get("search", ""),
        after=query.get("after", ""),
        phone_unseen=query.get("phone") == "unseen",
    )
    rows = found.rows[:PAGE]
    is_more = found.more or len(found.rows) > PAGE
    older = _address(request, after=rows[-1]["user"]) if is_more else None
    not_helped = WORDS["NOT_HELPED"] if _sees_only_helped(visit) else None
    return _list(
        request, "people.html", people=rows, following=older, problem=found.problem, not_helped=not_helped
    )


async def person(request: web.Request, visit: Visit) -> web.Response:
    name = request.match_info["name"]
    found = await _view(visit, "people", person=name)
    row = next((row for row in found.rows if row["user"] == name), None)
    if row is None:
        raise GatewayError("NOT_HELPED", "", status=404) if _sees_only_helped(visit) else web.HTTPNotFound
    helps = name != visit.person and row["is_helped"] and _sees_logins(visit)
    may, why, bypasses, limits, sessions, acts, past = await asyncio.gather(
        _view(visit, "may", person=name),
        _view(visit, "denials", person=name, host=request.query.get("host", "")),
        _view(visit, "bypasses", person=name),
        _view(visit, "throttle", person=name) if _sees_logins(visit) else _none(),
        _view(visit, "sessions", person=name) if _sees_logins(visit) else _none(),
        _acts(visit, concerns=name),
        _logins(visit, concerns=name),
    )
    return _page(
        request,
        "person.html",
        person=row,
        acts_of_help=_HELP if helps else (),
        caller=row["caller_verified"] or "" if helps else None,
        caller_notes=["caller-state", *(f"caller-of-{name}" for name in _HELP if OFFERS[name].weakens)]
        if helps
        else [],
        asks_for_phone=_sees_logins(visit) or name == visit.person,
        may=may.rows,
        why=why,
        bypasses=bypasses.rows,
        limits=limits.rows[0] if limits.rows else None,
        logins=tree(sessions.rows),
        acts=acts.rows,
        past=past.rows,
    )


async def access(request: web.Request, visit: Visit) -> web.Response:
    """Who may log in to which hosts, for an access review."""
    query = request.query
    found = await _view(visit, "access", search=query.get("search", ""), after=query.get("after", ""))
    rows, is_more = found.rows[:PAGE], found.more or len(found.rows) > PAGE
    older = _address(request, after=rows[-1]["user"]) if is_more else None
    return _page(
        request,
        "access.html",
        people=rows,
        following=older,
        problem=found.problem,
        download=urlencode(_given({"search": query.get("search")})),
        not_included=ACCESS_NOT_INCLUDED,
    )


async def access_as_csv(request: web.Request, visit: Visit) -> web.Response:
    """The same of all people who are searched for, as CSV (RFC 4180)."""
    lines, search, after = list[Sequence[str]](), request.query.get("search", ""), ""
    while True:
        answer = await visit.view("access", **_given({"search": search, "after": after}))
        for row in answer.rows:
            lines += access_cells(cast(AccessRow, row))
        if not answer.more:
            return _csv("access.csv", ACCESS_COLUMNS, lines)
        after = answer.rows[-1]["user"]


async def phone(request: web.Request, visit: Visit) -> web.Response:
    """The part of a page that says whether a person has a phone."""
    found = await _view(visit, "phone", person=request.match_info["name"])
    if not found.rows:
        raise web.HTTPNotFound
    said, look = PHONES.get(found.rows[0]["phone"], ("IAMPASS does not say", "wait"))
    return _page(request, "phone.html", phone=found.rows[0], said=said, look=look)


def _sees_only_helped(visit: Visit) -> bool:
    """Whether the reader is of the help desk only. They read the same about everybody else as about a name that nobody
    has, so that they cannot list the operators."""
    return "helpdesk" in visit.roles and visit.roles.isdisjoint({"auditor", "admin"})


def _sees_logins(visit: Visit) -> bool:
    return bool(visit.roles & {"helpdesk", "admin"})


async def _none() -> Found:
    """The rows of a view that the reader does not see."""
    return Found()


# Logins and hosts


async def open_logins(request: web.Request, visit: Visit) -> web.Response:
    found = await _view(visit, "sessions", search=request.query.get("search", ""))
    moment = datetime.now(timezone.utc)
    logins, more = tree(found.rows[:_MOST_LOGINS]), found.more or len(found.rows) > _MOST_LOGINS
    return _page(request, "open_logins.html", logins=logins, more=more, problem=found.problem, time=moment)


async def hosts(request: web.Request, visit: Visit) -> web.Response:
    query, found = request.query, await _all_hosts(visit)
    groups = sorted({row["group"] for row in found})
    wanted = [
        row
        for row in found
        if any(query.get("search", "").lower() in row[name].lower() for name in ("name", "group"))
        and query.get("group", "") in ("", row["group"])
        and query.get("status", "") in ("", row["status"], row["silent_since"] and "silent")
    ]
    wanted.sort(key=lambda row: (row["status"] != "waiting", row["silent_since"] is None))
    first = int(after) if (after := query.get("from", "")).isdecimal() and len(after) < 6 else 0
    rest = _address(request, **{"from": str(first + PAGE)}) if len(wanted) > first + PAGE else None
    rows = wanted[first : first + PAGE]
    return _list(request, "hosts.html", hosts=rows, groups=groups, number=len(wanted), following=rest)


async def host(request: web.Request, visit: Visit) -> web.Response:
    name = request.match_info["name"]
    row = next((row for row in await _all_hosts(visit, name) if row["name"] == name), None)
    if row is None:
        raise web.HTTPNotFound
    sessions, acts, past = await asyncio.gather(
        _view(visit, "sessions", host=name) if _sees_logins(visit) else _none(),
        _acts(visit, hosts=[name]),
        _logins(visit, hosts=[name]),
    )
    logins = tree(sessions.rows)
    return _page(
        request, "host.html", host=row, logins=logins, more=sessions.more, acts=acts.rows, past=past.rows
    )


async def _all_hosts(visit: Visit, name: str = "") -> list[Row]:
    """All hosts, by name, or the one with this name. `silent_since` is set if a host has not called for a day. Of one
    that is suspended, no calls are expected."""
    found = list[Row]()
    for _ in range(_MOST_PAGES):
        answer = await _view(visit, "hosts", host=name, after=found[-1]["name"] if found else "")
        found += answer.rows
        if not answer.more:
            break
    for row in found:
        if not (row["seen_within_a_day"] or row["status"] == "suspended"):
            row["silent_since"] = row["seen"] or row["joined"]
    return found


# Records


async def log(request: web.Request, visit: Visit) -> web.Response:
    query, moment = request.query, datetime.now(timezone.utc)
    number = _HOURS.get(query.get("within", ""), HOURS)
    found, hours, attention = await asyncio.gather(
        _records(visit, **_of_logins(query), **_of_records(query), last=PAGE),
        _view(visit, "hours", **_of_logins(query), hours=number),
        _attention(visit),
    )
    has_older = found.rows and not query.get("session")
    older = _address(request, until=_oldest(found.rows)) if has_older else None
    return _list(
        request,
        "log.html",
        records=found.rows,
        problem=found.problem,
        following=older,
        newest=_address(request, since="", until="", session=""),
        plot=None if query.get("act") or query.get("actor") else plot(hours.rows, moment, number),
        download=request.query_string,
        attention=attention,
    )


def _of_logins(query: Mapping[str, str]) -> dict[str, Any]:
    """The filter in the address of the page Log, for records of logins and for their numbers by hour."""
    return {
        "person": query.get("person", ""),
        "hosts": _one_of(query, "host"),
        "services": _one_of(query, "service"),
        "outcomes": _one_of(query, "outcome"),
        "remote": query.get("address", ""),
        "let_in": query.get("let_in") == "1",
        "search": query.get("search", ""),
    }


def _of_records(query: Mapping[str, str]) -> dict[str, Any]:
    """The rest of the filter, for records alone."""
    within = _WITHIN.get(query.get("within", ""))
    return {
        "acts": _one_of(query, "act"),
        "by": query.get("actor", ""),
        "session": query.get("session", ""),
        "since": query.get("since", "") or (_iso(datetime.now(timezone.utc) - within) if within else ""),
        "until": query.get("until", ""),
    }


def _one_of(query: Mapping[str, str], name: str) -> list[str]:
    return [query[name]] if query.get(name) else []


async def log_as_csv(request: web.Request, visit: Visit) -> web.Response:
    """The records of the page Log, the newest first, as CSV (RFC 4180)."""
    rows = await _all_records(request, visit)
    names = [name for name in _COLUMNS if any(name in row for row in rows)]
    return _csv("log.csv", names, [[str(row[name] or "") for name in names] for row in rows])


async def log_as_json(request: web.Request, visit: Visit) -> web.Response:
    """The same as a list of JSON objects."""
    return _download(json.dumps(await _all_records(request, visit)), "log.json", "application/json")


async def _all_records(request: web.Request, visit: Visit) -> list[Row]:
    """The records that the filter in the address is true of: at most 10,000, or 500 for readers who see no ids."""
    found, wanted, before = list[Row](), {**_of_logins(request.query), **_of_records(request.query)}, 0
    for _ in range(_MOST_PAGES):
        answer = await visit.view("records", **_given({**wanted, "last": _MOST_RECORDS, "before": before}))
        rows = [*map(Row, answer.rows)]
        found += rows[::-1]
        before = min((row["id"] or 0 for row in rows), default=0)
        if len(rows) < _MOST_RECORDS or not before:
            break
    return found


def _csv(name: str, headings: Sequence[str], lines: Iterable[Sequence[str]]) -> web.Response:
    """These lines as a file that is downloaded."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(headings)
    writer.writerows(map(csv_cell, line) for line in lines)
    return _download(text.getvalue(), name, "text/csv")


def _download(text: str, name: str, content_type: str) -> web.Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(text=text, content_type=content_type, charset="utf-8", headers=headers)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _oldest(rows: Sequence[Row]) -> str:
    """The time before which the next page begins. What hosts have reported late may be much older than that."""
    times = [row["time"] for row in rows if row["kind"] != "report"] or [row["time"] for row in rows]
    return str(min(times, key=datetime.fromisoformat))


ROUTES: Sequence[tuple[str, Handler]] = (
    ("/", account),
    ("/rings", rings),
    ("/attention", attention),
    ("/people", people),
    ("/people/{name:[^/]+}", person),
    ("/people/{name:[^/]+}/phone", phone),
    ("/access", access),
    ("/access.csv", access_as_csv),
    ("/logins", open_logins),
    ("/hosts", hosts),
    ("/hosts/{name:[^/]+}", host),
    ("/log", log),
    ("/log.csv", log_as_csv),
    ("/log.json", log_as_json),
)
