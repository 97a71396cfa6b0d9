"""Records of what a gateway has decided and what its administrators have done.

A record is written to the database in the transaction of what it is about: both happen, or neither. Once that is
committed it goes to the journal, too.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from psycopg.rows import DictRow

from pam_iampass.audit.administrator import administrator
from pam_iampass.audit.journal import (
    ADMINISTRATION,
    ALERT,
    GATEWAY_ALERT,
    HOST_REPORT,
    INFO,
    MESSAGE_IDS,
    NOTICE,
    SESSION_IDS,
    WARNING,
    Journal,
)
from pam_iampass.gateway.base import metrics
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.statements import insert, many, one
from pam_iampass.outcome import RESULTS, Outcome, Result, SessionEvent

_journal = Journal()
REFUSALS_A_MINUTE = 30
"""Refused starts of one host that leave records. More could fill the disk; their answers say nothing of names."""
ADD_LOST = (
    "UPDATE record SET fields = jsonb_set(fields, '{lost}', to_jsonb(((fields->>'lost')::int8 + %s)::text))"
    " WHERE id = %s"
)
"""The statement that adds to the number of logins which a record counts, since they have none of their own."""
_PRIORITIES = {Outcome.APPROVED: INFO, Outcome.COVERED: NOTICE}


class Kind(enum.Enum):
    """The subject of a record, by the name in the database."""

    DECISION = "decision"
    """A request of a host: how it ended (`outcome`); without an outcome, how a session ended."""
    ACT = "act"
    """An act of an administrator (`what`)."""
    ALERT = "alert"
    """A matter for an administrator to look at now (`reason`)."""
    REPORT = "report"
    """A login that a host has let in by itself, as only the host says (`reported`). It has no outcome, so that nothing
    takes it for a decision."""


async def write(
    connection: Connection,
    kind: Kind,
    said_at: datetime | None = None,
    /,
    *,
    host: str | None = None,
    person: str | None = None,
    **fields: str,
) -> None:
    """Write a record in the transaction of `connection`. No field has a secret, a token or a code.

    :param said_at: when a login was, as its host says.
    :param host: the host's name.
    :param fields: such as `outcome`, `service`, `remote`, `caller`, `session`, `what`, `reason`.
    """
    row = {"kind": kind.value, "host": host, "person": person, "fields": fields, "said_at": said_at}
    await insert(connection, "record", row)
    connection.has_act = connection.has_act or kind is Kind.ACT
    connection.after_commit.append(partial(_to_journal, kind, host, person, fields))


async def alert(
    connection: Connection,
    host: str | None,
    what: str,
    person: str | None = None,
    *,
    more: str = "",
    **fields: str,
) -> None:
    """Write a record that an administrator should see, once in ten minutes.

    :param more: the end of the text, which makes no further alert if it is another one.
    """
    # IS NOT DISTINCT FROM would use no index.
    condition = "host IS NULL" if host is None else "host = %(host)s"
    # The text of another person's may begin so: names have spaces.
    is_same = "fields->>'reason' = %(what)s"
    if more:
        is_same = "starts_with(fields->>'reason', %(what)s) AND person IS NOT DISTINCT FROM %(person)s"
    same = await one(
        connection,
        f"SELECT 1 FROM record WHERE {condition} AND kind = %(kind)s"  # noqa: S608
        f" AND at BETWEEN now() - interval '10 minutes' AND now() AND {is_same}",
        host=host,
        kind=Kind.ALERT.value,
        what=what,
        person=person,
    )
    if same is None:
        await write(connection, Kind.ALERT, host=host, person=person, reason=what + more, **fields)


def login_fields(details: Mapping[str, str], reason: str) -> dict[str, str]:
    """The fields about a login with these details. The reason of a request of the gateway itself begins with what it is
    for."""
    fields = dict(details)
    purpose = fields.pop("purpose", "")
    return {**fields, "reason": f"{purpose}: {reason}" if purpose else reason}


async def refusals(connection: Connection, host: str) -> int:
    """How many starts of the host with this name were refused within a minute, as the records say."""
    counted = await one(
        connection,
        "SELECT count(*) AS recent FROM record WHERE host = %s AND at > now() - interval '1 minute'"
        " AND fields ? 'refused'",
        host,
    )
    return 0 if counted is None else int(counted["recent"])


def administrator_fields() -> dict[str, str]:
    """The fields of records about the administrator who runs this command."""
    by = administrator()
    who = {"caller": by.name, "sudo_user": by.sudo_user, "tty": by.tty, "remote": by.rhost}
    return {**{name: text for name, text in who.items() if text}, "known_by": "command"}


async def act(
    connection: Connection,
    what: str,
    *,
    by: Mapping[str, str] | None = None,
    host: str | None = None,
    person: str | None = None,
    reason: str = "",
    until: datetime | None = None,
    invite: str = "",
) -> None:
    """Write what somebody has done, such as `user_add`, and the result.

    :param by: the fields about the actor; if None, it is the administrator who runs this command.
    :param until: until when the result lasts.
    :param invite: the id of an invite, which is not for everybody who may read the reason.
    """
    fields = dict(administrator_fields() if by is None else by)
    known = {"reason": reason, "until": until.isoformat() if until else "", "invite": invite}
    fields |= {name: text for name, text in known.items() if text}
    await write(connection, Kind.ACT, host=host, person=person, what=what, **fields)


def _to_journal(kind: Kind, host: str | None, person: str | None, fields: Mapping[str, str]) -> None:
    """Write the record to the journal, in the fields of a host's records and IAMPASS_HOST, and count it."""
    values: dict[str, str | None] = {"host": host, "user": person, "approver": person}
    for name in ("outcome", "reported", "service", "caller", "session", "login", "elapsed_ms", "command"):
        values[name] = fields.get(name)
    values["rhost"] = fields.get("remote")
    values["user"] = fields.get("agent", person)
    if kind is Kind.DECISION and "outcome" in fields:
        outcome = Outcome(fields["outcome"])
        metrics.decided(outcome, fields.get("service", ""))
        message_id, priority = MESSAGE_IDS[outcome], _PRIORITIES.get(outcome, WARNING)
    elif kind is Kind.DECISION:
        message_id, priority = SESSION_IDS[SessionEvent.ENDED], INFO
        values["event"] = SessionEvent.ENDED.value
    elif kind is Kind.REPORT:
        message_id, priority = HOST_REPORT, NOTICE
        values["approver"] = fields.get("approver")
    elif kind is Kind.ACT:
        message_id, priority = ADMINISTRATION, NOTICE
        values["event"] = fields.get("what", "").replace(" ", "_")
    else:
        message_id, priority = GATEWAY_ALERT, ALERT
        values["event"] = fields.get("what")
        metrics.ALERTS.inc()
    known = {name: value for name, value in values.items() if value is not None}
    _journal.write(message_id, priority, known, reason_of(fields))


def reason_of(fields: Mapping[str, str]) -> str:
    """The reason of a record as administrators of this machine read it, with the invite that it is about, until when
    it lasts, and when the caller of a help desk approved on the phone."""
    known = {"invite": "invite {}", "until": "until {}", "reason": "{}"}
    known["caller_verified"] = "the caller approved on the phone at {}"
    said = {name: fields[name] for name in known if fields.get(name)}
    for name in {"until", "caller_verified"} & said.keys():
        said[name] = f"{datetime.fromisoformat(said[name]).astimezone():%Y-%m-%d %H:%M:%S %Z}"
    return "; ".join(known[name].format(value) for name, value in said.items())


async def forget(connection: Connection, seconds: float) -> int:
    """Delete the records that are older. Returns their number."""
    cursor = await connection.execute(
        "DELETE FROM record WHERE at < now() - make_interval(secs => %s)", (seconds,)
    )
    return cursor.rowcount


# Reading


LET_IN = [Outcome.APPROVED.value, Outcome.COVERED.value, Outcome.RECOVERED.value, Outcome.BYPASSED.value]
"""The outcomes of a gateway's own decisions that let somebody in."""


@dataclass(frozen=True)
class Filter:
    """Which records are shown. An empty value allows all."""

    person: str = ""
    hosts: Sequence[str] = ()
    services: Sequence[str] = ()
    outcomes: Sequence[str] = ()
    session: str = ""
    """The beginning of a session's id."""
    since: datetime | None = None
    until: datetime | None = None
    login: str = ""
    """The beginning of a login's id."""
    let_in: bool = False
    """Whether only logins are shown that let somebody in."""
    of: tuple[str, Sequence[object]] = ("true", ())
    """A condition of SQL, with its values, on the person whom a record is of."""
    written_since: datetime | None = None
    """As `since`, for when a record was written: a host may report a login late."""
    concerns: str = ""
    """The person whom a record concerns. `person` also finds what somebody has done to others."""
    kinds: Sequence[str] = ()
    """The kinds of records, by their names in the database."""
    acts: Sequence[str] = ()
    """The kinds of acts, also of those that were refused."""
    actor: str = ""
    """The administrator or user who did an act."""
    remote: str = ""
    """The beginning of the address from which it came."""
    before: int = 0
    """The id of the record before which it was written."""


@dataclass(frozen=True)
class Record:
    """One record, as it was written. Texts are not cleaned."""

    id: int
    written: datetime
    time: datetime
    """When it was: of a reported login, as the host says."""
    kind: Kind
    host: str
    person: str
    fields: Mapping[str, str]

    @classmethod
    def of(cls, row: DictRow) -> Record:
        """The record in a row."""
        host, person = row["host"] or "", row["person"] or ""
        written, time = row["at"].astimezone(), (row["said_at"] or row["at"]).astimezone()
        return cls(row["id"], written, time, Kind(row["kind"]), host, person, row["fields"])

    @property
    def outcome(self) -> str:
        """How the login ended, also as its host says; empty if it is not about one."""
        return self.fields.get("outcome") or self.fields.get("reported") or ""

    @property
    def result(self) -> Result | None:
        """The result that PAM was told, at least if the host has done as the gateway said."""
        if not self.outcome:
            return None
        possible = RESULTS[Outcome(self.outcome)]
        if len(possible) == 1:
            return next(iter(possible))
        return Result.IGNORED if self.kind is Kind.REPORT else Result.DENIED


async def read(connection: Connection, wanted: Filter, most: int | None = None) -> list[Record]:
    """The last `most` records that are wanted, by time, the oldest first; all of them for None."""
    connection.take_time()
    condition, values = _condition(wanted)
    statement = f"SELECT * FROM record WHERE {condition} ORDER BY id DESC LIMIT %s"  # noqa: S608
    rows = await many(connection, statement, *values, most)
    return sorted(map(Record.of, reversed(rows)), key=lambda record: record.time)


async def by_hour(connection: Connection, wanted: Filter) -> Mapping[tuple[datetime, str], int]:
    """How many wanted records there are about logins, by the hour in which these were, in UTC, and by outcome."""
    connection.take_time()
    condition, values = _condition(wanted)
    rows = await many(
        connection,
        "SELECT date_trunc('hour', coalesce(said_at, at), 'UTC') AS hour,"  # noqa: S608
        " coalesce(fields->>'outcome', fields->>'reported') AS outcome,"
        " sum(coalesce((fields->>'lost')::int8, 1))::int8 AS number"
        f" FROM record WHERE fields ?| array['outcome', 'reported'] AND {condition} GROUP BY 1, 2",
        *values,
    )
    return {(row["hour"], row["outcome"]): row["number"] for row in rows}


async def reported_by_host(connection: Connection, wanted: Filter) -> list[tuple[str, int, datetime]]:
    """The hosts that have reported wanted logins, how many, and when the last one was."""
    connection.take_time()
    condition, values = _condition(wanted)
    rows = await many(
        connection,
        "SELECT host, sum(coalesce((fields->>'lost')::int8, 1))::int8 AS number, max(coalesce(said_at, at)) AS time"  # noqa: S608
        f" FROM record WHERE kind = 'report' AND {condition} GROUP BY host ORDER BY host",
        *values,
    )
    return [(row["host"], row["number"], row["time"].astimezone()) for row in rows]


def _condition(wanted: Filter) -> tuple[str, list[object]]:
    """The condition of SQL for wanted records, with its values."""
    conditions, values = [wanted.of[0]], list(wanted.of[1])

    def where(condition: str, value: object) -> None:
        if value:
            conditions.append(condition)
            values.append(value)

    of_fields = "fields->>'caller', fields->>'asker', fields->>'agent', fields->>'approver'"
    where(f"%s IN (person, {of_fields})", wanted.person)
    where("person = %s", wanted.concerns)
    where("kind = ANY(%s)", list(wanted.kinds))
    where("host = ANY(%s)", list(wanted.hosts))
    where("fields->>'service' = ANY(%s)", list(wanted.services))
    where("coalesce(fields->>'outcome', fields->>'reported') = ANY(%s)", list(wanted.outcomes))
    where("kind = 'act' AND array[fields->>'what', fields->>'refused'] && %s::text[]", list(wanted.acts))
    where("kind = 'act' AND fields->>'caller' = %s", wanted.actor)
    where("starts_with(fields->>'remote', %s)", wanted.remote)
    where("id < %s", wanted.before)
    where("starts_with(fields->>'session', %s)", wanted.session)
    where("starts_with(fields->>'login', %s)", wanted.login)
    where(
        "(fields ?| array['reported', 'lost'] OR fields->>'outcome' = ANY(%s))",
        LET_IN if wanted.let_in else (),
    )
    # No login is reported before it was: the first condition is for the index.
    where("at > %s", wanted.since)
    where("coalesce(said_at, at) > %s", wanted.since)
    where("coalesce(said_at, at) < %s", wanted.until)
    where("at > %s", wanted.written_since)
    return " AND ".join(conditions), values
