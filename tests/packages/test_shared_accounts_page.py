"""docs/shared-accounts.md, typed on a machine: two people in root and deploy, Ansible's way, keys that come and go."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import all_log_out, wait_for
from tests.packages.people import WHO, People, got_in, press_enter, type_password
from tests.packages.typed_page import TypedPage, all_is_typed
from tests.support.terminal import Terminal

SET_UP = "Set it up"
ANSIBLE = "Ansible"
NEW = "A new key"
LEAVES = "Somebody leaves"
AUTHORITY = "A certificate authority"
ACCOUNTS = ("root", "deploy")
KEYS = """
set -e
mkdir /root/keys
for name in keys/alice keys/bob alice-new stranger ca inside; do
    ssh-keygen -q -t ed25519 -N '' -C root -f /root/$name
done
ssh-keygen -q -s /root/ca -I carol@example.com -n root,deploy /root/inside
useradd --create-home --shell /bin/sh --groups sudo deploy
install -d -m 700 -o deploy -g deploy /home/deploy/.ssh
mkdir -p -m 700 /root/.ssh
cat /root/keys/*.pub /root/alice-new.pub /root/stranger.pub > /root/.ssh/authorized_keys
cp /root/.ssh/authorized_keys /home/deploy/.ssh/
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
    users = "".join(f"{name}: token-of-{name}\n" for name in ("alice", "carol"))
    services = yaml.safe_load(page.block(SET_UP, "services:"))["services"]
    administrator.configure(services=json.dumps(services))
    machine.write("/etc/iampass/users.yaml", users, 0o640, "_iampass")
    machine.write("/etc/iampass/users.d/bob.yaml", "bob: token-of-bob\n", 0o640, "_iampass")
    assert (
        "would be added" in page.type(machine, SET_UP, "pam-iampass key import /root/keys --dry-run").stdout
    )
    page.type(machine, SET_UP, "pam-iampass key import /root/keys")
    shown = page.type(machine, SET_UP, "pam-iampass key list").stdout
    assert "alice" in shown
    assert "bob" in shown
    for command in ("pam-iampass setup sshd", "pam-iampass setup sudo"):
        machine.shell(f"{page.command(SET_UP, command)} --force")
    machine.run("systemctl", "restart", "ssh")
    return administrator


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


def test_sudo_asks_who_approved_the_login(machine: Booted, people: People, cursor: str) -> None:
    terminal = log_in(people, "deploy", "keys/bob", f"sudo -k sh -c '{WHO}'")
    people.phone.approve("bob")
    type_password(terminal)
    people.phone.approve("bob")
    assert got_in(terminal, "root")
    assert approvers(machine, cursor) == [("deploy", "sshd", "bob"), ("deploy", "sudo", "bob")]


def test_what_uses_a_connection_that_a_person_approved_asks_nobody_again(
    machine: Booted, people: People, page: TypedPage, cursor: str
) -> None:
    command = page.command(ANSIBLE, "ssh -fN")
    options = "-F none -i /root/keys/alice -o IdentitiesOnly=yes -o UserKnownHostsFile=/root/known-hosts"
    master = machine.terminal("sh", "-c", command.replace("ssh ", f"ssh {options} ", 1))
    press_enter(master)
    people.phone.approve("alice")
    assert master.finish() == 0
    over = "ssh -F none -o BatchMode=yes -S /root/deploy.sock deploy@127.0.0.1"
    assert "In as deploy." in machine.shell(f"{over} '{WHO}'")
    machine.shell(f"{over} -O exit")
    assert approvers(machine, cursor) == [("deploy", "sshd", "alice")]


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


def test_the_whole_page_was_typed(request: pytest.FixtureRequest, page: TypedPage) -> None:
    all_is_typed(request, page, ())
