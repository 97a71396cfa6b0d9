"""The command `pam-iampass-gateway recovery`."""

from __future__ import annotations

from tests.support.gateway_command import GatewayCommand


def test_codes_are_shown_once_counted_and_revoked(gateway_command: GatewayCommand) -> None:
    run = gateway_command
    run.said("user", "add", "alice")
    assert run.told("recovery", "list", "alice")["codes"] == 0
    assert "recovery new alice" in run.said("recovery", "list", "alice")
    made = run.told("recovery", "new", "alice")["codes"]
    assert len(set(made)) == 10
    assert "alice has 10 of 10 codes left, made on " in run.said("recovery", "list", "alice")
    assert len(run.said("recovery", "new", "--yes", "alice").split()) > 10
    assert made[0] not in str(run.rows("SELECT * FROM recovery") + run.rows("SELECT * FROM record"))
    assert run.said("recovery", "revoke", "alice") == "Revoked the codes of alice.\n"
    assert run.told("recovery", "revoke", "alice") == {"user": "alice", "revoked": False}
    assert run.records[-4:] == [
        ("recovery_new", "alice", ""),
        ("recovery_new", "alice", ""),
        ("recovery_revoke", "alice", ""),
        ("recovery_revoke", "alice", "there were none"),
    ]


def test_codes_are_for_people_who_are_known_and_are_not_replaced_unasked(
    gateway_command: GatewayCommand,
) -> None:
    run = gateway_command
    assert '"nobody" is not known here' in run.said("recovery", "new", "nobody", status=1)
    run.said("user", "add", "alice")
    run.said("recovery", "new", "alice")
    terminal = run.typed("recovery", "new", "alice")
    terminal.expect_exact("has 10 unused codes. Replace them?")
    terminal.sendline("n")
    assert terminal.finish() == 130
    assert run.told("recovery", "list", "alice")["left"] == 10
