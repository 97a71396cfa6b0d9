"""A database that was restored from a backup: no host is answered until an administrator has confirmed it."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import pwd
import shutil
import signal
import socket
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Callable

import pytest

from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway, opened
from pam_iampass.gateway.base.keys import KeyFile, Tampered
from pam_iampass.gateway.base.mark import Mark
from pam_iampass.gateway.base.places import ACCOUNT
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.settings import load
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.cli import serve, serve_acts
from pam_iampass.gateway.cli.serve import serve_hosts
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Invite
from pam_iampass.system import atomic_write
from tests.support.deadline import PATIENCE
from tests.support.gateway import settings_for
from tests.support.gateway_command import GatewayCommand
from tests.support.journald import Journald
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox


@pytest.fixture(autouse=True)
def state(trusted_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = trusted_folder / "state"
    folder.mkdir(mode=0o700)
    trusted_folder.chmod(0o755)
    _give_to_service(folder)
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    return folder


def _give_to_service(path: Path) -> None:
    """The command becomes the service's account where there is one."""
    with suppress(LookupError):
        shutil.chown(path, ACCOUNT)


def run(conninfo: str, keys: KeyFile, use: Callable[[Gateway], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        async with Database(conninfo, connections=2) as database:
            return await use(Gateway(None, database, keys))  # type: ignore[arg-type]

    return asyncio.run(go())


async def _begun(gateway: Gateway) -> None:
    async with gateway.database.transaction() as connection:
        await restored.begin(gateway, connection)
        await restored.begin(gateway, connection)
        await records.write(connection, Kind.ACT, what="init")


async def _act(gateway: Gateway) -> None:
    async with gateway.database.transaction() as connection:
        await records.write(connection, Kind.ACT, host="web17", what="host remove")


def test_a_copy_of_yesterday_is_noticed_and_accepted_once_it_is_confirmed(
    postgres: Postgres, conninfo: str, keys: KeyFile
) -> None:
    async def begin(gateway: Gateway) -> None:
        await _begun(gateway)
        async with gateway.database.transaction() as connection:
            at = await now(connection)
            invite = Invite("i-1", "secret", "servers", 1, at, at)
            await hosts.add_invite(gateway, connection, invite)
        await restored.look(gateway)
        assert not gateway.restored

    run(conninfo, keys, begin)
    backup = postgres.new_database(conninfo.rpartition("dbname=")[2])

    async def later(gateway: Gateway) -> None:
        await _act(gateway)
        await restored.look(gateway)
        assert not gateway.restored

    run(conninfo, keys, later)

    async def after_the_restore(gateway: Gateway) -> None:
        for _ in range(2):
            await restored.look(gateway)
            assert gateway.restored
            for _ in range(9):  # such as refused starts
                await _act(gateway)
        async with gateway.database.transaction() as connection:
            await restored.confirm(gateway, connection)
        await restored.look(gateway)
        assert not gateway.restored
        async with gateway.database.transaction() as connection:
            assert await hosts.find_invite(gateway, connection, "i-1") is None

    run(backup, keys, after_the_restore)

    async def the_other_one(gateway: Gateway) -> None:
        await restored.look(gateway)
        assert gateway.restored

    run(conninfo, keys, the_other_one)


def test_a_full_disk_makes_no_old_copy_and_hides_none(
    postgres: Postgres, conninfo: str, keys: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_given: Any, **_more: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run(conninfo, keys, _begun)
    run(conninfo, keys, restored.look)
    backup = postgres.new_database(conninfo.rpartition("dbname=")[2])
    monkeypatch.setattr(atomic_write, "write", no_space)

    async def use(gateway: Gateway) -> None:
        await _act(gateway)
        with pytest.raises(OSError, match=r"cannot be written to .*mark\.json: No space left on device"):
            await restored.look(gateway)
        assert not gateway.restored
        async with Database(backup, connections=2) as copy:
            gateway.database = copy
            await restored.look(gateway)
            assert gateway.restored
            assert await _is_marked(gateway)

    run(conninfo, keys, use)


@pytest.mark.parametrize("records_since", [1, 2, 3])
def test_what_is_recorded_after_a_restore_does_not_make_up_for_what_was_lost(
    postgres: Postgres, conninfo: str, keys: KeyFile, records_since: int
) -> None:
    async def look(gateway: Gateway) -> bool:
        await restored.look(gateway)
        return gateway.restored

    async def last(gateway: Gateway) -> datetime | None:
        async with gateway.database.transaction() as connection:
            return await restored.last_of_copy(connection)

    run(conninfo, keys, _begun)
    run(conninfo, keys, look)
    newest = run(conninfo, keys, last)
    assert newest is not None
    backup = postgres.new_database(conninfo.rpartition("dbname=")[2])
    for _ in range(2):
        run(conninfo, keys, _act)
    assert not run(conninfo, keys, look)
    for _ in range(records_since):
        run(backup, keys, _act)
    for _ in range(2):
        assert run(backup, keys, look)
        run(backup, keys, _act)
    assert run(backup, keys, last) == newest


def test_a_record_that_was_skipped_by_the_copy_is_lost_too(
    postgres: Postgres, conninfo: str, keys: KeyFile
) -> None:
    async def skip(gateway: Gateway) -> None:
        async with gateway.database.transaction() as connection:
            await connection.execute("SELECT nextval('record_id_seq')")

    run(conninfo, keys, _begun)
    backup = postgres.new_database(conninfo.rpartition("dbname=")[2])
    run(conninfo, keys, _act)
    run(conninfo, keys, restored.look)
    run(backup, keys, skip)
    run(backup, keys, _act)

    async def look(gateway: Gateway) -> None:
        await restored.look(gateway)
        assert gateway.restored

    run(backup, keys, look)


def test_records_that_were_too_old_are_not_missed(conninfo: str, keys: KeyFile) -> None:
    async def use(gateway: Gateway) -> None:
        await _begun(gateway)
        await restored.look(gateway)
        async with gateway.database.transaction() as connection:
            await connection.execute("DELETE FROM record")
        await restored.look(gateway)
        assert not gateway.restored

    run(conninfo, keys, use)


async def _confirm(gateway: Gateway) -> None:
    async with gateway.database.transaction() as connection:
        await restored.confirm(gateway, connection)


async def _look(gateway: Gateway) -> bool:
    await restored.look(gateway)
    return gateway.restored


async def _act_of_a_command(gateway: Gateway) -> None:
    gateway.database.after_act = partial(restored.remember_act, gateway)
    await _act(gateway)


def test_a_copy_from_before_an_act_is_noticed_although_no_service_has_looked_since(
    postgres: Postgres, conninfo: str, keys: KeyFile
) -> None:
    run(conninfo, keys, _begun)
    run(conninfo, keys, _look)
    backup = postgres.new_database(conninfo.rpartition("dbname=")[2])
    run(conninfo, keys, _act_of_a_command)
    for _ in range(3):
        run(backup, keys, _act_of_a_command)
    assert not run(backup, keys, _is_marked), "the service judges, which has the settings of this fleet"
    assert run(backup, keys, _look)


def test_a_command_makes_no_first_mark(conninfo: str, keys: KeyFile) -> None:
    run(conninfo, keys, _begun)
    run(conninfo, keys, _act_of_a_command)
    assert restored.seen() is None


def test_an_act_is_done_although_it_cannot_be_remembered(
    conninfo: str, keys: KeyFile, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(conninfo, keys, _begun)
    (state / "mark.json").write_text("{}")
    run(conninfo, keys, _act_of_a_command)
    assert "Warning: this is done, but" in capsys.readouterr().err


def test_the_command_remembers_what_it_does(gateway_command: GatewayCommand) -> None:
    gateway_command.transaction(restored.begin)

    async def look() -> None:
        async with opened(load(gateway_command.config)) as gateway:
            await restored.look(gateway)

    asyncio.run(look())
    _give_to_service(restored.state_folder() / "mark.json")
    before = restored.seen()
    assert "this is done, but" not in gateway_command.said("user", "add", "carol")
    after = restored.seen()
    assert before is not None
    assert after is not None
    assert after.records == before.records + 1


def test_a_host_has_the_service_write_no_mark_for_each_of_its_calls(
    gateway_command: GatewayCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway_command.transaction(restored.begin)

    async def serving(gateway: Gateway) -> None:
        await restored.look(gateway)
        before = restored.seen()
        await _act(gateway)  # such as `people_asked`
        assert restored.seen() == before
        await restored.look(gateway)
        assert restored.seen() != before

    monkeypatch.setattr(serve, "serve_hosts", serving)
    gateway_command.said("serve")


def test_the_service_for_the_portal_remembers_each_act(
    gateway_command: GatewayCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway_command.transaction(restored.begin)

    async def answering(gateway: Gateway, _: socket.socket) -> None:
        await restored.look(gateway)
        before = restored.seen()
        await _act(gateway)
        assert restored.seen() != before

    monkeypatch.setattr(serve_acts, "passed", lambda: [("acts", socket.socket(socket.AF_UNIX).detach())])
    monkeypatch.setattr(serve_acts, "_serve", answering)
    gateway_command.said("serve-acts")


def test_the_service_remembers_how_far_the_database_is_when_it_stops(
    conninfo: str, keys: KeyFile, sandbox: Sandbox, tmp_path: Path
) -> None:
    settings = settings_for(conninfo, sandbox, tmp_path)
    threshold = gc.get_threshold()

    async def go() -> None:
        async with Database(conninfo) as database:
            gateway = Gateway(settings, database, keys)
            await _begun(gateway)
            serving = asyncio.create_task(serve_hosts(gateway))
            while restored.seen() is None:
                await asyncio.sleep(0.01)
            async with database.transaction() as connection:
                await records.write(connection, Kind.ALERT, what="last")
            os.kill(os.getpid(), signal.SIGTERM)
            await serving
            async with database.transaction() as connection:
                assert restored.seen() == await restored.current(gateway, connection)

    try:
        asyncio.run(asyncio.wait_for(go(), PATIENCE))
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()


def test_a_machine_that_cannot_know_says_so(gateway_command: GatewayCommand, state: Path) -> None:
    gateway_command.transaction(restored.begin)
    gateway_command.said("user", "add", "carol")
    mark = {
        "restores": 0,
        "records": 9,
        "newest": 9,
        "written": "2100-01-01T00:00:00+00:00",
        "old_copy": False,
    }
    (state / "mark.json").write_text(json.dumps({"fleet": "another", **mark}))
    shown = gateway_command.said("restored", status=1)
    assert "This machine cannot know what was done since then" in shown
    assert "it was not a gateway of this database" in shown


@contextmanager
def real_user(name: str) -> Iterator[None]:
    """As a process of this user, apart from its rights: the journal says so."""
    os.setreuid(pwd.getpwnam(name).pw_uid, -1)
    try:
        yield
    finally:
        os.setreuid(0, -1)


def test_what_was_done_at_the_portal_and_by_the_services_is_listed_too_and_what_cannot_be_known_is_said(
    gateway_command: GatewayCommand, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_the_portal(gateway: Gateway, connection: Connection) -> None:
        by = {"caller": "zoe", "known_by": "sign-in"}
        for what in ("sign_in", "host_suspend", "refused"):
            await records.act(connection, what, by=by, host=f"host-of-{what}", reason=f"why-{what}")

    async def by_the_service(gateway: Gateway, connection: Connection) -> None:
        await records.write(connection, Kind.ACT, host="host-that-left", what="host_left")
        await records.write(connection, Kind.ALERT, host="stopped", what="host_stopped", reason="people have")
        await records.alert(connection, "host-of-an-alert", "nothing was done")

    async def by_nobody(gateway: Gateway, connection: Connection) -> None:
        await records.act(connection, "host_suspend", host="forged")

    service = "daemon"
    monkeypatch.setattr("pam_iampass.gateway.cli.restored.ACCOUNT", service)
    gateway_command.transaction(restored.begin)
    with Journald() as journald:
        gateway_command.said("user", "add", "carol")
        gateway_command.said("user", "add", "claude", "--acts-for", "carol")
        gateway_command.said("user", "remove", "claude", "--yes")
        for user, acts in (("nobody", by_nobody), (service, at_the_portal), (service, by_the_service)):
            with real_user(user):
                gateway_command.transaction(acts)
        gateway_command.said("user", "add", "dave")
        journald.records()  # all are in the files then
        gateway_command.rows("DELETE FROM record WHERE id > 1")
        (fleet,) = gateway_command.rows("SELECT id FROM fleet")
        mark = {"restores": 0, "records": 9, "newest": 9, "written": "2100-01-01T00:00:00+00:00"}
        (state / "mark.json").write_text(json.dumps({"fleet": str(fleet["id"]), **mark, "old_copy": False}))
        shown = gateway_command.said("restored", status=1)
    listed = [
        line.split() for line in shown.splitlines() if "host" in line or "dave" in line or "carol" in line
    ]
    found = [
        (what, host, by) for _, _, what, host, _, by, *_ in listed if what.startswith(("host_", "user_"))
    ]
    assert found[1:] == [
        ("host_suspend", "host-of-host_suspend", "zoe"),
        ("host_left", "host-that-left", "-"),
        ("host_stopped", "stopped", "-"),
        ("user_add", "-", found[-1][2]),
    ]
    assert "why-host_suspend" in shown
    assert [line.split()[2] for line in shown.splitlines() if "claude: " in line] == [
        "agent_add",
        "agent_remove",
    ]
    for unwanted in ("forged", "why-sign_in", "why-refused", "nothing was done"):
        assert unwanted not in shown, unwanted
    assert "other gateways" in shown
    assert "logins" in shown


async def _is_marked(gateway: Gateway) -> bool:
    async with gateway.database.transaction() as connection:
        return (await restored.current(gateway, connection)).old_copy


def test_a_database_that_is_confirmed_while_a_gateway_compares_it_is_no_old_copy_again(
    postgres: Postgres, conninfo: str, keys: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = restored.compare

    async def confirmed_after_that(gateway: Gateway) -> tuple[Mark, Mark]:
        found = await compare(gateway)
        await _confirm(gateway)
        return found

    run(conninfo, keys, _begun)
    backup = postgres.new_database(conninfo.rpartition("dbname=")[2])
    run(conninfo, keys, _act)
    assert not run(conninfo, keys, _look)
    with monkeypatch.context() as patch:
        patch.setattr(restored, "compare", confirmed_after_that)
        assert run(backup, keys, _look)
    assert not run(backup, keys, _is_marked)
    assert not run(backup, keys, _look)


def test_a_copy_that_is_older_than_the_last_confirmation_is_marked_for_the_other_gateways(
    postgres: Postgres, conninfo: str, keys: KeyFile
) -> None:
    run(conninfo, keys, _begun)
    backup = postgres.new_database(conninfo.rpartition("dbname=")[2])
    run(conninfo, keys, _confirm)
    assert not run(conninfo, keys, _look)
    assert run(backup, keys, _look)
    assert run(backup, keys, _is_marked)


def test_another_installation_is_not_taken_for_this_one(
    postgres: Postgres, template: str, conninfo: str, keys: KeyFile
) -> None:
    async def begin(gateway: Gateway) -> None:
        await _begun(gateway)
        await restored.look(gateway)

    async def other(gateway: Gateway) -> None:
        await _begun(gateway)
        await _act(gateway)
        await restored.look(gateway)
        assert gateway.restored
        async with gateway.database.transaction() as connection:
            await restored.confirm(gateway, connection)
        await restored.look(gateway)
        assert gateway.restored, "confirmed elsewhere: each gateway has to be told that it is another one"
        await restored.adopt(gateway)
        await restored.look(gateway)
        assert not gateway.restored

    run(conninfo, keys, begin)
    run(postgres.new_database(template), keys, other)


def test_a_copy_of_the_same_installation_is_not_adopted_unless_it_is_confirmed(
    conninfo: str, keys: KeyFile
) -> None:
    async def use(gateway: Gateway) -> None:
        await _begun(gateway)
        await restored.look(gateway)
        async with gateway.database.transaction() as connection:
            await connection.execute("DELETE FROM record")
            await connection.execute("ALTER SEQUENCE record_id_seq RESTART")
        await restored.adopt(gateway)
        await restored.look(gateway)
        assert gateway.restored

    run(conninfo, keys, use)


def test_a_row_that_no_gateway_has_written_confirms_nothing(conninfo: str, keys: KeyFile) -> None:
    async def use(gateway: Gateway) -> None:
        with pytest.raises(Tampered):
            await restored.look(gateway)
        assert gateway.restored
        await _begun(gateway)
        await restored.look(gateway)
        assert not gateway.restored
        async with gateway.database.transaction() as connection:
            await connection.execute("UPDATE fleet SET restores = restores + 1")
        with pytest.raises(Tampered):
            await restored.look(gateway)
        assert gateway.restored
        async with gateway.database.transaction() as connection:
            with pytest.raises(Tampered):
                await restored.confirm(gateway, connection)

    run(conninfo, keys, use)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[1]",
        '{"fleet": "x"}',
        '{"fleet": 1, "restores": 0, "records": 1}',
        '{"fleet": "x", "restores": 0, "records": 1}',
    ],
)
def test_a_damaged_mark_answers_no_host(conninfo: str, keys: KeyFile, state: Path, content: str) -> None:
    (state / "mark.json").write_text(content)

    async def use(gateway: Gateway) -> None:
        await _begun(gateway)
        with pytest.raises(ValueError, match="is damaged: remove it"):
            await restored.look(gateway)
        assert gateway.restored

    run(conninfo, keys, use)


@pytest.mark.parametrize(
    ("now", "behind"),
    [
        (Mark("a", 0, 5), False),
        (Mark("a", 0, 6), False),
        (Mark("a", 0, 4), True),
        (Mark("b", 0, 9), True),
        (Mark("a", 1, 4), False),
    ],
)
def test_what_is_behind(now: Mark, behind: bool) -> None:
    assert now.is_behind(Mark("a", 0, 5)) is behind
    assert Mark("a", 0, 9).is_behind(Mark("a", 1, 5))
    assert Mark("a", 0, 9).is_behind(Mark("a", 0, 5, old_copy=True))
    assert not Mark("a", 1, 1).is_behind(Mark("a", 0, 5, old_copy=True))
