"""`pam-iampass-gateway backup`: dumps of a real PostgreSQL, and their restore by the commands of the page."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pam_iampass.audit.journal import BACKUP_FAILED
from pam_iampass.gateway.base.places import ACCOUNT
from pam_iampass.gateway.check import backup
from pam_iampass.setup import files as setup_files
from tests.packages.typed_page import TypedPage
from tests.support.gateway import HOST, HOST_SECRET
from tests.support.gateway_machine import (
    ETC,
    SOCKETS,
    log_in_as,
    package,
    run_gateway,
    serving,
    showing,
    with_people,
)
from tests.support.journald import Journald
from tests.support.postgres import POOLED, PROGRAMS, Postgres
from tests.support.sandbox import Sandbox
from tests.support.world import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
FOLDER = Path("/var/backups/iampass-gateway")
STATE = Path("/var/lib/iampass-gateway")
SETTINGS = f"backup: {{folder: {FOLDER}, keep: 3}}\n"


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Postgres, Sandbox]]:
    """A gateway with a host, and alice, whose phone approves. Its state is where the package has it."""

    with pytest.MonkeyPatch.context() as environment, with_people(SETTINGS, "alice") as both:
        new_state()
        environment.setenv("STATE_DIRECTORY", str(STATE))
        yield both
    shutil.rmtree(STATE)


@pytest.fixture
def server(machine: tuple[Postgres, Sandbox]) -> Iterator[Postgres]:
    """Its PostgreSQL, a folder without a dump, and the settings as they were."""
    settings = (ETC / "gateway.yaml").read_bytes()
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run(["install", "-d", "-m", "0700", FOLDER], check=True)
    yield machine[0]
    (ETC / "gateway.yaml").write_bytes(settings)


def new_state() -> None:
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(mode=0o700)
    shutil.chown(STATE, ACCOUNT, ACCOUNT)


def dumped() -> Path:
    """Make a dump; its file."""
    return Path(json.loads(run_gateway("backup", "--json"))["file"])


def names() -> list[str]:
    """What is in the folder."""
    return sorted(os.listdir(FOLDER))


def command_lines() -> list[str]:
    """The words of all processes, which every user of a machine can see."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(process.read_text("utf-8", "replace"))
    return found


def log_in() -> str:
    """A login of alice on the host."""
    return log_in_as("alice", HOST, HOST_SECRET)


def restore(dump: Path) -> None:
    """Type what the page says, but for systemd, which does not run here."""
    for command in TypedPage("docs/fleet/gateway-operations.md").sections["Restore"][:8]:
        words = shlex.split(command)
        if words[0] == "pam-iampass-gateway":
            run_gateway(*words[1:])
        elif words[0] != "systemctl":
            line = re.sub("/var/backups/.*", str(dump), command)
            done = subprocess.run(
                ["sh", "-c", line],
                env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr


# Dumps


def test_a_dump_is_roots_alone_and_the_last_ones_are_kept_whatever_the_clock_was(server: Postgres) -> None:
    first = dumped()
    status = first.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o600)
    assert first.read_bytes().startswith(b"PGDMP")
    assert abs(backup.last_here() - time.time()) < PATIENCE
    ahead = first.with_name("iampass-000001-20990101T000000Z.dump")
    first.rename(ahead)
    os.utime(ahead, (4e9, 4e9))
    made = [dumped() for _ in range(2)]
    assert names() == [ahead.name, *(each.name for each in made)]
    shown = run_gateway("backup")
    assert f"Deleted: {ahead.name}" in shown
    assert [name[:14] for name in names()] == ["iampass-000002", "iampass-000003", "iampass-000004"]


def test_pg_dump_is_the_gateways_account_and_one_backup_waits_for_no_other(server: Postgres) -> None:
    with (ETC / "gateway.yaml").open("a") as file:
        file.write("database: dbname=iampass channel_binding=prefer\n")
    with psycopg.connect(server.conninfo("iampass")) as other:
        other.execute("LOCK TABLE person IN ACCESS EXCLUSIVE MODE")
        command = [sys.executable, "-m", "pam_iampass.gateway.cli", "backup"]
        running = subprocess.Popen(
            command, cwd=package(), env={**os.environ, "PGPASSWORD": "hunter2"}, stdout=subprocess.DEVNULL
        )
        waits = "SELECT usename, pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'"
        with psycopg.connect(server.conninfo("iampass"), autocommit=True) as watching:
            ((user, _),) = wait_until(lambda: watching.execute(waits).fetchall(), "pg_dump does not wait")
        assert user == ACCOUNT
        (words,) = [each for each in command_lines() if "--format=custom" in each]
        assert "hunter2" not in words
        assert "channel_binding=prefer" in words, "it protects the password as the gateway does"
        (temporary,) = names()
        assert "another backup is under way" in run_gateway("backup", status=1)
        assert names() == [temporary]
        # Killed, it leaves this file to the next one.
        running.kill()
        running.wait()
        assert names() == [temporary]
    assert [dumped().name] == names()


def test_the_rights_that_its_unit_leaves_to_root_are_enough(server: Postgres) -> None:
    unit = (ROOT / f"packaging/systemd/gateway/{backup.UNIT}.service").read_text()
    (found,) = re.findall("^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    rights = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in found.split())])
    command = ["setpriv", "--no-new-privs", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    command += [sys.executable, "-m", "pam_iampass.gateway.cli", "backup"]
    done = subprocess.run(command, cwd=package(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(names()) == 1
    assert abs(backup.last_here() - time.time()) < PATIENCE


def test_a_backup_that_fails_leaves_nothing_and_is_a_record(server: Postgres) -> None:
    with psycopg.connect(server.conninfo("iampass"), autocommit=True) as connection:
        connection.execute("CREATE TABLE not_ours ()")  # which the gateway's role cannot read
        try:
            with Journald() as journald:
                before = journald.cursor()
                shown = run_gateway("backup", status=1)
                (record,) = journald.wait_for(before)
        finally:
            connection.execute("DROP TABLE not_ours")
    assert "permission denied for table not_ours" in shown
    assert "permission denied for table not_ours" in record["IAMPASS_REASON"]
    assert (record["MESSAGE_ID"], record["IAMPASS_EVENT"]) == (BACKUP_FAILED, "backup_failed")
    assert record["_UID"] == "0"
    assert names() == []


def test_whatever_signal_ends_pg_dump_leaves_nothing_and_is_a_record(server: Postgres) -> None:
    command = [sys.executable, "-m", "pam_iampass.gateway.cli", "backup"]
    locks = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'"
    with psycopg.connect(server.conninfo("iampass")) as other, Journald() as journald:
        other.execute("LOCK TABLE person IN ACCESS EXCLUSIVE MODE")
        before = journald.cursor()
        running = subprocess.Popen(command, cwd=package())
        with psycopg.connect(server.conninfo("iampass"), autocommit=True) as watching:
            wait_until(lambda: watching.execute(locks).fetchall(), "pg_dump does not wait")
        # The gateway's account may do that, as well as with one that has no name.
        found = ["pkill", "-RTMIN+6", "--parent", str(running.pid), "--uid", ACCOUNT]
        subprocess.run(found, check=True)
        assert running.wait(PATIENCE) == 1
        (record,) = journald.wait_for(before)
    assert (record["MESSAGE_ID"], record["IAMPASS_EVENT"]) == (BACKUP_FAILED, "backup_failed")
    assert record["IAMPASS_REASON"] == "pg_dump was ended by signal 40"
    assert names() == []


def test_without_a_database_a_backup_is_a_record_too(server: Postgres) -> None:
    server.stop()
    try:
        with Journald() as journald:
            before = journald.cursor()
            run_gateway("backup", status=1)
            (record,) = journald.wait_for(before)
    finally:
        server.start("-c", f"unix_socket_directories={SOCKETS}")
    assert record["MESSAGE_ID"] == BACKUP_FAILED
    assert "the database" in record["IAMPASS_REASON"]


@pytest.mark.long
def test_no_dump_is_made_through_a_pooler_whose_connections_gateways_share(server: Postgres) -> None:
    with server.pooled(POOLED) as port, (ETC / "gateway.yaml").open("a") as file:
        file.write(f"database: host=127.0.0.1 port={port} user=_iampass-gateway dbname=iampass\n")
        file.flush()
        assert "leads to a pooler" in run_gateway("backup", status=1)
    assert names() == []


# The folder


@pytest.mark.parametrize("mode", [0o701, 0o750, 0o770, 0o707])
def test_no_dump_is_made_in_a_folder_that_others_can_enter(server: Postgres, mode: int) -> None:
    FOLDER.chmod(mode)
    shown = run_gateway("backup", status=1)
    assert re.search("others than root can enter|users other than root can write", shown)
    assert names() == []
    assert "backup-fails" in found_by_check()


def test_no_dump_is_made_in_a_folder_that_somebody_else_can_exchange(server: Postgres) -> None:
    shutil.chown(FOLDER, ACCOUNT)
    assert "belongs to user _iampass-gateway" in run_gateway("backup", status=1)
    shutil.chown(FOLDER, "root")
    elsewhere = Path("/var/backups/elsewhere")
    FOLDER.rename(elsewhere)
    try:
        assert "does not exist" in run_gateway("backup", status=1)
        FOLDER.write_text("")
        assert "is a file, not a folder" in run_gateway("backup", status=1)
        FOLDER.unlink()
        between = Path("/var/backups/between")
        between.mkdir()
        shutil.chown(between, ACCOUNT)
        (between / "link").symlink_to(elsewhere)
        FOLDER.symlink_to(between / "link")
        assert "belongs to user _iampass-gateway" in run_gateway("backup", status=1)
        FOLDER.unlink()
        shutil.rmtree(between)
        assert os.listdir(elsewhere) == []
        FOLDER.symlink_to(elsewhere)  # of root
        assert dumped().is_file()
    finally:
        FOLDER.unlink(missing_ok=True)
        shutil.rmtree(elsewhere)


def test_what_is_no_dump_but_called_so_is_left_alone_and_keeps_nobody_waiting(server: Postgres) -> None:
    pipe, link, folder, other = (
        FOLDER / f"iampass-{number:06}-20260101T000000Z.dump" for number in (1, 2, 3, 4)
    )
    os.mkfifo(pipe)
    link.symlink_to(ETC / "key")
    folder.mkdir()
    strange = FOLDER / "iampass-latest.dump"
    strange.write_text("")
    for _ in range(4):
        dumped()
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert folder.is_dir()
    assert strange.exists()
    assert len(names()) == 4 + 3
    assert "backup-fails" not in found_by_check()
    for each in FOLDER.glob("*20??????T*"):
        if each.is_file() and not each.is_symlink():
            each.unlink()
    os.mkfifo(other)
    assert found_by_check()["backup-fails"]["title"].endswith("there is none")


def test_a_dump_leaves_room_on_the_disk_and_is_not_begun_if_there_is_little(server: Postgres) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=264m,mode=0700", "dumps", FOLDER], check=True)
    try:
        assert "has too little room" in run_gateway("backup", status=1), (
            "the first is as large as the database"
        )
        last = FOLDER / "iampass-000007-20260101T000000Z.dump"
        last.write_bytes(bytes(1_000_000))
        (FOLDER / "filling").write_bytes(bytes(6_000_000))
        assert "has too little room" in run_gateway("backup", status=1)
        last.write_bytes(bytes(500_000))
        with psycopg.connect(server.conninfo("iampass"), autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE large AS SELECT string_agg(gen_random_uuid()::text, '')"
                " FROM generate_series(1, 200000)"
            )
            connection.execute('ALTER TABLE large OWNER TO "_iampass-gateway"')
            assert "File too large" in run_gateway("backup", status=1)
            connection.execute("DROP TABLE large")
        assert names() == ["filling", last.name]
        assert dumped().name.startswith("iampass-000008-")
    finally:
        subprocess.run(["umount", FOLDER], check=True)


# Restores


def test_a_restore_on_a_new_machine_by_the_page_brings_back_hosts_people_and_logins(
    server: Postgres,
) -> None:
    dump = dumped()
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE iampass WITH (FORCE)")
        connection.execute('DROP ROLE "_iampass-gateway"')
    new_state()
    run_gateway("init")
    with serving():
        assert log_in() != "active", "a new database knows nobody"
        wait_until(lambda: (STATE / "mark.json").exists(), "it does not remember the database")
    restore(dump)
    with serving():
        assert log_in() == "RESTORED"
        assert "This machine cannot know" in run_gateway("restored", "--confirm")
        wait_until(lambda: log_in() == "active", "the host is not answered")


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Path]:
    """Takes the place of systemctl and of the portal's program: the file of what was asked of systemd."""
    called, listens = tmp_path / "called", tmp_path / "listens"
    programs = {
        Path(
            "/usr/sbin/systemctl"
        ): f'echo "$*" >> {called}; case "$*" in *Listen*) cat {listens};; show*|cat*) exit 1;; esac',
        Path(
            "/usr/bin/pam-iampass-portal"
        ): f'PYTHONPATH={package()} exec python3 -m pam_iampass.portal.cli "$@"',
    }
    for program, does in programs.items():
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
    setup_files.SYSTEMD.mkdir(parents=True)
    yield called
    setup_files.SYSTEMD.rmdir()
    for program in programs:
        program.unlink()


def test_backups_and_the_portal_are_switched_on_on_a_new_machine_by_the_page(
    server: Postgres, systemd: Path
) -> None:
    section = "Backups and portal on a new machine"
    page, said = TypedPage("docs/fleet/gateway-operations.md"), {}
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        address = "{}:{}".format(*listener.getsockname())
        origin = f"http://localhost:{listener.getsockname()[1]}"
        systemd.with_name("listens").write_text(f"{address} (Stream)\n")
        with (ETC / "gateway.yaml").open("a") as settings:
            settings.write(f"portal: {{origin: '{origin}'}}\noperators: {{admin: [it]}}\n")
        run_gateway("user", "add", "zoe", "--group", "it")
        restore(dumped())
        FOLDER.chmod(0o755)  # as it was copied
        with serving(), showing(listener, origin):
            run_gateway("restored", "--confirm", status=None)
            assert "backup-fails" in found_by_check()
            for command in page.sections[section]:
                words = shlex.split(command.replace("https://iampass.example.com", origin))
                if words[0] == "pam-iampass-gateway":
                    # Without encryption there is no certificate.
                    without = [i for i, word in enumerate(words) if word in ("--certificate", "--key")]
                    given = [word for i, word in enumerate(words) if not {i, i - 1} & set(without)]
                    said[" ".join(words[1:3])] = run_gateway(*given[1:], status=None)
                elif words[0] != "apt":
                    subprocess.run(words, check=True)
    assert [name.split("-")[1] for name in names()] == ["000001", "000002"]
    assert "enable --now pam-iampass-gateway-backup.timer" in systemd.read_text().splitlines()
    assert "zoe can register a passkey at:" in said["portal setup"], said
    assert "All is well." in said["portal status"]
    assert "[backup" not in said["check"]
    assert "portal" in said["check"].partition("Checked:")[2]


def test_a_dump_that_cannot_be_read_takes_the_place_of_nothing(server: Postgres) -> None:
    dump = dumped()
    os.truncate(dump, dump.stat().st_size // 2)
    with pytest.raises(AssertionError, match="pg_restore: error"):
        restore(dump)
    with serving():
        assert log_in() == "active"
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE restored")


def test_what_was_written_into_a_dump_has_no_more_rights_at_the_restore_than_the_gateway(
    server: Postgres,
) -> None:
    """What an index computes is executed when it is restored."""
    role = "SELECT rolsuper FROM pg_roles WHERE rolname = '_iampass-gateway'"
    with psycopg.connect(server.conninfo("iampass"), autocommit=True) as connection:
        connection.execute('SET ROLE "_iampass-gateway"')
        connection.execute(
            """
            CREATE FUNCTION planted(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
            BEGIN
                IF current_setting('is_superuser') = 'on' OR session_user <> '_iampass-gateway' THEN
                    ALTER ROLE "_iampass-gateway" SUPERUSER;
                END IF;
                RETURN $1;
            END $$
            """
        )
        connection.execute("CREATE TABLE with_planted (value integer)")
        connection.execute("INSERT INTO with_planted VALUES (1)")
        connection.execute("RESET ROLE")
    with psycopg.connect(server.conninfo("iampass"), user=ACCOUNT, autocommit=True) as connection:
        connection.execute("CREATE INDEX ON with_planted (planted(value))")
    dump = dumped()
    restore(dump)
    with psycopg.connect(server.conninfo("iampass"), autocommit=True) as connection:
        assert connection.execute("SELECT * FROM with_planted").fetchall() == [(1,)]
        assert connection.execute(role).fetchone() == (False,)
        connection.execute("DROP TABLE with_planted")
        connection.execute("DROP FUNCTION planted")
    run_gateway("restored", "--confirm", status=None)


# What check says


def found_by_check() -> dict[str, dict[str, Any]]:
    """The findings about backups."""
    report = json.loads(run_gateway("check", "--offline", "--json", status=None))
    return {finding["id"]: finding for finding in report["findings"] if finding["id"].startswith("backup")}


def test_check_says_that_there_is_no_backup_or_an_old_one(server: Postgres) -> None:
    assert found_by_check()["backup-fails"]["title"].endswith("there is none")
    dump = dumped()
    assert found_by_check() == {}
    for days in (3, -3):  # in the future: a clock was wrong
        os.utime(dump, (time.time() - days * 86400,) * 2)
        assert f"is {days} days old" in found_by_check()["backup-fails"]["title"]
    shutil.rmtree(FOLDER)
    (found,) = found_by_check().values()
    assert (found["id"], found["severity"]) == ("backup-fails", "error"), "no other gateway makes them"
    assert f"install -d -m 0700 {FOLDER}" in found["remedy"]
    text = (ETC / "gateway.yaml").read_text()
    several = "gateways: ['https://localhost:8443', 'https://gw2.example.com:8443']\n"
    (ETC / "gateway.yaml").write_text(text + several)
    assert found_by_check()["backup-off"]["severity"] == "note", "another gateway makes them"
    (ETC / "gateway.yaml").write_text(text.replace(SETTINGS, ""))
    assert found_by_check().keys() == {"backup-off"}
    assert "names no folder" in run_gateway("backup", status=1)
