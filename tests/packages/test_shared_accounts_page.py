"""docs/shared-accounts.md, typed on a machine: two people in root and deploy, Ansible, keys that come and go; with su,
doas and pkexec, and with a second person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import all_log_out, wait_for
from tests.packages.people import WHO, People, got_in, outcomes, press_enter, type_password
from tests.packages.switched_on import AGENT, answered
from tests.packages.typed_page import TypedPage, all_is_typed
from tests.support.terminal import Terminal

SET_UP = "Set it up"
ANSIBLE = "Ansible"
NEW = "A new key"
LEAVES = "Somebody leaves"
AUTHORITY = "A certificate authority"
ACCOUNTS = ("root", "deploy")
PKEXEC = f"{AGENT} pkexec --disable-internal-agent sh -c 'echo Inside as $(id -un).'"
KEYS = """
set -e
mkdir /root/keys
for name in keys/alice keys/bob alice-new stranger ca inside automation; do
    ssh-keygen -q -t ed25519 -N '' -C root -f /root/$name
done
ssh-keygen -q -s /root/ca -I carol@example.com -n root,deploy /root/inside
mkdir -p -m 700 /root/.ssh
useradd --create-home --shell /bin/sh --groups sudo deploy
useradd --create-home automation
for user in deploy automation; do
    install -d -m 700 -o $user -g $user /home/$user/.ssh
done
cp /root/automation.pub /home/automation/.ssh/authorized_keys
printf '%s\\n' 'IdentityFile /root/automation' 'UserKnownHostsFile /root/known-hosts' > /root/.ssh/config
cat /root/keys/*.pub /root/alice-new.pub /root/stranger.pub > /root/.ssh/authorized_keys
cp /root/.ssh/authorized_keys /home/deploy/.ssh/
echo 'permit deploy' > /etc/doas.conf
chmod 600 /etc/doas.conf
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ansible-core python3-apt opendoas pkexec
printf 'PermitRootLogin yes\\nTrustedUserCAKeys /root/ca.pub\\n' > /etc/ssh/sshd_config.d/00-shared.conf
"""


@pytest.fixture(scope="module")
def page() -> TypedPage:
    """The page."""
    return TypedPage("docs/shared-accounts.md")


@pytest.fixture(scope="module")
def ready(machine: Booted, administrator: Administrator, page: TypedPage) -> Administrator:
    """What the page begins with, typed."""
    administrator.start_iampass()
    machine.shell(KEYS)
    machine.run("chpasswd", stdin=f"deploy:{PASSWORD}\n")
    configure(machine, administrator, services_of(page))
    machine.write("/etc/iampass/users.d/bob.yaml", "bob: token-of-bob\n", 0o640, "_iampass")
    assert (
        "would be added" in page.type(machine, SET_UP, "pam-iampass key import /root/keys --dry-run").stdout
    )
    page.type(machine, SET_UP, "pam-iampass key import /root/keys")
    shown = page.type(machine, SET_UP, "pam-iampass key list").stdout
    assert "alice" in shown
    assert "bob" in shown
    for command in ("pam-iampass setup sshd", "pam-iampass setup sudo", "pam-iampass setup su doas"):
        machine.shell(f"{page.command(SET_UP, command)} --force")
    administrator.set_up("polkit-1")
    machine.run("systemctl", "restart", "ssh")
    return administrator


def services_of(page: TypedPage) -> dict[str, Any]:
    """The settings of the page, and what it says of other programs."""
    services: dict[str, Any] = yaml.safe_load(page.block(SET_UP, "services:"))["services"]
    return {**services, **dict.fromkeys(("su", "doas", "polkit-1"), services["sudo"])}


def configure(
    machine: Booted, administrator: Administrator, services: dict[str, Any], **settings: str
) -> None:
    """Write the settings; of the accounts, only those of alice and carol are one person's."""
    administrator.configure(services=json.dumps(services), **settings)
    users = "".join(f"{name}: token-of-{name}\n" for name in ("alice", "carol"))
    machine.write("/etc/iampass/users.yaml", users, 0o640, "_iampass")


@pytest.fixture
def cursor(machine: Booted, ready: Administrator) -> Iterator[str]:
    yield machine.cursor()
    all_log_out(machine)


def log_in(people: People, account: str, key: str, *remote: str) -> Terminal:
    """ssh with this key, up to the request."""
    terminal = people.ssh(account, *(remote or (WHO,)), options=("-i", f"/root/{key}", "-tt"))
    press_enter(terminal)
    return terminal


def approvers(machine: Booted, cursor: str) -> list[tuple[str, str, str]]:
    """Account, service and approver of each record."""
    names = ("IAMPASS_USER", "IAMPASS_SERVICE", "IAMPASS_APPROVER")
    records = [record for record in machine.journal_now(cursor) if "IAMPASS_OUTCOME" in record]
    return [(each[names[0]], each[names[1]], each.get(names[2], "")) for each in records]


@pytest.mark.parametrize("account", ACCOUNTS)
def test_each_person_logs_in_to_the_account_by_their_own_phone(
    machine: Booted, people: People, page: TypedPage, cursor: str, account: str
) -> None:
    page.type(machine, SET_UP, "pam-iampass check", check=False)
    for person in ("alice", "bob"):
        terminal = log_in(people, account, f"keys/{person}")
        people.phone.approve(person)
        assert got_in(terminal, account)
    assert approvers(machine, cursor) == [(account, "sshd", "alice"), (account, "sshd", "bob")]
    assert not got_in(log_in_as_nobody(people, account), account)
    assert people.phone.requests() == []


def log_in_as_nobody(people: People, account: str) -> Terminal:
    """With a key that sshd accepts, and the table does not have."""
    return people.ssh(account, options=("-i", "/root/stranger", "-tt"))


PROGRAMS = {
    "sudo": (f"sudo -k sh -c '{WHO}'", PASSWORD, "deploy"),
    "su": (f"su root -c '{WHO}'", "root's own", "root"),
    "doas": (f"doas sh -c '{WHO}'", PASSWORD, "deploy"),
}
"""A command, the password that it asks for, and whose name PAM gets."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_asks_who_approved_the_login(
    machine: Booted, people: People, cursor: str, program: str
) -> None:
    command, password, user = PROGRAMS[program]
    terminal = log_in(people, "deploy", "keys/bob", command)
    people.phone.approve("bob")
    type_password(terminal, password)
    people.phone.approve("bob")
    assert got_in(terminal, "root")
    assert approvers(machine, cursor) == [("deploy", "sshd", "bob"), (user, program, "bob")]


def test_pkexec_asks_who_approved_the_login_in_which_the_agent_of_polkit_runs(
    machine: Booted, people: People, cursor: str
) -> None:
    terminal = log_in(people, "deploy", "keys/bob", PKEXEC)
    people.phone.approve("bob")
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(answered, terminal, "deploy", PASSWORD)
        people.phone.approve("bob")
        assert answering.result() == "in"
    assert approvers(machine, cursor) == [("deploy", "sshd", "bob"), ("deploy", "polkit-1", "bob")]


def test_pkexec_asks_nobody_if_the_user_picks_another_account(
    machine: Booted, people: People, cursor: str
) -> None:
    terminal = log_in(people, "deploy", "keys/bob", PKEXEC)
    people.phone.approve("bob")
    assert answered(terminal, "alice", PASSWORD) == "no"
    assert outcomes(machine.journal_now(cursor))[1:] == [("misconfigured", "denied", "alice", "polkit-1")]
    assert people.phone.requests() == []


@pytest.fixture
def master(machine: Booted, people: People, page: TypedPage, cursor: str) -> Iterator[None]:
    """A connection that alice has opened."""
    command = page.command(ANSIBLE, "ssh -fN")
    options = "-F none -i /root/keys/alice -o IdentitiesOnly=yes -o UserKnownHostsFile=/root/known-hosts"
    command = command.replace("ssh ", f"ssh {options} ", 1)
    terminal = machine.terminal("sh", "-c", f"{command} && echo Opened. && exec sleep 600")
    press_enter(terminal)
    people.phone.approve("alice")
    terminal.expect("Opened\\.")
    yield
    page.type(machine, ANSIBLE, "ssh -S", user="alice")


def test_ansible_uses_a_connection_that_a_person_approved_and_sudo_asks_that_person(
    machine: Booted, people: People, page: TypedPage, master: None, cursor: str
) -> None:
    command = page.command(ANSIBLE, "ansible all -i 127.0.0.1, -u deploy")
    assert "deploy" in ansible(machine, command).splitlines()
    assert approvers(machine, cursor) == [("deploy", "sshd", "alice")]
    with ThreadPoolExecutor(1) as pool:
        become = pool.submit(ansible, machine, f"{command} -b -e 'ansible_become_password=\"{PASSWORD}\"'")
        people.phone.approve("alice")
        assert "root" in become.result().splitlines()
    assert approvers(machine, cursor)[1:] == [("deploy", "sudo", "alice")]


def test_ansible_of_a_machine_logs_in_to_an_exempt_account_of_its_own(
    machine: Booted, administrator: Administrator, people: People, page: TypedPage, cursor: str
) -> None:
    rule = yaml.safe_load(page.block(ANSIBLE, "exempt:"))["exempt"]
    services = services_of(page)
    configure(machine, administrator, services, exempt=json.dumps(rule))
    machine.shell(f"{page.command(ANSIBLE, 'pam-iampass setup sshd')} --force")
    command = page.command(ANSIBLE, "ansible all -i 127.0.0.1, -u deploy")
    by_itself = command.replace("-u deploy", "-u automation").replace(
        " -S /root/deploy.sock", "-o ControlPath=none"
    )
    assert "automation" in ansible(machine, by_itself).splitlines()
    assert outcomes(machine.journal_now(cursor)) == [("exempt", "ignored", "automation", "sshd")]
    refused = machine.shell(by_itself.replace("-u automation", "-u deploy"), check=False)
    assert "UNREACHABLE" in refused
    assert people.phone.requests() == []
    configure(machine, administrator, services)
    administrator.set_up("sshd", "--prompt")


def ansible(machine: Booted, command: str) -> str:
    """What Ansible prints."""
    return machine.shell(f"LC_ALL=C.UTF-8 {command}")


def test_a_new_key_is_the_persons_and_the_old_one_is_nobodys(
    machine: Booted, people: People, page: TypedPage, cursor: str
) -> None:
    page.type(machine, NEW, "pam-iampass key add alice")
    page.type(machine, NEW, "pam-iampass key remove alice")
    terminal = log_in(people, "deploy", "alice-new")
    people.phone.approve("alice")
    assert got_in(terminal, "deploy")
    assert not got_in(people.ssh("deploy", options=("-i", "/root/keys/alice", "-tt")), "deploy")
    assert people.phone.requests() == []


def test_a_certificate_names_a_person_by_its_key_id(
    machine: Booted, people: People, page: TypedPage, cursor: str
) -> None:
    page.type(machine, AUTHORITY, "pam-iampass key add carol")
    terminal = log_in(people, "root", "inside")
    people.phone.approve("carol")
    assert got_in(terminal, "root")
    assert approvers(machine, cursor) == [("root", "sshd", "carol")]


def test_who_leaves_is_logged_out_and_does_not_get_in_again(
    machine: Booted, people: People, page: TypedPage, cursor: str
) -> None:
    terminal = log_in(people, "deploy", "keys/bob", "echo Ready.; exec sleep 600")
    people.phone.approve("bob")
    terminal.expect("Ready")
    listed = machine.run("pam-iampass", "session", "list", "--json").stdout
    assert '"bob"' in listed
    machine.shell(f"{page.command(LEAVES, 'pam-iampass user remove bob')} --yes")
    wait_for(lambda: terminal.process.poll() is not None, "the login goes on")
    page.type(machine, LEAVES, "pam-iampass key remove bob")
    assert not got_in(people.ssh("deploy", options=("-i", "/root/keys/bob", "-tt")), "deploy")


# A second person (docs/operations.md)


@pytest.fixture
def second(machine: Booted, administrator: Administrator, page: TypedPage, cursor: str) -> Iterator[None]:
    """carol must approve what is done in shared accounts, and logins."""
    services = services_of(page)
    asks_carol = {**services["sshd"], "approver": {"user": "carol"}}
    configure(machine, administrator, {**services, "sshd": asks_carol})
    yield
    configure(machine, administrator, services)


def test_a_second_person_approves_the_login_of_whose_key_it_is_whom_sudo_asks(
    machine: Booted, people: People, second: None, cursor: str
) -> None:
    terminal = log_in(people, "deploy", "alice-new", f"sudo -k sh -c '{WHO}'")
    people.phone.approve("carol")
    type_password(terminal)
    people.phone.approve("alice")
    assert got_in(terminal, "root")
    assert approvers(machine, cursor) == [("deploy", "sshd", "carol"), ("deploy", "sudo", "alice")]
    assert not got_in(log_in_as_nobody(people, "deploy"), "deploy")


def test_without_a_prompt_a_second_person_approves_logins_to_ones_own_account_but_not_to_a_shared_one(
    machine: Booted, administrator: Administrator, people: People, second: None, cursor: str
) -> None:
    administrator.undo("sshd")
    administrator.set_up("sshd", "--quiet")
    assert "before it has said whose key it is" in machine.run("pam-iampass", "check", check=False).stdout
    terminal = people.ssh("alice")
    people.phone.approve("carol")
    assert got_in(terminal, "alice")
    assert not got_in(people.ssh("deploy", options=("-i", "/root/alice-new")), "deploy")
    assert people.phone.requests() == []
    assert approvers(machine, cursor) == [("alice", "sshd", "carol"), ("deploy", "sshd", "")]
    administrator.undo("sshd")
    administrator.set_up("sshd", "--prompt")


def test_check_warns_of_a_token_of_an_account_to_which_people_log_in_by_their_keys(
    machine: Booted, second: None
) -> None:
    machine.shell("echo 'deploy: token-of-dave' >> /etc/iampass/users.yaml")
    said = machine.run("pam-iampass", "check").stdout
    assert 'deploy: warning: has a token of its own, and "alice" can log in' in said
    assert "by key (/home/deploy/.ssh/authorized_keys)" in said


def test_the_whole_page_was_typed(request: pytest.FixtureRequest, page: TypedPage) -> None:
    all_is_typed(request, page, ())
