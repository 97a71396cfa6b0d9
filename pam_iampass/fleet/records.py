"""Records, logins by hour, and what needs attention."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from pam_iampass.fleet.view import ToAdmins, ToAll, ToAuditors, ToOwner, ToStaff, View


class RecordRow(TypedDict, total=False):
    """A record. Except for these, the fields are those that the record has."""

    id: ToStaff[int]
    time: ToAll[datetime]
    written: ToAuditors[datetime]
    kind: ToAll[str]
    host: ToAll[str]
    person: ToAll[str]
    outcome: ToAll[str]
    reported: ToAll[str]
    service: ToAll[str]
    remote: ToAll[str]
    caller: ToAll[str]
    command: ToOwner[str]
    asker: ToAll[str]
    agent: ToAll[str]
    approver: ToStaff[str]
    session: ToAll[str]
    login: ToAll[str]
    key: ToAuditors[str]
    event: ToAll[str]
    what: ToAll[str]
    reason: ToAll[str]
    until: ToAll[str]
    known_by: ToAll[str]
    caller_verified: ToAll[str]
    sudo_user: ToAuditors[str]
    tty: ToAuditors[str]
    lost: ToAuditors[str]
    refused: ToAll[str]
    invite: ToAdmins[str]
    number: ToAll[int]


class HourRow(TypedDict, total=False):
    """How many logins there were in an hour."""

    hour: ToAll[datetime]
    logins: ToAll[dict[str, int]]


class AttentionRow(TypedDict, total=False):
    """Something that needs attention."""

    kind: ToStaff[str]
    what: ToStaff[str]
    host: ToStaff[str]
    person: ToStaff[str]
    since: ToStaff[datetime | None]


RECORDS = View("records", RecordRow)
HOURS = View("logins by hour", HourRow)
ATTENTION = View("what needs attention", AttentionRow)
