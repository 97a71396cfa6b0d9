"""The session phases of a login whose IAMPASS session is kept: what a door sends, writes and removes, and that nothing
in them fails a login."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pam.native.conftest import (
    ERROR_MSG,
    PAM_ABORT,
    PAM_IGNORE,
    PAM_MAXTRIES,
    PAM_PERM_DENIED,
    PAM_SUCCESS,
    SANITIZE,
    Application,
    Door,
    Playing,
)
from tests.support.in_time import BUSY_ONCE
from tests.support.scripted_module import DoorConnection, Frame, ask, deadline, keep, result, say

SESSION = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32
IN_SSHD = "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA"
VARIABLE = "PAM_IAMPASS_SESSION"
WHOLE = "authenticate open_session close_session"
PASSES = "pam_permit.so"
USER = "daemon"
#: The kernel gives the process a new audit session (pam_loginuid does the same).
NEW_AUDIT_SESSION = "echo 1 > /proc/self/loginuid"
#: The application may lift no hard limit. Below systemd-nspawn, root has inheritable capabilities, too.
NO_MORE = 'set -- setpriv --inh-caps=-all --bounding-set=-sys_resource "$@"'

Script = Callable[[DoorConnection], None]


@pytest.fixture(autouse=True)
def logins(door: Door) -> Iterator[Path]:
    """The folder of registrations, empty before and after."""
    folder = door.agent_socket.parent / "logins"
    folder.mkdir(mode=0o755, exist_ok=True)
    yield folder
    os.chown(folder, 0, 0)
    folder.chmod(0o755)
    folder.rmdir()  # fails if anything is left in it


def keeps(code: int = PAM_SUCCESS, *frames: Frame, seen: Script = lambda door: None) -> Script:
    """Keep a session in the phases that decide the login; send `frames`, or ignore, in the session phases."""

    def play(door: DoorConnection) -> None:
        door.hello()
        if door.version_and_phase[1] <= 2:
            door.send(keep(SESSION), result(code))
        else:
            seen(door)
            door.send(*(frames or [result(PAM_IGNORE)]))

    return play


def phases(connections: list[DoorConnection]) -> list[int]:
    return [connection.version_and_phase[1] for connection in connections]


@pytest.mark.parametrize("code", [PAM_SUCCESS, PAM_IGNORE])
@pytest.mark.parametrize(
    "first", ["authenticate", "acct_mgmt"], ids=["in the auth phase", "in the account phase"]
)
def test_the_agent_is_notified_when_the_session_opens_and_closes(
    application: Application, agent: Playing, first: str, code: int
) -> None:
    with agent(keeps(code)) as played:
        told = f"{first} XDG_SESSION_ID=c7 open_session close_session"
        run = application.run(told, env=IN_SSHD, then=PASSES, user=USER, arguments="debug")
    assert run.result == PAM_SUCCESS
    assert phases(played.connections)[1:] == [3, 4]
    for connection in played.connections[1:]:
        assert connection.items["session"] == SESSION.encode()
        assert connection.items["xdg_session"] == b"c7"
        assert connection.items["ssh_auth_info"] == b"publickey ssh-ed25519 AAAA"
        assert connection.arguments == [b"debug"]
    assert {"session", "xdg_session"}.isdisjoint(played.connections[0].items)


def test_while_the_session_is_open_its_process_is_registered(
    application: Application, agent: Playing, logins: Path
) -> None:
    found: list[str] = []

    def look(door: DoorConnection) -> None:
        (file,) = logins.iterdir()
        assert file.name == f"{SESSION}.{door.pid}"
        status = file.lstat()
        assert (status.st_mode, status.st_uid, status.st_gid) == (stat.S_IFREG | 0o644, 0, 0)
        fields = dict(line.split("=", 1) for line in file.read_text().splitlines())
        process = Path(f"/proc/{door.pid}")
        started = (process / "stat").read_text().rpartition(")")[2].split()[19]
        audit = (process / "sessionid").read_text()
        assert door.items["audit_session"] == audit.encode()
        assert fields == {
            "user": USER,
            "uid": "1",
            "service": "under-test",
            "pid": str(door.pid),
            "started": started,
            "audit_session": audit,
            "xdg_session": "c7",
            "tty": "/dev/pts/7",
            "ruser": "games",
        }
        found.append(file.name)

    with agent(keeps(seen=look)) as played:
        told = "authenticate XDG_SESSION_ID=c7 open_session close_session"
        before = f"umask 077; {NEW_AUDIT_SESSION}"
        run = application.run(told, then=PASSES, user=USER, tty="/dev/pts/7", ruser="games", before=before)
    assert run.result == PAM_SUCCESS
    assert phases(played.connections) == [1, 3, 4]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("before", "env", "sent"),
    [
        (NEW_AUDIT_SESSION, "NONE=1", [False, True]),
        ("echo 2 > /proc/self/loginuid", "NONE=1", [False, False]),
        ("echo 0 > /proc/self/loginuid", "NONE=1", [True, False]),
        ("echo 0 > /proc/self/loginuid", IN_SSHD, [False, False]),
        (":", "NONE=1", [False, False]),
    ],
    ids=["of the user", "of another", "of the caller", "of who started sshd", "none"],
)
def test_an_audit_session_is_sent_only_of_who_is_logged_in_there(
    application: Application, agent: Playing, before: str, env: str, sent: list[bool]
) -> None:
    """Where pam_loginuid could set nothing, all logins have the same one. The caller here is root."""
    with agent(keeps()) as played:
        application.run(WHOLE, then=PASSES, user=USER, before=before, env=env)
    assert ["audit_session" in one.items for one in played.connections[:2]] == sent


@pytest.mark.parametrize(
    ("before", "env", "sent"),
    [
        ("echo 2 > /proc/self/loginuid", "NONE=1", b"2"),
        ("echo 2 > /proc/self/loginuid", IN_SSHD, None),
        (":", "NONE=1", None),
    ],
    ids=["of another", "of who started sshd", "none"],
)
def test_the_agent_is_told_in_whose_login_session_an_application_is_called_but_for_sshd(
    application: Application, agent: Playing, before: str, env: str, sent: bytes | None
) -> None:
    with agent(keeps()) as played:
        application.run(WHOLE, then=PASSES, user=USER, before=before, env=env)
    assert [one.items.get("login_uid") for one in played.connections[:2]] == [sent, None]


@pytest.mark.parametrize(
    ("variable", "are_sent"),
    [
        ("SSH_CONNECTION=UNKNOWN 65535 UNKNOWN 65535", True),
        ("SSH_CONNECTION=192.0.2.7 1 192.0.2.1 22", True),
        ("NONE=1", False),
    ],
)
def test_sockets_are_named_where_there_is_an_ssh_client(
    application: Application, agent: Playing, variable: str, are_sent: bool
) -> None:
    def look(door: DoorConnection) -> None:
        door.hello()
        open_now = [os.readlink(each) for each in Path(f"/proc/{door.pid}/fd").iterdir()]
        for inode in door.items.get("sockets", b"").decode().split():
            assert f"socket:[{inode}]" in open_now
        door.send(result(PAM_SUCCESS))

    with agent(look) as played:
        application.run("authenticate", then=PASSES, user=USER, env=variable)
    assert ("sockets" in played.connection.items) == are_sent


#: The application's parent is in the same audit session, as that of su and sudo is.
WITHIN = """set -- sh -c '"$@"; exit $?' sh "$@"; """


@pytest.mark.parametrize(
    ("before", "registered"),
    [
        (NEW_AUDIT_SESSION, True),
        (WITHIN + NEW_AUDIT_SESSION, False),
        ("echo 2 > /proc/self/loginuid", False),
        (":", False),
    ],
    ids=["begun by the login", "of the login that it was started in", "of another user", "none"],
)
def test_only_an_audit_session_that_the_login_has_begun_is_registered(
    application: Application, agent: Playing, logins: Path, before: str, registered: bool
) -> None:
    """All that is in it is killed when the login is ended."""
    found: list[bool] = []

    def look(_door: DoorConnection) -> None:
        (file,) = logins.iterdir()
        found.append("audit_session=" in file.read_text())

    with agent(keeps(seen=look)):
        application.run(WHOLE, then=PASSES, user=USER, before=before)
    assert found == [registered, registered]


@pytest.mark.parametrize(
    ("before", "env", "registered"),
    [
        ("echo 2 > /proc/self/loginuid", "A=1", True),
        (WITHIN + "echo 2 > /proc/self/loginuid", "A=1", True),
        ("echo 2 > /proc/self/loginuid", IN_SSHD, False),
        (WITHIN + NEW_AUDIT_SESSION, "A=1", False),
        (":", "A=1", False),
    ],
    ids=["of another account", "in which the caller is too", "of who started sshd", "of the account", "none"],
)
def test_the_login_of_another_account_in_which_su_was_called_is_registered(
    application: Application, agent: Playing, logins: Path, before: str, env: str, registered: bool
) -> None:
    """What su leaves there is ended with its login."""
    found: list[str] = []

    def look(door: DoorConnection) -> None:
        (file,) = logins.iterdir()
        fields = dict(line.split("=", 1) for line in file.read_text().splitlines())
        session = Path(f"/proc/{door.pid}/sessionid").read_text()
        found.append(fields.get("inside", "none").replace(session, "its own"))

    with agent(keeps(seen=look)):
        application.run(WHOLE, then=PASSES, user=USER, before=before, env=env)
    assert found == ["its own" if registered else "none"] * 2


@pytest.mark.parametrize("value", ["a\nuid=0", "\x1b[31m", "\x7f"])
def test_no_value_can_add_a_line_to_the_registration(
    application: Application, agent: Playing, logins: Path, value: str
) -> None:
    def look(_door: DoorConnection) -> None:
        (file,) = logins.iterdir()
        names = [line.partition("=")[0] for line in file.read_text().splitlines()]
        assert names == [
            "user",
            "uid",
            "service",
            "pid",
            "started",
        ]

    with agent(keeps(seen=look)) as played:
        run = application.run(
            f"authenticate XDG_SESSION_ID={value.split()[0]}\x01 open_session close_session",
            then=PASSES,
            user=USER,
            tty=value,
            ruser=value,
        )
    assert run.result == PAM_SUCCESS
    assert len(played.connections) == 3


@pytest.mark.parametrize("env", [IN_SSHD, "A=1"], ids=["in sshd", "elsewhere"])
def test_a_login_without_a_kept_session_makes_no_connection_and_writes_nothing(
    application: Application, agent: Playing, logins: Path, env: str
) -> None:
    before = logins.stat().st_mtime_ns

    def approves(door: DoorConnection) -> None:
        door.hello()
        door.send(result(PAM_SUCCESS))

    with agent(approves) as played:
        run = application.run(WHOLE, env=env, then=PASSES, user=USER)
    assert run.result == PAM_SUCCESS
    assert phases(played.connections) == [1]
    assert logins.stat().st_mtime_ns == before
    assert VARIABLE not in run.environment


@pytest.mark.parametrize("code", [PAM_PERM_DENIED, PAM_MAXTRIES, PAM_ABORT])
def test_a_denied_login_keeps_no_session(application: Application, agent: Playing, code: int) -> None:
    with agent(keeps(code)) as played:
        run = application.run(WHOLE, env=IN_SSHD, then=PASSES, user=USER)
    assert phases(played.connections) == [1]
    assert VARIABLE not in run.environment


def test_a_module_that_dies_after_keep_keeps_no_session(application: Application, agent: Playing) -> None:
    def dies(door: DoorConnection) -> None:
        door.hello()
        door.send(keep(SESSION))

    with agent(dies) as played:
        run = application.run(WHOLE, env=IN_SSHD, then=PASSES, user=USER)
    assert phases(played.connections) == [1]
    assert VARIABLE not in run.environment


@pytest.mark.parametrize(
    "session", ["", SESSION[1:], SESSION + "0", SESSION.upper(), "../" + SESSION[3:], "\0" * 32]
)
def test_denied_if_the_id_of_the_session_is_invalid(
    application: Application, agent: Playing, session: str
) -> None:
    def sends(door: DoorConnection) -> None:
        door.hello()
        door.send(keep(session), result(PAM_SUCCESS))

    with agent(sends):
        run = application.run("authenticate", then=PASSES)
    assert run.result == PAM_ABORT


def test_in_sshd_the_id_is_in_the_pam_environment_until_the_session_opens(
    application: Application, agent: Playing
) -> None:
    with agent(keeps()):
        assert application.run("authenticate", env=IN_SSHD, user=USER).environment[VARIABLE] == SESSION
        assert VARIABLE not in application.run("authenticate", user=USER).environment
        run = application.run(WHOLE, env=IN_SSHD, then=PASSES, user=USER)
    assert VARIABLE not in run.environment
    assert "SSH_AUTH_INFO_0" in run.environment


def test_sshd_opens_the_session_in_another_process_than_the_one_that_authenticated(
    application: Application, agent: Playing
) -> None:
    with agent(keeps()) as played:
        run = application.run(
            f"{VARIABLE}={SESSION} open_session close_session", env=IN_SSHD, then=PASSES, user=USER
        )
    assert phases(played.connections) == [3, 4]
    assert played.connections[0].items["session"] == SESSION.encode()
    assert VARIABLE not in run.environment


def test_outside_of_sshd_a_variable_means_nothing_and_is_removed(
    application: Application, agent: Playing
) -> None:
    with agent(keeps()) as played:
        run = application.run(f"{VARIABLE}={SESSION} open_session close_session", then=PASSES, user=USER)
    assert run.result == PAM_SUCCESS
    assert played.connections == []
    assert VARIABLE not in run.environment


@pytest.mark.parametrize("value", ["", "x", SESSION.upper(), SESSION + "0", "../" + SESSION[3:]])
def test_an_invalid_variable_means_nothing_and_is_removed(
    application: Application, agent: Playing, value: str
) -> None:
    with agent(keeps()) as played:
        run = application.run(
            f"{VARIABLE}={value} open_session close_session", env=IN_SSHD, then=PASSES, user=USER
        )
    assert run.result == PAM_SUCCESS
    assert played.connections == []
    assert VARIABLE not in run.environment


def test_a_variable_that_is_set_after_the_session_was_opened_closes_no_other(
    application: Application, agent: Playing
) -> None:
    with agent(keeps()) as played:
        told = f"open_session {VARIABLE}={OTHER} close_session"
        run = application.run(told, env=IN_SSHD, then=PASSES, user=USER)
    assert run.result == PAM_SUCCESS
    assert played.connections == []


def test_a_variable_never_takes_the_place_of_the_session_of_this_login(
    application: Application, agent: Playing
) -> None:
    told = f"authenticate {VARIABLE}={OTHER} open_session {VARIABLE}={OTHER} close_session"
    with agent(keeps()) as played:
        application.run(told, env=IN_SSHD, then=PASSES, user=USER)
    assert [connection.items["session"] for connection in played.connections[1:]] == [SESSION.encode()] * 2


@pytest.mark.parametrize(
    "frames",
    [
        [result(PAM_PERM_DENIED)],
        [result(PAM_SUCCESS)],
        [ask("Type: ")],
        [say("A text."), result(PAM_IGNORE)],
        [deadline(60000)],
        [keep(OTHER), result(PAM_IGNORE)],
        [Frame(b"X")],
    ],
    ids=["denies", "approves", "asks", "says", "sets a deadline", "keeps another", "sends junk"],
)
def test_whatever_the_agent_sends_the_session_opens_in_silence(
    application: Application, agent: Playing, frames: list[Frame]
) -> None:
    with agent(keeps(PAM_SUCCESS, *frames)) as played:
        run = application.run(WHOLE, env=IN_SSHD, then=PASSES, user=USER)
    assert run.result == PAM_SUCCESS
    assert run.messages == []
    assert run.log == []
    assert phases(played.connections) == [1, 3, 4]
    assert played.connections[2].items["session"] == SESSION.encode()


@pytest.mark.parametrize("phase", ["open_session", "close_session"])
def test_a_phase_alone_is_ignored(application: Application, phase: str) -> None:
    assert application.run(phase).result != PAM_SUCCESS  # a stack in which every module ignores fails
    assert application.run(phase, then=PASSES).result == PAM_SUCCESS


def test_an_agent_that_hangs_delays_the_session_by_two_seconds_at_most(
    application: Application, agent: Playing, logins: Path
) -> None:
    def hangs(door: DoorConnection) -> None:
        door.hello()
        if door.version_and_phase[1] == 1:
            door.send(keep(SESSION), result(PAM_SUCCESS))
        else:
            assert door.door_closes()

    with agent(hangs) as played:
        run = application.run("authenticate open_session", env=IN_SSHD, then=PASSES, user=USER)
    assert run.result == PAM_SUCCESS
    assert 1.9 < run.elapsed < 2.0 + BUSY_ONCE
    assert len(played.connections) == 2
    (left,) = logins.iterdir()
    left.unlink()


def test_without_an_agent_the_session_opens_and_nothing_is_shown(
    application: Application, agent: Playing, door: Door
) -> None:
    def keeps_and_goes(connection: DoorConnection) -> None:
        door.agent_socket.rename(door.agent_socket.with_name("away"))
        keeps()(connection)

    with agent(keeps_and_goes) as played:
        run = application.run(WHOLE, env=IN_SSHD, then=PASSES, user=USER)
        door.agent_socket.with_name("away").rename(door.agent_socket)
    assert (run.result, run.messages) == (PAM_SUCCESS, [])
    assert phases(played.connections) == [1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: os.chown(folder, 1, 1),
        lambda folder: folder.chmod(0o777),
        lambda folder: folder.rmdir(),
    ],
    ids=["another owner", "open to all", "missing"],
)
def test_a_folder_that_root_does_not_own_alone_gets_no_registration(
    application: Application, agent: Playing, logins: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(logins)
    with agent(keeps()) as played:
        run = application.run("authenticate open_session", env=IN_SSHD, then=PASSES, user=USER)
    assert run.result == PAM_SUCCESS
    assert phases(played.connections) == [1, 3]
    logins.mkdir(exist_ok=True)
    assert list(logins.iterdir()) == []


def test_a_link_in_place_of_the_folder_is_not_followed(
    application: Application, agent: Playing, logins: Path, tmp_path: Path
) -> None:
    logins.rmdir()
    logins.symlink_to(tmp_path)
    try:
        with agent(keeps()):
            run = application.run("authenticate open_session", env=IN_SSHD, then=PASSES, user=USER)
    finally:
        logins.unlink()
        logins.mkdir()
    assert run.result == PAM_SUCCESS
    assert list(tmp_path.iterdir()) == []


#: Limits that leave a login room, and the registration of its session none, where other modules have taken some.
TIGHT: list[dict[str, Any]] = [{"fsize": 0}, {"nofile": 8}, {"data": 8 << 20}]
if SANITIZE:
    TIGHT.pop()  # the sanitizer needs more memory
NO_ROOM = "The limits of this process (ulimit) leave no room for a login session that IAMPASS can end."


@pytest.mark.parametrize("limit", TIGHT, ids=" ".join)
def test_a_limit_of_the_caller_keeps_no_session_from_being_registered(
    application: Application, agent: Playing, logins: Path, limit: dict[str, Any]
) -> None:
    registered = []

    def look(door: DoorConnection) -> None:
        registered.append([file.name.partition(".")[0] for file in logins.iterdir()])

    soft: dict[str, Any] = {name: f"{value}:" for name, value in limit.items()}
    with agent(keeps(seen=look)) as played:
        run = application.run(WHOLE, then=PASSES, user=USER, **soft)
    assert run.result == PAM_SUCCESS
    assert phases(played.connections) == [1, 3, 4]
    assert registered == [[SESSION]] * 2
    assert (run.fsize == 0) == ("fsize" in limit)


@pytest.mark.parametrize("limit", TIGHT, ids=" ".join)
def test_a_login_whose_session_could_not_be_registered_is_denied(
    application: Application, agent: Playing, limit: dict[str, Any]
) -> None:
    with agent(keeps()) as played:
        run = application.run(user=USER, before=NO_MORE, **limit)
    assert run.result == PAM_ABORT
    assert phases(played.connections) == [1]
    assert run.reason == NO_ROOM
    assert run.messages == [(ERROR_MSG, NO_ROOM.encode())]


def test_an_account_that_nss_does_not_know_is_not_registered(
    application: Application, agent: Playing
) -> None:
    with agent(keeps()) as played:
        run = application.run("authenticate open_session", env=IN_SSHD, then=PASSES, user="no-such-user")
    assert run.result == PAM_SUCCESS
    assert phases(played.connections) == [1, 3]


def test_in_a_set_uid_program_the_agent_is_notified_too(application: Application, agent: Playing) -> None:
    with agent(keeps()) as played:
        run = application.run(WHOLE, then=PASSES, user=USER, real_uid=1)
    assert run.result == PAM_SUCCESS
    assert phases(played.connections) == [1, 3, 4]
