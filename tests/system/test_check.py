"""`pam-iampass check` on a machine that is well, and on one where each thing in turn is really broken."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import SOCKET, RunningAgent
from tests.support.command import COMMAND, run_command
from tests.support.installation import ROOT, STATE, Installation
from tests.support.journald import Journald
from tests.support.pam_files import edited
from tests.support.sandbox import Junk, Sandbox
from tests.support.terminal import ENVIRONMENT, Terminal
from tests.support.world import PEOPLE, token_of, wait_until

USERS = ("root", "alice", "bob", "carol")
WITHOUT_TOKEN = "dave"
ETC = Path("/etc/iampass")
PAM = Path("/etc/pam.d")
SSHD = Path("/etc/ssh/sshd_config.d/10-iampass.conf")
SUDOERS = Path("/etc/sudoers.d/people")
LIBEXEC = Path("/usr/lib/pam-iampass")
MANIFEST = Path("/var/lib/pam-iampass/setup/manifest.json")
NATIVE = next(Path("/usr/lib").glob("*/security/pam_permit.so")).with_name("pam_iampass.so")
KEPT = (
    *(PAM, Path("/etc/ssh"), Path("/etc/sudoers.d"), Path("/etc/sudoers"), ETC, LIBEXEC, NATIVE),
    *(Path("/etc/passwd"), Path("/etc/group"), Path("/etc/nsswitch.conf")),
)


@dataclass
class Clinic:
    """A machine that is well, until a test breaks something."""

    machine: Installation
    sandbox: Sandbox
    agent: RunningAgent
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    user: str | None = None
    """Who runs the command: None for root."""

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        if self.user is None and not self.environment:
            return run_command("check", *arguments, environment=ENVIRONMENT)
        under = [] if self.user is None else ["setpriv", f"--reuid={self.user}", "--clear-groups"]
        return subprocess.run(
            [*under, COMMAND, "check", *arguments],
            env={**ENVIRONMENT, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def report(self) -> dict[str, Any]:
        done = self.check("--json", *self.arguments)
        assert done.stderr == "", done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        errors, warnings = report["errors"], report["warnings"]
        assert done.returncode == (1 if errors else 3 if warnings else 0)
        return report


def change(file: Path, old: str, new: str) -> None:
    """Replace a text that is in the file."""
    text = file.read_text()
    assert old in text, text
    file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def well(machine: Installation, sandbox: Sandbox, agent: RunningAgent) -> Iterator[Callable[[], None]]:
    """The shipped files in their places, for sshd with a key and for sudo; the function puts back what was changed.
    The agent, which a test may stop, is that of the other system tests: it runs again afterwards."""
    Path("/run/sshd").mkdir(exist_ok=True)
    with kept():
        SSHD.unlink(missing_ok=True)
        shutil.copy(ROOT / "config/sshd_config.d/10-iampass.conf", SSHD)
        change(SSHD, "UsePAM yes", "UsePAM yes\nPermitRootLogin yes")
        append(SSHD, "Match User daemon\n    AuthenticationMethods publickey\nMatch all\n")
        SUDOERS.write_text("")
        SUDOERS.chmod(0o440)
        QUIET.write_text(asking("sshd", "quiet")[SHIPPED_KEY])
        for name, choice in (("sshd", "key"), ("sudo", "")):
            for file, text in asking(name, choice).items():
                file.write_text(text)
        remove_other_accounts()
        with kept() as put_back:
            yield put_back
    if agent.process is None:
        agent.__enter__()
    agent.wake()


def asking(name: str, choice: str = "") -> dict[Path, str]:
    """The PAM files of a service with our lines, which have no mark here: tests write on behind them."""
    return {file: text.replace("  # pam-iampass", "") for file, text in edited(name, choice).items()}


def remove_other_accounts() -> None:
    """Of the accounts of all tests keep those of these tests: check runs `sshd -T` for each."""
    passwd = Path("/etc/passwd")
    others = set(PEOPLE) - {*USERS, WITHOUT_TOKEN}
    lines = passwd.read_text().splitlines(keepends=True)
    passwd.write_text("".join(line for line in lines if line.partition(":")[0] not in others))


@contextlib.contextmanager
def kept() -> Iterator[Callable[[], None]]:
    """The folders of configuration are put back at the end, and whenever the function is called."""
    backup = Path(os.environ["MACHINE_SCRATCH"]) / f"kept-{time.monotonic_ns()}"
    backup.mkdir()
    subprocess.run(["cp", "-a", "--parents", *KEPT, str(backup)], check=True)

    def put_back() -> None:
        subprocess.run(["rm", "-rf", *KEPT], check=True)
        subprocess.run(["cp", "-a", *backup.iterdir(), "/"], check=True)

    try:
        yield put_back
    finally:
        put_back()
        shutil.rmtree(backup)


@pytest.fixture
def clinic(
    well: Callable[[], None], machine: Installation, sandbox: Sandbox, agent: RunningAgent
) -> Iterator[Clinic]:
    """A machine that is well, for one test."""
    if agent.process is None:
        agent.__enter__()
    agent.wake()
    SOCKET.chmod(0o600)
    sandbox.behave()
    sandbox.clock_skew = 0.0
    for user in USERS:
        sandbox.add_user(token_of(user), device=True)
    machine.configure(sandbox, exempt="{users: [daemon]}")
    machine.write_users("".join(f"{user}: {token_of(user)}\n" for user in USERS))
    yield Clinic(machine, sandbox, agent)
    well()


def test_a_machine_that_is_well_has_no_error_and_no_warning(clinic: Clinic) -> None:
    report = clinic.report()
    assert [found for found in report["findings"] if found["severity"] != "note"] == []
    assert report["not_looked_at"] == []
    assert report["ok"]


# Each thing broken in turn


def bad_setting(clinic: Clinic) -> None:
    clinic.machine.change(timeout="60")


def ghost_exempt(clinic: Clinic) -> None:
    clinic.machine.change(exempt="{users: [daemon, no-such-user]}")


def no_account(clinic: Clinic) -> None:
    clinic.agent.stop()
    for file in ("passwd", "group"):
        lines = Path("/etc", file).read_text().splitlines()
        Path("/etc", file).write_text(
            "\n".join(one for one in lines if not one.startswith("_iampass:")) + "\n"
        )


def person_in_the_services_group(clinic: Clinic) -> None:
    gid = grp.getgrnam("_iampass").gr_gid
    change(Path("/etc/group"), f"_iampass:x:{gid}:\n", f"_iampass:x:{gid}:alice\n")


def root_approves_su_and_is_exempt(clinic: Clinic) -> None:
    clinic.machine.change(exempt="{users: [daemon, root]}", services="{su: {approver: user}}")


def writable_pam_file(clinic: Clinic) -> None:
    (PAM / "sudo").chmod(0o666)


def no_packages(clinic: Clinic) -> None:
    change(LIBEXEC / "agent", "/usr/lib/python3/dist-packages", "/usr/lib/nowhere")


@contextlib.contextmanager
def full_disk(clinic: Clinic) -> Iterator[None]:
    folder = STATE.parent
    clinic.agent.stop()
    options = f"size=1m,mode=700,uid={folder.stat().st_uid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    clinic.agent.__enter__()
    yield
    clinic.agent.stop()
    subprocess.run(["umount", str(folder)], check=True)
    clinic.agent.__enter__()


def open_socket(clinic: Clinic) -> None:
    SOCKET.chmod(0o666)


@contextlib.contextmanager
def silent_agent(clinic: Clinic) -> Iterator[None]:
    clinic.agent.stop()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(SOCKET))
        SOCKET.chmod(0o600)
        listener.listen()
        yield
    SOCKET.unlink()


@contextlib.contextmanager
def left_over_socket(clinic: Clinic) -> Iterator[None]:
    no_agent(clinic)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(SOCKET))
    SOCKET.chmod(0o600)
    yield
    SOCKET.unlink()


@contextlib.contextmanager
def unit_not_enabled(clinic: Clinic) -> Iterator[None]:
    """systemctl reads the unit files by itself where systemd does not run."""
    running = Path("/run/systemd/system")
    running.mkdir(parents=True)
    MANIFEST.parent.mkdir(parents=True)
    MANIFEST.write_text('{"services": {}}')
    yield
    shutil.rmtree(MANIFEST.parent)
    running.rmdir()


def no_agent(clinic: Clinic) -> None:
    clinic.agent.stop()


def nobody_there(clinic: Clinic) -> None:
    clinic.machine.change(server="https://127.0.0.1:1")


def another_authority(clinic: Clinic) -> None:
    import trustme

    trustme.CA().cert_pem.write_to_path(str(ETC / "ca.pem"))


def junk(clinic: Clinic) -> None:
    clinic.sandbox.misbehave("has_device", Junk(), times=None)


def a_name_that_nobody_knows(clinic: Clinic) -> None:
    Path("/etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    clinic.machine.change(server="https://iampass.invalid")


def another_time(clinic: Clinic) -> None:
    clinic.sandbox.clock_skew = 3600.0


def named(name: str) -> Callable[[Clinic], None]:
    def ask(clinic: Clinic) -> None:
        clinic.arguments = (name,)

    return ask


def entry_of_nobody(clinic: Clinic) -> None:
    clinic.machine.write_users(f"alice: {token_of('alice')}\nghost: token-of-ghost\n")


def unlisted_pass(clinic: Clinic) -> None:
    clinic.machine.change(unlisted_users="ignore")


def no_phone(clinic: Clinic) -> None:
    clinic.sandbox.delete_user(token_of("bob"))
    clinic.sandbox.add_user(token_of("bob"), device=False)


@contextlib.contextmanager
def bypassed(_clinic: Clinic) -> Iterator[None]:
    run_command("bypass", "alice", "--for", "1h")
    yield
    run_command("bypass", "end", "alice")


@contextlib.contextmanager
def refusals(clinic: Clinic) -> Iterator[None]:
    (PAM / "only-the-phone").write_text("auth required pam_iampass.so\n")
    clinic.sandbox.auto = "deny"
    try:
        for _ in range(3):
            subprocess.run(
                ["pamtester", "only-the-phone", "carol", "authenticate"],
                check=False,
                capture_output=True,
                input=b"\n",
            )
    finally:
        clinic.sandbox.auto = "ask"
    (PAM / "only-the-phone").unlink()
    clinic.arguments = ("carol",)
    yield
    run_command("throttle", "clear", "carol").check_returncode()


def asks_nothing(name: str) -> None:
    """Take our lines out of a PAM file."""
    file = PAM / name
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "iampass" not in line))


def sudo_asks_nothing(clinic: Clinic) -> None:
    for name in ("sudo", "sudo-i"):
        asks_nothing(name)


def stack(*lines: str) -> Callable[[Clinic], None]:
    """A service of its own with these lines."""

    def put(clinic: Clinic) -> None:
        (PAM / "vsftpd").write_text("\n".join(lines) + "\n")

    return put


def edit(file: Path, old: str, new: str) -> Callable[[Clinic], None]:
    return lambda clinic: change(file, old, new)


OURS, UNIX, PERMIT = (
    "auth required pam_iampass.so",
    "auth requisite pam_unix.so",
    "auth required pam_permit.so",
)
METHODS = "AuthenticationMethods publickey,keyboard-interactive:pam"
SHIPPED_KEY = PAM / "sshd"
DEMAND = " first_factor=publickey"


QUIET = Path("/var/lib/sshd-that-asks-in-the-account-phase")
OUR_ACCOUNT = "account    requisite   pam_iampass.so"


def phone_only_ssh(clinic: Clinic) -> None:
    change(SSHD, METHODS, "AuthenticationMethods keyboard-interactive:pam")
    change(SHIPPED_KEY, "so" + DEMAND, "so")


def password_method(clinic: Clinic) -> None:
    change(SSHD, METHODS, "AuthenticationMethods publickey,password")
    change(SSHD, "PasswordAuthentication no", "PasswordAuthentication yes")


def key_alone(clinic: Clinic) -> None:
    """As version 0.1 set it up, and AuthenticationMethods is lost."""
    asked_at_the_prompt_only()
    change(SSHD, METHODS, "")


def asked_at_the_prompt_only() -> None:
    """As version 0.1 set it up: no account line."""
    change(SHIPPED_KEY, OUR_ACCOUNT, "")


def match_block(criteria: str, setting: str) -> Callable[[Clinic], None]:
    """A Match block of the administrator's, for all members of its group if it names one."""

    def write_it(clinic: Clinic) -> None:
        if criteria == "Group users-of-old":
            append(Path("/etc/group"), "users-of-old:x:4242:bob\n")
        append(Path("/etc/ssh/sshd_config"), f"Match {criteria}\n    {setting}\n")

    return write_it


@contextlib.contextmanager
def old_sshd(clinic: Clinic) -> Iterator[None]:
    key = Path(os.environ["MACHINE_SCRATCH"]) / "check-host-key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    pid_file = Path("/run/sshd.pid")
    options = ["-o", f"HostKey={key}", "-o", "ListenAddress=127.0.0.1", "-o", "Port=22022"]
    running = subprocess.Popen(["/usr/sbin/sshd", "-D", *options])
    wait_until(pid_file.exists, "sshd listens")
    later = time.time() + 60
    os.utime(SSHD, (later, later))
    yield
    running.terminate()
    running.wait(60)
    pid_file.unlink(missing_ok=True)


@contextlib.contextmanager
def another_sshd(options: str) -> Iterator[None]:
    unit = Path("/etc/systemd/system/sshd-admin.service")
    unit.write_text(f"[Service]\nExecStart=/usr/sbin/sshd -D {options}\n")
    yield
    unit.unlink()


def broken_sudoers(clinic: Clinic) -> None:
    SUDOERS.write_text("this is no line\n")


@contextlib.contextmanager
def away(*programs: str) -> Iterator[None]:
    """The machine lacks these programs."""
    for program in programs:
        Path(program).rename(f"{program}.away")
    yield
    for program in programs:
        Path(f"{program}.away").rename(program)


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def no_phone_for_me(clinic: Clinic) -> None:
    no_phone(clinic)
    clinic.environment["SUDO_USER"] = "bob"


def no_token_for_root(clinic: Clinic) -> None:
    clinic.machine.write_users(f"alice: {token_of('alice')}\n")


def nobody_exempt(clinic: Clinic) -> None:
    clinic.machine.change(exempt="{users: []}")


def console_asks(clinic: Clinic) -> None:
    nobody_exempt(clinic)
    change(PAM / "login", "@include common-auth", f"@include common-auth\n{OURS}")


BREAKAGES: dict[str, Callable[[Clinic], object]] = {
    "configuration-error": bad_setting,
    "configuration-warning": ghost_exempt,
    "service-off": lambda clinic: clinic.machine.change(services="{login: {timeout: 30s}}"),
    "account-missing": no_account,
    "file-writable": writable_pam_file,
    "packages-missing": no_packages,
    "state-full": full_disk,
    "unit-off": unit_not_enabled,
    "agent-off": no_agent,
    "service-unreachable": nobody_there,
    "clock-off": another_time,
    "user-unknown": named("nobody-of-that-name"),
    "entry-never-used": entry_of_nobody,
    "users-without-token": lambda clinic: None,
    "users-without-phone-check": unlisted_pass,
    "user-exempt": named("daemon"),
    "user-bypassed": bypassed,
    "no-device": no_phone,
    "user-rests": refusals,
    "sshd-broken": lambda clinic: SSHD.write_text("Nonsense yes\n"),
    "sshd-exempt-prompted": lambda clinic: clinic.machine.change(exempt="{users: [alice, daemon]}"),
    "sshd-no-prompt": edit(SSHD, "KbdInteractiveAuthentication yes", "KbdInteractiveAuthentication no"),
    "sshd-password-method": password_method,
    "sshd-prompt-skipped": edit(SSHD, METHODS, "AuthenticationMethods publickey"),
    "sshd-phone-only": phone_only_ssh,
    "sshd-key-not-demanded": edit(SSHD, METHODS, "AuthenticationMethods keyboard-interactive:pam"),
    "sshd-grace-short": edit(SSHD, "UsePAM yes", "UsePAM yes\nLoginGraceTime 61"),
    "sshd-root-refused": edit(SSHD, "PermitRootLogin yes", "PermitRootLogin prohibit-password"),
    "sshd-stale": old_sshd,
    "sshd-limits": edit(SSHD, "UsePAM yes", "UsePAM yes\nMaxAuthTries 1"),
    "sshd-match-unknown": match_block("Group no-such-group", "PAMServiceName su"),
    "sshd-instance-unknown": lambda clinic: another_sshd("-f /etc/ssh/%i"),
    "sudoers-unread": broken_sudoers,
    "stack-unprivileged": lambda clinic: (PAM / "swaylock").write_text(f"{UNIX}\n{OURS}\n{PERMIT}\n"),
    "lockout-you": no_phone_for_me,
    "lockout-root": no_token_for_root,
    "lockout-no-way-back": nobody_exempt,
}
"""How each kind of finding comes about. `tests/unit/check/test_catalogue.py` reads the keys."""

TOGETHER = {
    "files": (*("file-writable", "service-off", "stack-unprivileged", "unit-off", "entry-never-used"),),
    "sshd": (
        *("sshd-grace-short", "sshd-root-refused", "sshd-limits", "sshd-stale", "sshd-instance-unknown"),
    ),
    "users": ("configuration-warning", "users-without-token", "no-device", "clock-off"),
}
"""Kinds of finding that do not hide each other, by subject: one report is to find all of them."""

ALONE = {kind: (kind,) for kind in BREAKAGES if kind not in sum(TOGETHER.values(), ())}


@pytest.mark.parametrize(
    "kinds", [pytest.param(kinds, id=name) for name, kinds in {**TOGETHER, **ALONE}.items()]
)
def test_what_is_broken_is_found(clinic: Clinic, kinds: tuple[str, ...]) -> None:
    with contextlib.ExitStack() as until_reported:
        for kind in kinds:
            broken = BREAKAGES[kind](clinic)
            if isinstance(broken, contextlib.AbstractContextManager):
                until_reported.enter_context(broken)
        report = clinic.report()
    told = {finding["id"]: finding["evidence"] for finding in report["findings"]}
    assert set(kinds) <= set(told), (told, report["not_looked_at"])
    assert all(finding["evidence"] and finding["remedy"] for finding in report["findings"])


@dataclass(frozen=True)
class Case:
    """One of several causes of the same kind of finding, and how it is told."""

    kind: str
    breakage: Callable[[Clinic], object]
    told: str
    severity: str = "error"


CASES = {
    "su": Case("configuration-error", root_approves_su_and_is_exempt, "become root with su, without a phone"),
    "socket": Case("agent-off", open_socket, "its socket lets other users connect"),
    "silent": Case("agent-off", silent_agent, "it does not answer"),
    "left over": Case("agent-off", left_over_socket, "nothing answers on its socket"),
    "watch": Case("unit-off", unit_not_enabled, "pam-iampass-watch.path is ", "warning"),
    "certificate": Case("service-unreachable", another_authority, "cannot use IAMPASS"),
    "junk": Case("service-unreachable", junk, "cannot use IAMPASS"),
    "name": Case("service-unreachable", a_name_that_nobody_knows, "cannot use IAMPASS"),
    "one without a token": Case("users-without-token", named(WITHOUT_TOKEN), "denied: dave"),
    "exceptions": Case(
        "sshd-exempt-prompted", edit(SSHD, "Match User daemon", "Match User bin"), "does not know yet"
    ),
    "startups": Case(
        "sshd-limits",
        edit(SSHD, "UsePAM yes", "UsePAM yes\nMaxStartups 2:50:4"),
        "while 2 logins wait, 50 % of new connections; while 4 wait, all",
        "note",
    ),
    "penalties": Case(
        "sshd-limits",
        edit(SSHD, "UsePAM yes", "UsePAM yes\nPerSourcePenalties authfail:30 min:60"),
        "after 3 quick failures all logins from that address, 60 s or longer",
        "note",
    ),
    "sudo": Case("way-in-open", sudo_asks_nothing, "sudo does not ask the phone", "note"),
    "no cvtsudoers": Case(
        "sudoers-unread", lambda clinic: away("/usr/bin/cvtsudoers"), "The rules of sudo cannot be read"
    ),
    "console": Case("lockout-no-way-back", console_asks, "Nobody can log in while", "warning"),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_each_cause_of_a_kind_of_finding_is_told(clinic: Clinic, case: Case) -> None:
    with contextlib.ExitStack() as until_reported:
        broken = case.breakage(clinic)
        if isinstance(broken, contextlib.AbstractContextManager):
            until_reported.enter_context(broken)
        report = clinic.report()
    told = [(one["title"], one["severity"]) for one in report["findings"] if one["id"] == case.kind]
    assert [one for one in told if case.told in one[0] and one[1] == case.severity], told


def test_what_two_subjects_find_is_told_once(clinic: Clinic) -> None:
    change(SSHD, "UsePAM yes", "UsePAM yes\nLoginGraceTime 61")
    change(SSHD, "Match User daemon", "Match User bin")
    found = [finding["id"] for finding in clinic.report()["findings"]]
    assert (found.count("sshd-grace-short"), found.count("configuration-warning")) == (1, 0)


@pytest.mark.parametrize("group", ["supplementary", "primary"])
def test_a_person_who_reads_the_secret_as_the_service_does_is_an_error(clinic: Clinic, group: str) -> None:
    alice = pwd.getpwnam("alice")
    if group == "supplementary":
        person_in_the_services_group(clinic)
    else:
        own, other = f":{alice.pw_uid}:{alice.pw_gid}:", f":{alice.pw_uid}:{grp.getgrnam('_iampass').gr_gid}:"
        change(Path("/etc/passwd"), f"alice:x{own}", f"alice:x{other}")
    who = ["setpriv", "--reuid=alice", f"--regid={pwd.getpwnam('alice').pw_gid}", "--init-groups"]
    subprocess.run([*who, "cat", f"{ETC}/application-secret"], check=True, capture_output=True)
    checked = run_command("check", "--settings")
    told = "/etc/group: the group _iampass is the service's own: alice can read the application's secret and all tokens"
    assert told in checked.stdout
    assert "gpasswd --delete USER _iampass" in checked.stdout
    assert checked.returncode == 1
    assert "configuration-readable" in {one["id"] for one in clinic.report()["findings"]}


def test_that_root_is_refused_is_a_note_where_root_has_no_token(clinic: Clinic) -> None:
    change(SSHD, "PermitRootLogin yes", "PermitRootLogin prohibit-password")
    no_token_for_root(clinic)
    severities = {found["id"]: found["severity"] for found in clinic.report()["findings"]}
    assert severities["sshd-root-refused"] == "note"
    assert "lockout-root" not in severities


def test_a_line_of_sudo_rs_and_a_service_for_everybody_are_found_where_the_file_of_sudo_asks(
    clinic: Clinic,
) -> None:
    change(PAM / "sudo", "@include common-auth", f"@include common-auth\n{OURS}\n{PERMIT}")
    SUDOERS.write_text("Defaults pam_service=su\n")
    of_rs = Path("/etc/sudoers-rs")
    of_rs.write_text("alice ALL=(ALL) NOPASSWD: ALL\n")
    try:
        told = {finding["id"]: finding["evidence"] for finding in clinic.report()["findings"]}
    finally:
        of_rs.unlink()
    assert told["sudo-other-service"] == f"{SUDOERS}:1: Defaults pam_service=su"
    assert told["sudo-no-password"] == f"{of_rs}:1: alice ALL=(ALL) NOPASSWD: ALL"


@contextlib.contextmanager
def sudo_conf(text: str) -> Iterator[None]:
    """sudo.conf(5) has this text."""
    conf = Path("/etc/sudo.conf")
    before = conf.read_bytes() if conf.exists() else None
    conf.write_text(text)
    try:
        yield
    finally:
        conf.unlink() if before is None else conf.write_bytes(before)


def test_the_sudoers_file_that_sudo_conf_names_is_read(clinic: Clinic) -> None:
    other = Path("/etc/sudoers.d/other~")
    other.write_text(f"alice ALL=(ALL) NOPASSWD: ALL\n@include {SUDOERS}\n")
    other.chmod(0o440)
    with sudo_conf(f"Plugin sudoers_policy sudoers.so sudoers_file={other}\n"):
        told = {finding["id"]: finding["evidence"] for finding in clinic.report()["findings"]}
    assert told["sudo-no-password"] == f"{other}:1: alice ALL=(ALL) NOPASSWD: ALL"


def test_rules_of_sudo_that_no_file_contains_are_not_checked(clinic: Clinic) -> None:
    append(Path("/etc/nsswitch.conf"), "sudoers: files [SUCCESS=return] sss # and so on\n")
    assert clinic.report()["not_looked_at"] == ["rules of sudo from sss: sudo -l -U USER lists them"]


def test_a_plug_in_of_sudo_that_is_not_its_own_is_not_checked(clinic: Clinic) -> None:
    with sudo_conf("Plugin my_audit mine.so\n"):
        told = clinic.report()["not_looked_at"]
    assert told == ["another plug-in of sudo, which may be another policy: Plugin my_audit mine.so"]


@contextlib.contextmanager
def set_uid_program(user: str, name: str) -> Iterator[None]:
    """A user's su, which waits for a password and is called as the user likes."""
    program = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    command = f"exec -a {shlex.quote(name)} su"
    running = Terminal([*program, "bash", "-c", command])
    running.expect("Password:")
    try:
        yield
    finally:
        running.kill()


def test_no_process_of_a_user_has_root_run_or_read_anything(clinic: Clinic, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    program, ran, config, pipe = (tmp_path / name for name in ("sshd", "ran", "evil.conf", "pipe.conf"))
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    config.write_text("Include /etc/shadow\n")
    os.mkfifo(pipe)
    with contextlib.ExitStack() as until_reported:
        for name in (
            str(program),
            *(f"sshd: /usr/sbin/sshd -f {file} [listener]" for file in (config, pipe)),
        ):
            until_reported.enter_context(set_uid_program("carol", name))
        told = json.dumps(clinic.report())
    assert not ran.exists()
    assert "shadow" not in told
    assert str(tmp_path) not in told


def test_a_configuration_that_a_user_can_write_is_not_given_to_sshd(clinic: Clinic, tmp_path: Path) -> None:
    config = tmp_path / "sshd_config"
    config.write_text("Include /etc/shadow\n")
    with another_sshd(f"-f {config}"):
        told = {finding["id"]: finding["evidence"] for finding in clinic.report()["findings"]}
    assert "folder" in told["sshd-instance-unknown"]
    assert "shadow" not in json.dumps(told)


# What it is like to use


def test_nothing_is_changed_nobody_is_asked_and_no_record_is_left(clinic: Clinic, journald: Journald) -> None:
    folders = ["/etc", "/usr/lib/pam-iampass", "/var/lib/iampass", "/run/iampass"]
    # The figures of the agent, for node_exporter, are written anew whatever check does.
    listing = ["find", *folders, "-type", "f", "-not", "-name", "*.prom", "-printf", "%p %s %T@ %C@ %m %u\n"]
    before = subprocess.run(listing, check=True, capture_output=True).stdout
    cursor, sessions = journald.cursor(), len(clinic.sandbox.sessions)
    clinic.report()
    assert subprocess.run(listing, check=True, capture_output=True).stdout == before
    assert journald.records(cursor) == []
    assert len(clinic.sandbox.sessions) == sessions


def test_offline_calls_nobody(clinic: Clinic) -> None:
    calls = len(clinic.sandbox.calls)
    clinic.arguments = ("--offline",)
    report = clinic.report()
    assert len(clinic.sandbox.calls) == calls
    assert report["not_looked_at"] == ["the service: --offline"]


def test_no_secret_and_no_token_is_shown(clinic: Clinic) -> None:
    no_phone(clinic)
    told = clinic.check("--json").stdout + clinic.check().stdout
    assert "No phone is registered for bob" in told
    assert clinic.sandbox.application_secret not in told
    assert token_of("bob") not in told


def test_another_user_than_root_reads_what_could_not_be_examined(clinic: Clinic) -> None:
    clinic.user = "alice"
    report = clinic.report()
    assert "what only root can read: run it as root" in report["not_looked_at"]
    assert any(line.startswith("sshd: sshd -T: ") for line in report["not_looked_at"])


def test_an_ordinary_user_is_not_told_that_nothing_asks_or_that_the_settings_are_wrong(
    clinic: Clinic,
) -> None:
    SHIPPED_KEY.write_text(QUIET.read_text())
    for name in ("sudo", "sudo-i"):
        asks_nothing(name)
    clinic.user = "alice"
    told = clinic.check().stdout
    assert "nothing-asks" not in told
    assert "Not checked: users: only root can read the settings." in told
    assert "invalid" not in told


def test_a_user_without_a_phone_is_denied_which_is_an_error_unless_something_else_helps(
    clinic: Clinic,
) -> None:
    def severity() -> str:
        found = json.loads(clinic.check("bob", "--json").stdout)["findings"]
        return next(str(one["severity"]) for one in found if one["id"] in ("no-device", "not-at-iampass"))

    no_phone(clinic)
    assert severity() == "error"
    clinic.sandbox.delete_user(token_of("bob"))
    assert severity() == "error"
    run_command("recovery", "new", "bob").check_returncode()
    assert severity() == "warning"
    run_command("recovery", "revoke", "bob").check_returncode()
    for name in ("sshd", "sudo", "sudo-i"):
        asks_nothing(name)
    assert severity() == "warning", "nothing asks"


SUDO = ("/usr/bin/sudo", "/usr/sbin/visudo", "/usr/bin/cvtsudoers")


def test_a_machine_without_sshd_and_sudo_is_checked_too(clinic: Clinic) -> None:
    with away("/usr/sbin/sshd", *SUDO):
        report = clinic.report()
    assert {"sshd: is not installed", "sudo: is not installed"} <= set(report["not_looked_at"])
    assert "PAM stacks" in report["looked_at"]


def test_where_there_is_sudo_rs_alone_its_rules_are_not_taken_for_harmless(clinic: Clinic) -> None:
    alone = Path("/usr/bin/sudo-rs")
    had_it = alone.exists()
    with away(*SUDO):
        if not had_it:
            shutil.copy("/usr/bin/true", alone)
        told = {found["id"]: found["evidence"] for found in clinic.report()["findings"]}
    if not had_it:
        alone.unlink()
    assert told["sudoers-unread"] == "visudo is not installed"


def test_one_service_that_may_not_be_read_hides_no_other(clinic: Clinic) -> None:
    (PAM / "secret").write_text("auth required pam_deny.so\n")
    (PAM / "secret").chmod(0o600)
    stack("auth required pam_unix.so", OURS, PERMIT)(clinic)
    clinic.user = "alice"
    report = clinic.report()
    assert f"PAM service secret: {PAM}/secret: Permission denied" in report["not_looked_at"]
    assert "stack-wrong-rings" in {found["id"] for found in report["findings"]}


def test_an_empty_machine_is_no_traceback(clinic: Clinic) -> None:
    for path in (ETC, LIBEXEC):
        shutil.rmtree(path)
    done = clinic.check()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert "Not checked: users: the settings are invalid." in done.stdout


def test_the_limits_of_sshd_are_notes_with_numbers_where_they_are_its_defaults(clinic: Clinic) -> None:
    done = clinic.check()
    assert done.returncode == 0
    assert "while 10 logins wait, 30 % of new connections; while 100 wait, all [sshd-limits]" in done.stdout
    assert "after 4 quick failures all logins from that address, 15 s or longer [sshd-limits]" in done.stdout
    extended = "MaxStartups 200:30:400\nPerSourcePenaltyExemptList 192.0.2.0/24"
    change(SSHD, "UsePAM yes", f"UsePAM yes\n{extended}")
    assert "sshd-limits" not in {one["id"] for one in clinic.report()["findings"]}


@pytest.mark.parametrize("criteria", ["Group dae*,b*", "Address *,!192.0.2.0/24", "RDomain blue"])
def test_a_match_block_that_leads_around_the_phone_is_an_error_whatever_it_matches(
    clinic: Clinic, criteria: str
) -> None:
    match_block(criteria, "PAMServiceName su")(clinic)
    report = clinic.report()
    assert "sshd-unasked" in {found["id"] for found in report["findings"]}
    assert not report["ok"]


def test_an_sshd_with_a_configuration_of_its_own_is_looked_at_too(clinic: Clinic) -> None:
    Path("/etc/ssh/admin").write_text("UsePAM yes\nPAMServiceName su\n")
    with another_sshd("-f /etc/ssh/admin"):
        (found,) = (one for one in clinic.report()["findings"] if one["id"] == "sshd-unasked")
    assert found["subject"] == "sshd-admin.service"
    with another_sshd("-o UsePAM=no"):
        (found,) = (one for one in clinic.report()["findings"] if one["id"] == "sshd-pam-off")
    assert found["subject"] == "sshd-admin.service"


def test_a_match_block_for_a_local_address_or_port_is_no_fault(clinic: Clinic) -> None:
    """sshd -T fails where its question leaves out what a Match block asks for."""
    for condition in ("LocalAddress 192.0.2.9", "LocalPort 2222"):
        match_block(condition, "PasswordAuthentication no")(clinic)
    report = clinic.report()
    assert [found for found in report["findings"] if found["severity"] != "note"] == []
    assert report["not_looked_at"] == []


def test_without_a_terminal_each_finding_is_three_plain_lines_worst_first(clinic: Clinic) -> None:
    key_alone(clinic)
    no_phone(clinic)
    done = clinic.check()
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert lines[0].startswith("error: sshd: A key alone gets in without the phone: root, ")
    assert lines[0].endswith(" [sshd-key-bypasses]")
    assert lines[1] == "    sshd -T: authenticationmethods any"
    assert lines[2] == "    do: Set AuthenticationMethods publickey,keyboard-interactive:pam"
    assert lines[3] == "warning: users: No phone is registered for bob [no-device]"
    assert lines[-1] == "1 error, 1 warning."


def test_the_last_lines_say_whom_the_settings_concern_and_whom_their_errors_deny(clinic: Clinic) -> None:
    told, report = clinic.check("--offline").stdout, clinic.report()
    assert "Checked: configuration, space, files, " in told
    assert f"\nThe table lists {report['users']} users.\nWith the accounts of this machine, " in told
    assert f"{ETC}/iampass.yaml" in report["files"]
    assert (report["denied"], "sshd" in report["shut_out"]) == (None, True)
    assert "The table lists" not in clinic.check("bob", "--offline").stdout, "it is about bob alone"
    clinic.machine.change(timeout="never")
    told, report = clinic.check("--offline").stdout, clinic.report()
    assert report["denied"] in told.splitlines()[-1]
    assert report["denied"].endswith("every login is denied")


def test_settings_are_checked_while_nothing_runs_and_with_the_programs_that_use_them(clinic: Clinic) -> None:
    clinic.agent.stop()
    clinic.machine.change(server="https://127.0.0.1:9")
    assert clinic.check("--settings").returncode == 0
    change(SSHD, "UsePAM yes", "UsePAM no")
    checked = clinic.check("--settings")
    assert checked.returncode == 1
    assert "sshd does not use PAM" in checked.stdout


def test_ways_in_without_the_phone_are_listed_last_with_a_line_each(clinic: Clinic) -> None:
    done = clinic.check("--offline")
    lines = done.stdout.splitlines()
    listed = lines[lines.index("Ways in without the phone:") + 1 :]
    assert "    su does not ask the phone. To protect it: pam-iampass setup su. [way-in-open]" in listed
    assert sum("[way-in-" in line for line in lines) == sum("[way-in-" in line for line in listed)
    assert listed[-1] == "No problem was found in what was checked."
    assert done.returncode == 0


def test_a_terminal_is_shown_colours_and_what_is_being_looked_at(clinic: Clinic) -> None:
    no_phone(clinic)
    terminal = Terminal([COMMAND, "check"], environment={"COLUMNS": "80"})
    assert terminal.finish() == 3
    assert "checking PAM stacks…" in terminal.shown
    assert "\x1b[1;33mwarning" in terminal.shown
    assert "No error, 1 warning." in terminal.shown


# As a plugin of a monitoring system


def monitored(clinic: Clinic, *arguments: str) -> tuple[int, str, list[str]]:
    """The exit status, the first line without the time that it took, and the other lines."""
    done = clinic.check("--monitoring", *arguments)
    assert done.stderr == ""
    first, *others = done.stdout.splitlines()
    return done.returncode, first.rpartition(" time=")[0], others


def test_monitoring_reads_the_four_states_and_figures(clinic: Clinic) -> None:
    well = "errors=0;;0;0 warnings=0;0;;0 rollout=0;;;0 unchecked=0;;;0"
    assert monitored(clinic) == (0, f"IAMPASS OK: no error and no warning | {well}", [])
    change(SSHD, "UsePAM yes", "UsePAM yes\nMaxAuthTries 1")
    status, told, others = monitored(clinic)
    assert (status, others) == (1, [])
    assert told.startswith("IAMPASS WARNING: warning: sshd: ")
    assert told.endswith("[sshd-limits] | " + well.replace("warnings=0", "warnings=1"))
    key_alone(clinic)
    status, told, others = monitored(clinic)
    assert status == 2
    assert told.startswith("IAMPASS CRITICAL: error: sshd: A key alone gets in without the phone")
    assert "(and 1 more) | errors=1;;0;0 warnings=1;0;;0 " in told
    assert [line.rpartition(" ")[2] for line in others] == ["[sshd-limits]"]


def test_what_is_normal_in_a_rollout_is_no_warning_to_monitoring(clinic: Clinic) -> None:
    unlisted_pass(clinic)
    no_phone(clinic)
    clinic.machine.write_users("".join(f"{user}: {token_of(user)}\n" for user in (*USERS, "ghost")))
    assert clinic.check().returncode == 3
    status, told, _others = monitored(clinic)
    assert status == 0
    assert " rollout=3;;;0 " in told
    for name in ("sshd", "sudo", "sudo-i"):
        asks_nothing(name)
    assert monitored(clinic)[0] == 0
    MANIFEST.parent.mkdir(parents=True)
    MANIFEST.write_text('{"services": {}}')
    try:
        status, told, _others = monitored(clinic)
        record = {"files": [{"path": str(PAM / "sudo"), "edited": True}]}
        MANIFEST.write_text(json.dumps({"services": {"sudo": record}}))
        lost = monitored(clinic)
    finally:
        shutil.rmtree(MANIFEST.parent)
    assert (status, "[nothing-asks]" in told) == (1, True), "setup has switched it on"
    assert (lost[0], "[switched-off]" in lost[1]) == (2, True)


def test_monitoring_learns_that_something_could_not_be_checked(clinic: Clinic) -> None:
    clinic.user = "alice"
    status, told, _others = monitored(clinic)
    assert status == 3
    assert told.startswith("IAMPASS UNKNOWN: run it as root")
    clinic.user = None
    for arguments in (("alice",), ("--json",)):
        assert clinic.check("--monitoring", *arguments).returncode == 2
