"""What a door tells the module: HELLO and ITEMS."""

from __future__ import annotations

import os

import pytest

from tests.pam.native.conftest import (
    PAM_ABORT,
    PAM_MAXTRIES,
    PAM_PERM_DENIED,
    PAM_SUCCESS,
    Application,
    Playing,
)
from tests.support.scripted_module import DoorConnection, result


def approves(door: DoorConnection) -> None:
    door.hello()
    door.send(result(0))


def test_everything_that_pam_has_is_sent(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        told = "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA\n"
        application.run(user="alice", rhost="192.0.2.7", tty="/dev/pts/3", ruser="root", env=told)
    sent = played.connection.items
    assert sent.pop("executable").count(b":") == 2
    assert sent == {
        "user": b"alice",
        "service": b"under-test",
        "rhost": b"192.0.2.7",
        "tty": b"/dev/pts/3",
        "ruser": b"root",
        "uid": b"0",
        "ssh_auth_info": b"publickey ssh-ed25519 AAAA\n",
    }


@pytest.mark.parametrize(
    ("phase", "env", "before", "is_sent"),
    [
        ("authenticate", "SSH_AUTH_INFO_0=", ":", True),
        ("acct_mgmt", "SSH_AUTH_INFO_0=", ":", False),
        ("authenticate", "NONE=1", ":", False),
        ("authenticate", "SSH_AUTH_INFO_0=", 'set -- setsid --wait "$@"', False),
    ],
    ids=["keyboard-interactive", "account phase", "outside sshd", "method password"],
)
def test_the_program_that_runs_is_named_where_sshd_may_show_text(
    application: Application, agent: Playing, phase: str, env: str, before: str, is_sent: bool
) -> None:
    def look(door: DoorConnection) -> None:
        door.hello()
        status = os.stat(f"/proc/{door.pid}/exe")
        of_application = f"{status.st_dev}:{status.st_ino}:{status.st_ctime_ns}".encode()
        assert door.items.get("executable") == (of_application if is_sent else None)
        door.send(result(PAM_SUCCESS))

    with agent(look):
        run = application.run(phase, user="alice", env=env, before=before)
    assert run.result == PAM_SUCCESS


def test_the_connection_of_the_ssh_client_is_sent(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        application.run(user="alice", env="SSH_CONNECTION=192.0.2.7 1024 192.0.2.1 22")
    assert played.connection.items["ssh_connection"] == b"192.0.2.7 1024 192.0.2.1 22"


def test_an_item_that_pam_does_not_have_is_left_out(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        application.run(user="alice")
    assert played.connection.items == {"user": b"alice", "service": b"under-test", "uid": b"0"}


def test_an_item_that_is_empty_is_sent_empty(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        application.run(user="alice", rhost="", tty="", ruser="", env="SSH_AUTH_INFO_0=")
    sent = played.connection.items
    assert {name: sent.get(name) for name in ("rhost", "tty", "ruser", "ssh_auth_info")} == {
        "rhost": b"", "tty": b"", "ruser": b"", "ssh_auth_info": b"",
    }  # fmt: skip


@pytest.mark.parametrize("value", [b"\xff\xfe", "żółw".encode(), b"a=b", b"a\nb", b"\x1b[31m", b" "])
def test_bytes_are_never_converted(application: Application, agent: Playing, value: bytes) -> None:
    with agent(approves) as played:
        application.run(user=value, rhost=value)
    assert (played.connection.items["user"], played.connection.items["rhost"]) == (value, value)


def test_the_uid_is_the_real_one(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        run = application.run(real_uid=1234)
    assert played.connection.items["uid"] == b"1234"
    assert run.result == PAM_SUCCESS


def test_the_version_the_phase_and_the_flags_are_sent(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        application.run(flags=0x8001)
    assert played.connection.version_and_phase == (1, 1)
    assert played.connection.flags == 0x8001


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("", []),
        ("debug", [b"debug"]),
        (
            "config=/x.yaml first_factor=publickey debug",
            [b"config=/x.yaml", b"first_factor=publickey", b"debug"],
        ),
        ("no_such_argument [with a space]", [b"no_such_argument", b"with a space"]),
    ],
)
def test_arguments_are_passed_on_unread(
    application: Application, agent: Playing, written: str, sent: list[bytes]
) -> None:
    with agent(approves) as played:
        run = application.run(arguments=written)
    assert played.connection.arguments == sent
    assert run.result == PAM_SUCCESS


def test_the_user_is_asked_for_where_the_application_left_it_to_pam(
    application: Application, agent: Playing
) -> None:
    with agent(approves) as played:
        run = application.run(user="", typed="bob")
    assert played.connection.items["user"] == b"bob"
    assert run.result == PAM_SUCCESS


def test_denied_where_there_is_neither_a_user_nor_a_conversation(
    application: Application, agent: Playing
) -> None:
    with agent(lambda door: door.hello()) as played:
        run = application.run(user="", conversation="none")
    assert run.result == PAM_ABORT
    assert run.reason == "the application names no user"
    assert played.connections == []


def test_denied_where_no_user_can_be_had(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        run = application.run(user="", conversation="error")
    assert run.result == PAM_ABORT
    assert played.connections == []


def test_denied_without_a_connection_where_the_items_do_not_fit_a_frame(
    application: Application, agent: Playing
) -> None:
    with agent(approves) as played:
        run = application.run(env=b"SSH_AUTH_INFO_0=publickey " + b"x" * 65536)
    assert run.result == PAM_MAXTRIES
    assert played.connections == []
    assert "too long" in run.reason


def test_items_that_just_fit_are_sent(application: Application, agent: Playing) -> None:
    other = len(b"user=alice\0service=under-test\0uid=0\0ssh_auth_info=\0")
    with agent(approves) as played:
        run = application.run("acct_mgmt", env=b"SSH_AUTH_INFO_0=" + b"x" * (65536 - other))
    assert run.result == PAM_SUCCESS
    assert len(played.connection.items["ssh_auth_info"]) == 65536 - other


def test_denied_where_the_items_are_one_byte_too_long(application: Application, agent: Playing) -> None:
    other = len(b"user=alice\0service=under-test\0uid=0\0ssh_auth_info=\0")
    with agent(approves) as played:
        run = application.run("acct_mgmt", env=b"SSH_AUTH_INFO_0=" + b"x" * (65537 - other))
    assert run.result == PAM_PERM_DENIED
    assert played.connections == []
