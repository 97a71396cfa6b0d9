"""The settings and commands of docs/one-server/shared-accounts.md, typed on a machine: two people in root and deploy,
each asked on their own phone, also in sudo, su, doas and pkexec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import all_log_out
from tests.packages.people import WHO, People, got_in, outcomes, press_enter, type_password
from tests.packages.switched_on import AGENT, answered
from tests.packages.typed_page import TypedPage
from tests.support.terminal import Terminal

SET_UP = "Set it up"
ACCOUNTS = ("root", "deploy")
PKEXEC = f"{AGENT} pkexec --disable-internal-agent sh -c 'echo Inside as $(id -un).'"
KEYS = """
set -e
mkdir /root/keys
for name in keys/alice keys/bob stranger; do
    ssh-keygen -q -t ed25519 -N '' -C root -f /root/$name
done
mkdir -p -m 700 /root/.ssh
useradd --create-home --shell /bin/sh --groups sudo deploy
install -d -m 700 -o deploy -g deploy /home/deploy/.ssh
cat /root/keys/*.pub /root/stranger.pub > /root/.ssh/authorized_keys
cp /root/.ssh/authorized_keys /home/deploy/.ssh/
echo 'permit deploy' > /etc/doas.conf
chmod 600 /etc/doas.conf
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends opendoas pkexec
echo 'PermitRootLogin yes' > /etc/ssh/sshd_config.d/00-shared.conf
"""


@pytest.fixture(scope="module")
def page() -> TypedPage:
    """The page."""
    return TypedPage("docs/one-server/shared-accounts.md")


@pytest.fixture(scope="module")
def ready(machine: Booted, administrator: Administrator, page: TypedPage) -> Administrator:
    """What the page begins with, typed."""
    administrator.start_iampass()
    machine.shell(KEYS)
    machine.run("chpasswd", stdin=f"deploy:{PASSWORD}\n")
    administrator.configure(services=json.dumps(services_of(page)))
    # Of the accounts, only that of alice is one person's.
    machine.write("/etc/iampass/users.yaml", page.block(SET_UP, "alice:"), 0o640, "_iampass")
    assert page.type(machine, SET_UP, "pam-iampass user list").stdout.count("known by 1 key") == 1
    machine.write("/etc/iampass/users.yaml", "", 0o640, "_iampass")
    for person in ("alice", "bob"):
        machine.run("pam-iampass", "user", "add", person, "--token", f"token-of-{person}", "--no-account")
    dry = page.type(machine, SET_UP, "pam-iampass user import-keys /root/keys --dry-run")
    assert "would be added" in dry.stdout
    page.type(machine, SET_UP, "pam-iampass user import-keys /root/keys")
    assert page.type(machine, SET_UP, "pam-iampass user list").stdout.count("known by 1 key") == 2
    for command in ("pam-iampass setup sshd", "pam-iampass setup sudo", "pam-iampass setup su doas"):
        machine.shell(f"{page.command(SET_UP, command)} --force")
    administrator.set_up("polkit-1")
    machine.run("systemctl", "restart", "ssh")
    return administrator


def services_of(page: TypedPage) -> dict[str, Any]:
    """The settings of the page, and what it says of other programs."""
    services: dict[str, Any] = yaml.safe_load(page.block(SET_UP, "services:"))["services"]
    return {**services, **dict.fromkeys(("su", "doas", "polkit-1"), services["sudo"])}


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
    if machine.run("systemctl", "cat", "polkit-agent-helper.socket", check=False).returncode == 0:
        # From polkit 127 on, systemd starts the helper, which then belongs to no login session.
        assert answered(terminal, "deploy", PASSWORD) == "no"
        assert outcomes(machine.journal_now(cursor))[1:] == [
            ("misconfigured", "denied", "deploy", "polkit-1")
        ]
        assert people.phone.requests() == []
        return
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
