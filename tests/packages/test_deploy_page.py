"""What docs/one-server/deploy.md says of those who get in without the phone, typed on a machine: settings, lines of PAM
and sshd. Many machines: test_deploy.py."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.people import KEY, People, got_in, outcomes
from tests.packages.typed_page import TypedPage
from tests.support.terminal import Terminal

BROKEN = "If the agent breaks"
AUTOMATION = "Automation accounts"


@pytest.fixture(scope="module")
def page() -> TypedPage:
    """The page."""
    return TypedPage("docs/one-server/deploy.md")


@pytest.fixture(autouse=True, scope="module")
def administrator(machine: Booted, administrator: Administrator) -> Administrator:
    """sshd and sudo ask the phone; there are accounts that people and programs share."""
    machine.shell(
        """
        groupadd automation
        groupadd monitoring
        for user in deploy emergency; do
            useradd --create-home --shell /bin/sh $user
            cp -R /home/alice/.ssh /home/$user/
            chown -R $user: /home/$user/.ssh
        done
        gpasswd -a deploy automation
        gpasswd -a alice staff
        """
    )
    administrator.start_iampass()
    administrator.configure()
    administrator.set_up("sshd", "sudo")
    return administrator


def asked(people: People, login: Terminal, user: str = "alice") -> bool:
    """Whether a login gets in whose request is approved on the phone of the user."""
    people.phone.approve(user)
    return got_in(login, user)


def settings(administrator: Administrator, block: str) -> None:
    """Write settings with what a block of the page says."""
    administrator.configure(**{key: json.dumps(value) for key, value in yaml.safe_load(block).items()})


def test_a_locked_password_is_not_enough(machine: Booted, people: People, page: TypedPage) -> None:
    section = "When the phone is asked for a login that is refused"
    machine.shell(page.command(section, "usermod -L") + " bob")
    assert asked(people, people.ssh("bob"), "bob")
    machine.shell(page.command(section, "usermod -L -e 1") + " bob")
    cursor = machine.cursor()
    assert not got_in(people.ssh("bob"), "bob")
    assert outcomes(machine.journal(cursor)) == [], "no phone rang"
    machine.shell("usermod -U -e '' bob")


def test_one_account_gets_in_without_the_agent(
    machine: Booted, administrator: Administrator, people: People, page: TypedPage
) -> None:
    settings(administrator, page.block(BROKEN, "exempt: {users: [emergency]}").partition("\n")[0])
    line = page.command(BROKEN, "account requisite")
    assert machine.shell("grep -c '^account.*pam_iampass.so' /etc/pam.d/sshd") == "1\n"
    machine.shell(f"sed -i 's/^account.*pam_iampass.so/{line}/' /etc/pam.d/sshd")
    page.type(machine, BROKEN, "pam-iampass check --settings")
    units = "pam-iampass-agent.socket pam-iampass-agent.service"
    machine.shell(f"systemctl mask --now {units}")
    cursor = machine.cursor()
    assert got_in(people.ssh("emergency"), "emergency")
    assert not got_in(people.ssh("alice"), "alice")
    assert machine.shell("journalctl -q -p alert -t pam_iampass") != ""
    machine.shell(f"systemctl unmask {units}; systemctl enable --now pam-iampass-agent.socket")
    assert "approved" not in {each[0] for each in outcomes(machine.journal(cursor))}
    machine.shell("sed -i 's/ rescue=emergency//' /etc/pam.d/sshd; pam-iampass check --settings")


def test_behind_a_bastion_host(
    machine: Booted, administrator: Administrator, people: People, page: TypedPage
) -> None:
    settings(administrator, page.block("Bastion hosts", "exempt:"))
    page.type(machine, "Bastion hosts", "pam-iampass check --settings")
    machine.run("pam-iampass", "throttle", "clear", "alice")
    cursor = machine.cursor()
    assert asked(people, people.ssh("alice"))
    test = machine.run("pam-iampass", "test", "alice", "--rhost", "10.0.0.5")
    assert "exempt" in test.stdout
    assert [each[0] for each in outcomes(machine.journal(cursor))] == ["approved", "exempt"]


def test_teams(machine: Booted, administrator: Administrator, people: People, page: TypedPage) -> None:
    settings(administrator, page.block("Teams", "exempt:"))
    page.type(machine, "Teams", "pam-iampass check --settings")
    assert asked(people, people.ssh("alice"))
    cursor = machine.cursor()
    assert got_in(people.ssh("bob"), "bob"), "only staff is asked"
    assert not got_in(people.sudo("carol"), "root"), "in sudo nobody is exempt"
    assert [(each[0], each[2]) for each in outcomes(machine.journal(cursor))] == [
        ("exempt", "bob"),
        ("unlisted", "carol"),
    ]


def test_automation_accounts_are_spared_the_prompt(
    machine: Booted, administrator: Administrator, people: People, page: TypedPage
) -> None:
    settings(administrator, page.block(AUTOMATION, "exempt:"))
    administrator.set_up("sshd", "--prompt")
    drop_in = machine.read("/etc/ssh/sshd_config.d/10-iampass.conf")
    assert page.block(AUTOMATION, "Match Group automation").strip() in drop_in
    batch = (*KEY, "-o", "BatchMode=yes")
    assert got_in(people.ssh("deploy", options=batch), "deploy")
    assert not got_in(people.ssh("alice", options=batch), "alice")
    assert not got_in(people.ssh("emergency", options=batch), "emergency"), "it is exempt no more"
    settings(administrator, "exempt: {users: [backup, emergency], groups: [automation]}")
    assert "emergency" in machine.run("pam-iampass", "check", "--settings", check=False).stdout
    machine.shell(f"{page.command(AUTOMATION, 'pam-iampass setup sshd')} --force")
    assert got_in(people.ssh("emergency", options=batch), "emergency")
