"""Programs that become root, or log in, by PAM services of their own: each asks the phone once it is set up."""

from __future__ import annotations

import os

import pytest

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.people import KEY, WHO, People, got_in, outcomes, type_password
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
SERVICES = {"pkexec": "polkit-1", "doas": "doas", "su -l": "su-l"}
if os.environ.get("PACKAGES_RELEASE") != "bookworm":  # which does not have them
    SERVICES |= {"run0": "polkit-1", "sudo-rs": "sudo"}
COMMANDS = {
    # pkexec's own text agent does not work on Debian 12, whatever the PAM file ("No session for cookie").
    "pkexec": "{{ pkttyagent --process $$ --notify-fd 3 3>&1 >/dev/tty & }} | cat; "
    "{} --disable-internal-agent sh -c '{}'; exit $?",
    "sudo-rs": "{} -k sh -c '{}'",
    "su -l": "{} root -c '{}'",
}
BYTES = "cd /etc/pam.d && ls -l --time-style=+ && sha256sum *"


@pytest.fixture(scope="module")
def programs(machine: Booted, administrator: Administrator) -> None:
    """The programs, installed and set up to ask the phone."""
    administrator.start_iampass()
    administrator.configure(services="{su: {approver: caller}}")
    more = "sudo-rs" if "sudo-rs" in SERVICES else ""
    machine.shell(
        f"""
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y --no-install-recommends pkexec opendoas pamtester {more}
        echo 'permit :sudo' > /etc/doas.conf; chmod 600 /etc/doas.conf
        """
    )
    services = ("sudo", "polkit-1", "doas", "su", "login", *more.split())
    before = machine.shell(BYTES)
    administrator.set_up(*services)
    administrator.undo()
    assert machine.shell(BYTES) == before
    administrator.set_up(*services)


@pytest.fixture
def cursor(machine: Booted, programs: None) -> str:
    """Where the journal was when the test began, with nobody's phone in backoff."""
    machine.run("pam-iampass", "throttle", "clear", "alice")
    return machine.cursor()


def started(people: People, program: str, password: str = PASSWORD) -> Terminal:
    """alice runs the program in an ssh session, and types the password; for su it is that of root."""
    command = COMMANDS.get(program, "{} sh -c '{}'").format(program, WHO)
    terminal = people.ssh("alice", command, options=(*KEY, "-tt"))
    if program == "su -l" and password == PASSWORD:
        password = "root's own"
    if SERVICES[program] == "polkit-1":  # which knows several administrators
        terminal.expect(r"(\d+)\.\s+alice\b")
        number = terminal.match.group(1)
        terminal.expect("Choose identity[^:]*: ")
        terminal.sendline(number)
    type_password(terminal, password)
    return terminal


@pytest.mark.parametrize("program", SERVICES)
def test_a_program_becomes_root_only_with_the_phone(
    machine: Booted, people: People, cursor: str, program: str
) -> None:
    terminal = started(people, program)
    people.phone.approve("alice")
    assert got_in(terminal, "root")
    terminal = started(people, program)
    people.phone.deny("alice")
    terminal.finish()
    assert "In as root." not in terminal.shown
    user, service = ("root" if program == "su -l" else "alice"), SERVICES[program]
    assert outcomes(machine.journal(cursor)) == [
        ("approved", "success", user, service),
        ("denied", "denied", user, service),
    ]


@pytest.mark.parametrize("program", SERVICES)
def test_a_wrong_password_reaches_no_phone(
    machine: Booted, people: People, cursor: str, program: str
) -> None:
    terminal = started(people, program, "wrong")
    terminal.expect("(?i)fail|incorrect|again|not authorized|denied")
    terminal.kill()
    assert outcomes(machine.journal(cursor)) == []


def test_a_login_at_a_console(machine: Booted, people: People, cursor: str) -> None:
    for approved in (True, False):
        console = machine.console()
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
            console.expect("login: ")  # begins again
        console.stop()
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
