"""Which lines of sudoers lead around the phone, and whom check names."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pam_iampass.check.sudo import loophole, loopholes
from pam_iampass.config.value_types import Approver
from pam_iampass.system.sudoers import Member, Scope, Sudoers, SudoersLine

BIN, DAEMON = Member("username", "bin"), Member("username", "daemon")


def line(name: str, value: object, *members: Member) -> SudoersLine:
    return SudoersLine(name, value, Scope.USERS if members else Scope.EVERYTHING, members)


def asks(service: str) -> bool:
    return service == "sudo"


def found(
    *lines: SudoersLine,
    exempt: Iterable[str] = (),
    named: str | None = None,
    approver: Approver = Approver.CALLER,
) -> list[str]:
    def without_phone(users: Iterable[str]) -> frozenset[str]:
        return frozenset(users).intersection(exempt)

    return [one.what for one in loopholes(Sudoers(lines), asks, without_phone, lambda _: approver, named)]


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        *(("authenticate", False, "sudo-rule-bypasses"), ("authenticate", True, None)),
        *(("exempt_group", "bin", "sudo-rule-bypasses"), ("exempt_group", False, None)),
        *(("pam_service", "su", "sudo-other-service"), ("pam_service", "sudo", None)),
        *(("pam_login_service", "sudo-i", "sudo-other-service"), ("pam_login_service", "sudo", None)),
        *(("pam_askpass_service", "su", "sudo-other-service"), ("timestamp_timeout", "5", None)),
        *((name, True, "sudo-asks-another") for name in ("rootpw", "targetpw", "runaspw")),
        *(("targetpw", False, None), ("timestamp_timeout", "-1", "sudo-never-asks-again")),
        *(("NOPASSWD", "/bin/ls", "sudo-no-password"), ("secure_path", "/bin", None)),
        *(("pam_acct_mgmt", False, "sudo-no-account-phase"), ("pam_acct_mgmt", True, None)),
    ],
)
def test_each_kind_of_line_is_recognized(name: str, value: object, kind: str | None) -> None:
    assert loophole(line(name, value, BIN), asks, caller_approves=False) == kind


@pytest.mark.parametrize("always", ["", "sudo", "sudo sudo-i", "sudo-i"])
def test_where_sudo_asks_for_every_command_only_what_skips_the_account_stack_leads_around_it(
    always: str,
) -> None:
    spare = [line("authenticate", False), line("exempt_group", "bin"), line("timestamp_timeout", "-1")]
    spare.append(line("NOPASSWD", "ALL", BIN))
    skip = line("pam_acct_mgmt", False, BIN)
    other = line("pam_service", "doas", BIN)

    def kinds(*lines: SudoersLine) -> set[str]:
        found = loopholes(
            Sudoers(lines),
            lambda name: True,
            lambda _: frozenset(),
            lambda _: Approver.CALLER,
            always=lambda name: name in always.split(),
        )
        return {one.kind for one in found}

    assert bool(kinds(*spare)) == (always != "sudo sudo-i")
    assert kinds(skip) == ({"sudo-no-account-phase"} if always else set())
    assert kinds(other) == ({"sudo-other-service"} if always else set())


@pytest.mark.parametrize("name", ["rootpw", "targetpw", "runaspw"])
def test_a_line_about_whose_password_it_is_matters_only_if_that_user_is_to_approve(name: str) -> None:
    rule = line(name, True)
    assert found(rule, exempt=["root"]) == []
    (asked,) = found(rule, approver=Approver.USER)
    assert asked.endswith("sudo asks for the password and the phone of another user: everybody")
    (unasked,) = loopholes(Sudoers((rule,)), asks, frozenset, lambda _: Approver.USER)  # root, too, is exempt
    assert (unasked.kind, unasked.is_error) == ("sudo-asks-another", True)


def test_time_stamps_of_a_whole_account_matter_only_if_people_share_accounts() -> None:
    everywhere, never = line("timestamp_type", "global"), line("timestamp_timeout", "0")

    def kinds(*lines: SudoersLine, shared: bool = False, approver: Approver = Approver.CALLER) -> list[str]:
        rules = loopholes(Sudoers(lines), asks, lambda _: frozenset(), lambda _: approver, shared=shared)
        return [one.kind for one in rules]

    assert kinds(everywhere) == []
    assert kinds(everywhere, shared=True) == ["sudo-never-asks-again"]
    assert kinds(everywhere, approver=Approver.LOGIN) == ["sudo-never-asks-again"]
    assert kinds(everywhere, never, shared=True) == []
    assert kinds(line("timestamp_type", "tty"), shared=True) == []


def test_those_who_need_no_phone_are_not_named_and_a_line_for_them_alone_is_no_fault() -> None:
    rule = line("NOPASSWD", "ALL", BIN, DAEMON)
    assert found(rule) == ["bin, daemon NOPASSWD: ALL: sudo asks for neither password nor phone: bin, daemon"]
    assert found(rule, exempt=["bin"])[0].endswith("phone: daemon")
    assert found(rule, exempt=["bin", "daemon"]) == []


def test_a_report_about_one_user_has_the_lines_that_may_be_for_that_user() -> None:
    everybody, netgroup = line("authenticate", False), line("authenticate", False, Member("netgroup", "x"))
    lines = [line("authenticate", False, BIN), line("authenticate", False, DAEMON), everybody, netgroup]
    assert [what.rpartition(": ")[2] for what in found(*lines, named="bin")] == ["bin", "everybody", "+x"]


def test_the_last_of_lines_for_the_same_users_holds_and_every_command_counts() -> None:
    assert found(line("authenticate", False, BIN), line("authenticate", True, BIN)) == []
    assert len(found(line("authenticate", False, BIN), line("authenticate", True))) == 1
    assert len(found(line("NOPASSWD", "/bin/ls", BIN), line("NOPASSWD", "/bin/cat", BIN))) == 2


@pytest.mark.parametrize("name", ["pam_service", "pam_login_service", "pam_askpass_service"])
def test_a_service_for_everybody_that_does_not_ask_is_a_fault(name: str) -> None:
    assert found(line(name, "su")) == [
        f"Defaults {name}=su: sudo uses a PAM service that does not ask the phone: everybody"
    ]
