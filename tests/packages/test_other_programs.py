"""Programs that become root, or log in, by PAM services of their own: each asks the phone once it is set up."""

from __future__ import annotations

import pytest

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.people import WHO, People, got_in, outcomes, type_password
from tests.support.terminal import Terminal

# polkit-agent-helper@.service of polkit 127: the helper is no longer set-uid root.
POLKIT_SANDBOX = (
    *("DevicePolicy=closed", "LimitMEMLOCK=0", "LockPersonality=yes", "MemoryDenyWriteExecute=yes"),
    *("NoNewPrivileges=yes", "PrivateDevices=yes", "PrivateNetwork=yes", "PrivateTmp=yes"),
    *("ProtectControlGroups=yes", "ProtectHome=yes", "ProtectKernelModules=yes", "ProtectKernelLogs=yes"),
    *("ProtectKernelTunables=yes", "ProtectSystem=strict", "ProtectClock=yes", "ProtectHostname=yes"),
    *("RemoveIPC=yes", "RestrictAddressFamilies=AF_UNIX", "RestrictNamespaces=yes", "RestrictRealtime=yes"),
    *("RestrictSUIDSGID=yes", "SystemCallArchitectures=native", "SystemCallFilter=@system-service"),
    "UMask=0077",
)
SERVICES = {"pkexec": "polkit-1", "run0": "polkit-1", "doas": "doas", "sudo-rs": "sudo", "su -l": "su-l"}
BYTES = "cd /etc/pam.d && ls -l --time-style=+ && sha256sum *"


@pytest.fixture(scope="module")
def programs(machine: Booted, administrator: Administrator) -> set[str]:
    """The programs that this release has, set up to ask the phone."""
    administrator.start_iampass()
    administrator.configure(services="{su: {approver: caller}, su-l: {approver: caller}}")
    machine.shell(
        """
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y --no-install-recommends pkexec opendoas pamtester
        apt-get install -y --no-install-recommends sudo-rs || grep -q bookworm /etc/os-release
        echo 'permit :sudo' > /etc/doas.conf; chmod 600 /etc/doas.conf
        """
    )
    found = {name for name in SERVICES if machine.run("which", name.split()[0], check=False).returncode == 0}
    services = ("polkit-1", "doas", "su", "login", *(["sudo-rs"] if "sudo-rs" in found else []))
    before = machine.shell(BYTES)
    administrator.set_up(*services)
    administrator.undo()
    assert machine.shell(BYTES) == before
    administrator.set_up(*services)
    return found


@pytest.fixture
def cursor(machine: Booted, programs: set[str]) -> str:
    """Where the journal was when the test began, with nobody's phone in backoff."""
    machine.run("pam-iampass", "throttle", "clear", "alice")
    return machine.cursor()


def started(machine: Booted, program: str, password: str = PASSWORD) -> Terminal:
    """alice runs the program, and types the password; for su it is that of root."""
    options = {"sudo-rs": ["-k"], "su -l": ["root"]}.get(program, [])
    command = ["-c", WHO] if program == "su -l" else ["sh", "-c", WHO]
    terminal = machine.terminal("runuser", "-u", "alice", "--", *program.split(), *options, *command)
    if program in ("pkexec", "run0"):
        asked = terminal.expect([r"(\d+)\.\s+(,,, \()?alice\b", "(?i)password: "])
        if asked == 0:  # there are several administrators
            number = terminal.match.group(1)
            terminal.expect("Choose identity[^:]*: ")
            terminal.sendline(number)
            terminal.expect("(?i)password: ")
        terminal.sendline(password)
    else:
        type_password(terminal, "root's own" if program == "su -l" and password == PASSWORD else password)
    return terminal


@pytest.mark.parametrize("program", SERVICES)
def test_a_program_becomes_root_only_with_the_phone(
    machine: Booted, people: People, programs: set[str], cursor: str, program: str
) -> None:
    if program not in programs:
        pytest.skip(f"this release has no {program}")
    terminal = started(machine, program)
    people.phone.approve("alice")
    assert got_in(terminal, "root")
    terminal = started(machine, program)
    people.phone.deny("alice")
    terminal.finish()
    assert "In as" not in terminal.shown
    user, service = ("root" if program == "su -l" else "alice"), SERVICES[program]
    assert outcomes(machine.journal(cursor)) == [
        ("approved", "success", user, service),
        ("denied", "denied", user, service),
    ]


@pytest.mark.parametrize("program", SERVICES)
def test_a_wrong_password_reaches_no_phone(
    machine: Booted, programs: set[str], cursor: str, program: str
) -> None:
    if program not in programs:
        pytest.skip(f"this release has no {program}")
    terminal = started(machine, program, "wrong")
    terminal.expect("(?i)fail|incorrect|again|not authorized|denied")
    terminal.kill()
    assert outcomes(machine.journal(cursor)) == []


def test_a_login_at_a_console(machine: Booted, people: People, cursor: str) -> None:
    for approved in (True, False):
        console = machine.terminal("login", "-p")
        console.expect("login: ")
        console.sendline("alice")
        type_password(console)
        if approved:
            people.phone.approve("alice")
            console.expect(r"\$ ")
            console.sendline(WHO + " exit")
            console.expect("In as alice.")
        else:
            people.phone.deny("alice")
            console.expect("login: |incorrect|ermission denied")
        console.kill()
    assert outcomes(machine.journal(cursor)) == [
        ("approved", "success", "alice", "login"),
        ("denied", "denied", "alice", "login"),
    ]


def test_the_helper_of_polkit_reaches_the_agent_from_its_sandbox(
    machine: Booted, people: People, cursor: str
) -> None:
    options = [word for each in POLKIT_SANDBOX for word in ("-p", each)]
    command = ["systemd-run", "--wait", "--quiet", "--pty", *options, "pamtester", "polkit-1", "alice"]
    for answer in (people.phone.approve, people.phone.deny):
        terminal = machine.terminal(*command, "authenticate")
        type_password(terminal)
        answer("alice")
        terminal.finish()
        assert ("successfully authenticated" in terminal.shown) == (answer == people.phone.approve)
    assert outcomes(machine.journal(cursor)) == [
        ("approved", "success", "alice", "polkit-1"),
        ("denied", "denied", "alice", "polkit-1"),
    ]
