"""Rows of views, with all fields that an admin sees, as pages are tested with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, get_type_hints

HOST = "db.example.com"
NEW = "new.example.com"
"""A host that waits."""
_NOW = datetime.now(timezone.utc)
Row = Mapping[str, Any]


def _ago(seconds: float) -> str:
    return (_NOW - timedelta(seconds=seconds)).isoformat()


LATER = _ago(-3600)
"""In an hour."""


def example_result(cls: type[Any]) -> dict[str, Any]:
    """What an act results in, with something in each member."""
    kinds = {int: 2, bool: True, str: "approved", Sequence[str]: ["abcd-efgh-jkmn"], datetime: _ago(-900)}
    hints = get_type_hints(cls)
    return {each.name: kinds.get(hints[each.name]) for each in dataclasses.fields(cls)}


def login(id: str, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    """An open session of alice, for 7 hours."""
    return {
        "id": id,
        "parent": parent,
        "user": "alice",
        "asker": None,
        "agent": None,
        "host": HOST,
        "service": "sshd",
        "remote": "203.0.113.7",
        "caller": "alice",
        "purpose": None,
        "since": _ago(3600),
        "status": "active",
        "seconds_left": 25200,
        "is_helped": True,
        **fields,
    }


def ringing(id: str = "r1", **fields: Any) -> dict[str, Any]:
    """A request that asks alice."""
    command = "sudo apt upgrade (in /home/alice)"
    own = {"status": "asked", "seconds_left": 50, "since": _ago(5), "caller": "root", "command": command}
    asked = login(id, **{**own, **fields})
    return {name: value for name, value in asked.items() if name not in ("is_helped", "asker")}


def _host(name: str, **fields: Any) -> Row:
    return {
        "name": name,
        "id": f"h-{name[:3]:a<12}",
        "group": "servers",
        "status": "active",
        "admitted": True,
        "addresses": ["192.0.2.4"],
        "note": "rack 4, ask Zoë",
        "machine": "4f1c6dba9d7e4c7f9d3f2f2e0d9a1b2c",
        "joined": _ago(9e6),
        "invite": "i-3fa9",
        "slowed_until": None,
        "seen": _ago(10),
        "seen_within_a_day": True,
        "version": "0.3.0",
        "address": "198.51.100.4",
        "open_logins": 3,
        **fields,
    }


def _person(name: str, **fields: Any) -> Row:
    return {
        "user": name,
        "groups": ["staff", "oncall"],
        "display_name": f"{name} at work",
        "phone_number": "+15551234567",
        "source": "ldap",
        "status": "active",
        "changed_at": _ago(4e5),
        "is_helped": True,
        **fields,
    }


def _record(seconds: float, kind: str, **fields: Any) -> Row:
    return {"id": 1, "time": _ago(seconds), "kind": kind, "host": HOST, "person": "alice", **fields}


ROWS: Mapping[str, Sequence[Row]] = {
    "mine": [
        {
            "user": "alice",
            "groups": ["staff"],
            "phone_lost_at": None,
            "code_for_lost_phone": True,
            "codes_left": 7,
            "passkeys": [{"id": "key", "label": "laptop", "made_at": _ago(8e6), "roles": ["admin"]}],
            "sign_ins": [
                {
                    "id": "this",
                    "began_at": _ago(600),
                    "active_at": _ago(1),
                    "ends_at": _ago(-28000),
                    "remote": "203.0.113.7",
                    "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                },
                {
                    "id": "later",
                    "began_at": _ago(300),
                    "active_at": _ago(200),
                    "ends_at": _ago(-28300),
                    "remote": "198.51.100.9",
                    "agent": "curl/8",
                },
            ],
        }
    ],
    "people": [_person("alice"), _person("bob", status="leaving", source="local")],
    "access": [
        {
            "user": "mallory",
            "groups": [],
            "status": "tampered",
            "hosts": [],
            "why": ["was not written by a gateway: cannot log in"],
        },
        {
            "user": "alice",
            "groups": ["staff"],
            "status": "active",
            "hosts": [
                {"group": "servers", "status": "active", "number": 2, "may": True, "why": ["in staff"]},
                {
                    "group": "servers",
                    "status": "suspended",
                    "number": 1,
                    "may": False,
                    "why": ["in staff", "these hosts are suspended"],
                },
            ],
            "why": [],
        },
        {
            "user": "=bob",
            "groups": [],
            "status": "leaving",
            "hosts": [],
            "why": ["no hosts admit the person"],
        },
    ],
    "sessions": [
        login("1", host="bastion.example.com"),
        login("2", "1", status="away"),
        login("3", "2", service="sudo", remote=None, purpose="sudo -i", caller="root"),
        login("4", user="bob", status="waits"),
    ],
    "throttle": [
        {
            "user": "bob",
            "pending": 1,
            "waiting": 1,
            "requests_in_the_last_hour": 3,
            "requests_per_hour": 30,
            "seconds_until_next_request": 60.0,
            "places": [{"failures": 2, "seconds_left": 300.0}],
            "wrong_codes_in_the_last_hour": 1,
            "agents": {
                "requests_in_the_last_hour": 2,
                "requests_per_hour": 10,
                "seconds_until_next_request": 0.0,
            },
        }
    ],
    "hosts": [
        _host(HOST, group="databases"),
        _host(NEW, status="waiting", admitted=False, slowed_until=_ago(-60), open_logins=1),
        _host("web.example.com", status="suspended", open_logins=0),
    ],
    "records": [
        _record(
            9e5, "report", reported="recovered", service="login", approver="bob", reason="it did not answer"
        ),
        _record(9000, "decision", outcome="approved", service="sshd", remote="203.0.113.7", asker="bob"),
        _record(
            8000,
            "decision",
            outcome="denied",
            service="sudo",
            caller="root",
            command="sudo id (in /)",
            reason="denied on the phone",
        ),
        _record(7000, "decision", service="sshd", event="session_ended", reason="logged out"),
        _record(6500, "report", number=120),
        _record(6000, "alert", reason="somebody may have what they log in with"),
        _record(5000, "act", host="", what="bypass", caller="zoe", known_by="sign-in", remote="192.0.2.4"),
        _record(4000, "act", person="", what="host_invite", caller="root", known_by="command"),
        _record(3000, "act", host="", what="refused", refused="phone_new", caller="alice", reason="no touch"),
    ],
    "hours": [
        {
            "hour": _NOW.replace(minute=0, second=0, microsecond=0).isoformat(),
            "logins": {"approved": 3, "covered": 2, "denied": 1},
        }
    ],
    "may": [
        {
            "group": "databases",
            "may": False,
            "why": ["it admits only the group dba", "the phone was reported lost"],
            "codes": False,
        },
        {"group": "servers", "may": True, "why": [], "codes": True},
    ],
    "denials": [
        {
            "cause": "BACKOFF",
            "says": "Requests from the same place were not approved.",
            "host": HOST,
            "time": _ago(120),
            "service": "sshd",
            "remote": "203.0.113.7",
            "until": _ago(-300),
            "is_over": False,
            "mend": "First ask the person.",
            "act": "throttle_clear",
        },
        {
            "cause": "NO_MOBILE_DEVICE",
            "says": "IAMPASS had no phone of the person.",
            "host": HOST,
            "time": _ago(600),
            "service": "sshd",
            "remote": "203.0.113.7",
            "until": None,
            "is_over": True,
            "mend": "",
            "act": "",
        },
    ],
    "bypasses": [
        {
            "user": "bob",
            "services": ["sshd"],
            "hosts": [HOST],
            "groups": ["servers"],
            "made_at": _ago(60),
            "ends_at": _ago(-3000),
            "made_by": "dora",
            "reason": "ticket 4711",
        }
    ],
    "phone": [{"user": "alice", "phone": "registered", "lost_at": None}],
    "attention": [
        {"kind": "host_waits", "what": "", "host": NEW, "person": "", "since": _ago(60)},
        {"kind": "host_stopped", "what": "", "host": HOST, "person": "", "since": _ago(60)},
        {
            "kind": "alert",
            "what": "bob says that a login is not theirs: somebody may have what they log in with",
            "host": HOST,
            "person": "bob",
            "since": _ago(60),
        },
        {"kind": "damaged", "what": "person mallory", "host": "", "person": "", "since": None},
        {"kind": "role_of_nobody", "what": "auditor", "host": "", "person": "", "since": None},
    ],
}
