"""What setup would change for PAM services other than sshd, sudo and su, and which it refuses."""

from __future__ import annotations

import pytest

from pam_iampass.errors import SetupRefused, Severity
from pam_iampass.setup import checks
from tests.support.folders import put
from tests.unit.setup.stage import LINE, SESSION, Stage

DOAS = "session required pam_limits.so\n@include common-auth\n@include common-account\n"
HEADING = "# Written by `pam-iampass setup`: all lines of {}, and ours.\n"


def contents(stage: Stage, name: str) -> dict[str, str]:
    """The new content of each file that setup would write."""
    return {change.path.name: (change.then.content or b"").decode() for change in stage.plan(name).changes}


def test_a_file_of_the_vendor_is_included_by_one_that_overrides_it(stage: Stage) -> None:
    vendor = put(stage.paths.vendor_pam[0] / "polkit-1", DOAS + "@include common-session\n")
    before = stage.files()
    stage.set_up("polkit-1")
    written = stage.text("polkit-1")
    assert written == f"{HEADING.format(vendor)}@include {vendor}\n{LINE}\n{SESSION}\n"
    put(vendor, DOAS + "# newer\n")
    assert contents(stage, "polkit-1") == {}
    stage.undo()
    assert stage.files() == before


def test_setup_refuses_cockpit_if_a_ticket_logs_in_without_reaching_its_auth_lines(stage: Stage) -> None:
    put(stage.paths.pam / "cockpit", DOAS)

    def found() -> list[tuple[Severity, bool]]:
        problems = checks.check_stacks(stage.plan("cockpit").service, stage.paths, [])
        return [(one.severity, one.forcible) for one in problems if "Kerberos" in one.what]

    assert found() == []
    put(stage.paths.root / "etc/krb5.keytab", "")
    assert found() == [(Severity.ERROR, True)]


def test_setup_says_that_a_stack_has_too_many_conditions_to_simulate_all_combinations(stage: Stage) -> None:
    conditions = "".join(f"auth required pam_succeed_if.so user ingroup g{number}\n" for number in range(9))
    file = put(stage.paths.pam / "doas", conditions + DOAS)
    problems = checks.check_stacks(stage.plan("doas").service, stage.paths, [])
    (told,) = (one for one in problems if "not all combinations" in one.what)
    assert told.severity is Severity.WARNING
    assert f"{file}: 9 modules" in told.what


def test_what_was_added_to_a_file_that_overrides_the_vendors_stays(stage: Stage) -> None:
    put(stage.paths.vendor_pam[0] / "polkit-1", DOAS)
    stage.set_up("polkit-1")
    stage.edit(stage.paths.pam / "polkit-1", "session optional pam_motd.so\n")
    stage.undo()
    assert "pam_motd" in stage.text("polkit-1")
    assert "pam_iampass" not in stage.text("polkit-1")


def test_a_file_of_the_administrators_own_goes_on_overriding_that_of_the_vendor(stage: Stage) -> None:
    put(stage.paths.vendor_pam[0] / "polkit-1", DOAS)
    put(stage.paths.pam / "polkit-1", "# mine\n" + DOAS)
    assert contents(stage, "polkit-1")["polkit-1"].startswith("# mine\nsession required pam_limits.so\n")


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        ("cron", "no person to approve"),
        ("systemd-user", "no password is asked"),
        ("sddm-greeter", "no password is asked"),
        ("other", "every service without a file"),
        ("common-auth", "other PAM files include it"),
        ("passwd", "changes accounts"),
        ("swaylock", "does not ask as root"),
        ("kde-fingerprint", "does not ask as root"),
        ("pkexec", "pam-iampass setup polkit-1"),
        ("su-l", "pam-iampass setup su"),
        ("sudo-i", "pam-iampass setup sudo"),
        ("../shadow", "not a name of a PAM service"),
        ("Login", "not a name of a PAM service"),
    ],
)
def test_what_must_not_ask_the_phone_is_refused(stage: Stage, service: str, reason: str) -> None:
    if "/" not in service:
        put(stage.paths.pam / service, DOAS)
    with pytest.raises(SetupRefused) as refused:
        stage.plan(service)
    assert reason in refused.value.diagnostics()


def test_a_file_that_does_not_lead_to_the_module_once_it_is_written_is_an_error(stage: Stage) -> None:
    put(stage.paths.pam / "doas", "@include common-auth\n")
    wanted = stage.plan("doas").service
    (found,) = checks.in_force(wanted, stage.paths)
    assert (found.is_error, found.what) == (True, "PAM: doas does not lead to pam_iampass.so")
    stage.set_up("doas")
    assert list(checks.in_force(wanted, stage.paths)) == []


def test_a_service_without_a_file_is_refused(stage: Stage) -> None:
    with pytest.raises(SetupRefused, match="no such file"):
        stage.plan("no-such-service")
