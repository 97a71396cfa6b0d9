"""The life of an installation: a trial, a reboot, removal and purge, with logins that work at every step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.packages.administrator import PASSWORD, Administrator, built, newer
from tests.packages.booted import Booted
from tests.packages.kept_logins import sessions, wait_for
from tests.packages.people import KEY, PROMPT, TEXT, People, got_in, type_password

OURS = "grep -r pam_iampass /etc/pam.d; cat /etc/ssh/sshd_config.d/10-iampass.conf"
SUMS = "cd /etc; find pam.d ssh/sshd_config.d sudoers.d -type f -exec sha256sum {} + | sort -k 2"
VERSION = "dpkg-query -W -f '${db:Status-Abbrev}${Version}' libpam-iampass"


@pytest.fixture(scope="module", autouse=True)
def ready(administrator: Administrator) -> Administrator:
    """IAMPASS, and settings; nothing is switched on."""
    administrator.start_iampass()
    administrator.configure()
    return administrator


def needs_the_phone(people: People) -> bool:
    """Whether ssh asks alice for the phone; she gets in either way."""
    login = people.ssh("alice")
    seen: int = login.expect([PROMPT, TEXT, "In as alice"])
    if seen == 0:
        login.sendline("")
    if seen < 2:
        people.phone.approve("alice")
    assert got_in(login, "alice")
    return seen < 2


def sudo_needs_the_phone(people: People) -> bool:
    """The same for sudo."""
    login = people.sudo("alice")
    asked: bool = login.expect(["(?i)approve", "In as root"]) == 0
    if asked:
        people.phone.approve("alice")
    assert got_in(login, "root")
    return asked


def test_a_trial_that_nobody_confirms_is_over_even_after_a_reboot(
    machine: Booted, ready: Administrator, people: People
) -> None:
    before = machine.shell(SUMS)
    ready.set_up("sshd", "sudo", "--key", "--try", "1m")
    assert needs_the_phone(people)
    machine.reboot()
    machine.run(
        "timeout", "120", "sh", "-c", "while [ -e /etc/ssh/sshd_config.d/10-iampass.conf ]; do sleep 1; done"
    )
    ready.start_iampass()
    assert not needs_the_phone(people)
    assert not sudo_needs_the_phone(people)
    assert machine.shell(SUMS) == before


def test_after_a_reboot_the_phone_is_asked_as_before(
    machine: Booted, ready: Administrator, people: People
) -> None:
    ready.set_up("sshd", "sudo", "--key")
    machine.reboot()
    ready.start_iampass()
    cursor = machine.cursor()
    assert machine.run("systemctl", "is-active", "pam-iampass-agent.socket").stdout == "active\n"
    assert (
        machine.run("systemctl", "is-active", "pam-iampass-agent.service", check=False).stdout == "inactive\n"
    )
    assert needs_the_phone(people)
    assert sudo_needs_the_phone(people)
    units = {record["_SYSTEMD_UNIT"] for record in machine.journal(cursor, SYSLOG_IDENTIFIER="pam_iampass")}
    assert units == {"pam-iampass-agent.service"}


def test_each_package_that_is_upgraded_alone_works_or_is_refused_and_the_phone_stays_on(
    machine: Booted, ready: Administrator, people: People, tmp_path: Path
) -> None:
    before, installed = machine.shell(OURS), machine.shell(VERSION)
    module, sandbox = (newer(package, tmp_path, "7") for package in built())
    machine.copy_in(sandbox, "/root/packages")
    for program in ("apt-get install -y", "dpkg -i"):
        refused = machine.run("sh", "-c", f"{program} /root/packages/{sandbox.name}", check=False)
        assert refused.returncode != 0, refused
        assert machine.shell(VERSION) == installed
        assert machine.shell(OURS) == before
    machine.shell(f"dpkg -i /root/packages/{built()[1].name}")  # dpkg has unpacked the newer one
    ready.install(module)
    assert machine.shell(VERSION) == "ii 7"
    assert machine.shell(OURS) == before
    assert needs_the_phone(people)
    assert sudo_needs_the_phone(people)
    ready.install(sandbox)


def test_where_sshd_takes_no_passwords_a_code_is_typed_before_the_key_and_others_log_in_as_before(
    machine: Booted, ready: Administrator, people: People
) -> None:
    keys_only, code_first = "/etc/ssh/sshd_config.d/20-keys.conf", "keyboard-interactive,publickey"
    block = "Match User bob\n  PasswordAuthentication yes\n  AuthenticationMethods publickey password\n"
    machine.write(keys_only, f"PasswordAuthentication no\n{block}")
    ready.set_up("sshd", "--codes")
    code = json.loads(machine.run("pam-iampass", "recovery", "new", "alice", "--json").stdout)["codes"][0]
    for typed, inside in ((code, True), (code, False)):
        login = people.ssh("alice", options=(*KEY, "-o", f"PreferredAuthentications={code_first}"))
        login.expect("recovery code[^:]*: ")
        login.sendline(typed)
        assert got_in(login, "alice") == inside
    assert people.phone.requests() == []
    login = people.ssh("alice", options=(*KEY, "-o", "BatchMode=yes"))
    people.phone.approve("alice")
    assert got_in(login, "alice")
    login = people.ssh("bob", options=("-o", "PreferredAuthentications=password"))
    type_password(login)
    people.phone.approve("bob")
    assert got_in(login, "bob")
    found = json.loads(machine.run("pam-iampass", "check", "--json", "--offline", check=False).stdout)
    kinds = {one["id"] for one in found["findings"]}
    allowed = {"sshd-limits", "sshd-no-code"}
    assert not {kind for kind in kinds if kind.startswith(("sshd-", "stack-", "module-"))} - allowed
    ready.undo("sshd")
    machine.shell(f"rm {keys_only}; systemctl reload ssh")


def test_the_profile_of_pam_auth_update_makes_everything_ask(
    machine: Booted, ready: Administrator, people: People
) -> None:
    ready.undo()
    machine.run("pam-auth-update", "--enable", "iampass")
    login = people.sudo("alice")
    people.phone.approve("alice")
    assert got_in(login, "root")
    wrong = people.su("alice", "bob", "wrong")
    assert not got_in(wrong, "bob")
    assert people.phone.requests() == []


def test_its_profile_for_sessions_keeps_them_in_every_service(
    machine: Booted, ready: Administrator, people: People
) -> None:
    ready.undo()
    ready.configure(session="{keep: true}")
    machine.run("pam-auth-update", "--enable", "iampass", "iampass-session")
    modules = [
        line.split()[2] for line in machine.read("/etc/pam.d/common-session").splitlines() if "so" in line
    ]
    assert modules.index("pam_systemd.so") < modules.index("pam_iampass.so")
    assert "pam_iampass" in machine.read("/etc/pam.d/common-session-noninteractive")  # sudo's, and doas's
    login = machine.terminal("runuser", "-u", "alice", "--", "su", "bob", "-c", "cat")
    type_password(login)
    people.phone.approve("bob")
    (session,) = wait_for(
        lambda: [each for each in sessions(machine) if each["logins"]], "the session is kept"
    )
    assert (session["user"], session["service"]) == ("bob", "su")
    login.send("\x04")
    login.finish()
    wait_for(lambda: not sessions(machine), "the session ends")
    machine.run("pam-auth-update", "--disable", "iampass-session")
    ready.configure()


def test_removal_takes_it_out_of_every_stack_first(
    machine: Booted, ready: Administrator, people: People
) -> None:
    machine.run("pam-auth-update", "--disable", "iampass")
    ready.set_up("sshd", "sudo", "su", "--key")
    machine.run("pam-auth-update", "--enable", "iampass", "iampass-session")
    machine.run("apt-get", "remove", "-y", "libpam-iampass")
    assert machine.shell("grep -rl iampass /etc/pam.d /etc/ssh /etc/sudoers.d /etc/sudoers || :") == ""
    assert got_in(people.ssh("alice"), "alice")
    assert got_in(people.sudo("alice"), "root")
    assert got_in(people.su("alice", "bob", PASSWORD), "bob")
    assert machine.shell("ls /etc/iampass") == "application-secret\nca.pem\niampass.yaml\nusers.yaml\n"


def test_after_a_package_was_removed_and_installed_again_check_says_what_was_on_and_how_it_is_on_again(
    machine: Booted, ready: Administrator, people: People
) -> None:
    def off() -> list[dict[str, str]]:
        report = json.loads(machine.run("pam-iampass", "check", "--json", "--offline", check=False).stdout)
        return [one for one in report["findings"] if one["id"] == "switched-off"]

    ready.install()
    [found] = off()
    assert found["severity"] == "error"
    assert found["title"].startswith("sshd, sudo, su, common-auth asked the phone"), found
    commands = found["remedy"].partition("; or,")[0].split("; ")
    assert commands[-1] == "pam-auth-update --enable iampass iampass-session"
    for command in commands[:-1]:
        machine.run(*command.split(), "--force")
    machine.run("pam-iampass", "setup", "undo", "common-auth")
    assert off() == []
    assert needs_the_phone(people)
    assert sudo_needs_the_phone(people)


def test_purge_leaves_nothing(machine: Booted, ready: Administrator, people: People) -> None:
    machine.run("systemctl", "stop", "sandbox")
    # What watches the PAM files is at work when the removal begins, which writes some as well.
    slow = "/run/systemd/system/pam-iampass-watch.service.d/slow.conf"
    machine.write(slow, "[Service]\nExecStartPre=/bin/sleep 8\n")
    machine.shell("systemctl daemon-reload; touch /etc/pam.d/another; rm /etc/pam.d/another")
    wait_for(lambda: "watch" in machine.run("systemctl", "list-jobs").stdout, "it is at work")
    machine.run("apt-get", "purge", "-y", "libpam-iampass", "pam-iampass-sandbox")
    machine.shell(f"rm -r {slow.rpartition('/')[0]}; systemctl daemon-reload")
    # /var/lib/sandbox is where the tests have the sandbox keep what it remembers.
    ours = "-path /var/cache -prune -o -path /var/lib/sandbox -prune"
    everywhere = f"find / -xdev -path /root -prune -o {ours} -o -name '*iampass*' -print"
    elsewhere = f"find /var /run -xdev {ours} -o -name '*iampass*' -print"
    left = machine.shell(f"{everywhere}; {elsewhere}")
    assert [line for line in left.splitlines() if "/dpkg/" not in line] == []
    assert got_in(people.ssh("alice"), "alice")
    assert got_in(people.sudo("alice"), "root")
    assert machine.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"
