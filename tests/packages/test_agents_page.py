"""docs/one-server/agents.md, typed on a machine: the account of an agent, whose owner approves what it does as root."""

from __future__ import annotations

import pexpect
import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import wait_for
from tests.packages.people import KEY, People, outcomes
from tests.packages.typed_page import TypedPage, all_is_typed
from tests.support.terminal import Terminal

SET_UP, WAIT, SEES, STOP = "Set it up", "Tell the agent to wait", "What alice sees", "Stop it"
DEPLOY = "/usr/local/sbin/deploy"
SUDO = f"sudo -n {DEPLOY}"
#: Leaves something as root, as a root shell would be.
SCRIPT = (
    "#!/bin/sh\necho deployed as $(id -u) | tee -a /root/deployed\nsetsid sleep 12345 > /dev/null 2>&1 &\n"
)
LINE = "asks you to approve this on your phone"


@pytest.fixture(scope="module")
def page() -> TypedPage:
    """The page."""
    return TypedPage("docs/one-server/agents.md")


@pytest.fixture(scope="module")
def ready(machine: Booted, administrator: Administrator, people: People, page: TypedPage) -> Administrator:
    """What the page begins with, typed. sshd asks the phone, too."""
    administrator.start_iampass()
    administrator.configure()
    administrator.set_up("sshd", "--no-prompt")
    machine.shell("DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends cron")
    machine.write(DEPLOY, SCRIPT, 0o755)
    page.type(machine, SET_UP, "useradd")
    assert "claude acts for alice" in page.type(machine, SET_UP, "pam-iampass user add").stdout
    machine.write("/etc/sudoers.d/claude", page.block(SET_UP, "claude ALL="), 0o440)
    page.type(machine, SET_UP, "visudo -c")
    page.type(machine, SET_UP, "pam-iampass setup sudo")
    sudo = people.sudo("alice")
    people.phone.approve("alice")
    assert sudo.finish() == 0, sudo.shown
    page.type(machine, SET_UP, "pam-iampass setup confirm")
    found = page.type(machine, SET_UP, "pam-iampass check", check=False).stdout
    assert "claude" not in found, found
    for command in ("ssh-keygen", "install -d", "install -m 600"):
        page.type(machine, SET_UP, command)
    return administrator


@pytest.fixture
def cursor(machine: Booted, ready: Administrator) -> str:
    """Where the journal was when the test began, with no phone in backoff."""
    forget(machine)
    return machine.cursor()


def forget(machine: Booted) -> None:
    """Clear what counts for limits."""
    for name in ("alice", "claude"):
        machine.run("pam-iampass", "throttle", "clear", name)


def by_claude(people: People, command: str) -> Terminal:
    """A command in an ssh login of claude, without a terminal, which alice has approved."""
    terminal = people.ssh("claude", command, options=("-T", "-i", "/root/claude-key"))
    people.phone.approve("alice")
    return terminal


def ends(machine: Booted, cursor: str) -> list[tuple[str, str, str]]:
    """Outcome, user and service of each record."""
    return [(outcome, user, service) for outcome, _, user, service in outcomes(machine.journal_now(cursor))]


def test_alice_sees_each_command_of_claude_and_approves_or_denies_it(
    machine: Booted, people: People, page: TypedPage, cursor: str
) -> None:
    alice = people.ssh("alice", "exec sh -i", options=(*KEY, "-tt"))
    people.phone.approve("alice")
    alice.expect(r"\$ ")
    forget(machine)  # requests of claude would come half a minute after hers
    claude = by_claude(people, f"sudo -n -l; {SUDO}; echo status $?; {SUDO}; echo status $?; sudo -n id")
    claude.expect_exact("NOPASSWD: /usr/bin/systemctl restart cron")
    people.phone.deny("alice")
    claude.expect_exact("status 1")
    assert "deployed" not in claude.shown
    alice.expect_exact(LINE)
    people.phone.approve("alice")
    claude.expect_exact("deployed as 0")
    claude.expect_exact("status 0")
    assert claude.finish() == 1, "sudoers has no such command"
    hostname = machine.run("hostname").stdout.strip()
    line = page.block(SEES, "claude on web1").strip().replace("web1", hostname)
    wait_for(lambda: shown(alice).count(line) == 2, "the second line")
    assert [each for each in shown(alice) if LINE in each and each != line] == [
        f'claude on {hostname} {LINE}: "sshd from 127.0.0.1"'
    ]
    alice.sendline("exit")
    alice.finish()
    assert ends(machine, cursor)[1:] == [
        ("approved", "claude", "sshd"),
        ("denied", "claude", "sudo"),
        ("approved", "claude", "sudo"),
    ]
    assert "denied" in page.type(machine, SEES, "pam-iampass log claude").stdout
    assert f"IAMPASS_COMMAND={SUDO} (in /home/claude)" in page.type(machine, SEES, "journalctl").stdout


def shown(terminal: Terminal) -> list[str]:
    """The lines of a terminal so far."""
    terminal.expect_exact(["no such text", pexpect.TIMEOUT], timeout=0.1)
    return [line.strip() for line in terminal.shown.split("\n")]


def test_a_job_of_cron_waits_for_the_phone(
    machine: Booted, people: People, page: TypedPage, cursor: str
) -> None:
    for line in page.block(WAIT, "Run commands as root").splitlines():
        assert not line.startswith("#")
    [job] = [page.block(WAIT, "0 10")]
    assert SUDO in job
    machine.run("rm", "-f", "/root/deployed")
    machine.run("crontab", "-u", "claude", "-", stdin=job.replace("0 10 * * 1-5", "* * * * *"))
    people.phone.approve("alice")
    wait_for(lambda: "deployed as 0" in machine.shell("cat /root/deployed || true"), "the job has run")
    machine.run("crontab", "-u", "claude", "-", stdin=job)


def test_claude_is_stopped_and_what_it_has_left_as_root_goes_on(
    machine: Booted, people: People, page: TypedPage, cursor: str
) -> None:
    claude = by_claude(people, f"setsid sleep 54321 & {SUDO} < /dev/null; sleep 1000")
    people.phone.approve("alice")
    claude.expect_exact("deployed as 0")
    for command in ("usermod", "rm ", "crontab"):
        page.type(machine, STOP, command)
    # logind does not know the control group of the tests' shell.
    linger = page.command(STOP, "loginctl")
    machine.run("systemd-run", "--wait", "--quiet", "sh", "-c", linger)
    for command in ("pkill", "pam-iampass user remove"):
        page.type(machine, STOP, command)
    assert claude.finish() != 0
    assert machine.run("pgrep", "-u", "claude", check=False).stdout == ""
    assert machine.run("pgrep", "-u", "root", "-f", "sleep 12345").stdout.split()
    before = machine.cursor()
    assert people.ssh("claude", SUDO, options=("-T", "-i", "/root/claude-key")).finish() != 0
    again = machine.run("runuser", "-u", "claude", "--", *SUDO.split(), check=False)
    assert again.returncode == 1, again
    assert people.phone.requests() == []
    assert {outcome for outcome, _, _ in ends(machine, before)} <= {"unlisted"}
    machine.run("pkill", "-f", "sleep 12345")


def test_the_page_was_typed(request: pytest.FixtureRequest, page: TypedPage, ready: Administrator) -> None:
    all_is_typed(request, page, ())
