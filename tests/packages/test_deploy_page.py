"""docs/deploy.md, typed on one machine from its first section to its last. Many machines: test_deploy.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.packages.administrator import Administrator, built, newer
from tests.packages.booted import Booted
from tests.packages.people import KEY, People, got_in, outcomes, type_password
from tests.packages.phone import PORT
from tests.packages.typed_page import Shell, TypedPage, all_is_typed, in_ssh
from tests.support.terminal import Terminal

BEFORE = "Before you begin"
ON = "Switch it on"
OTHERS = "pkexec, run0, doas, login and others"
BROKEN = "If the agent breaks"
AUTOMATION = "Automation accounts"
UPGRADE = "Upgrade"
BACK = "Take it back"
FILES = "cd /etc && find pam.d ssh sudoers.d -type f -exec sha256sum {} + | sort"
#: Typed by test_deploy.py, test_desktop.py and test_life.py.
ELSEWHERE = ("Many machines", "Graphical logins and screen lockers")


@pytest.fixture(scope="module")
def page() -> TypedPage:
    """The page."""
    return TypedPage("docs/deploy.md")


@pytest.fixture(scope="module")
def before(machine: Booted, administrator: Administrator) -> str:
    """The files of PAM, sshd and sudo before anything was set up; IAMPASS runs, and the settings are written."""
    machine.write(
        "/root/.ssh/config", "IdentityFile /root/key\nIdentitiesOnly yes\nStrictHostKeyChecking accept-new\n"
    )
    machine.shell(
        """
        echo 127.0.0.1 localhost >> /etc/hosts
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends pkexec opendoas
        groupadd automation
        groupadd monitoring
        for user in deploy emergency; do
            useradd --create-home --shell /bin/sh $user
            cp -R /home/alice/.ssh /home/$user/
            chown -R $user: /home/$user/.ssh
        done
        gpasswd -a deploy automation
        """
    )
    administrator.start_iampass()
    administrator.configure()
    machine.shell("sed -i /^alice:/d /etc/iampass/users.yaml")
    return machine.shell(FILES)


@pytest.fixture(scope="module")
def shell(people: People, before: str) -> Iterator[Shell]:
    """The root shell that the page says to keep open."""
    opened = Shell(people, "alice")
    yield opened
    opened.terminal.kill()


def asked(people: People, login: Terminal, user: str = "alice") -> bool:
    """Whether a login gets in whose request is approved on the newest phone of the user."""
    people.phone.approve(token=table(people.machine)[user])
    return got_in(login, user)


def table(machine: Booted) -> dict[str, str]:
    """The tokens by user."""
    text = machine.shell("cat /etc/iampass/users.yaml; cat /etc/iampass/users.d/*.yaml")
    return {str(user): str(token) for user, token in yaml.safe_load(text).items()}


def settings(administrator: Administrator, block: str) -> None:
    """Write settings with what a block of the page says. Everybody keeps their token."""
    administrator.configure(**{key: json.dumps(value) for key, value in yaml.safe_load(block).items()})
    administrator.machine.shell("sed -i /^alice:/d /etc/iampass/users.yaml")


def test_before_you_begin(machine: Booted, shell: Shell, people: People, page: TypedPage) -> None:
    files = machine.shell(FILES)
    shell.type(page.command(BEFORE, "pam-iampass sandbox leave") + "; true")
    shell.type(page.command(BEFORE, "pam-iampass check"))
    shell.send(page.command(BEFORE, "pam-iampass enroll"))
    shell.terminal.expect(rf"https://127.0.0.1:{PORT}(/register/[A-Za-z0-9_-]+)")
    people.phone.register(shell.terminal.match.group(1))
    shell.ended()
    shell.type(page.command(BEFORE, "pam-iampass recovery new"))
    sudo = in_ssh(people, "alice", page.command(BEFORE, "sudo pam-iampass setup"))
    type_password(sudo)
    assert sudo.finish() == 0, sudo.shown
    assert "Nothing was changed" in page.type(machine, BEFORE, "SUDO_USER=alice").stdout
    assert machine.shell(FILES) == files


def test_switched_on_for_a_trial_and_confirmed(
    machine: Booted, shell: Shell, people: People, page: TypedPage
) -> None:
    token = table(machine)["alice"]
    cursor = machine.cursor()
    shell.type(page.command(ON, "pam-iampass setup sshd sudo --dry-run"))
    said = shell.type(page.command(ON, "pam-iampass setup sshd sudo --try"))
    assert "runuser -u USER -- sudo -k true" in said
    assert "no login through sshd and sudo" in shell.type(page.command(ON, "pam-iampass setup confirm"), 1)
    login = machine.terminal("sh", "-c", page.command(ON, "ssh -t"))
    people.phone.approve(token=token)
    type_password(login)
    people.phone.approve(token=token)
    assert login.finish() == 0, login.shown
    shell.type(page.command(ON, "pam-iampass setup confirm"))
    for command in ("runuser -u alice", "pam-iampass test alice"):
        sudo = machine.terminal("sh", "-c", page.command(ON, command))
        type_password(sudo)
        people.phone.approve(token=token)
        assert sudo.finish() == 0, sudo.shown
    found = outcomes(machine.journal(cursor))
    assert [(each[0], each[3]) for each in found] == [
        ("approved", "sshd"),
        *[("approved", "sudo")] * 3,
    ], "and no denial of setup's own"


def test_a_locked_password_is_not_enough(
    machine: Booted, shell: Shell, people: People, page: TypedPage
) -> None:
    section = "Whose phone rings"
    shell.type(page.command(section, "usermod -L") + " bob")
    assert asked(people, people.ssh("bob"), "bob")
    shell.type(page.command(section, "usermod -L -e 1") + " bob")
    cursor = machine.cursor()
    assert not got_in(people.ssh("bob"), "bob")
    assert outcomes(machine.journal(cursor)) == [], "no phone rang"
    shell.type("usermod -U -e '' bob")


def test_other_ways_to_root_are_listed(machine: Booted, shell: Shell, page: TypedPage) -> None:
    said = page.type(machine, OTHERS, "pam-iampass doctor", check=False).stdout
    assert "pam-iampass setup doas" in said
    assert "pam-iampass setup polkit-1" in said
    assert "Nothing was changed" in shell.type(page.command(OTHERS, "pam-iampass setup polkit-1"))


def test_one_account_gets_in_without_the_agent(
    machine: Booted, administrator: Administrator, shell: Shell, people: People, page: TypedPage
) -> None:
    settings(administrator, page.block(BROKEN, "exempt: {users: [emergency]}").partition("\n")[0])
    line = page.command(BROKEN, "account requisite")
    assert machine.shell("grep -c '^account.*pam_iampass.so' /etc/pam.d/sshd") == "1\n"
    machine.shell(f"sed -i 's/^account.*pam_iampass.so/{line}/' /etc/pam.d/sshd")
    shell.type(page.command(BROKEN, "pam-iampass check"))
    units = "pam-iampass-agent.socket pam-iampass-agent.service"
    machine.shell(f"systemctl mask --now {units}")
    cursor = machine.cursor()
    assert got_in(people.ssh("emergency"), "emergency")
    assert not got_in(people.ssh("alice"), "alice")
    assert machine.shell("journalctl -q -p alert -t pam_iampass") != ""
    machine.shell(f"systemctl unmask {units}; systemctl enable --now pam-iampass-agent.socket")
    assert "approved" not in {each[0] for each in outcomes(machine.journal(cursor))}
    shell.type(f"sed -i 's/ rescue=emergency//' /etc/pam.d/sshd; {page.command(BROKEN, 'pam-iampass check')}")


def test_behind_a_bastion_host(
    machine: Booted, administrator: Administrator, shell: Shell, people: People, page: TypedPage
) -> None:
    settings(administrator, page.block("Bastion hosts", "exempt:"))
    shell.type(page.command("Bastion hosts", "pam-iampass check"))
    machine.run("pam-iampass", "throttle", "clear", "alice")
    cursor = machine.cursor()
    assert asked(people, people.ssh("alice"))
    test = machine.run("pam-iampass", "test", "alice", "--rhost", "10.0.0.5")
    assert "exempt" in test.stdout
    assert [each[0] for each in outcomes(machine.journal(cursor))] == ["approved", "exempt"]


def test_teams(
    machine: Booted, administrator: Administrator, shell: Shell, people: People, page: TypedPage
) -> None:
    machine.shell("gpasswd -a alice staff")
    settings(administrator, page.block("Teams", "exempt:"))
    shell.type(page.command("Teams", "pam-iampass check"))
    listed = shell.type(page.command("Teams", "pam-iampass user list"))
    assert "alice" in listed
    assert asked(people, people.ssh("alice"))
    cursor = machine.cursor()
    assert got_in(people.ssh("bob"), "bob"), "only staff is asked"
    assert not got_in(people.sudo("carol"), "root"), "in sudo nobody is exempt"
    assert [(each[0], each[2]) for each in outcomes(machine.journal(cursor))] == [
        ("exempt", "bob"),
        ("unlisted", "carol"),
    ]


def test_automation_accounts_are_spared_the_prompt(
    machine: Booted, administrator: Administrator, shell: Shell, people: People, page: TypedPage
) -> None:
    settings(administrator, page.block(AUTOMATION, "exempt:"))
    shell.type("pam-iampass setup sshd --prompt")
    drop_in = machine.read("/etc/ssh/sshd_config.d/10-iampass.conf")
    assert page.block(AUTOMATION, "Match User backup").strip() in drop_in
    batch = (*KEY, "-o", "BatchMode=yes")
    assert got_in(people.ssh("deploy", options=batch), "deploy")
    assert not got_in(people.ssh("alice", options=batch), "alice")
    assert not got_in(people.ssh("emergency", options=batch), "emergency"), "it is exempt no more"
    settings(administrator, "exempt: {users: [backup, emergency], groups: [automation]}")
    assert "emergency" in machine.run("pam-iampass", "check", check=False).stdout
    shell.type(page.command(AUTOMATION, "pam-iampass setup sshd"))
    assert got_in(people.ssh("emergency", options=batch), "emergency")
    shell.type("pam-iampass setup sshd --quiet")


def test_the_secret_is_changed(machine: Booted, shell: Shell, people: People, page: TypedPage) -> None:
    assert asked(people, people.ssh("alice"))
    machine.shell("echo the-old-one >> /etc/iampass/application-secret")
    assert machine.run("stat", "-c", "%U:%G %a", "/etc/iampass/application-secret").stdout == (
        "root:_iampass 640\n"
    )
    assert asked(people, people.ssh("alice"))
    said = page.type(machine, "The application's secret", "pam-iampass doctor", check=False).stdout
    assert "previous-secret-left" in said
    machine.shell("sed -i 2d /etc/iampass/application-secret")


def test_an_upgrade_leaves_on_what_is_on(
    machine: Booted, shell: Shell, people: People, page: TypedPage, tmp_path: Path
) -> None:
    on = machine.shell("grep -r pam_iampass /etc/pam.d; cat /etc/iampass/*.yaml; ls -l /etc/iampass")
    for package in built():
        machine.copy_in(newer(package, tmp_path, "9"), "/root/newer")
    files = "./pam-iampass-sandbox_*.deb"  # is installed here, too
    shell.type(f"cd /root/newer; {page.command(UPGRADE, 'apt install')} {files}")
    assert machine.run("dpkg-query", "-W", "-f", "${Version}", "libpam-iampass").stdout == "9"
    assert machine.shell("grep -r pam_iampass /etc/pam.d; cat /etc/iampass/*.yaml; ls -l /etc/iampass") == on
    report = page.type(machine, UPGRADE, "pam-iampass doctor", check=False).stdout
    assert not re.search(r"^error\b", report, re.M), report
    shell.type(page.command(UPGRADE, "pam-iampass check"))
    assert asked(people, people.ssh("alice"))


def test_it_is_taken_back(
    machine: Booted, shell: Shell, people: People, page: TypedPage, before: str
) -> None:
    shell.type(page.command(BACK, "pam-iampass setup undo"))
    assert machine.shell(FILES) == before
    shell.type("pam-iampass setup sshd")
    shell.send(page.command(BACK, "apt remove"))
    shell.terminal.expect(r"\[Y/n\]")
    shell.terminal.sendline("y")
    shell.ended()
    assert machine.shell(FILES) == before
    assert got_in(people.ssh("alice"), "alice")
    assert got_in(people.sudo("alice"), "root")


def test_the_whole_page_was_typed(request: pytest.FixtureRequest, page: TypedPage) -> None:
    elsewhere = {line for section in ELSEWHERE for line in page.sections[section]} - page.typed
    all_is_typed(
        request, page, {*elsewhere, "pam-iampass bypass", "pam-iampass log", "apt purge"} - page.typed
    )
