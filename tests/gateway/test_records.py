"""Records of a gateway: in the database with what they are about, then in the journal, and `log`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections.abc import Awaitable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Callable

import pytest
from click.testing import CliRunner, Result

from pam_iampass.audit.journal import ADMINISTRATION, GATEWAY_ALERT, MESSAGE_IDS, Journal
from pam_iampass.audit.query import AuditRecord
from pam_iampass.errors import EditRefused
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.records import Filter, Kind
from pam_iampass.gateway.base.statements import many, one
from pam_iampass.gateway.cli import group
from pam_iampass.outcome import Outcome

LOGIN = {"service": "sshd", "remote": "192.0.2.7", "caller": "", "session": "5f0c" * 8}


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    written = Journal()
    monkeypatch.setattr(written, "_deliver", found.append)
    monkeypatch.setattr(records, "_journal", written)
    return found


def run(conninfo: str, use: Callable[[Database], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        async with Database(conninfo, connections=2) as database:
            return await use(database)

    return asyncio.run(go())


async def _write(database: Database, *each: tuple[Kind, str, str, dict[str, str]]) -> None:
    for kind, host, person, fields in each:
        async with database.transaction() as connection:
            await records.write(connection, kind, host=host, person=person, **fields)


def test_a_record_of_what_did_not_happen_is_nowhere(conninfo: str, journal: list[dict[str, str]]) -> None:
    async def use(database: Database) -> None:
        with pytest.raises(RuntimeError):
            async with database.transaction() as connection:
                await records.write(connection, Kind.ACT, host="web17", what="host remove")
                assert journal == []
                raise RuntimeError
        async with database.transaction() as connection:
            assert await records.read(connection, Filter()) == []

    run(conninfo, use)
    assert journal == []


def test_the_journal_has_the_fields_of_a_hosts_records_and_the_host(
    conninfo: str, journal: list[dict[str, str]]
) -> None:
    async def use(database: Database) -> None:
        await _write(
            database,
            (
                Kind.DECISION,
                "web17",
                "alice",
                {**LOGIN, "outcome": "denied", "reason": "refused on\nthe phone", "elapsed_ms": "4213"},
            ),
            (Kind.ACT, "web17", "", {"what": "host remove", "caller": "carol"}),
            (Kind.ALERT, "web17", "", {"reason": "another machine"}),
        )

    run(conninfo, use)
    decision, act, alert = journal
    assert decision["MESSAGE_ID"] == MESSAGE_IDS[Outcome.DENIED]
    assert (decision["IAMPASS_HOST"], decision["IAMPASS_USER"]) == ("web17", "alice")
    assert (decision["IAMPASS_SERVICE"], decision["IAMPASS_RHOST"]) == ("sshd", "192.0.2.7")
    assert decision["IAMPASS_ELAPSED_MS"] == "4213"
    assert "\n" not in decision["IAMPASS_REASON"] + decision["MESSAGE"]
    assert (act["MESSAGE_ID"], act["IAMPASS_EVENT"]) == (ADMINISTRATION, "host_remove")
    assert (alert["MESSAGE_ID"], alert["PRIORITY"]) == (GATEWAY_ALERT, "1")


@pytest.mark.parametrize("host", ["web17", None])
def test_an_alert_reads_no_records_of_other_hosts_and_is_one_whatever_its_end_says(
    conninfo: str, monkeypatch: pytest.MonkeyPatch, host: str | None
) -> None:
    asked: list[tuple[str, dict[str, object]]] = []

    async def noted(connection: Connection, statement: str, **named: object) -> Any:
        asked.append((statement, named))
        return await one(connection, statement, **named)

    async def use(database: Database) -> list[str]:
        async with database.transaction() as connection:
            await connection.execute(
                "INSERT INTO record (kind, host, fields) SELECT 'decision', 'host' || n, '{}'"
                " FROM generate_series(1, 5000) AS n"
            )
            for end in ("; one", "; two"):
                await records.alert(connection, host, "again", more=end)
            connection.later("ANALYZE record")
            rows = await many(connection, f"EXPLAIN {asked[0][0]}", **asked[0][1])
            found = await records.read(connection, Filter(), 10)
            assert [each.fields["reason"] for each in found if each.kind is Kind.ALERT] == ["again; one"]
            return [row["QUERY PLAN"] for row in rows]

    monkeypatch.setattr(records, "one", noted)
    plan = run(conninfo, use)
    assert any("record_host" in line for line in plan), plan


@pytest.mark.parametrize("more", ["", "; IAMPASS is away"])
def test_the_alert_of_another_person_whose_name_goes_on_silences_none(conninfo: str, more: str) -> None:
    async def use(database: Database) -> list[str]:
        async with database.transaction() as connection:
            for name in ("bob were replaced; x", "bob", "bob"):
                what = f"the passkeys of {name} were replaced"
                await records.alert(connection, None, what, person=name, more=more)
            return [each.person for each in await records.read(connection, Filter(), 10)]

    assert run(conninfo, use) == ["bob were replaced; x", "bob"]


def test_old_records_are_forgotten(conninfo: str) -> None:
    async def use(database: Database) -> None:
        await _write(database, (Kind.ACT, "old", "", {}), (Kind.ACT, "new", "", {}))
        async with database.transaction() as connection:
            await connection.execute("UPDATE record SET at = at - interval '8 days' WHERE host = 'old'")
            assert await records.forget(connection, 7 * 86400.0) == 1
            assert [record.host for record in await records.read(connection, Filter())] == ["new"]

    run(conninfo, use)


@pytest.fixture
def log(conninfo: str, trusted_folder: Path) -> Callable[..., Result]:
    """`pam-iampass-gateway log` of a database with four records."""
    file = trusted_folder / "gateway.yaml"
    values = ["names: [gateway]", "application_id: fleet", f"database: {conninfo}"]
    for name in ("application-secret", "key", "certificate-key.pem", "ca.pem", "certificate.pem"):
        (trusted_folder / name).write_text("00" * 32)
        (trusted_folder / name).chmod(0o600)
        key = {"application-secret": "application_secret_file"}.get(name) or f"{name.partition('.')[0]}_file"
        values.append(f"{key.replace('-', '_')}: {trusted_folder / name}")
    file.write_text("\n".join(values) + "\n")

    async def use(database: Database) -> None:
        await _write(
            database,
            (Kind.DECISION, "web17", "alice", {**LOGIN, "outcome": "approved", "elapsed_ms": "4213"}),
            (
                Kind.DECISION,
                "web18",
                "bob",
                {**LOGIN, "service": "sudo", "caller": "alice", "outcome": "denied", "command": "sudo id"},
            ),
            (Kind.ACT, "web18", "", {"what": "host suspend", "caller": "carol"}),
            (
                Kind.DECISION,
                "web17",
                "carol",
                {"session": str(uuid.UUID(int=1)), "reason": "closed \x1b[31m"},
            ),
        )

    run(conninfo, use)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(group, ["log", "--config", str(file), *arguments])

    return call


def test_log_shows_who_where_and_how_it_ended(log: Callable[..., Result]) -> None:
    shown = log()
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0].split()[2:] == ["HOST", "USER", "CALLER", "SERVICE", "FROM", "OUTCOME", "REASON"]
    assert [line.split()[2:4] for line in lines[1:]] == [
        ["web17", "alice"],
        ["web18", "bob"],
        ["web18", "-"],
        ["web17", "carol"],
    ]
    assert "\x1b" not in shown.output
    assert lines[2].endswith("; sudo id")
    assert "host suspend" in lines[3]
    assert "session ended" in lines[4]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["alice"], ["alice", "bob"]),
        (["--host", "web18"], ["bob", ""]),
        (["--host", "web17", "--host", "web18", "--outcome", "denied"], ["bob"]),
        (["--service", "sudo"], ["bob"]),
        (["--session", "5f0c", "--outcome", "approved"], ["alice"]),
        (["--since", "1h", "-n", "1"], ["carol"]),
        (["--since", "2099-01-01"], []),
    ],
)
def test_log_filters(log: Callable[..., Result], arguments: list[str], expected: list[str]) -> None:
    shown = log("--json", *arguments)
    assert [json.loads(line)["user"] for line in shown.stdout.splitlines()] == expected


def test_who_logged_in_last_night_is_one_command_also_without_the_phone(
    log: Callable[..., Result], conninfo: str
) -> None:
    now = datetime.now(timezone.utc)

    async def use(database: Database) -> None:
        async with database.transaction() as connection:
            for hours in (20, 6, 1):
                told = {"reported": "exempt", "service": "sshd", "login": f"{hours:032}", "reason": "exempt"}
                said = now - timedelta(hours=hours)
                await records.write(connection, Kind.REPORT, said, host="web17", person="backup", **told)
            await records.write(connection, Kind.REPORT, host="web17", lost="17")
            connection.later("UPDATE record SET at = at - interval '5 hours' WHERE fields ? 'outcome'")

    run(conninfo, use)
    assert "17 logins that needed no phone" in log("--let-in").stdout.splitlines()[-1]
    shown = log("--let-in", "--since", "12h", "--until", "3h")
    (reported, approved) = (line.split(maxsplit=9) for line in shown.stdout.splitlines()[1:])
    assert (reported[2:4], approved[2:4]) == (["web17", "backup"], ["web17", "alice"])
    assert reported[7:] == ["exempt", "the", "host says: exempt"]
    at = datetime.fromisoformat(f"{reported[0]} {reported[1]}").astimezone()
    assert at == (now - timedelta(hours=6)).replace(microsecond=0)
    found = [json.loads(line) for line in log("--json").stdout.splitlines()]
    assert all(each.keys() == {field.name for field in dataclasses.fields(AuditRecord)} for each in found)
    assert [each["kind"] for each in found] == [
        *("report", "report", "decision", "decision", "report", "act", "session", "report"),
    ]
    assert [each["verified"] for each in found] == [each["kind"] != "report" for each in found]
    (one,) = (json.loads(line) for line in log("--json", "--login", f"{6:032}").stdout.splitlines())
    assert (one["outcome"], one["result"], one["user"]) == ("exempt", "ignored", "backup")
    assert [each["elapsed_ms"] for each in found if each["kind"] == "decision"] == [4213, 0]
    assert "17 logins that needed no phone" in log("-n", "1").stdout


def test_log_knows_who_was_removed_and_refuses_what_nobody_was_called(
    log: Callable[..., Result], conninfo: str
) -> None:
    async def use(database: Database) -> None:
        await _write(
            database, (Kind.ACT, "db1.example.com", "dave", {"what": "host_remove", "caller": "erin"})
        )

    run(conninfo, use)
    for arguments in (["dave"], ["erin"], ["--host", "db1.example.com"], ["--host", "db1"]):
        assert "host remove" in log(*arguments).output, arguments
    for arguments, says in (
        (["davee"], '"davee" is not known here'),
        (["--host", "db2"], "there is no host db2"),
        (["--host", "web17", "--host", "web77", "--follow"], "did you mean web17?"),
    ):
        refused = log(*arguments)
        assert isinstance(refused.exception, EditRefused), arguments
        assert says in refused.exception.diagnostics()
    refused = log("\udcff")
    assert (refused.exit_code, "not UTF-8" in refused.output) == (1, True)


def test_log_follows(log: Callable[..., Result], conninfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    async def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 1:
            async with Database(conninfo, connections=1) as database:
                await _write(database, (Kind.DECISION, "web19", "dave", {**LOGIN, "outcome": "approved"}))
        elif len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("pam_iampass.gateway.cli.log.asyncio.sleep", sleep)
    shown = log("--json", "--follow", "-n", "2")
    assert shown.exit_code == 130
    assert [json.loads(line)["host"] for line in shown.stdout.splitlines()] == ["web18", "web17", "web19"]
