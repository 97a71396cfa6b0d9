"""docs/operations.md, typed on a machine where nothing works: each section ends with a login.

The commands come from the page. Denials show what the page says that people see.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from tests.packages.administrator import PACKAGES, PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.people import (
    PROMPT,
    WHO,
    People,
    got_in,
    outcomes,
    press_enter,
    type_password,
)
from tests.packages.phone import PORT, STATE
from tests.packages.typed_page import TypedPage, all_is_typed
from tests.support.terminal import Terminal

START = "Operations"
AGENT = ("pam-iampass-agent.socket", "pam-iampass-agent.service")
SWITCH_OFF = "Switch it off"
AWAY = "IAMPASS is unreachable"
CLOCK = "The clock is wrong"
LOST = "A phone is lost"
BYPASS = "Let a person in without the phone for a while"
SECOND = "A second person"
BROKEN = "The module is broken"
NO_AGENT = "The agent is not running"
PENALTIES = "sshd turns clients away before the phone is asked"
SANDBOX = "The machine uses a sandbox"
FIGURES = "Watch a host with Prometheus"
AGAIN = "Check that it works again"
FILES = "cd /etc && find pam.d ssh sudoers.d -type f | sort | xargs sha256sum"


@pytest.fixture(scope="module")
def page() -> TypedPage:
    """The page."""
    return TypedPage("docs/operations.md")


@pytest.fixture(scope="module")
def before(machine: Booted, administrator: Administrator) -> str:
    """The files of PAM, sshd and sudo before anything was set up."""
    return machine.shell(FILES)


@pytest.fixture
def night(machine: Booted, administrator: Administrator, before: str) -> Administrator:
    """sshd, sudo and su ask the phone, and IAMPASS answers; nobody is in a backoff."""
    administrator.configure()
    administrator.start_iampass()
    administrator.set_up("sshd", "sudo", "su", "--prompt")
    machine.shell(
        "pam-iampass recovery revoke alice; for user in alice bob; do pam-iampass throttle clear $user; done"
    )
    return administrator


@pytest.fixture(autouse=True)
def well_again(machine: Booted) -> Iterator[None]:
    """What a test that failed has broken is mended for the next one."""
    yield
    machine.shell(
        "chmod a+x /usr/bin/python3.[0-9]*;"
        f"systemctl unmask -q {' '.join(AGENT)}; systemctl enable -q --now {AGENT[0]}"
    )


def logs_in(people: People, user: str = "alice") -> bool:
    """ssh, approved on the phone."""
    login = people.ssh(user)
    press_enter(login)
    people.phone.approve(user)
    return got_in(login, user)


def by_code(people: People, user: str, code: str) -> Terminal:
    """ssh, with a recovery code."""
    login = people.ssh(user)
    login.expect(PROMPT)
    login.sendline(code)
    return login


def denied_by_ssh(people: People, user: str = "alice") -> str:
    """What a denied user of ssh reads after the prompt."""
    login = people.ssh(user)
    press_enter(login)
    assert not got_in(login, user)
    return str(login.shown)


def denied_by_sudo(people: People, user: str = "alice") -> str:
    """What a denied user of sudo reads. Where a recovery code is asked for, none is typed."""
    login = people.sudo(user)
    if (
        login.expect(
            ["IAMPASS recovery code[^:]*: ", "(?i)a password is required|authentication|denied|sorry"]
        )
        == 0
    ):
        login.sendline("")
    assert not got_in(login, "root")
    return str(login.shown)


def codes_in(shown: str) -> list[str]:
    """The recovery codes that were shown."""
    found = re.findall("[0-9a-z]{4}(?:-[0-9a-z]{4}){3}", shown)
    assert len(found) == 10, shown
    return found


def reasons(machine: Booted, cursor: str) -> list[str]:
    """Outcome and reason of each login since."""
    return [
        f"{each['IAMPASS_OUTCOME']}: {each.get('IAMPASS_REASON', '')}"
        for each in machine.journal(cursor)
        if "IAMPASS_OUTCOME" in each
    ]


def wait_for(machine: Booted, cursor: str, text: str) -> None:
    """Wait until the journal has a message with the text since `cursor`."""
    found = f'journalctl -q --grep "{text}" --after-cursor="{cursor}" | grep -q .'
    machine.shell(f"timeout 60 sh -c 'until {found}; do sleep 0.2; done'")


def test_iampass_is_away(machine: Booted, night: Administrator, people: People, page: TypedPage) -> None:
    codes = codes_in(page.type(machine, AWAY, "pam-iampass recovery new").stdout)
    night.stop_iampass()
    cursor = machine.cursor()
    for shown in (denied_by_ssh(people), denied_by_sudo(people)):
        assert "IAMPASS is unreachable from this machine." in shown
    assert all("unavailable: start: " in each for each in reasons(machine, cursor))
    assert "unavailable" in page.type(machine, START, "pam-iampass log").stdout
    page.type(machine, AWAY, "ss -tuanp", check=False)  # of iproute2, which a container may lack
    found = page.type(machine, AWAY, "pam-iampass doctor", check=False)
    assert found.returncode == 1
    assert "[service-unreachable]" in found.stdout
    assert got_in(by_code(people, "alice", codes[0]), "alice")
    sudo = people.sudo("alice")
    sudo.expect("IAMPASS recovery code[^:]*: ")
    sudo.sendline(codes[1])
    assert got_in(sudo, "root")

    night.configure(unavailable="ignore")  # as step 3 says; no restart
    login = people.ssh("alice")
    press_enter(login)
    assert got_in(login, "alice")
    sudo = people.sudo("alice")  # as step 4 says
    sudo.expect("IAMPASS recovery code[^:]*: ")
    sudo.sendline(codes[2])
    assert got_in(sudo, "root")


def test_the_clock_is_wrong(machine: Booted, night: Administrator, people: People, page: TypedPage) -> None:
    night.stop_iampass()
    fast = "import time\nnow = time.time\ntime.time = lambda: now() + 412\n"
    machine.write("/root/fast.py", f"{fast}from pam_iampass.cli import main\nmain()\n")
    night.start_iampass(program="python3 /root/fast.py")
    cursor = machine.cursor()
    let_in = logs_in(people)
    found = page.type(machine, AGAIN, "pam-iampass doctor", check=False)
    night.stop_iampass()
    assert let_in
    assert "[clock-off]" in found.stdout
    [reason] = reasons(machine, cursor)
    assert re.fullmatch("approved: this machine's clock is (39|40|41)[0-9] s behind the server's", reason)
    page.type(machine, CLOCK, "timedatectl set-ntp", check=False)  # a container has no time service
    assert "Local time" in page.type(machine, CLOCK, "timedatectl status").stdout


def test_a_phone_is_lost(machine: Booted, night: Administrator, people: People, page: TypedPage) -> None:
    lost = machine.terminal("sh", "-c", page.command(LOST, "pam-iampass phone lost"))
    lost.expect(r"\[y/N\]: ")
    lost.sendline("y")
    lost.expect(re.escape(f"https://127.0.0.1:{PORT}") + r"(/register/[A-Za-z0-9_-]+)")
    assert "no" in page.type(machine, LOST, "pam-iampass phone show", check=False).stdout
    codes = codes_in(page.type(machine, LOST, "pam-iampass recovery new").stdout)
    assert got_in(by_code(people, "alice", codes[0]), "alice")
    assert "9" in page.type(machine, LOST, "pam-iampass recovery list").stdout
    people.phone.register(lost.match.group(1))
    assert lost.finish() == 0, lost.shown
    page.type(machine, LOST, "pam-iampass recovery revoke")
    assert not got_in(by_code(people, "alice", codes[1]), "alice")
    assert logs_in(people)
    shown = page.type(machine, LOST, "pam-iampass log").stdout
    assert "recovered" in shown
    assert "approved" in shown


def test_a_person_is_let_in_without_the_phone(
    machine: Booted, night: Administrator, people: People, page: TypedPage
) -> None:
    cursor = machine.cursor()
    page.type(machine, BYPASS, "pam-iampass bypass alice")
    assert "phone broken, ticket 4711" in page.type(machine, BYPASS, "pam-iampass bypass list").stdout
    assert got_in(people.ssh("alice"), "alice")
    assert got_in(people.sudo("alice"), "root")
    page.type(machine, BYPASS, "pam-iampass user list")
    page.type(machine, BYPASS, "pam-iampass bypass end")
    assert [each[:3] for each in outcomes(machine.journal(cursor))] == [("bypassed", "ignored", "alice")] * 2
    warnings = page.type(machine, BYPASS, "journalctl SYSLOG_IDENTIFIER").stdout
    assert "event=bypass result=success user=alice" in warnings
    assert "event=bypass_end result=success user=alice" in warnings
    assert len(page.type(machine, BYPASS, "pam-iampass log").stdout.splitlines()) == 3, "with the heading"
    assert "bypass" in machine.explained(cursor)
    page.typed |= {"journalctl -x"}
    assert logs_in(people)


def test_a_second_person_approves_sudo(
    machine: Booted, night: Administrator, people: People, page: TypedPage
) -> None:
    machine.shell("groupadd -f oncall; gpasswd -M alice,bob oncall")
    services = yaml.safe_load(page.block(SECOND, "services:"))["services"]
    night.configure(services=json.dumps(services))
    cursor = machine.cursor()
    login = people.sudo("alice")
    login.expect("bob")
    people.phone.approve("bob")
    assert got_in(login, "root")
    login = people.sudo("alice")
    people.phone.deny("bob")
    assert not got_in(login, "root")
    assert [each[:3] for each in outcomes(machine.journal(cursor))] == [
        ("approved", "success", "alice"),
        ("denied", "denied", "alice"),
    ]
    machine.run("groupdel", "oncall")


def test_a_person_leaves(machine: Booted, night: Administrator, people: People, page: TypedPage) -> None:
    lost = machine.terminal("sh", "-c", page.command("A person leaves", "pam-iampass phone lost", "dave"))
    lost.expect(r"\[y/N\]: ")
    lost.sendline("y")
    assert lost.finish() == 0, lost.shown
    machine.shell(
        "sed -i '/^dave:/d' /etc/iampass/users.yaml; pam-iampass user add dave --token token-of-dave"
    )
    leave = machine.terminal("sh", "-c", page.command("A person leaves", "pam-iampass user remove", "dave"))
    leave.expect(r"\[y/N\]: ")
    leave.sendline("y")
    assert leave.finish() == 0, leave.shown
    listed = page.type(machine, "A person leaves", "pam-iampass user list --check", check=False).stdout
    assert "alice" in listed
    login = people.ssh("dave")
    press_enter(login)
    assert not got_in(login, "dave")
    assert logs_in(people)


def test_a_phone_rings_unasked(
    machine: Booted, night: Administrator, people: People, page: TypedPage
) -> None:
    section = "Unexpected requests on a phone"
    for _ in range(2):
        login = people.ssh("alice")
        press_enter(login)
        people.phone.deny("alice")
        assert not got_in(login, "alice")
    cursor = machine.cursor()
    denied_by_ssh(people)
    assert reasons(machine, cursor)[0].startswith("throttled: backoff: 2 consecutive requests")
    assert "2" in page.type(machine, section, "pam-iampass throttle show").stdout
    page.type(machine, section, "pam-iampass throttle clear")
    assert logs_in(people)


def test_sshd_penalizes_an_address(
    machine: Booted, night: Administrator, people: People, page: TypedPage
) -> None:
    if not night.has_penalties():
        pytest.skip("sshd has no PerSourcePenalties before 9.8")
    machine.shell("sed -i '/PerSourcePenalties/d' /etc/ssh/sshd_config.d/00-test.conf; systemctl reload ssh")
    login = people.ssh("nobody-here")
    while "closed by" not in login.shown and "reset by" not in login.shown:
        login.finish()
        login = people.ssh("nobody-here")
        login.expect(["(?i)permission denied", "closed by", "reset by"])
    login.kill()
    assert "penalty" in machine.shell("journalctl --sync; journalctl -q -u ssh -n 50")
    name, _addresses = page.block(PENALTIES, "# /etc/ssh/sshd_config.d/20-pen").splitlines()[1].split()
    machine.write("/etc/ssh/sshd_config.d/20-penalties.conf", f"{name} 127.0.0.0/8\n")
    cursor = machine.cursor()
    page.type(machine, PENALTIES, "systemctl reload ssh")
    wait_for(machine, cursor, "Server listening")  # systemctl does not wait for sshd's new start
    assert logs_in(people)
    machine.shell(
        "rm /etc/ssh/sshd_config.d/20-penalties.conf; cd /etc/ssh/sshd_config.d\n"
        "echo PerSourcePenalties=no >> 00-test.conf; systemctl restart ssh"
    )


def test_the_agent_is_dead(machine: Booted, night: Administrator, people: People, page: TypedPage) -> None:
    machine.run("systemctl", "mask", "--now", *AGENT)
    machine.run("pkill", "-KILL", "-u", "_iampass", check=False)
    assert "The IAMPASS agent is not running" in denied_by_sudo(people)
    assert not got_in(people.ssh("alice"), "alice")
    page.type(machine, NO_AGENT, "systemctl unmask")
    page.type(machine, NO_AGENT, "systemctl enable --now")
    sudo = people.sudo("alice")
    people.phone.approve("alice")
    assert got_in(sudo, "root")

    machine.run("systemctl", "stop", *AGENT)
    agent = machine.terminal(page.command(NO_AGENT, "pam-iampass-agent --socket").split()[0], "--socket")
    machine.shell(
        "timeout 60 sh -c 'until grep -q \"00010000.*/run/iampass/pam.sock\" /proc/net/unix; do sleep 0.1; done'"
    )
    sudo = people.sudo("alice")
    people.phone.approve("alice")
    assert got_in(sudo, "root")
    agent.send("\x03")
    agent.finish()
    machine.run("systemctl", "start", AGENT[0])


def test_python_is_broken(
    machine: Booted, night: Administrator, people: People, page: TypedPage, before: str
) -> None:
    machine.run("pam-auth-update", "--enable", "iampass", "iampass-session")
    machine.shell("chmod a-x /usr/bin/python3.[0-9]*; pkill -KILL -u _iampass || :")
    login = people.ssh("alice")
    assert not got_in(login, "alice")
    denied_by_sudo(people)
    assert page.type(machine, SWITCH_OFF, "pam-iampass setup undo", check=False).returncode != 0
    cursor = machine.cursor()
    for start in ("rm -f", "sed -i", "systemctl reload ssh", "pam-auth-update --disable"):
        page.type(machine, SWITCH_OFF, start)
    wait_for(machine, cursor, "Server listening")  # systemctl does not wait for sshd's new start
    assert got_in(people.ssh("alice"), "alice")
    options = ("-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password")
    password = people.ssh("alice", options=options)
    type_password(password)
    assert got_in(password, "alice")
    assert got_in(people.sudo("alice"), "root")
    assert got_in(people.su("alice", "bob", PASSWORD), "bob")
    console = machine.console()
    console.expect("login: ")
    console.sendline("alice")
    type_password(console)
    console.expect(r"\$ ")
    console.sendline(WHO)
    console.expect("In as alice.")
    console.stop()

    machine.shell("chmod a+x /usr/bin/python3.[0-9]*")
    page.type(machine, SWITCH_OFF, "pam-iampass setup undo")
    page.type(machine, SWITCH_OFF, "journalctl -p crit")
    assert machine.shell(FILES) == before
    assert got_in(people.ssh("alice"), "alice")


def test_the_packages_files_are_damaged(
    machine: Booted, night: Administrator, people: People, page: TypedPage
) -> None:
    damaged = "/usr/lib/python3/dist-packages/pam_iampass/login/verification.py"
    machine.shell(f"echo 'def' > {damaged}; pkill -KILL -u _iampass || :")
    login = people.ssh("alice")
    assert not got_in(login, "alice")
    assert "The IAMPASS agent does not answer." in login.shown
    assert "The IAMPASS agent does not answer." in denied_by_sudo(people)
    page.type(machine, BROKEN, "systemctl status", check=False)
    assert "SyntaxError" in page.type(machine, BROKEN, "journalctl -u").stdout
    page.type(machine, BROKEN, "systemctl restart", check=False)
    assert damaged in page.type(machine, BROKEN, "dpkg --verify", check=False).stdout
    night.undo()  # Python itself works
    assert got_in(people.sudo("alice"), "root")
    page.command(BROKEN, "apt install --reinstall")  # from the network; here from the packages' files
    here = " ".join(f"/root/packages/{each.name}" for each in PACKAGES.glob("*pam-iampass_*.deb"))
    machine.shell(f"DEBIAN_FRONTEND=noninteractive apt-get install -y --reinstall {here}")
    night.set_up("sshd", "sudo", "su", "--prompt")
    test = machine.terminal("sh", "-c", page.command(BROKEN, "pam-iampass test"))
    press_enter(test)
    people.phone.approve("alice")
    assert test.finish() == 0, test.shown
    assert logs_in(people)


def test_it_works_again(machine: Booted, night: Administrator, people: People, page: TypedPage) -> None:
    machine.shell("sed -i '/^dave:/d' /etc/iampass/users.yaml")  # who has no phone
    page.type(machine, AGAIN, "pam-iampass doctor")
    test = machine.terminal("sh", "-c", page.command(AGAIN, "pam-iampass test"))
    type_password(test)
    people.phone.approve("alice")
    assert test.finish() == 0, test.shown
    assert "approved" in page.type(machine, AGAIN, "pam-iampass log").stdout
    assert logs_in(people)


def test_the_machine_uses_a_sandbox(
    machine: Booted, night: Administrator, people: People, page: TypedPage, before: str
) -> None:
    machine.run("pam-iampass", "sandbox", "use", STATE, "--force")
    denied_by_ssh(people)  # the sandbox's accounts are not alice's
    page.type(machine, SANDBOX, "pam-iampass setup undo")
    page.type(machine, SANDBOX, "pam-iampass sandbox leave")
    page.type(machine, SANDBOX, "pam-iampass check")
    assert machine.shell(FILES) == before
    assert got_in(people.ssh("alice"), "alice")


def test_prometheus_has_the_figures_of_a_host(
    machine: Booted, night: Administrator, people: People, page: TypedPage
) -> None:
    folder = "/var/lib/prometheus/node-exporter"
    machine.run("mkdir", "-p", folder)  # as the package of node_exporter makes it
    page.type(machine, FIGURES, "ln -s /run/iampass/metrics")
    page.type(machine, FIGURES, "ln -s /run/iampass/pam-files")
    assert logs_in(people)
    approved = f"grep -h iampass_logins_total {folder}/*.prom | grep approved | grep sshd"
    machine.shell(f"for turn in $(seq 30); do {approved} && exit; sleep 1; done; exit 1")
    machine.shell(f"grep 'iampass_pam_in_force{{service=\"sshd\"}} 1' {folder}/*.prom")
    assert "alice" not in machine.shell(f"cat {folder}/*.prom")
    page.type(machine, FIGURES, "pam-iampass doctor --monitoring", check=False)


def test_every_command_of_the_page_was_typed(request: pytest.FixtureRequest, page: TypedPage) -> None:
    elsewhere = {"systemctl reload sshd"}  # on Red Hat
    # sshd has none before 9.8.
    elsewhere |= {each for each in page.sections[PENALTIES] if each.startswith("PerSource")} - page.typed
    all_is_typed(request, page, elsewhere)
