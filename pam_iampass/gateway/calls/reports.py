"""Takes reports of hosts: logins that they have let in without asking their gateway, such as those of exempt accounts.

A report says no more than that its host says so. Its record has no outcome, so that no limit and no decision counts it.
A host reports in its own name only, each login once, and a bounded number in an hour, with a share for each user; other
logins are counted in one record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, DatabaseError, Lock
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.reasons import Reason
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.statements import together
from pam_iampass.gateway.calls.service import require_active, signed_by_host, unavailable, unless_restored
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host
from pam_iampass.gateway.requests import asked_start
from pam_iampass.outcome import RESULTS, Outcome, Result
from pam_iampass.server.http import Route
from pam_iampass.server.messages import IncomingRequest, RefusedRequest, Reply, bad_request
from pam_iampass.server.serving import require_digest
from pam_iampass.text import clean

MOST_REPORTS = 20
"""The most logins in one call."""
REPORTS_AN_HOUR = 600
"""The most reports of one host that leave records of their own. More could fill the disk."""
REPORTS_OF_ONE = 120
"""The most of them of what one user does there. Else a user who runs sudo in a loop would hide all other logins."""
_LONGEST_AGO = 30 * 86400
_TEXTS = {
    "person": "asker",
    **{name: name for name in ("user", "service", "remote", "caller", "approver", "reason")},
}
"""The texts of a report, and the fields of its record that they are."""
_OUTCOMES = sorted(
    outcome.value
    for outcome, results in RESULTS.items()
    if Result.IGNORED in results or outcome is Outcome.RECOVERED
)
"""The outcomes that a host can have decided by itself. An approval is none of them."""


@dataclass(frozen=True)
class Report:
    """One login that a host has let in by itself, or a number of logins that it could not report."""

    login: str
    """Its id."""
    ago: int
    """How many seconds ago it was."""
    user: str
    fields: dict[str, str]
    """The fields of its record."""

    @classmethod
    def of(cls, given: object) -> Report:
        """The report in a member of the body. Raises RefusedRequest."""
        if not isinstance(given, dict) or not given.keys() <= {"login", "ago", "outcome", "lost", *_TEXTS}:
            raise bad_request("BAD_REPORT", "a report has members that are not known")
        login, ago, lost = given.get("login"), given.get("ago"), given.get("lost")
        if not isinstance(login, str) or not re.fullmatch("[0-9a-f]{32}", login):
            raise bad_request("BAD_REPORT", "login must be 32 hexadecimal digits")
        if type(ago) is not int or not 0 <= ago < 10**9:
            raise bad_request("BAD_REPORT", "ago must be a number of seconds")
        if lost is not None:
            if type(lost) is not int or not 0 < lost < 10**9:
                raise bad_request("BAD_REPORT", "lost must be a number of logins")
            return cls(login, ago, "", {"lost": str(lost), "login": login})
        outcome, texts = given.get("outcome"), {name: given[name] for name in _TEXTS if name in given}
        if outcome not in _OUTCOMES or not all(isinstance(text, str) for text in texts.values()):
            raise bad_request("BAD_REPORT", f"outcome must be one of {', '.join(_OUTCOMES)}, the others text")
        fields = {_TEXTS[name]: clean(text, 200 if name == "reason" else 100) for name, text in texts.items()}
        user = fields.pop("user", "")
        return cls(login, min(ago, _LONGEST_AGO), user, {**fields, "reported": outcome, "login": login})


async def take(gateway: Gateway, request: IncomingRequest) -> Reply:
    """Write the records of what a host reports."""
    try:
        host = require_active(await signed_by_host(gateway, request))
        query = request.parameters("machine", "body_sha256")
        require_digest(request, query.get("body_sha256", ""))
        reports = _reports(request)
        async with gateway.database.transaction() as connection:
            is_its_machine = await hosts.is_its_machine(
                gateway, connection, host, asked_start.machine_of(query)
            )
            if is_its_machine:
                await _write(connection, host, reports)
    except DatabaseError as error:
        return unavailable(error)
    if not is_its_machine:
        raise RefusedRequest(403, Reason.WRONG_MACHINE.name, "another machine was the first to use this key")
    return Reply.of({"taken": len(reports)})


def _reports(request: IncomingRequest) -> list[Report]:
    """The reports in the body. Raises RefusedRequest."""
    given = request.json("reports")["reports"]
    if not isinstance(given, list) or len(given) > MOST_REPORTS:
        raise bad_request("BAD_BODY", f"reports must be a list of {MOST_REPORTS} at most")
    return list({report.login: report for report in map(Report.of, given)}.values())


async def _write(connection: Connection, host: Host, reports: Sequence[Report]) -> None:
    """Write what is not known yet. Parallel calls of a host are counted one after the other."""
    connection.take(Lock.REPORTS, host.name)
    known, (counted,), by_user = await together(
        connection,
        (
            "SELECT fields->>'login' AS login FROM record"
            " WHERE host = %s AND kind = 'report' AND fields->>'login' = ANY(%s)",
            *(host.name, [report.login for report in reports]),
        ),
        (
            "SELECT now() AS now, count(*) AS recent FROM record"
            " WHERE host = %s AND kind = 'report' AND at > now() - interval '1 hour'",
            host.name,
        ),
        (
            "SELECT coalesce(fields->>'caller', person) AS actor, count(*) AS number,"
            " max(id) FILTER (WHERE fields ? 'beyond') AS beyond FROM record"
            " WHERE host = %s AND kind = 'report' AND at > now() - interval '1 hour' GROUP BY actor",
            host.name,
        ),
    )
    told = {row["login"] for row in known}
    new = [report for report in reports if report.login not in told]
    room = REPORTS_AN_HOUR - counted["recent"]
    written = Counter({row["actor"]: row["number"] for row in by_user})
    beyond: Counter[str | None] = Counter()
    for report in new:
        said_at, person = counted["now"] - timedelta(seconds=report.ago), report.user or None
        actor = report.fields.get("caller", person)
        if room <= 0 or written[actor] >= REPORTS_OF_ONE:
            # Nobody else is named: a host may say any number of names.
            beyond[actor if written[actor] >= REPORTS_OF_ONE else None] += int(report.fields.get("lost", 1))
            continue
        room -= 1
        written[actor] += 1
        await records.write(connection, Kind.REPORT, said_at, host=host.name, person=person, **report.fields)
    there = {row["actor"]: row["beyond"] for row in by_user}
    for actor, number in beyond.items():
        if there.get(actor) is None:
            fields = {"lost": str(number), "beyond": "1"}
            await records.write(connection, Kind.REPORT, host=host.name, person=actor, **fields)
        else:
            connection.later(records.ADD_LOST, (number, there[actor]))


ROUTES: tuple[Route[Gateway], ...] = (Route("POST", "/fleet/report/*", unless_restored(take)),)
