"""What is found in PAM stacks: folders of PAM files, and the ids of what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pam_iampass.check.pam_files import of_stacks, unauthenticated
from pam_iampass.check.report import merged
from pam_iampass.check.stacks import SET_UID, Stacks
from pam_iampass.errors import Problem
from pam_iampass.pam.stack import DEBIAN, LINUX_PAM, Dialect, PamFiles

OURS = "auth required pam_iampass.so"
UNIX = "auth requisite pam_unix.so"
PERMIT = "auth required pam_permit.so"
KEPT_OUT, WHEEL = "auth required pam_succeed_if.so user != bob", "auth required pam_wheel.so use_uid"
MARK = "  # pam-iampass"

#: Debian's common-auth.
COMMON_AUTH = """\
auth [success=1 default=ignore] pam_unix.so nullok
auth requisite pam_deny.so
auth required pam_permit.so
"""
#: RHEL's system-auth, as authselect makes it for sssd.
SYSTEM_AUTH = """\
auth        required                                     pam_env.so
auth        required                                     pam_faildelay.so delay=2000000
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        [default=1 ignore=ignore success=ok]         pam_localuser.so
auth        sufficient                                   pam_unix.so nullok
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        sufficient                                   pam_sss.so forward_pass
auth        required                                     pam_deny.so
"""


class Machine:
    """PAM files and modules in folders of a test's."""

    def __init__(self, folder: Path) -> None:
        self.pam, self.modules = folder / "pam.d", folder / "security"
        self.pam.mkdir()
        self.modules.mkdir()
        self.dialect: Dialect = DEBIAN
        self.applications: frozenset[str] = frozenset()

    def write(self, **files: str) -> None:
        """Write PAM files; every module that they name is there."""
        for name, text in files.items():
            (self.pam / name.replace("_", "-")).write_text(text)
            for module in re.findall(r"\bpam_\w+\.so\b", text):
                (self.modules / module).touch()

    def findings(self, sshd_service: str | None = None) -> list[Problem]:
        files = PamFiles([self.pam], self.dialect)
        return merged(of_stacks(Stacks(files, [self.modules], self.applications, SET_UID), sshd_service))

    def lets_in_unasked(self, name: str) -> bool:
        return Stacks(PamFiles([self.pam], self.dialect), [self.modules], frozenset()).lets_in_unasked(name)

    def ids(self, sshd_service: str | None = None) -> set[str]:
        return {finding.kind for finding in self.findings(sshd_service)}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def stack(*lines: str) -> str:
    return "\n".join(lines) + "\n"


CASES = {
    "a password that must be right, then the phone": (stack(UNIX, OURS, PERMIT), set()),
    "a wrong password that goes on": (
        stack("auth required pam_unix.so", OURS, PERMIT),
        {"stack-wrong-rings"},
    ),
    "success goes on, all else ends": (
        stack("auth [success=ok default=die] pam_unix.so", OURS, PERMIT),
        set(),
    ),
    "no pam_permit behind us": (
        stack(OURS),
        {"stack-ignored-fails", "stack-phone-only"},
    ),
    "a password and no pam_permit: the password succeeds": (stack(UNIX, OURS), set()),
    "optional": (stack(UNIX, "auth optional pam_iampass.so", PERMIT), {"stack-denial-passes"}),
    "sufficient, with a way on": (
        stack(UNIX, "auth sufficient pam_iampass.so", PERMIT),
        {"stack-denial-passes"},
    ),
    "sufficient, with none": (
        stack(UNIX, "auth sufficient pam_iampass.so", "auth required pam_deny.so"),
        {"stack-ignored-fails"},
    ),
    "the password is sufficient": (
        stack("auth sufficient pam_unix.so", OURS, PERMIT),
        {"stack-skipped", "stack-wrong-passes", "stack-wrong-rings"},
    ),
    "the phone stands in for the password": (
        stack("auth optional pam_unix.so", "auth requisite pam_iampass.so"),
        {"stack-wrong-passes", "stack-wrong-rings"},
    ),
    "we come first": (stack(OURS, UNIX, PERMIT), {"stack-wrong-rings"}),
    "done before us": (
        stack("auth [success=done default=die] pam_unix.so", OURS, PERMIT),
        {"stack-skipped"},
    ),
    "a condition that jumps over us": (
        stack(UNIX, "auth [success=1 default=ignore] pam_succeed_if.so user ingroup nophone", OURS, PERMIT),
        {"stack-skipped-sometimes"},
    ),
    "everybody is root to a daemon": (
        stack("auth sufficient pam_rootok.so", UNIX, OURS, PERMIT),
        {"stack-skipped", "stack-wrong-passes"},
    ),
    "nothing but the phone": (stack(OURS, PERMIT), {"stack-phone-only"}),
    "a key is demanded": (stack(OURS + " first_factor=publickey", PERMIT), set()),
    "an argument that nobody knows": (stack(UNIX, OURS + " config=relative", PERMIT), {"module-argument"}),
    "nobody at all": (stack(UNIX, OURS, "auth required pam_deny.so"), {"stack-approved-fails"}),
    "a line that makes no sense": (
        stack(UNIX, "auht required pam_env.so", OURS, PERMIT),
        {"pam-broken", "stack-approved-fails"},
    ),
    "an approval ends the stack ahead of who is kept out": (
        stack(UNIX, "auth sufficient pam_iampass.so", KEPT_OUT, PERMIT),
        {"refusal-lost", "stack-denial-passes", "stack-ignored-fails"},
    ),
    "an approval jumps over who is kept out": (
        stack(UNIX, "auth [success=1 ignore=ignore default=die] pam_iampass.so", KEPT_OUT, PERMIT),
        {"refusal-lost", "stack-ignored-fails"},
    ),
    "who is kept out afterwards": (stack(UNIX, OURS, KEPT_OUT, PERMIT), set()),
    "setup has made it requisite": (
        stack(f"#pam-iampass: {WHEEL}", WHEEL.replace("required", "requisite") + MARK, UNIX, OURS + MARK),
        set(),
    ),
    "setup has made it requisite, and a person took that line out": (
        stack(f"#pam-iampass: {WHEEL}", UNIX, OURS + MARK),
        {"refusal-lost"},
    ),
    "the key stands for a password and its faillock": (
        stack(
            "#pam-iampass: auth requisite pam_faillock.so preauth",
            f"#pam-iampass: {UNIX}",
            f"auth requisite pam_faillock.so preauth{MARK}",
            f"{OURS} first_factor=publickey{MARK}",
            PERMIT + MARK,
        ),
        set(),
    ),
    "not in auth": (stack(UNIX, "account required pam_iampass.so"), {"stack-no-auth", "nothing-asks"}),
    "nobody asks": (stack(UNIX), {"nothing-asks"}),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_a_stack_is_found_to_be_what_it_is(machine: Machine, text: str, expected: set[str]) -> None:
    machine.write(vsftpd=text)
    assert machine.ids() == expected


@pytest.mark.parametrize("dialect", [DEBIAN, LINUX_PAM], ids=lambda dialect: dialect.name)
def test_the_usual_system_auth_is_upside_down_behind_include(machine: Machine, dialect: Dialect) -> None:
    machine.dialect = dialect
    machine.write(system_auth=SYSTEM_AUTH, sshd=stack("auth include system-auth", OURS, PERMIT))
    assert machine.ids("sshd") == {"stack-skipped", "stack-wrong-rings"}


def test_behind_substack_a_wrong_password_reaches_us(machine: Machine) -> None:
    machine.dialect = LINUX_PAM
    machine.write(system_auth=SYSTEM_AUTH, sshd=stack("auth substack system-auth", OURS, PERMIT))
    assert machine.ids("sshd") == {"stack-wrong-rings"}


def test_a_shared_file_that_the_key_stands_for_keeps_nobody_out(machine: Machine) -> None:
    machine.write(common_auth="auth requisite pam_faillock.so preauth\n" + COMMON_AUTH)
    shared, ours = "#pam-iampass: @include common-auth", f"{OURS} first_factor=publickey{MARK}"
    machine.write(sshd=stack(shared, ours, PERMIT + MARK))
    assert machine.ids("sshd") == set()


def test_what_many_services_include_is_reported_once(machine: Machine) -> None:
    machine.write(common_auth=stack("auth required pam_unix.so", OURS, PERMIT))
    machine.write(sshd="@include common-auth\n", login="@include common-auth\n", su="@include common-auth\n")
    (finding,) = machine.findings()
    assert finding.kind == "stack-wrong-rings"
    assert finding.key == "login, sshd, su"


def test_a_missing_include_breaks_the_service(machine: Machine) -> None:
    machine.write(sshd=stack("@include nowhere", OURS))
    (broken, nothing) = machine.findings()
    assert (broken.kind, broken.key, nothing.kind) == ("pam-broken", "sshd", "nothing-asks")
    assert f"{machine.pam}/sshd:1: nowhere cannot be included" in broken.evidence


def test_a_broken_service_that_has_nothing_to_do_with_us_is_not_reported(machine: Machine) -> None:
    machine.write(cups="@include nowhere\n", sshd=stack(UNIX, OURS, PERMIT))
    assert machine.findings() == []


def test_modules_that_are_missing_are_reported(machine: Machine) -> None:
    machine.write(
        sshd=stack(UNIX, "auth optional pam_gnome_keyring.so", "-auth optional pam_kwallet5.so", OURS, PERMIT)
    )
    (machine.modules / "pam_gnome_keyring.so").unlink()
    (machine.modules / "pam_kwallet5.so").unlink()
    assert [(one.kind, one.is_error) for one in machine.findings()] == [("module-missing", False)]
    (machine.modules / "pam_iampass.so").unlink()
    assert [(one.kind, one.is_error) for one in machine.findings()] == [
        ("module-missing", True),
        ("module-missing", False),
    ]
    machine.write(sshd=stack(UNIX, "auth optional pam_iampass.so", PERMIT))
    (machine.modules / "pam_iampass.so").unlink()
    assert machine.ids() == {"module-missing", "stack-denial-passes"}


def test_pam_python_is_a_danger_in_a_program_that_runs_set_uid_and_only_there(
    machine: Machine, tmp_path: Path
) -> None:
    script = tmp_path / "pam_iampass.py"
    door = f"auth required pam_python.so {script}"
    machine.write(su=stack(UNIX, door, PERMIT), vsftpd=stack(UNIX, door, PERMIT))
    assert machine.ids() == {"pam-python-set-uid", "module-missing"}
    script.touch()
    assert machine.ids() == {"pam-python-set-uid"}


def test_other_scripts_of_pam_python_are_not_ours(machine: Machine) -> None:
    machine.write(su=stack("auth required pam_python.so /etc/other.py", PERMIT))
    assert machine.ids() == {"nothing-asks"}


def test_files_that_editors_and_packages_left_are_no_services(machine: Machine) -> None:
    bad = stack("auth optional pam_iampass.so", PERMIT)
    machine.write(sshd=stack(UNIX, OURS, PERMIT))
    for name in ("sshd~", "sshd.bak", "sshd.dpkg-old", "sshd.rpmsave", "SSHD"):
        (machine.pam / name).write_text(bad)
    assert machine.findings() == []
    machine.applications = frozenset({"sshd.bak"})  # as sshd_config names it
    assert {finding.key for finding in machine.findings()} == {"sshd.bak"}


def test_what_stands_in_a_file_is_shown_cleaned(machine: Machine) -> None:
    machine.write(vsftpd=stack(UNIX, OURS + " \x1b[31mred\u202e", PERMIT))
    (finding,) = machine.findings()
    assert "\x1b" not in finding.what + finding.evidence
    assert "\\x1b[31mred\\u202e" in finding.evidence


def _past_us(others: int) -> str:
    """A stack that goes past our line for those who are in all other groups, and in neither staff nor night."""
    return stack(
        UNIX,
        *(f"auth requisite pam_succeed_if.so user ingroup other{number}" for number in range(others)),
        "auth [success=2 default=ignore] pam_succeed_if.so user ingroup staff",
        "auth [success=1 default=ignore] pam_succeed_if.so user ingroup night",
        "auth sufficient pam_permit.so",
        OURS,
        PERMIT,
    )


@pytest.mark.parametrize(("others", "all_simulated"), [(6, True), (7, False), (40, False)])
def test_a_way_past_us_that_takes_two_conditions_is_found_among_many_and_what_is_left_out_is_said(
    machine: Machine, others: int, all_simulated: bool
) -> None:
    machine.write(vsftpd=_past_us(others))
    found = {finding.kind: finding for finding in machine.findings()}
    assert found.keys() == {"stack-skipped-sometimes", *([] if all_simulated else ["stack-not-all"])}
    if not all_simulated:
        assert f"{machine.pam}/vsftpd: {others + 2} modules" in found["stack-not-all"].evidence


def test_an_account_stack_with_many_conditions_too(machine: Machine) -> None:
    machine.write(sshd=_past_us(12).replace("auth ", "account ").replace(UNIX, ""))
    assert {"stack-skipped", "stack-not-all"} <= machine.ids("sshd")


ROOTOK = "auth sufficient pam_rootok.so"


@pytest.mark.parametrize(
    ("lines", "lets_in"),
    [
        ((UNIX,), True),
        ((ROOTOK, UNIX), True),
        (("auth sufficient pam_u2f.so", "auth required pam_deny.so"), True),
        (("auth sufficient pam_unix.so", OURS), True),
        ((UNIX, "auth optional pam_iampass.so"), True),
        ((PERMIT,), True),
        ((UNIX, OURS, PERMIT), False),
        ((ROOTOK, UNIX, OURS), False),
        ((UNIX, "auth required pam_deny.so"), False),
        ((ROOTOK, "auth required pam_deny.so"), False),
    ],
)
def test_a_service_lets_in_unasked_if_it_passes_although_the_phone_denies(
    machine: Machine, lines: tuple[str, ...], lets_in: bool
) -> None:
    machine.write(doas=stack(*lines))
    assert machine.lets_in_unasked("doas") is lets_in


@pytest.mark.parametrize(
    ("name", "lets_in"), [("su", False), ("sudo", False), ("sshd", True), ("login", True), ("polkit-1", True)]
)
def test_pam_rootok_is_about_root_alone_only_in_a_program_that_people_call(
    machine: Machine, name: str, lets_in: bool
) -> None:
    machine.write(**{name: stack(ROOTOK, UNIX, OURS, PERMIT)})
    assert machine.lets_in_unasked(name) is lets_in
    assert ("stack-skipped" in machine.ids()) is lets_in


def test_a_service_without_a_file_is_no_way_in(machine: Machine) -> None:
    assert not machine.lets_in_unasked("doas")


@pytest.mark.parametrize(("name", "warned"), [("cockpit", False), ("tigervnc", True), ("doas", False)])
def test_a_program_that_logs_in_without_authenticating_is_a_warning(
    machine: Machine, name: str, warned: bool
) -> None:
    found = unauthenticated(name, machine.pam.parent)
    assert [(one.kind, one.is_error) for one in found] == [("stack-not-called", False)] * warned


TICKET, CERTIFICATE = "in, below [negotiate]: action = none", "in: ClientCertAuthentication = false"


@pytest.mark.parametrize(
    ("text", "keytab", "remedies"),
    [
        (None, None, []),
        (None, "krb5.keytab", [TICKET]),
        (None, "cockpit/krb5.keytab", [TICKET]),
        ("[Negotiate]\nAction = none\n", "krb5.keytab", []),
        ("# tickets\n  [negotiate]\n\naction=none\n", "cockpit/krb5.keytab", []),
        ("[negotiate]\naction = spawn\naction = none\n", "krb5.keytab", []),
        ("[negotiate]\naction = none\naction = spawn\n", "krb5.keytab", [TICKET]),
        ("[negotiate]\naction = None\n", "krb5.keytab", [TICKET]),
        ("[negotiate]\naction = none # no tickets\n", "krb5.keytab", [TICKET]),
        ("[negotiate]\naction = none \n", "krb5.keytab", [TICKET]),
        ("[negotiate]\naction = none\r\n", "krb5.keytab", [TICKET]),
        ("[negotiate]\naction = none\nno key\n", "krb5.keytab", [TICKET]),
        ("action = none\n", "krb5.keytab", [TICKET]),
        ("[basic]\naction = none\n", "krb5.keytab", [TICKET]),
        ("[WebService]\nClientCertAuthentication = false\n", None, []),
        ("[WebService]\nClientCertAuthentication = true\n", None, [CERTIFICATE]),
        ("[webservice]\nclientcertauthentication = Yes\n", "krb5.keytab", [TICKET, CERTIFICATE]),
        ("[WebService]\nClientCertAuthentication = 1\n[tls-cert]\naction = none\n", None, []),
        ("[WebService]\nLoginTo = false\n", None, []),
    ],
)
def test_cockpit_lets_people_in_without_the_phone_if_its_settings_and_a_keytab_let_it(
    machine: Machine, text: str | None, keytab: str | None, remedies: list[str]
) -> None:
    etc = machine.pam.parent
    (etc / "cockpit").mkdir()
    if text is not None:
        (etc / "cockpit/cockpit.conf").write_bytes(text.encode())
    if keytab is not None:
        (etc / keytab).touch()
    found = list(unauthenticated("cockpit", etc))
    assert [one.remedy.replace(f" {etc}/cockpit/cockpit.conf", "") for one in found] == remedies
    assert all(one.is_error for one in found)


def test_a_keytab_may_have_another_name(machine: Machine) -> None:
    (machine.pam.parent / "krb5.conf").write_text("[libdefaults]\ndefault_keytab_name = /etc/http.keytab\n")
    assert [one.is_error for one in unauthenticated("cockpit", machine.pam.parent)] == [True]
