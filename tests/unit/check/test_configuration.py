"""What `check_config` finds in the shipped settings once something in them, or on the machine, is wrong."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
from pathlib import Path

import pytest

from pam_iampass.check.configuration import check_config
from pam_iampass.check.machine import ConfigReport
from pam_iampass.errors import Severity
from tests.support.folders import let_read, put
from tests.support.shipped_settings import ANYBODY, Installed

# What check warns of


def test_unknown_names_are_found_in_services_and_rules_and_are_errors_among_those_who_are_asked(
    installed: Installed,
) -> None:
    installed.change("  rules: []", '  rules: ["user no-such-user from 127.0.0.0/8"]')
    installed.change("asked:\n  users: []", "asked:\n  users: [root, no-such-user]")
    installed.set("services", "{login: {exempt: {groups: [no-such-group]}}}")
    problems = check_config(installed.file, ANYBODY, pam_folders=[installed.pam]).problems
    found = [str(problem).partition(": ")[2] for problem in problems]
    rule = 'exempt.rules: warning: "user no-such-user from 127.0.0.0/8"'
    assert found == [
        f"{rule} is not a user of this machine",
        f"{rule} {OWN}",
        'asked.users: "no-such-user" is not a user of this machine: users who are not listed are denied',
        'services.login.exempt.groups: warning: "no-such-group" is not a group of this machine',
    ]


OWN = "contains this machine's own addresses: users who can forward a port are exempt"


@pytest.mark.parametrize(
    ("network", "what"),
    [
        ("0.0.0.0/0", "is every address of IPv4"),
        ("::/0", "is every address of IPv6"),
        ("127.0.0.0/8", OWN),
        ("0.0.0.0/1", OWN),
        ("::1", OWN),
        ("::ffff:127.0.0.0/104", OWN),
    ],
)
def test_a_network_that_exempts_more_than_meant_is_warned_of(
    installed: Installed, network: str, what: str
) -> None:
    installed.change("networks: []", f'networks: ["192.0.2.0/24", "{network}"]')
    (warning,) = installed.warnings()
    assert warning.endswith(f'exempt.networks: warning: "{network}" {what}')


@pytest.mark.parametrize(
    ("services", "warned"),
    [
        ("su: {methods: [facial]}", None),
        ("su: {approver: caller}", None),
        ("su-l: {unlisted_users: ignore}", "su"),
        ("sudo-i: {timeout: 30s}", "sudo"),
        ("sudo: {timeout: 30s}", None),
    ],
)
def test_settings_that_a_caller_goes_around_with_a_login_shell_are_warned_of(
    installed: Installed, services: str, warned: str | None
) -> None:
    installed.set("services", f"{{{services}}}")
    sibling = {"su": "su-l", "sudo": "sudo-i"}.get(warned or "")
    what = f"differ from those of {sibling}: users choose between the two, with and without a login shell"
    wanted = [f"iampass.yaml: services.{warned}: warning: {what}"] if warned else []
    assert installed.warnings() == wanted


def test_users_yaml_may_be_empty_and_not_missing_although_there_is_users_d(installed: Installed) -> None:
    (installed.folder / "users.d").mkdir()
    installed.write("users.d/alice.yaml", "alice: a\n")
    installed.write("users.yaml", "")
    assert check_config(installed.file, ANYBODY, pam_folders=[installed.pam]).ok
    (installed.folder / "users.yaml").unlink()
    (problem,) = check_config(installed.file, ANYBODY, pam_folders=[installed.pam]).problems
    assert (problem.severity, problem.file) == (Severity.ERROR, installed.folder / "users.yaml")


EXEMPT = "root is exempt"
IGNORED = "root has no token, and unlisted_users is ignore"


@pytest.mark.parametrize("name", ["su", "su-l"])
@pytest.mark.parametrize(
    ("change", "approver", "opened", "severity"),
    [
        (("users: []", "users: [root]"), "user", EXEMPT, Severity.ERROR),
        (("unlisted_users: deny", "unlisted_users: ignore"), "user", IGNORED, Severity.ERROR),
        (None, "user", "root is to approve, and has no token", Severity.WARNING),
        (("users: []", "users: [root]"), "caller", None, None),
        (None, "caller", None, None),
    ],
)
def test_that_root_is_to_approve_su_to_root_and_does_not_is_found(
    installed: Installed,
    name: str,
    change: tuple[str, str] | None,
    approver: str,
    opened: str | None,
    severity: Severity | None,
) -> None:
    if change:
        installed.change(*change)
    installed.set("services", f"{{{name}: {{approver: {approver}}}}}")
    problems = check_config(installed.file, ANYBODY, pam_folders=[installed.pam]).problems
    found = [problem for problem in problems if problem.key == f"services.{name}.approver"]
    assert [problem.severity for problem in found] == ([severity] if severity else [])
    if opened:
        assert opened in found[0].what
        assert found[0].remedy == "delete `approver: user`: then the caller approves"


def test_another_user_than_root_reads_that_this_may_be_why(installed: Installed) -> None:
    user = pwd.getpwnam(ANYBODY)
    os.seteuid(user.pw_uid)
    try:
        found = check_config(installed.file, ANYBODY)
    finally:
        os.seteuid(0)
    assert [problem.what for problem in found.problems if problem.severity is Severity.WARNING] == [
        "was checked by a user who may be unable to read the secret and other files"
    ]


@pytest.mark.parametrize(
    "users", ["[!wheel]", "[! wheel]", "['!wheel']", "['!wheel', '!sudo']", "\n    - !wheel"]
)
@pytest.mark.parametrize("kind", ["users", "groups"])
def test_an_exception_as_other_modules_have_it_is_an_error_that_says_so(
    installed: Installed, kind: str, users: str
) -> None:
    installed.change(f"  {kind}: []", f"  {kind}: {users}")
    found = check_config(installed.file, ANYBODY)
    assert not found.ok
    assert "do not support exceptions" in found.problems[0].remedy


# Who else can read the files


@pytest.mark.parametrize("name", ["iampass.yaml", "users.yaml", "users.d/alice.yaml"])
@pytest.mark.parametrize(("mode", "gid"), [(0o644, 0), (0o640, grp.getgrnam("man").gr_gid)])
def test_a_file_that_others_can_read_is_an_error_with_the_remedy(
    installed: Installed, name: str, mode: int, gid: int
) -> None:
    (installed.folder / "users.d").mkdir(mode=0o755)
    installed.write("users.d/alice.yaml", "alice: a\n")
    assert installed.warnings() == []
    file = installed.folder / name
    os.chown(file, 0, gid)
    file.chmod(mode)
    found = check_config(installed.file, ANYBODY, pam_folders=[installed.pam])
    assert f"chown root:_iampass {file}; chmod 0640 {file}" in {problem.remedy for problem in found.problems}
    assert not found.ok
    if mode == 0o644:  # else the module cannot read it either
        assert [problem.kind for problem in found.problems] == ["configuration-readable"]
        assert found.problems[0].what.startswith("is accessible to every user (mode 0644)")
        assert found.denied == ""


@pytest.mark.parametrize("name", ["iampass.yaml", "users.yaml", "users.d/alice.yaml", "application-secret"])
def test_an_access_control_list_is_an_error_with_the_remedy(installed: Installed, name: str) -> None:
    (installed.folder / "users.d").mkdir(mode=0o755)
    installed.write("users.d/alice.yaml", "alice: a\n")
    file = installed.folder / name
    file.chmod(0o640)
    let_read(file, 1234)
    found = check_config(installed.file, ANYBODY, pam_folders=[installed.pam])
    assert not found.ok
    assert f"setfacl -b {file}" in {problem.remedy for problem in found.problems}


# What sshd says of itself


@pytest.mark.parametrize(
    ("says", "needed"),
    [
        ("logingracetime 89\n", 90),
        ("logingracetime 90\n", None),
        ("logingracetime 0\n", None),
        ("loglevel INFO\n", None),
        ("logingracetime soon\n", None),
        ("logingracetime 120\npamservicename gate\n", 150),
    ],
)
def test_an_sshd_that_gives_up_too_early_is_warned_of(
    installed: Installed, says: str, needed: int | None
) -> None:
    installed.set("services", "{gate: {timeout: 2m}}")
    sshd = put(installed.folder / "sshd", f'#!/bin/sh\n[ "$*" = -T ] && printf "{says}"\n', 0o755)
    found = check_config(installed.file, ANYBODY, str(sshd), [installed.pam])
    assert found.ok
    assert [problem.remedy.split(" in ")[0] for problem in found.problems] == (
        [f"set LoginGraceTime {needed}"] if needed else []
    )


@pytest.mark.parametrize("script", ["exit 1", "echo logingracetime 5; exit 1", "kill -9 $$"])
def test_an_sshd_that_does_not_tell_is_no_problem(installed: Installed, script: str) -> None:
    sshd = put(installed.folder / "sshd", f"#!/bin/sh\n{script}\n", 0o755)
    assert check_config(installed.file, ANYBODY, str(sshd)).problems == ()
    assert check_config(installed.file, ANYBODY, "/no/such/sshd").problems == ()


# As the module would read


def problems(found: ConfigReport) -> list[str]:
    return [problem.what for problem in found.problems]


def test_files_that_the_modules_user_may_not_read_are_errors_though_root_may(installed: Installed) -> None:
    assert check_config(installed.file, ANYBODY).ok
    installed.file.chmod(0o600)
    told = f"cannot be read by user {ANYBODY}, group {ANYBODY}"
    assert problems(check_config(installed.file, ANYBODY)) == [told]
    assert check_config(installed.file, "no-such-user").problems[0].key == "application_secret_file"


def test_root_is_root_again_afterwards(installed: Installed) -> None:
    before = (os.geteuid(), os.getegid(), os.getgroups())
    check_config(installed.file, ANYBODY)
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before


def test_a_secret_that_is_being_changed_is_named(installed: Installed) -> None:
    installed.write("application-secret", "n3w\n0ld\n")
    (warning,) = installed.warnings()
    assert (
        "application_secret_file: warning: application-secret has a second line, the previous secret"
        in warning
    )
    assert "0ld" not in warning


# rescue=NAME on a PAM line


@pytest.mark.parametrize(
    ("rescue", "exempt", "fault"),
    [
        ("daemon", "{users: [daemon]}", ""),
        ("daemon", "{groups: [daemon]}", ""),
        ("daemon", "{users: [root]}", "but daemon is not exempt"),
        ("daemon", "{networks: [192.0.2.0/24]}", "but daemon is not exempt"),
        ("no-such-user", "{users: [daemon]}", "but no-such-user is not an account of this machine"),
    ],
)
@pytest.mark.parametrize(
    "line", ["auth required pam_iampass.so first_factor=publickey", "account required pam_iampass.so"]
)
def test_a_line_that_lets_in_an_account_without_an_agent_needs_it_to_be_exempt(
    installed: Installed, tmp_path: Path, line: str, rescue: str, exempt: str, fault: str
) -> None:
    (tmp_path / "sshd").write_text(f"{line} rescue={rescue}\nauth required pam_permit.so\n")
    settings = re.sub(r"\nexempt:\n( .*\n)*", f"\nexempt: {exempt}\n", installed.file.read_text("utf-8"))
    installed.write("iampass.yaml", settings)
    found = check_config(installed.file, ANYBODY, pam_folders=(tmp_path,)).problems
    told = [problem for problem in found if problem.key == "rescue"]
    assert [problem.severity for problem in told] == ([Severity.ERROR] if fault else [])
    assert all(fault in str(problem) and f"{tmp_path}/sshd:1" in str(problem) for problem in told)


# Further connections


@pytest.mark.parametrize(
    ("lines", "covers", "warned"),
    [
        ("account required pam_iampass.so", "true", True),
        ("account required pam_iampass.so", "false", False),
        ("auth required pam_iampass.so\naccount required pam_iampass.so", "true", False),
    ],
)
def test_where_the_phone_is_asked_in_the_account_phase_covering_connections_has_no_effect(
    installed: Installed, tmp_path: Path, lines: str, covers: str, warned: bool
) -> None:
    (tmp_path / "sshd").write_text(lines + "\n")
    installed.change("  keep: false", "  keep: true")
    installed.change("  covers_connections: false", f"  covers_connections: {covers}")
    found = check_config(installed.file, ANYBODY, pam_folders=(tmp_path,)).problems
    told = [problem.severity for problem in found if problem.key == "session.covers_connections"]
    assert told == ([Severity.WARNING] if warned else [])


# Names of PAM services, and PAM files


def test_a_name_that_leads_to_no_pam_service_is_an_error_that_says_what_may_be_meant(
    installed: Installed,
) -> None:
    named = "iampass-sudo: {timeout: 30s}, pkexec: {timeout: 30s}, common-auth: {session: {keep: true}}"
    installed.set("services", f"{{{named}}}")
    installed.change("services: []", "services: [sudo, sudoo]")
    for name in ("polkit-1", "common-auth"):
        put(installed.pam / name, "auth required pam_unix.so\n")
    found = check_config(installed.file, ANYBODY, pam_folders=[installed.pam])
    assert [(problem.key, problem.severity, problem.remedy) for problem in found.problems] == [
        ("services.iampass-sudo", Severity.ERROR, "did you mean sudo?"),
        ("services.pkexec", Severity.ERROR, "pam-iampass setup polkit-1"),
        ("services.common-auth", Severity.ERROR, "name the services that are to ask the phone"),
        ("session.covers.services", Severity.ERROR, "did you mean sudo?"),
    ]
    assert '"sudoo" is no PAM service of this machine' in found.problems[3].what
    assert found.problems[3].line is not None
    assert found.denied == ""


@pytest.mark.parametrize(
    ("name", "file", "text", "asks"),
    [
        ("doas", "doas", "auth required pam_iampass.so\n", True),
        ("doas", "doas", "auth required pam_unix.so\n", False),
        ("doas", "doas", "#auth required pam_iampass.so\nauth required pam_unix.so\n", False),
        ("doas", "doas", "account required pam_iampass.so\n", False),
        ("doas", "doas", "auth include no-such-file\n", False),
        ("sshd", "sshd", "account required pam_iampass.so\n", True),
        ("su", "su-l", "auth required pam_unix.so\n", False),
        ("doas", "doas", None, False),
    ],
)
def test_a_service_that_setup_has_switched_on_and_that_does_not_ask_is_an_error(
    installed: Installed, name: str, file: str, text: str | None, asks: bool
) -> None:
    folder = installed.pam
    put(folder / "other", "auth required pam_unix.so\n")
    path = folder / file
    if text is not None:
        put(path, text)
    record = {"files": [{"path": str(path), "edited": True}, {"path": "/etc/ssh/x", "edited": False}]}
    manifest = put(installed.folder / "manifest.json", json.dumps({"services": {name: record}}), 0o600)
    found = check_config(installed.file, ANYBODY, pam_folders=[folder], manifest=manifest)
    told = [one for one in found.problems if one.kind == "switched-off"]
    assert [(one.file, one.severity) for one in told] == ([] if asks else [(path, Severity.ERROR)])
    assert all(f"pam-iampass setup {name};" in one.remedy for one in told)
    assert found.ok is asks
    assert found.denied == ""


def test_a_program_that_is_gone_with_its_file_is_none_that_lets_in_where_other_refuses(
    installed: Installed,
) -> None:
    put(installed.pam / "other", "auth required pam_deny.so\n")
    record = {"files": [{"path": str(installed.pam / "doas"), "edited": True}]}
    manifest = put(installed.folder / "manifest.json", json.dumps({"services": {"doas": record}}), 0o600)
    assert check_config(installed.file, ANYBODY, pam_folders=[installed.pam], manifest=manifest).ok


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"services": {"doas": {}}}'])
def test_a_record_of_setup_that_cannot_be_understood_is_an_error(installed: Installed, text: str) -> None:
    manifest = put(installed.folder / "manifest.json", text, 0o600)
    (found,) = check_config(installed.file, ANYBODY, pam_folders=[installed.pam], manifest=manifest).problems
    assert (found.file, found.severity) == (manifest, Severity.ERROR)


def test_a_service_that_is_not_switched_on_yet_is_a_warning_and_one_that_sshd_does_not_use_an_error(
    installed: Installed,
) -> None:
    folder = installed.pam
    for name in ("sudo", "sudo-i", "sshd", "su"):
        put(folder / name, "auth required pam_unix.so\n")
    keeps = "{session: {keep: true, covers: {services: [sudo]}}}"
    installed.set("services", f"{{sudo-i: {{timeout: 30s}}, sshd: {keeps}}}")

    def check(sshd: Path) -> list[tuple[str, Severity, str]]:
        found = check_config(installed.file, ANYBODY, str(sshd), [folder]).problems
        return [(one.key, one.severity, one.remedy) for one in found if "differ" not in one.what]

    sshd = put(installed.folder / "sshd", "#!/bin/sh\necho pamservicename sshd\n", 0o755)
    assert check(sshd) == [
        ("services.sudo-i", Severity.WARNING, "pam-iampass setup sudo"),
        ("services.sshd", Severity.WARNING, "pam-iampass setup sshd"),
        ("services.sshd.session.covers.services", Severity.WARNING, "pam-iampass setup sudo"),
    ]
    put(sshd, "#!/bin/sh\necho pamservicename gate\n", 0o755)
    assert ("services.sshd", Severity.ERROR, "did you mean gate?") in check(sshd)


def test_a_profile_for_all_services_and_the_lines_of_setup_together_are_an_error(
    installed: Installed,
) -> None:
    pam = installed.folder / "pam.d"
    pam.mkdir()
    ours = "auth required pam_iampass.so\n"
    put(pam / "su", "")
    put(pam / "common-auth", f"auth requisite pam_unix.so\n{ours}")
    for name in ("sudo", "doas"):
        put(pam / name, f"auth include {pam / 'common-auth'}\n{ours}")
    put(pam / "login", f"auth include {pam / 'common-auth'}\n")
    found = check_config(installed.file, ANYBODY, pam_folders=[pam])
    assert [(str(problem.file), problem.line, problem.severity) for problem in found.problems] == [
        (str(pam / name), 2, Severity.ERROR) for name in ("doas", "sudo")
    ]
    assert f"{pam / 'common-auth'}:2 asks it, too" in found.problems[0].what
    assert "pam-auth-update --disable iampass" in found.problems[0].remedy
    assert found.denied == ""


@pytest.mark.needs_program("sudo")
@pytest.mark.parametrize("login", [True, False], ids=["sshd keeps too", "sudo alone keeps"])
def test_a_root_shell_that_no_phone_can_end_is_an_error_and_denies_nobody(
    installed: Installed, login: bool
) -> None:
    folder = installed.folder / "etc/pam.d"
    folder.mkdir(parents=True)
    for name in ("sudo", "sshd") if login else ("sudo",):
        text = "auth required pam_iampass.so\nsession optional pam_iampass.so\n"
        put(folder / name, text)
    installed.change("keep: false", "keep: true")
    found = check_config(installed.file, ANYBODY, pam_folders=[folder])
    told = [(one.kind, one.key) for one in found.problems if one.severity is Severity.ERROR]
    assert told == ([] if login else [("session-remembered", "sudo")])
    assert (found.ok, found.denied) == (login, "")


@pytest.mark.parametrize("asks", [True, False])
def test_a_ticket_that_logs_in_without_the_phone_is_an_error_if_cockpit_asks(
    installed: Installed, asks: bool
) -> None:
    module = "pam_iampass.so" if asks else "pam_unix.so"
    folder = installed.folder / "etc/pam.d"
    folder.mkdir(parents=True)
    put(folder / "cockpit", f"auth required {module}\n")
    put(folder.parent / "krb5.keytab", "")
    found = check_config(installed.file, ANYBODY, pam_folders=[folder])
    told = [(one.kind, one.key) for one in found.problems if one.severity is Severity.ERROR]
    assert told == ([("stack-not-called", "cockpit")] if asks else [])
    assert (found.ok, found.denied) == (not asks, "")


# Who is asked


@pytest.mark.parametrize(
    ("services", "found"),
    [
        ("sudo: {approver: login}, sshd: {session: {keep: true}}", ()),
        ("sudo: {approver: login}", ("sudo",)),
        ("sudo: {approver: login}, su: {session: {keep: true}}", ("sudo",)),
        ("sshd: {approver: login, session: {keep: true}}", ("sshd",)),
        ("polkit-1: {approver: login}", ("polkit-1",)),
    ],
)
def test_approver_login_needs_login_sessions_that_are_kept_and_is_for_no_service_outside_of_them(
    installed: Installed, services: str, found: tuple[str, ...]
) -> None:
    for name in ("sshd", "polkit-1"):
        put(installed.pam / name, "auth required pam_iampass.so\n")
    installed.set("services", f"{{{services}}}")
    report = check_config(installed.file, ANYBODY, "/no/sshd", [installed.pam])
    problems = {one.key: one for one in report.problems if one.key.endswith(".approver")}
    assert {*problems} == {f"services.{name}.approver" for name in found}
    assert all(one.is_error for one in problems.values())
    assert report.denied == ""


def test_that_sshd_is_not_switched_on_yet_is_no_error_where_it_is_to_keep_its_sessions(
    installed: Installed,
) -> None:
    installed.set("services", "{sudo: {approver: login}, sshd: {session: {keep: true}}}")
    report = check_config(installed.file, ANYBODY, "/no/sshd", [installed.pam])
    (found,) = [one for one in report.problems if one.key == "services.sudo.approver"]
    assert (found.severity, found.remedy) == (Severity.WARNING, "pam-iampass setup sshd")


def test_that_polkit_knows_login_sessions_only_by_its_agent_is_a_warning(installed: Installed) -> None:
    for name in ("sshd", "polkit-1"):
        put(installed.pam / name, "auth required pam_iampass.so\n")
    installed.set("services", "{polkit-1: {approver: login}, sshd: {session: {keep: true}}}")
    report = check_config(installed.file, ANYBODY, "/no/sshd", [installed.pam])
    (found,) = [one for one in report.problems if one.key == "services.polkit-1.approver"]
    assert found.severity is Severity.WARNING
    assert "only if polkit's agent" in found.what


@pytest.mark.parametrize(
    ("table", "settings", "what"),
    [
        ("", {}, '"root" is not in the user table'),
        (
            "root: t\n",
            {"services": "{sudo: {exempt: {users: [daemon]}}}"},
            "logins of this account through sudo",
        ),
        (
            "root: t\n",
            {"services": "{sudo: {exempt: {rules: [group daemon from 192.0.2.0/24]}}}"},
            "names a person, and daemon is exempt by the rule: group daemon from 192.0.2.0/24",
        ),
        ("root: t\n", {"exempt": "{networks: [192.0.2.0/24]}"}, None),
    ],
)
def test_an_account_that_cannot_act_for_a_person_is_an_error_that_denies_it_alone(
    installed: Installed, table: str, settings: dict[str, str], what: str | None
) -> None:
    installed.write("users.yaml", f"{table}daemon: {{acts_for: root}}\n")
    for key, value in settings.items():
        installed.set(key, value)
    report = check_config(installed.file, ANYBODY, "/no/sshd", [installed.pam])
    found = [one for one in report.problems if one.key == "daemon.acts_for"]
    if what is None:
        assert found == []
        return
    (problem,) = found
    assert what in problem.what
    assert (problem.kind, problem.line) == ("account-cannot-act", 2 if table else 1)
    assert report.denied.startswith("daemon is denied")


@pytest.mark.parametrize(
    ("approver", "expected"),
    [
        ("{group: no-such-group}", ['"no-such-group" is not a group of this machine: every login is denied']),
        (
            "{users: [alice, zoe]}",
            [
                '"zoe" is to approve, and has no token in the user table',
                "names alice alone, whose own logins nobody can approve",
            ],
        ),
        ("{user: alice, allow_self: true}", []),
        (
            "{user: zoe}",
            [
                '"zoe" is to approve, and has no token in the user table',
                "names nobody who has a token: every login is denied",
            ],
        ),
    ],
)
def test_second_people_who_cannot_be_asked_are_reported(
    installed: Installed, approver: str, expected: list[str]
) -> None:
    installed.write("users.yaml", "alice: t\n")
    installed.set("services", f"{{sudo: {{approver: {approver}}}}}")
    report = check_config(installed.file, ANYBODY, "/no/sshd", [installed.pam])
    found = [problem.what for problem in report.problems if problem.key.startswith("services.sudo.approver")]
    assert found == expected


# Whose key it is


A_PRINT = f"'SHA256:{'A' * 43}'"


def with_keys(installed: Installed, tokens: dict[str, str], keys: dict[str, str]) -> None:
    """Write a user table: the token of each, and the only key."""
    text = ""
    for name in dict.fromkeys([*tokens, *keys]):
        token = [f"token: {tokens[name]}"] if name in tokens else []
        text += f"{name}: {{{', '.join([*token, *([f'keys: [{keys[name]}]'] if name in keys else [])])}}}\n"
    installed.write("users.yaml", text)


def by_key(installed: Installed, account_phase: bool = False, **settings: str) -> ConfigReport:
    """The report with `approver: key` for sshd, which asks in the auth or in the account phase."""
    installed.set("services", f"{{sshd: {{approver: key{settings.get('more', '')}}}}}")
    kind = "account" if account_phase else "auth"
    put(installed.pam / "sshd", f"{kind} required pam_iampass.so\n")
    return check_config(installed.file, ANYBODY, pam_folders=[installed.pam])


def said(report: ConfigReport) -> list[str]:
    """The errors, without NOT_ROOT and what is not about keys."""
    return [f"{one.what}: {one.remedy}" for one in report.problems if one.severity is Severity.ERROR]


def test_a_key_that_sshd_has_not_named_yet_is_an_error_with_the_way_out(installed: Installed) -> None:
    with_keys(installed, {"alice": "t"}, {"alice": A_PRINT})
    (error,) = said(by_key(installed, account_phase=True))
    assert "before it has said which key it is" in error
    assert error.endswith(": pam-iampass setup sshd --prompt")


def test_keys_of_two_people_or_of_nobody_with_a_token_are_errors(installed: Installed) -> None:
    with_keys(installed, {"alice": "t"}, {"alice": A_PRINT, "bob": A_PRINT})
    report = by_key(installed)
    assert ["also stands for" in error or "has keys, and no token" in error for error in said(report)] == [
        True,
        True,
    ]
    assert '"bob" is denied' in report.denied


ME = pwd.getpwuid(os.getuid()).pw_name
A_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""Of 32 zero bytes."""


@pytest.mark.parametrize(
    ("services", "line", "table", "said_"),
    [
        ("sudo: {approver: {user: carol}}", A_KEY, {"alice": A_KEY}, "they are denied in spite of it"),
        (
            "sudo: {approver: {user: carol}}",
            A_KEY,
            {"alice": A_KEY, ME: f"'SHA256:{'B' * 42}A'"},
            "they can approve for themselves",
        ),
        ("sudo: {approver: {user: carol, allow_self: true}}", A_KEY, {"alice": A_KEY}, ""),
        (
            "sshd: {approver: key}",
            f'command="x y",no-pty {A_KEY} bob',
            {"alice": A_KEY},
            "its phone approves for all",
        ),
        ("sshd: {approver: key, otherwise: user}", A_KEY, {"alice": A_KEY}, ""),
        ("sshd: {approver: key}", A_KEY, {ME: A_KEY}, ""),
        ("sshd: {approver: key}", A_KEY, {"own": A_KEY}, ""),
        ("sshd: {approver: key}", f"cert-authority {A_KEY}", {"alice": A_KEY}, ""),
        (
            "sshd: {approver: key}",
            f"cert-authority {A_KEY}",
            {"alice": f"{{ca: {A_KEY}, key_id: a}}"},
            "its phone approves",
        ),
        ("sshd: {approver: key}", "ssh-ed25519 AAAA?", {"alice": A_KEY}, ""),
        ("sshd: {timeout: 30s}", A_KEY, {"alice": A_KEY}, ""),
    ],
)
def test_a_token_of_an_account_to_which_people_log_in_by_their_keys_is_found(
    installed: Installed, services: str, line: str, table: dict[str, str], said_: str
) -> None:
    # For ME alone: sshd reads it as the account, and other tests may have made accounts of the names below.
    put(installed.folder / "authorized_keys", f"# {A_KEY}\n{line}\n", 0o600)
    sshd = put(
        installed.folder / "sshd",
        f"#!/bin/sh\necho authorizedkeysfile {installed.folder}/authorized_keys\n",
        0o755,
    )
    installed.set("services", f"{{{services}}}")
    with_keys(installed, {"alice": "a", "carol": "c", ME: "m", "own": "m"}, table)
    report = check_config(installed.file, ANYBODY, str(sshd), [installed.pam])
    told = [one for one in report.problems if "has a token of its own" in one.what]
    if not said_:
        assert told == []
        return
    (problem,) = told
    assert said_ in problem.what
    assert f'"alice" can log in to it by key ({installed.folder}/authorized_keys)' in problem.what
    assert (problem.file, problem.line, problem.key) == (installed.folder / "users.yaml", 3, ME)
    assert problem.severity is Severity.WARNING
    assert problem.remedy.startswith(f"pam-iampass user remove {ME}:")


@pytest.mark.parametrize(
    ("kind", "table", "more", "told"),
    [
        ("account", "alice", "", True),
        ("auth", "alice", "", False),
        ("account", "", "", False),
        ("account", "alice", ", allow_self: true", False),
    ],
)
def test_that_a_second_person_lets_nobody_into_a_shared_account_in_the_account_phase_is_found(
    installed: Installed, kind: str, table: str, more: str, told: bool
) -> None:
    installed.set("services", f"{{sshd: {{approver: {{users: [alice, bob]{more}}}}}}}")
    with_keys(installed, {"alice": "a", "bob": "b"}, {table: A_PRINT} if table else {})
    put(installed.pam / "sshd", f"{kind} required pam_iampass.so\n")
    report = check_config(installed.file, ANYBODY, pam_folders=[installed.pam])
    found = [one for one in report.problems if "before it has said whose key it is" in one.what]
    assert [(one.key, one.remedy, one.severity) for one in found] == (
        [("services.sshd.approver", "pam-iampass setup sshd --prompt", Severity.ERROR)] if told else []
    )
    if told:
        assert "everybody who logs in to an account that several people share is denied" in report.denied


@pytest.mark.parametrize(
    ("unlisted", "said_"),
    [
        ("deny", "has keys, and no token: is denied"),
        (
            "'{user}@example.com'",
            "has keys, and neither a token nor an account: is denied where",
        ),
    ],
)
def test_that_a_person_with_keys_is_not_known_where_a_second_person_must_approve_is_an_error(
    installed: Installed, unlisted: str, said_: str
) -> None:
    installed.set("services", "{sudo: {approver: {users: [alice, bob]}}}")
    installed.set("unlisted_users", unlisted)
    keys = {"alice": A_PRINT, "Bob": f"'SHA256:{'B' * 42}A'"}
    with_keys(installed, {"alice": "a", "bob": "b"}, keys)
    report = check_config(installed.file, ANYBODY, pam_folders=[installed.pam])
    (error,) = said(report)
    assert error.startswith(said_)
    assert '"Bob" is denied' in report.denied


@pytest.mark.parametrize(("table", "told"), [("one", True), (ME, False), ("", False)])
def test_that_there_are_no_keys_of_the_name_of_ones_own_account_is_found(
    installed: Installed, table: str, told: bool
) -> None:
    installed.set("services", "{sudo: {approver: {users: [one, two]}}}")
    with_keys(installed, {"one": "a", "two": "b", ME: "m"}, {table: A_PRINT} if table else {})
    report = check_config(installed.file, ANYBODY, "/no/sshd", [installed.pam])
    found = [one for one in report.problems if "the user table has no keys of" in one.what]
    assert [(one.severity, f"no keys of {ME}:" in one.what) for one in found] == (
        [(Severity.WARNING, True)] if told else []
    )


@pytest.mark.parametrize("service", ["sshd: {approver: key", "sudo: {approver: login"])
def test_that_the_accounts_own_phone_lets_in_whom_no_second_person_approves_is_found(
    installed: Installed, service: str
) -> None:
    installed.set("services", f"{{{service}, otherwise: user}}, su: {{approver: {{users: [alice, bob]}}}}}}")
    installed.write("users.yaml", "alice: a\nbob: b\n")
    report = check_config(installed.file, ANYBODY, pam_folders=[installed.pam])
    (found,) = (one for one in report.problems if one.key.endswith(".otherwise"))
    assert found.severity is Severity.WARNING
    assert "services.su.approver denies them" in found.what


def test_other_services_cannot_name_a_key(installed: Installed) -> None:
    installed.set("services", "{gate: {approver: key}}")
    report = check_config(installed.file, ANYBODY, pam_folders=[installed.pam])
    (error,) = said(report)
    assert "is key, which only sshd can name" in error


def test_that_root_is_exempt_where_keys_name_people_is_an_error(installed: Installed) -> None:
    with_keys(installed, {"alice": "t"}, {"alice": A_PRINT})
    report = by_key(installed, more=", exempt: {users: [root]}")
    (error,) = said(report)
    assert "is key, but nobody is asked for a login to root by any key: root is exempt" in error
    assert report.denied == ""


@pytest.mark.parametrize("keys", [True, False])
def test_that_root_is_exempt_where_a_second_person_approves_for_the_people_of_keys_is_an_error(
    installed: Installed, keys: bool
) -> None:
    with_keys(installed, {"alice": "t", "bob": "b"}, {"alice": A_PRINT} if keys else {})
    both = "approver: {users: [alice, bob]}, exempt: {users: [root]}"
    installed.set("services", f"{{sshd: {{{both}}}, sudo: {{{both}}}}}")
    put(installed.pam / "sshd", "auth required pam_iampass.so\n")
    report = check_config(installed.file, ANYBODY, "/no/sshd", [installed.pam])
    assert [error.startswith("names a second person, but nobody is asked for") for error in said(report)] == (
        [True] if keys else []
    )


@pytest.mark.parametrize(
    ("session", "warned"),
    [
        ("keep: true, covers_connections: true", True),
        ("keep: true, covers_connections: false", False),
        ("keep: false, covers_connections: true", False),
    ],
)
def test_that_no_connection_is_covered_where_keys_name_people_is_found(
    installed: Installed, session: str, warned: bool
) -> None:
    report = by_key(installed, more=f", session: {{{session}}}")
    told = [one for one in report.problems if "a key says there who logs in" in one.what]
    assert [(one.key, one.severity) for one in told] == (
        [("session.covers_connections", Severity.WARNING)] if warned else []
    )


def test_without_keys_check_warns(installed: Installed) -> None:
    report = by_key(installed)
    assert said(report) == []
    assert any("no key is in the table" in problem.what for problem in report.problems)
