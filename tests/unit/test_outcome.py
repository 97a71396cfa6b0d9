"""Outcomes and PAM codes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from pam_iampass.login.decisions import covered_elsewhere, recovered
from pam_iampass.outcome import RESULTS, Decision, Login, Outcome, PamCode, Phase, Result

IN_SSHD = Login("alice", "sshd", ssh_auth_info="")
IN_SUDO = Login("alice", "sudo")
IN_ACCOUNT = Login("alice", "sshd", ssh_auth_info="", phase=Phase.ACCOUNT)


@pytest.mark.parametrize(("outcome", "result"), list(itertools.product(Outcome, Result)))
def test_success_is_for_approval_and_recovery_only(outcome: Outcome, result: Result) -> None:
    if result not in RESULTS[outcome]:
        with pytest.raises(ValueError, match="cannot have the result"):
            Decision(outcome, result)
        return
    for login in (IN_SSHD, IN_SUDO, IN_ACCOUNT):
        code = Decision(outcome, result).pam_code(login)
        assert (code is PamCode.SUCCESS) == (outcome in (Outcome.APPROVED, Outcome.RECOVERED))
        assert (code is PamCode.IGNORE) == (result is Result.IGNORED)


def test_every_outcome_has_its_results() -> None:
    assert set(RESULTS) == set(Outcome)


def test_a_denial_ends_the_login_at_once_in_each_application() -> None:
    denial = Decision(Outcome.DENIED, Result.DENIED)
    assert int(denial.pam_code(IN_SSHD)) == 11
    assert int(denial.pam_code(IN_SUDO)) == 26
    assert int(denial.pam_code(IN_ACCOUNT)) == 6


def test_sshd_is_known_by_its_information_even_where_that_is_empty() -> None:
    assert IN_SSHD.through_sshd
    assert not IN_SUDO.through_sshd


@pytest.mark.parametrize(
    ("info", "accepted"),
    [
        ("publickey ssh-ed25519 AAAA\n", True),
        ("password\npublickey ssh-ed25519 AAAA\n", True),
        ("", False),
        (None, False),
        ("hostbased publickey ssh-ed25519 AAAA\n", False),
        ("hostbased x\tpublickey\n", False),
        ("publickeys ssh-ed25519\n", False),
        (" publickey ssh-ed25519\n", False),
        ("hostbased a\rpublickey b\n", False),
    ],
)
def test_an_accepted_key_is_the_first_word_of_a_line(info: str | None, accepted: bool) -> None:
    assert Login("alice", "sshd", ssh_auth_info=info).accepted("publickey") is accepted


@pytest.mark.parametrize(
    ("decision", "reported"),
    [
        (Decision(Outcome.EXEMPT, Result.IGNORED), True),
        (Decision(Outcome.UNAVAILABLE, Result.IGNORED), True),
        (Decision(Outcome.UNAVAILABLE, Result.DENIED), False),
        (recovered(3, None), True),
        (replace(recovered(3, None), of_gateway=True), False),
        (covered_elsewhere("bastion", "alice", "", ""), False),
        (Decision(Outcome.APPROVED, Result.SUCCESS), False),
    ],
    ids=str,
)
def test_a_host_reports_what_it_has_let_in_without_the_gateway(decision: Decision, reported: bool) -> None:
    assert decision.is_reported is reported
