"""The pages for administrators of a fleet, typed on three booted machines: a gateway with PostgreSQL, and hosts of both
releases. docs/fleet/moving-to-a-fleet.md has a test of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.administrator import NAMES, built
from tests.packages.booted import Booted
from tests.packages.gateway_hosts import GATEWAY, IAMPASS, SECRET, Host, hosts_of, invited, start_iampass
from tests.packages.people import People, got_in, outcomes
from tests.packages.phone import Phone
from tests.packages.typed_page import TypedPage, all_is_typed

PAGES = ("gateway", "fleet-people", "bastion", "gateway-several", "gateway-operations", "fleet-security")
SET_UP = "The gateway"
PEOPLE = "People"
FIRST = "The first host"
MORE = "More hosts"
ANOTHER = "Another gateway"
WHY = "Why can bob not log in?"
WHO = "Who can log in where"
ROLES = "Who administers"
AGENTS = "Accounts that act for a person"
LIMITS = "Limits"
CODES = "Recovery codes"
BYPASSES = "Bypasses"
SESSIONS = "Sessions"
BASTION = "One approval for a bastion and what is behind it"
TLS = "TLS"
BACKUP = "Backup"
RESTORE = "Restore"
UPGRADE = "Upgrade"
POOLER = "A pooler in front of PostgreSQL"
NIGHT = "Who logged in where"
WATCH = "Watch it"
REMOVE = "Remove a gateway"
WITHOUT_GROUPS = "awk '/^[^ ]/ { skip = /^groups:/ } !skip'"
#: Commands of a host that other pages have, a line of a file (gateway/test_pooler.py), and settings of hosts behind a
#: bastion (test_presence.py).
ELSEWHERE = {
    "session:",
    "keep: true",
    "when_away: end",
    "covers: {services: [sudo], for: 15m}",
    "pam-iampass log --json",
    "pam-iampass recovery new",
    "pam-iampass bypass",
    "pam-iampass throttle",
    "pam-iampass throttle clear",
    "pam-iampass session list",
    "pam-iampass session end",
    "pam-iampass user remove-key bob",
    "pam-iampass set",
    "ignore_startup_parameters = lock_timeout, statement_timeout, idle_in_transaction_session_timeout",
    # A host that was taken over, and addresses of hosts: gateway/test_host_command.py
    "pam-iampass-gateway host suspend web1.example.com --end-logins",
    "pam-iampass-gateway host addresses web1.example.com 192.0.2.8 2001:db8::8",
    # Who can log in where: gateway/test_access_review.py
    "pam-iampass-gateway user may --all",
    "pam-iampass-gateway user may --all --csv > access.csv",
    "pam-iampass-gateway host list --csv > hosts.csv",
    # A bypass of an account that acts for a person: system/setuid/test_agents.py
    "pam-iampass bypass claude --for 15m",
    # Somebody leaves, and other names: gateway/test_fleet_people_page.py
    "pam-iampass-gateway user remove alice",
    "usermod --lock --expiredate 1 alice",
    "loginctl terminate-user alice",
    "pkill -KILL -u alice",
    "pam-iampass recovery revoke alice",
    "pam-iampass bypass end alice",
    "grep -rw alice /etc/iampass /etc/pam.d /etc/sudoers /etc/sudoers.d",
    "pam-iampass-gateway log alice --since 30d",
    "pam-iampass-gateway user show alice",
    "pam-iampass-gateway enroll alicia --group staff",
    "usermod --login alicia --move-home --home /home/alicia alice",
    "groupmod --new-name alicia alice",
    "pam-iampass-gateway host show web1.example.com",
    "pam-iampass-gateway host invite --group web --name web9.example.com",
    "pam-iampass setup status",
    "pam-iampass setup undo",
    "pam-iampass join https://gateway.example.com:8443 INVITE --name web9.example.com",
    "pam-iampass setup sshd sudo",
    "pam-iampass-gateway host admit web9.example.com",
    # Backups and the portal on a new machine: gateway/test_backup.py
    "chmod 0700 /var/backups/iampass-gateway",
    "apt install ./pam-iampass-portal_*.deb",
    "pam-iampass-gateway portal setup --origin https://iampass.example.com --certificate /etc/ssl/iampass/portal.pem"
    " --key /etc/ssl/iampass/portal.key --admin zoe",
    "pam-iampass-gateway portal status",
    # Sixty people at once: gateway/test_mailing.py and gateway/test_sheets.py
    "user,display_name,phone,groups,mail",
    "alice,Alice A.,,staff|oncall,alice@example.com",
    "bob,,,staff,bob@example.com",
    "carol,,+15551234567,staff,",
    "apt install python3-reportlab",
    "pam-iampass-gateway enroll --from team.csv --mail --sender it@example.com",
    "pam-iampass-gateway enroll --from again.csv --mail --sender it@example.com --resend",
    "pam-iampass-gateway recovery new --from team.csv --sheets sheets.pdf",
}


@pytest.fixture(scope="module")
def page() -> TypedPage:
    return TypedPage(*(f"docs/fleet/{name}.md" for name in PAGES))


@pytest.fixture(scope="module")
def gateway(machine: Booted) -> Booted:
    """The machine of the gateway, with a sandbox for IAMPASS. The page has not been read yet."""
    for package in built((*NAMES, "pam-iampass-gateway")):
        machine.copy_in(package, "/root/packages")
    return machine


@pytest.fixture(scope="module")
def phone(gateway: Booted) -> Phone:
    return Phone(gateway, IAMPASS)


@pytest.fixture(scope="module")
def hosts(gateway: Booted, root: Path) -> Iterator[list[Host]]:
    """A host of Debian 13, and another one (`hosts_of`)."""
    with hosts_of(gateway, root) as found:
        yield found


def enroll(gateway: Booted, phone: Phone, command: str) -> None:
    """Type `enroll`, and open the link with the phone."""
    terminal = gateway.terminal("sh", "-c", command)
    terminal.expect(rf"https://[^/]+:{IAMPASS}(/register/[A-Za-z0-9_-]+)")
    phone.register(terminal.match.group(1))
    assert terminal.finish() == 0, terminal.shown


def join(host: Host, page: TypedPage, command: str) -> str:
    """Type what the page says for a host, with the command that the gateway has printed."""
    typed = page.command(FIRST, "pam-iampass join").split()
    assert typed[:3] == command.split()[:3]
    host.type(page.command(FIRST, "apt install").replace("apt install", "apt-get install -y"))
    said = host.type(command)
    assert "All is well." in host.type(page.command(FIRST, "pam-iampass check --settings"))
    host.type(f"{page.command(FIRST, 'pam-iampass setup sshd')} --force")
    return said


def test_a_gateway_is_set_up(gateway: Booted, page: TypedPage) -> None:
    install = page.command(SET_UP, "apt install").replace("apt install", "apt-get install -y")
    gateway.shell(
        f"cd /root/packages && DEBIAN_FRONTEND=noninteractive {install} ./pam-iampass-sandbox_*.deb"
    )
    start_iampass(gateway, "nobody")
    init = page.command(SET_UP, "pam-iampass-gateway init")
    to_sandbox = f"--server https://127.0.0.1:{IAMPASS} --server-ca-file /etc/iampass-ca.pem"
    terminal = gateway.terminal("sh", "-c", f"{init} {to_sandbox}")
    terminal.expect(r"not shown\): ")  # the space comes after the echo was switched off
    terminal.sendline(SECRET)
    assert terminal.finish() == 0, terminal.shown
    assert "All is well." in page.type(gateway, SET_UP, "pam-iampass-gateway check").stdout
    assert gateway.run("systemctl", "is-enabled", "pam-iampass-gateway").stdout == "enabled\n"
    again = gateway.shell(f"{init} {to_sandbox}")
    assert "made" not in again
    journal = gateway.run("journalctl", "--no-pager", "-u", "pam-iampass-gateway").stdout
    assert SECRET not in journal


def test_people_are_added_once(gateway: Booted, phone: Phone, page: TypedPage) -> None:
    enroll(gateway, phone, page.command(PEOPLE, "pam-iampass-gateway enroll"))
    enroll(gateway, phone, "pam-iampass-gateway enroll bob --group dba")
    shown = page.type(gateway, PEOPLE, "pam-iampass-gateway user list").stdout
    assert "alice" in shown
    assert "bob" in shown


def test_hosts_join_and_people_log_in(
    gateway: Booted, phone: Phone, hosts: list[Host], page: TypedPage
) -> None:
    first, *others = hosts
    said = join(first, page, invited(gateway, page.command(FIRST, "pam-iampass-gateway host invite")))
    assert f"as {first.name}, group default" in said
    assert first.log_in(phone, "alice")
    first.type(page.command(FIRST, "pam-iampass setup confirm"))
    assert not first.log_in(phone, "bob", "deny")
    why = page.type(gateway, WHY, "pam-iampass-gateway user may bob").stdout
    assert "The request was denied on the phone." in why, why
    found = first.type(page.command(WHY, "pam-iampass check"))
    assert "error" not in found, found
    denied = first.type(page.command(WHY, "pam-iampass log")).splitlines()[-1]
    assert "bob" in denied, denied
    for host in others:
        invite = invited(gateway, "pam-iampass-gateway host invite --uses 50 --network 10.77.0.0/16")
        assert f"as {host.name}, group default" in join(host, page, invite)
        assert host.log_in(phone, "bob")
    listed = page.type(gateway, FIRST, "pam-iampass-gateway host list").stdout
    assert all(host.name in listed for host in hosts)
    log = page.type(gateway, FIRST, "pam-iampass-gateway log").stdout
    assert "approved" in log
    assert "cancelled" in log or "denied" in log


def test_the_secret_is_changed(gateway: Booted, phone: Phone, hosts: list[Host], page: TypedPage) -> None:
    file = "/etc/iampass-gateway/application-secret"
    gateway.write(file, f"new-secret\n{SECRET}\n", 0o600)
    page.type(gateway, MORE, "systemctl restart pam-iampass-gateway")
    assert hosts[0].log_in(phone, "alice")
    gateway.write(file, f"{SECRET}\n", 0o600)
    gateway.run("systemctl", "restart", "pam-iampass-gateway")


def test_groups_say_who_can_log_in_where(
    gateway: Booted, phone: Phone, hosts: list[Host], page: TypedPage
) -> None:
    block = page.block(WHO, "groups:")
    file = "/etc/iampass-gateway/gateway.yaml"
    gateway.shell(f"{WITHOUT_GROUPS} {file} > {file}.new; cat >> {file}.new <<'end'\n{block}end")
    gateway.shell(f"install -m 0644 {file}.new {file}; rm {file}.new")
    assert "All is well." in page.type(gateway, WHO, "pam-iampass-gateway check").stdout
    page.type(gateway, WHO, "systemctl restart pam-iampass-gateway")
    assert page.type(gateway, WHO, "pam-iampass-gateway user may alice").stdout.startswith("yes\n")
    host = hosts[-1]
    host.type("pam-iampass setup undo")
    host.type(page.command(FIRST, "pam-iampass leave"))
    join(host, page, invited(gateway, "pam-iampass-gateway host invite --group db"))
    assert not host.log_in(phone, "bob", "")  # waits to be admitted
    gateway.run("pam-iampass-gateway", "host", "admit", host.name)
    assert host.log_in(phone, "bob")
    assert not host.log_in(phone, "alice", "")


def test_a_host_says_whom_it_exempts(hosts: list[Host], page: TypedPage) -> None:
    file = "/etc/iampass/iampass.yaml"
    shell = hosts[0].machine.shell
    shell(f"cp -p {file} /root/before.yaml; sed -i '/^exempt:/,/users:/s/users: .*/users: [root]/' {file}")
    assert re.search(
        "^root +.*exempt", hosts[0].type(page.command(WHO, "pam-iampass user list")), re.MULTILINE
    )
    shell(f"mv /root/before.yaml {file}")


def test_groups_have_roles(gateway: Booted, page: TypedPage) -> None:
    file, operators = "/etc/iampass-gateway/gateway.yaml", {"zoe": "it", "sue": "sec", "dan": "desk"}
    for name, group in operators.items():
        gateway.run("pam-iampass-gateway", "user", "add", name, "--group", group)
    block = page.block(ROLES, "portal:")
    gateway.shell(f"cp -p {file} {file}.old; cat >> {file} <<'end'\n{block}end")
    assert "All is well." in page.type(gateway, ROLES, "pam-iampass-gateway check --settings").stdout
    page.type(gateway, ROLES, "systemctl restart pam-iampass-gateway")
    found = gateway.run("sh", "-c", page.command(ROLES, "pam-iampass-gateway check"), check=False)
    assert "of-nobody" not in found.stdout
    made = page.type(gateway, ROLES, "pam-iampass-gateway operator link").stdout
    assert "https://iampass.example.com/link#" in made
    assert "zoe" in page.type(gateway, ROLES, "pam-iampass-gateway operator list").stdout
    gateway.shell(f"mv {file}.old {file} && systemctl restart pam-iampass-gateway")
    for name in operators:
        gateway.run("pam-iampass-gateway", "user", "remove", name, "--yes")


def test_alice_has_no_phone_for_a_while(
    gateway: Booted, phone: Phone, hosts: list[Host], page: TypedPage
) -> None:
    for verb in ("show", "clear"):
        assert "alice" in page.type(gateway, LIMITS, f"pam-iampass-gateway throttle {verb}").stdout
    made = page.type(gateway, CODES, "pam-iampass-gateway recovery new").stdout
    assert len(re.findall("^ *[0-9a-z]{4}(?:-[0-9a-z]{4}){3}$", made, re.M)) == 10
    assert "10 of 10" in page.type(gateway, CODES, "pam-iampass-gateway recovery list").stdout
    assert "Revoked" in page.type(gateway, CODES, "pam-iampass-gateway recovery revoke").stdout
    page.type(gateway, BYPASSES, "pam-iampass-gateway bypass alice")
    assert "ticket 4711" in page.type(gateway, BYPASSES, "pam-iampass-gateway bypass list").stdout
    assert hosts[0].log_in(phone, "alice", "")
    page.type(gateway, BYPASSES, "pam-iampass-gateway bypass end")
    assert hosts[0].log_in(phone, "alice")
    page.type(gateway, SESSIONS, "pam-iampass-gateway session list")
    page.type(gateway, SESSIONS, "pam-iampass-gateway session end")


def test_a_bypass_lets_in_who_has_lost_the_phone_at_the_very_next_login(
    gateway: Booted, phone: Phone, hosts: list[Host]
) -> None:
    command = "pam-iampass-gateway"
    for host, user in zip(hosts, ("alice", "bob")):
        gateway.run(command, "phone", "lost", user, "--yes")
        cursor = host.machine.cursor()
        for _ in range(3):
            assert not got_in(People(host.machine).ssh(user), user)
        gateway.run(command, "bypass", user, "--for", "15m")
        assert got_in(People(host.machine).ssh(user), user)
        host.machine.run("pam-iampass", "setup", "confirm", "--force", check=False)  # one is on trial
        host.machine.run("pam-iampass", "setup", "sudo", "--force")
        assert got_in(People(host.machine).sudo(user), "root")
        host.machine.run("pam-iampass", "setup", "undo", "sudo")
        seen = [outcome for outcome, *_ in outcomes(host.machine.journal_now(cursor))]
        assert seen == [*["no_device"] * 3, "bypassed", "bypassed"]
        gateway.run(command, "bypass", "end", user)
        enroll(gateway, phone, f"{command} enroll {user}")
        assert host.log_in(phone, user)


def test_an_account_of_an_agent_acts_for_alice(
    gateway: Booted, phone: Phone, hosts: list[Host], page: TypedPage
) -> None:
    hosts[0].machine.shell(
        """
        useradd --create-home --shell /bin/sh claude
        install -d -m 700 -o claude -g claude /home/claude/.ssh
        install -m 600 -o claude -g claude /root/key.pub /home/claude/.ssh/authorized_keys
        """
    )
    cursor = hosts[0].machine.cursor()
    assert not hosts[0].log_in(phone, "claude", "")
    page.type(gateway, AGENTS, "pam-iampass-gateway user add claude")
    assert hosts[0].log_in(phone, "claude")
    gateway.shell(f"{page.command(AGENTS, 'pam-iampass-gateway user remove claude')} --yes")
    assert not hosts[0].log_in(phone, "claude", "")
    found = [outcome for outcome, *_ in outcomes(hosts[0].machine.journal_now(cursor))]
    assert [found[0], found[1], found[-1]] == ["unlisted", "approved", "unlisted"]


def test_the_log_says_who_logged_in_last_night(gateway: Booted, page: TypedPage) -> None:
    command = "pam-iampass-gateway log --let-in"
    page.type(gateway, NIGHT, command)
    typed = page.command(NIGHT, command).replace("'today 08:00'", "now")
    assert "approved" in gateway.shell(typed)


def test_a_bastion_is_configured(gateway: Booted, page: TypedPage) -> None:
    """Logins through one have a fleet of their own (tests/fleet)."""
    there, file = "/etc/iampass-gateway/gateway.yaml", "/etc/iampass-gateway/bastion.yaml"
    gateway.shell(
        f"{{ {WITHOUT_GROUPS} {there}; cat <<'end'\n{page.block(BASTION, 'groups:')}end\n}} > {file}"
    )
    gateway.run("pam-iampass-gateway", "check", "--config", file)
    gateway.run("rm", file)


def test_a_certificate_is_renewed(gateway: Booted, phone: Phone, hosts: list[Host], page: TypedPage) -> None:
    assert GATEWAY in page.type(gateway, TLS, "pam-iampass-gateway certificate show").stdout
    assert "not due" in page.type(gateway, TLS, "pam-iampass-gateway certificate renew").stdout
    gateway.run("mv", "/etc/iampass-gateway/ca-key.pem", "/root/ca-key.pem")
    gateway.run("pam-iampass-gateway", "certificate", "renew", "--ca-key", "/root/ca-key.pem")
    page.type(gateway, TLS, "systemctl restart pam-iampass-gateway")
    assert hosts[0].log_in(phone, "alice")
    gateway.run("mv", "/root/ca-key.pem", "/etc/iampass-gateway/ca-key.pem")


def test_hosts_learn_of_another_gateway(
    gateway: Booted, phone: Phone, hosts: list[Host], page: TypedPage
) -> None:
    """Here it is the same one, by another name."""
    host, second, file = hosts[0], "gateway2.example.com", "/etc/iampass-gateway/gateway.yaml"
    gateway.shell(
        f"""
        sed -i 's/^names:.*/names: [{GATEWAY}, {second}]/' {file}
        echo 'gateways: ["https://{GATEWAY}:8443", "https://{second}:8443"]' >> {file}
        pam-iampass-gateway certificate renew
        systemctl restart pam-iampass-gateway
        """
    )
    host.machine.shell(f"sed -i 's/ {GATEWAY}$/& {second}/' /etc/hosts")
    assert "gateways-differ" in host.type("pam-iampass check", check=False)
    host.type(page.command(ANOTHER, "pam-iampass join --update"))
    assert page.command(ANOTHER, "pam-iampass join") == "pam-iampass join"
    said = host.type("pam-iampass check", check=False)
    assert "gateways-differ" not in said
    assert "gateway-away" not in said
    assert second in host.machine.shell("cat /etc/iampass/*.yaml")
    assert host.log_in(phone, "alice")


def dumped(gateway: Booted, page: TypedPage) -> str:
    """Make a dump by hand, as the page says; its file."""
    return page.type(gateway, BACKUP, "pam-iampass-gateway backup").stdout.split()[1].rstrip(":")


def test_backups_are_switched_on(gateway: Booted, page: TypedPage) -> None:
    unit, file = "pam-iampass-gateway-backup", "/etc/iampass-gateway/gateway.yaml"
    assert gateway.run("systemctl", "is-enabled", f"{unit}.timer", check=False).stdout == "disabled\n"
    assert "backup-off" in gateway.run("pam-iampass-gateway", "check", check=False).stdout
    gateway.shell(f"cat >> {file} <<'end'\n{page.block(BACKUP, 'backup:')}end")
    page.type(gateway, BACKUP, "install -d")
    page.type(gateway, BACKUP, "systemctl restart pam-iampass-gateway")
    dump = dumped(gateway, page)
    assert gateway.shell(f"pg_restore --file=- {dump}").count("alice")
    page.type(gateway, BACKUP, "systemctl enable --now pam-iampass-gateway-backup.timer")
    assert gateway.run("systemctl", "is-active", f"{unit}.timer").stdout == "active\n"
    gateway.run("systemctl", "start", unit)  # as the timer does: from the sandbox of its unit
    assert len(gateway.run("ls", "/var/backups/iampass-gateway").stdout.split()) == 2
    cursor = gateway.cursor()
    gateway.run("chmod", "0755", "/var/backups/iampass-gateway")
    gateway.run("systemctl", "start", unit, check=False)
    assert "backup_failed" in str(gateway.journal_now(cursor))
    gateway.run("chmod", "0700", "/var/backups/iampass-gateway")
    assert "the last attempt has failed" in gateway.run("pam-iampass-gateway", "check", check=False).stdout
    gateway.run("systemctl", "start", unit)
    assert "backup-" not in gateway.run("pam-iampass-gateway", "check", check=False).stdout


def test_a_backup_is_restored(gateway: Booted, phone: Phone, hosts: list[Host], page: TypedPage) -> None:
    host = hosts[0]
    dump = dumped(gateway, page)
    gateway.run("pam-iampass-gateway", "host", "remove", host.name, "--yes")
    assert not host.log_in(phone, "alice", "")
    for command in page.sections[RESTORE][:8]:
        gateway.shell(re.sub("/var/backups/.*", dump, page.command(RESTORE, command)))
    cursor = host.machine.cursor()
    assert not host.log_in(phone, "alice", "")
    assert "RESTORED" in str(host.machine.journal(cursor))
    shown = page.type(gateway, RESTORE, "pam-iampass-gateway restored", check=False).stdout
    assert "host_remove" in shown
    assert host.name in shown
    assert "Confirmed." in page.type(gateway, RESTORE, "pam-iampass-gateway restored --confirm").stdout
    time.sleep(6)
    assert host.log_in(phone, "alice")


def test_what_is_said_of_watching(gateway: Booted, page: TypedPage) -> None:
    """The figures themselves have tests elsewhere."""
    assert page.block(WATCH, "scrape_configs:")
    assert "GRANT" in page.type(gateway, WATCH, "runuser -u postgres -- psql").stdout


def test_what_was_taken_is_worth_nothing(gateway: Booted, phone: Phone, hosts: list[Host]) -> None:
    host = hosts[0]
    gateway.run("pam-iampass-gateway", "host", "suspend", host.name)
    assert not host.log_in(phone, "alice", "")
    gateway.run("pam-iampass-gateway", "host", "resume", host.name)
    assert host.log_in(phone, "alice")
    word = invited(gateway, "pam-iampass-gateway host invite").split()[-1]
    gateway.run("pam-iampass-gateway", "host", "revoke", word.partition(".")[0])
    gateway.run("pam-iampass-gateway", "phone", "lost", "alice", "--yes")
    assert not host.log_in(phone, "alice", "")


def test_a_stolen_authority_is_replaced(
    gateway: Booted, phone: Phone, hosts: list[Host], page: TypedPage
) -> None:
    host = hosts[0]
    gateway.shell("cd /etc/iampass-gateway && rm ca.pem ca-key.pem && pam-iampass-gateway init")
    gateway.run("systemctl", "restart", "pam-iampass-gateway")
    assert not host.log_in(phone, "bob", "")
    gateway.run("pam-iampass-gateway", "host", "remove", host.name, "--yes")
    assert "every login is denied, also for root: sshd" in host.type("pam-iampass leave --force")
    host.type("pam-iampass setup undo")
    host.type(invited(gateway, "pam-iampass-gateway host invite"))
    host.type("pam-iampass setup sshd --force")
    assert host.log_in(phone, "bob")


def test_the_role_can_have_the_limits(gateway: Booted, page: TypedPage) -> None:
    for line in page.sections[POOLER][:3]:
        page.type(gateway, POOLER, line)
    shown = gateway.run("runuser", "-u", "postgres", "--", "psql", "-c", "\\drds").stdout
    assert "lock_timeout=5s" in shown
    assert "statement_timeout=10s" in shown
    assert "idle_in_transaction_session_timeout=4s" in shown


def test_tables_are_there_already(gateway: Booted, page: TypedPage) -> None:
    assert "already" in page.type(gateway, UPGRADE, "pam-iampass-gateway migrate").stdout


def test_a_gateway_is_removed_in_two_steps(gateway: Booted, page: TypedPage) -> None:
    assert "rm -r /etc/iampass-gateway" in page.type(gateway, REMOVE, "apt purge").stdout
    assert gateway.run("cat", "/etc/iampass-gateway/key").stdout
    for command in ("rm -r", "runuser -u postgres -- dropdb", "runuser -u postgres -- dropuser"):
        page.type(gateway, REMOVE, command)


def test_the_whole_pages_are_typed(request: pytest.FixtureRequest, page: TypedPage) -> None:
    all_is_typed(request, page, ELSEWHERE)
