"""`rescue=NAME`: one account passes on its first factor where no agent decides."""

from __future__ import annotations

import pytest

from tests.pam.native.conftest import (
    PAM_ABORT,
    PAM_IGNORE,
    PAM_MAXTRIES,
    PAM_PERM_DENIED,
    PAM_SUCCESS,
    Application,
    Door,
    Playing,
    Run,
)
from tests.support.scripted_module import DoorConnection, ScriptedModule, result

KEY = "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA\n"
ALERT = 1
ACCOUNT, AUTH = "acct_mgmt", "authenticate"
LINES = {ACCOUNT: "rescue=daemon", AUTH: "first_factor=publickey rescue=daemon"}
#: A stack in which every module ignores fails; this one passes.
PASSES = "pam_permit.so"


def log_in(application: Application, phase: str, line: str = "", env: str = KEY, **options: object) -> Run:
    options = {"user": "daemon", "then": PASSES, **options}
    return application.run(phase, arguments=line or LINES[phase], env=env, **options)  # type: ignore[arg-type]


def rescued(run: Run) -> bool:
    """Whether the user passed; the record must agree."""
    (_facility, priority, record) = run.log[0]
    passed = " result=ignored " in record
    assert (priority == ALERT) == passed
    assert (run.result == PAM_SUCCESS) == passed, run
    assert bool(run.messages) == (not passed)
    return passed


@pytest.mark.parametrize("phase", LINES)
def test_without_an_agent_the_account_passes_and_an_alert_is_recorded(
    application: Application, phase: str
) -> None:
    run = log_in(application, phase)
    assert rescued(run)
    assert "outcome=unavailable result=ignored user=daemon service=under-test " in run.record
    assert "reason=no agent decides: rescue= on the PAM line let this user in without the phone" in run.record


@pytest.mark.parametrize("phase", LINES)
def test_it_is_ignored_and_never_a_success(application: Application, phase: str) -> None:
    assert log_in(application, phase, then="").result not in (PAM_SUCCESS, PAM_IGNORE)  # the stack fails


@pytest.mark.parametrize("phase", LINES)
@pytest.mark.parametrize("user", ["alice", "daemo", "daemon2", "Daemon", "daemon ", ""])
def test_only_that_very_name_passes(application: Application, phase: str, user: str) -> None:
    assert not rescued(log_in(application, phase, user=user or "root"))


@pytest.mark.parametrize("phase", LINES)
def test_only_where_the_application_runs_as_root(application: Application, phase: str) -> None:
    assert not rescued(log_in(application, phase, real_uid=1234))


@pytest.mark.parametrize(
    "accepted",
    [
        "",
        "password",
        "password publickey",
        "hostbased publickey ssh-ed25519 AAAA",
        "publickeys ssh-ed25519 AAAA",
        "publicke",
        " publickey ssh-ed25519 AAAA",
        "keyboard-interactive\nhostbased publickey",
    ],
)
def test_on_an_auth_line_only_behind_a_key_that_sshd_has_accepted(
    application: Application, accepted: str
) -> None:
    assert not rescued(log_in(application, AUTH, env=f"SSH_AUTH_INFO_0={accepted}"))


@pytest.mark.parametrize(
    "accepted", ["publickey", "publickey x\n", "password\npublickey x", "hostbased a\npublickey b\n"]
)
def test_the_key_may_be_in_any_line(application: Application, accepted: str) -> None:
    assert rescued(log_in(application, AUTH, env=f"SSH_AUTH_INFO_0={accepted}"))


def test_an_auth_line_that_demands_no_key_lets_nobody_in(application: Application) -> None:
    assert not rescued(log_in(application, AUTH, "rescue=daemon"))


def test_outside_sshd_it_means_nothing(application: Application) -> None:
    assert not rescued(log_in(application, AUTH, env="OTHER=x"))


@pytest.mark.parametrize(
    "line",
    [
        "rescue=",
        "rescue",
        "Rescue=daemon",
        "rescue=daemon rescue=daemon",
        "rescue=root rescue=daemon",
        "rescue=daemon no_such_argument",
        "rescue=daemon debug debug",
        "rescue=daemon debug=yes",
        "rescue=daemon config=relative.yaml",
        "rescue=daemon first_factor=password",
        "rescue=daemon first_factor=",
        "[rescue=daemon root]",
    ],
)
@pytest.mark.parametrize("phase", LINES)
def test_a_line_that_the_module_would_not_take_lets_nobody_in(
    application: Application, phase: str, line: str
) -> None:
    demanded = "first_factor=publickey " if phase == AUTH else ""
    assert not rescued(log_in(application, phase, demanded + line))


def test_an_account_line_with_first_factor_lets_nobody_in(application: Application) -> None:
    assert not rescued(log_in(application, ACCOUNT, "first_factor=publickey rescue=daemon"))


@pytest.mark.parametrize("phase", LINES)
def test_the_other_arguments_do_not_matter(application: Application, phase: str) -> None:
    assert rescued(log_in(application, phase, f"debug config=/etc/x.yaml {LINES[phase]}"))


@pytest.mark.parametrize("phase", LINES)
def test_where_an_agent_runs_it_decides(application: Application, agent: Playing, phase: str) -> None:
    def denies(connection: DoorConnection) -> None:
        connection.hello()
        connection.send(result(11 if phase == AUTH else 6))

    with agent(denies) as played:
        run = log_in(application, phase)
    assert run.result == (PAM_MAXTRIES if phase == AUTH else PAM_PERM_DENIED)
    assert LINES[phase].split()[-1].encode() in played.connection.arguments
    assert run.log == []


@pytest.mark.parametrize("phase", LINES)
def test_an_agent_that_dies_in_the_login_lets_nobody_in(
    application: Application, agent: Playing, phase: str
) -> None:
    with agent(lambda connection: connection.hello()):
        assert not rescued_silently(log_in(application, phase))


@pytest.mark.parametrize("phase", LINES)
def test_a_socket_that_is_not_roots_lets_nobody_in(application: Application, door: Door, phase: str) -> None:
    with ScriptedModule.as_agent(door.agent_socket, lambda connection: None, mode=0o666):
        assert not rescued_silently(log_in(application, phase))


def rescued_silently(run: Run) -> bool:
    return (
        run.result in (PAM_SUCCESS, PAM_IGNORE) or "result=ignored" in run.record or run.result == PAM_ABORT
    )


def test_a_user_who_was_rescued_in_the_auth_phase_passes_the_account_phase_too(
    application: Application,
) -> None:
    run = log_in(application, f"{AUTH} {ACCOUNT}", LINES[AUTH])
    assert run.result == PAM_SUCCESS
    assert len(run.log) == 1
