"""When a door lets the module decide in PAM's account phase, and when it need not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pam.native.conftest import (
    PAM_ABORT,
    PAM_IGNORE,
    PAM_MAXTRIES,
    PAM_PERM_DENIED,
    PAM_SUCCESS,
    TEXT_INFO,
    Application,
    Playing,
)
from tests.support.scripted_module import DoorConnection, result, say

IN_SSHD = "SSH_AUTH_INFO_0="
PASSES = "pam_permit.so"


def answers(code: int) -> Callable[[DoorConnection], None]:
    def answer(door: DoorConnection) -> None:
        door.hello()
        door.send(result(code))

    return answer


def dies(door: DoorConnection) -> None:
    door.hello()


def test_in_sshd_the_module_decides_and_knows_the_phase(application: Application, agent: Playing) -> None:
    with agent(answers(PAM_SUCCESS)) as played:
        run = application.run("acct_mgmt", env=IN_SSHD, arguments="debug", rhost="192.0.2.7")
    assert run.result == PAM_SUCCESS
    assert played.connection.version_and_phase == (1, 2)
    assert played.connection.arguments == [b"debug"]
    assert played.connection.items["rhost"] == b"192.0.2.7"


def test_what_the_module_says_is_shown(application: Application, agent: Playing) -> None:
    def says(door: DoorConnection) -> None:
        door.hello()
        door.send(say("A text."), result(PAM_PERM_DENIED))

    with agent(says):
        run = application.run("acct_mgmt", env=IN_SSHD)
    assert run.messages == [(TEXT_INFO, b"A text.")]
    assert run.result == PAM_PERM_DENIED


def test_a_login_that_the_module_ignores_passes_where_the_stack_lets_it(
    application: Application, agent: Playing
) -> None:
    with agent(answers(PAM_IGNORE)):
        assert application.run("acct_mgmt", env=IN_SSHD, then=PASSES).result == PAM_SUCCESS


def test_without_a_result_the_account_is_denied_and_a_record_left(
    application: Application, agent: Playing
) -> None:
    with agent(dies):
        run = application.run("acct_mgmt", env=IN_SSHD, then=PASSES)
    assert run.result == PAM_PERM_DENIED
    assert run.reason.startswith("the module closed the connection before it gave a result")


def test_outside_of_sshd_the_account_is_not_judged(application: Application, agent: Playing) -> None:
    with agent(answers(PAM_PERM_DENIED)) as played:
        run = application.run("acct_mgmt", then=PASSES)
    assert run.result == PAM_SUCCESS
    assert played.connections == []
    assert run.log == []


@pytest.mark.parametrize("code", [PAM_SUCCESS, PAM_PERM_DENIED])
def test_with_always_the_module_decides_about_a_command_of_sudo_once(
    application: Application, agent: Playing, code: int
) -> None:
    with agent(answers(code)) as played:
        run = application.run("acct_mgmt acct_mgmt", arguments="always", real_uid=1, then=PASSES)
    assert run.result == code
    assert played.connection.version_and_phase == (1, 2)
    assert played.connection.arguments == [b"always"]
    with agent(answers(code)) as played:
        run = application.run("authenticate acct_mgmt", arguments="always", real_uid=1, then=PASSES)
    assert run.result == code
    assert len(played.connections) == 1


def test_with_always_root_is_not_asked_and_needs_no_agent(application: Application) -> None:
    run = application.run("acct_mgmt", arguments="always", then=PASSES)
    assert (run.result, run.log) == (PAM_SUCCESS, [])
    run = application.run("acct_mgmt", arguments="always", real_uid=1, then=PASSES)
    assert run.result == PAM_PERM_DENIED
    assert "agent" in run.reason


@pytest.mark.parametrize("code", [PAM_SUCCESS, PAM_IGNORE])
def test_a_login_that_passed_in_the_auth_phase_is_not_decided_again(
    application: Application, agent: Playing, code: int
) -> None:
    with agent(answers(code)) as played:
        run = application.run("authenticate acct_mgmt", env=IN_SSHD, then=PASSES)
    assert run.result == PAM_SUCCESS
    assert played.connection.version_and_phase == (1, 1)


@pytest.mark.parametrize("code", [PAM_MAXTRIES, PAM_ABORT, None], ids=str)
def test_a_login_that_was_denied_in_the_auth_phase_stays_denied_without_another_request(
    application: Application, agent: Playing, code: int | None
) -> None:
    with agent(dies if code is None else answers(code)) as played:
        run = application.run("authenticate acct_mgmt", env=IN_SSHD, then=PASSES)
    assert run.result == PAM_PERM_DENIED
    assert len(played.connections) == 1


def test_the_last_decision_of_the_auth_phase_holds(application: Application, agent: Playing) -> None:
    codes = iter([PAM_MAXTRIES, PAM_SUCCESS])
    with agent(lambda door: answers(next(codes))(door)) as played:
        run = application.run("authenticate authenticate acct_mgmt", env=IN_SSHD, then=PASSES)
    assert run.result == PAM_SUCCESS
    assert len(played.connections) == 2
