"""The process that a door makes for the helper, whatever the application's own is like."""

from __future__ import annotations

import os
import pwd
import sys
from typing import Any

import pytest

from tests.pam.native.conftest import (
    HELPER_USER,
    PAM_ABORT,
    PAM_SUCCESS,
    SANITIZE,
    Application,
    Door,
    Option,
    Playing,
)
from tests.support.in_time import BUSY, in_time
from tests.support.processes import status
from tests.support.scripted_module import DoorConnection, result
from tests.support.world import wait_until


def approves(door: DoorConnection) -> None:
    door.greeting()
    door.send(result(0))


def facts(application: Application, helper: Playing, **options: Option) -> dict[str, Any]:
    """What the helper sees, where the application runs with these options."""
    with helper(approves) as played:
        run = application.run(**options)  # type: ignore[arg-type]
    assert run.result == PAM_SUCCESS
    assert played.connection.helper is not None
    return played.connection.helper


def test_it_is_an_isolated_python_without_site(application: Application, helper: Playing, door: Door) -> None:
    seen = facts(application, helper)
    assert (seen["isolated"], seen["no_site"]) == (1, 1)
    if sys.version_info >= (3, 10):
        assert seen["argv"] == ["/usr/bin/python3", "-I", "-S", str(door.helper)]


def test_nothing_of_the_callers_environment_reaches_it(
    application: Application, helper: Playing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "RES_OPTIONS", "LC_ALL", "TZ"):
        monkeypatch.setenv(name, "/tmp/planted")
    seen = facts(application, helper)["environment"]
    assert seen == {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@pytest.mark.parametrize(
    "options", [{}, {"descriptor": 50}, {"descriptor": 900}, {"close_standard": True}], ids=str
)
def test_it_has_the_socket_and_dev_null_and_nothing_else(
    application: Application, helper: Playing, options: dict[str, Option]
) -> None:
    descriptors = facts(application, helper, **options)["descriptors"]
    assert set(descriptors) == {"0", "1", "2"}
    assert descriptors["0"].startswith("socket:")
    assert [descriptors["1"], descriptors["2"]] == ["/dev/null"] * 2


@pytest.mark.parametrize("options", [{}, {"ignore_signals": True}, {"block_signals": True}], ids=str)
def test_no_signal_is_blocked_or_ignored_in_it(
    application: Application, helper: Playing, options: dict[str, Option]
) -> None:
    seen = facts(application, helper, **options)
    assert int(seen["blocked"], 16) == 0
    python_ignores = 1 << 12 | 1 << 24  # SIGPIPE and SIGXFSZ, by the interpreter itself
    assert int(seen["ignored"], 16) & ~python_ignores == 0


def test_it_is_the_services_user_and_group_and_nothing_more(
    application: Application, helper: Playing
) -> None:
    account = pwd.getpwnam(HELPER_USER)
    seen = facts(application, helper)
    assert (seen["uids"], seen["gids"]) == ([account.pw_uid] * 3, [account.pw_gid] * 3)
    assert seen["groups"] == [account.pw_gid]


def test_the_interpreter_never_runs_as_root(application: Application, helper: Playing) -> None:
    account = pwd.getpwnam(HELPER_USER)
    assert facts(application, helper)["uids_at_start"] == [account.pw_uid] * 3


def test_it_has_a_session_a_umask_and_a_folder_of_its_own(application: Application, helper: Playing) -> None:
    before = os.umask(0)
    try:
        seen = facts(application, helper)
    finally:
        os.umask(before)
    assert os.getcwd() != "/"
    assert (seen["session"], seen["umask"], seen["folder"]) == (True, 0o077, "/")


TINY = {"cpu": 1, "fsize": 0, "nproc": 1, "nofile": 120, "stack": 256 << 10, "data": 4 << 20, "as": 16 << 20}


def need_memory(limit: str) -> None:
    if SANITIZE and limit in ("as", "data", "stack"):
        pytest.skip("a sanitizer needs more memory than that")


def test_it_dumps_no_core(application: Application, helper: Playing) -> None:
    assert facts(application, helper)["limits"]["RLIMIT_CORE"] == [0, 0]


@pytest.mark.parametrize("limit", ["as", "data", "nofile", "stack", "fsize", "cpu", "nproc"])
def test_no_limit_makes_a_denial_a_success(application: Application, helper: Playing, limit: str) -> None:
    def denies(door: DoorConnection) -> None:
        door.greeting()
        door.send(result(26))

    need_memory(limit)
    with helper(denies):
        assert application.run(**{limit: TINY[limit]}).result == PAM_ABORT  # type: ignore[arg-type]


def test_denied_where_no_descriptor_is_left(application: Application, module: Playing) -> None:
    with module(approves) as played:
        run = application.run(user="", typed="alice", conversation="hoard", nofile="200:")
    assert run.result != PAM_SUCCESS  # PAM_SYSTEM_ERR: libpam has no descriptor left for the audit either
    assert played.connections == []


@pytest.mark.parametrize("ways", [{"children": True}, {"ignore_children": True}], ids=str)
def test_the_application_never_sees_a_child(
    application: Application, helper: Playing, ways: dict[str, Option]
) -> None:
    with helper(approves):
        run = application.run(calls=10, **ways)  # type: ignore[arg-type]
    assert run.result == PAM_SUCCESS
    assert run.children == 0


def test_the_helper_is_no_child_of_the_application(application: Application, helper: Playing) -> None:
    parents: list[str] = []

    def looks(door: DoorConnection) -> None:
        door.greeting()
        assert door.helper is not None
        process = door.helper["process"]
        # Behind pam_python the helper forks, and may start before its parent has ended.
        wait_until(lambda: "application" not in ancestors(process), "the helper belongs to init")
        parents.extend(ancestors(process))
        door.send(result(0))

    with helper(looks):
        application.run()
    assert parents


def ancestors(process: int) -> list[str]:
    """The names of the processes that this one descends from, nearest first."""
    names = []
    while (process := int(status(process).get("PPid", 0))) != 0:
        names.append(status(process).get("Name", ""))
    return names


def test_closed_standard_descriptors_of_the_application_stay_closed(
    application: Application, module: Playing
) -> None:
    with module(approves):
        run = application.run(close_standard=True)
    assert run.result == PAM_SUCCESS
    assert run.standard_descriptors == [False] * 3


def test_the_connection_never_takes_the_place_of_a_closed_standard_descriptor(
    application: Application, module: Playing
) -> None:
    held: list[list[str]] = []

    def looks(door: DoorConnection) -> None:
        door.greeting()
        held.append([name for name in os.listdir(_descriptors_of_the_application()) if int(name) < 3])
        door.send(result(0))

    with module(looks):
        application.run(close_standard=True)
    assert held == [[]]


def _descriptors_of_the_application() -> str:
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/stat") as status:
                words = status.read().split()
        except OSError:
            continue
        if words[1] == "(application)" and int(words[3]) == os.getpid():
            return f"/proc/{process}/fd"
    raise LookupError("no application")


def test_denied_where_the_helper_is_not_installed(application: Application, door: Door) -> None:
    away = door.helper.rename(door.helper.with_name("away"))
    try:
        run = in_time(application.run, BUSY)
    finally:
        away.rename(door.helper)
    assert run.result == PAM_ABORT
    assert "closed the connection" in run.reason


@pytest.mark.parametrize("ending", ["raise SystemExit(0)", "import os; os.kill(os.getpid(), 9)", "("])
def test_denied_where_the_helper_ends_without_a_word(
    application: Application, door: Door, ending: str
) -> None:
    before = door.helper.read_text()
    door.helper.write_text(ending)
    try:
        run = application.run()
    finally:
        door.helper.write_text(before)
    assert run.result == PAM_ABORT
    assert "closed the connection" in run.reason
