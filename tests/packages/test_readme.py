"""README.md, typed on a fresh machine in the order in which a reader needs it, in the root shell of a user's login."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.packages.administrator import Administrator, built
from tests.packages.booted import Booted
from tests.packages.people import People, got_in, outcomes, press_enter, type_password
from tests.packages.phone import PORT
from tests.packages.typed_page import Shell, TypedPage, all_is_typed, in_ssh

FIRST = "A first approval on your own machine"
ON = "Switch it on"
#: What a login, a trial and their undoing must leave as it was.
PLACES = "pam.d ssh sudoers.d systemd iampass"
FILES = f"cd /etc && find {PLACES} -printf '%p %u:%g %m\\n' -type f -exec sha256sum {{}} + | sort"
#: Typed elsewhere: by test_life.py and test_agents_page.py.
ELSEWHERE = {"pam-iampass setup sshd --codes", "pam-iampass setup sudo --always"}


@pytest.fixture(scope="module")
def page() -> TypedPage:
    """The page."""
    return TypedPage("README.md")


@pytest.fixture(scope="module")
def administrator(machine: Booted) -> Administrator:
    """An administrator who has made accounts, and has the packages in a folder."""
    found = Administrator(machine)
    found.make_people()
    for package in built():
        machine.copy_in(package, "/root/packages")
    return found


@pytest.fixture(scope="module")
def shell(people: People, administrator: Administrator) -> Iterator[Shell]:
    """alice's `sudo -s`, which she opens first and keeps open, as the page says."""
    opened = Shell(people, "alice")
    yield opened
    opened.terminal.kill()


def nobody_reads_secrets(machine: Booted) -> None:
    """Raises AssertionError if an account other than root and the service can read a token or the secret."""
    assert machine.run("getent", "group", "_iampass").stdout.endswith(":\n"), (
        "nobody is in the service's group"
    )
    assert machine.shell("find /etc/iampass -type f -perm /o+rwx ! -name ca.pem") == ""
    assert machine.shell("find /etc/iampass /var/lib/iampass ! -type l -perm /g+w,o+w") == ""
    for user in ("alice", "bob"):
        read = machine.run("runuser", "-u", user, "--", "cat", "/etc/iampass/users.yaml", check=False)
        assert read.returncode != 0


def test_the_packages_are_installed(machine: Booted, shell: Shell, page: TypedPage) -> None:
    cursor = machine.cursor()
    before = machine.shell("cd /etc && find pam.d ssh sudoers.d -type f -exec sha256sum {} + | sort")
    shell.type("cd /root/packages")
    for package in ("./libpam", "./pam-iampass-sandbox"):
        shell.send(page.command("Install", f"apt install {package}"))
        shell.terminal.expect(r"\[Y/n\]")
        shell.terminal.sendline("y")
        assert "error" not in shell.ended().lower()
    after = machine.shell("cd /etc && find pam.d ssh sudoers.d -type f -exec sha256sum {} + | sort")
    assert after == before, "installing changes no login"
    assert outcomes(machine.journal(cursor)) == []
    nobody_reads_secrets(machine)


def test_the_first_approval(machine: Booted, shell: Shell, people: People, page: TypedPage) -> None:
    before = machine.shell(FILES)
    cursor = machine.cursor()
    sandbox = machine.terminal(
        "runuser", "-l", "alice", "-c", page.command(FIRST, "pam-iampass sandbox --user")
    )
    sandbox.expect("Sandbox ready")
    shell.type(page.command(FIRST, "pam-iampass sandbox use"))
    assert "All is well." in shell.type(page.command(FIRST, "pam-iampass check --settings"))
    assert "on trial until" in shell.type(page.command(FIRST, "pam-iampass setup sudo"))
    assert "no login through sudo" in shell.type(page.command(ON, "pam-iampass setup confirm"), 1)

    sudo = in_ssh(people, "alice", page.command(FIRST, "sudo -k"))
    type_password(sudo)
    sandbox.expect("answer: a 1")
    sandbox.sendline("a")
    assert sudo.finish() == 0, sudo.shown
    assert re.search(r"alice sudo - approved", shell.type(page.command(FIRST, "pam-iampass log")))
    nobody_reads_secrets(machine)
    shell.type(page.command(FIRST, "pam-iampass setup undo"))
    shell.type(page.command(FIRST, "pam-iampass sandbox leave"))
    assert machine.shell(FILES) == before
    assert outcomes(machine.journal(cursor)) == [("approved", "success", "alice", "sudo")]
    serving = "pgrep -u alice -f '^/usr/bin/python3 -IS /usr/bin/pam-iampass sandbox'"
    machine.shell(f'kill $({serving}); timeout 60 sh -c "while {serving}; do sleep 0.1; done"')
    sandbox.finish()


def test_people_are_added(
    machine: Booted, administrator: Administrator, shell: Shell, people: People, page: TypedPage
) -> None:
    administrator.start_iampass("--user", "token-typed-for-bob")
    text = page.block("Configure", "application_id:").replace("my-application", "demo")
    machine.write("/root/new.yaml", f"{text}server: https://127.0.0.1:{PORT}\nca_file: /etc/iampass/ca.pem\n")
    shell.type("cat /root/new.yaml > /etc/iampass/iampass.yaml")  # as an editor saves it

    shell.send(page.command("Configure", "pam-iampass enroll alice"))
    shell.terminal.expect(rf"https://127.0.0.1:{PORT}(/register/[A-Za-z0-9_-]+)")
    people.phone.register(shell.terminal.match.group(1))
    shell.ended()
    shell.type("cd; printf 'user\\ncarol\\n' > team.csv")
    enroll = page.command("Configure", "pam-iampass enroll --from")
    shown = machine.shell(f"cd /root; {enroll}", check=False)
    [link] = re.findall(rf"https://127.0.0.1:{PORT}(/register/[A-Za-z0-9_-]+)", shown)
    people.phone.register(link)
    assert "1 has a phone." in shell.type(enroll) or "1 have a phone" in shell.type(enroll)
    shell.send(page.command("Configure", "pam-iampass user add"))
    shell.terminal.expect("(?i)token[^:]*: ")
    shell.terminal.sendline("token-typed-for-bob")
    assert "token-typed-for-bob" not in shell.ended(), "a token is typed unseen"

    listed = shell.type(page.command("Configure", "pam-iampass user list"))
    assert re.search("alice .*bob .*carol ", listed), listed
    codes = shell.type(page.command("Configure", "pam-iampass recovery new"))
    assert len(re.findall("[0-9a-z]{4}(?:-[0-9a-z]{4}){3}", codes)) == 10
    shell.type(page.command("Configure", "pam-iampass check --settings"))
    nobody_reads_secrets(machine)


def token_of(machine: Booted, user: str) -> str:
    """The user's token in the table."""
    return str(json.loads(machine.run("pam-iampass", "user", "show", user, "--json").stdout)["token"])


def test_each_service_is_switched_on(
    machine: Booted, administrator: Administrator, shell: Shell, people: People, page: TypedPage
) -> None:
    machine.shell(
        "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends pkexec opendoas;"
        "echo 'permit :sudo' > /etc/doas.conf; chmod 600 /etc/doas.conf"
    )
    before = machine.shell("cd /etc && find pam.d ssh -type f -exec sha256sum {} + | sort")
    alice = token_of(machine, "alice")
    cursor = machine.cursor()

    shell.type(page.command(ON, "pam-iampass setup sshd"))
    login = people.ssh("alice")
    people.phone.approve(token=alice)
    assert got_in(login, "alice")
    assert not got_in(people.ssh("dave"), "dave"), "dave is not listed"

    shell.type(page.command(ON, "pam-iampass setup sshd --prompt"))
    login = people.ssh("alice")
    press_enter(login)
    people.phone.approve(token=alice)
    assert got_in(login, "alice")

    shell.type(page.command(ON, "pam-iampass setup sshd --password"))
    login = people.ssh("alice", options=("-o", "PubkeyAuthentication=no"))
    type_password(login)
    press_enter(login)
    people.phone.approve(token=alice)
    assert got_in(login, "alice")

    shell.type(page.command(ON, "pam-iampass setup sudo"))
    sudo = people.sudo("alice")
    people.phone.approve(token=alice)
    assert got_in(sudo, "root")

    shell.type(page.command(ON, "pam-iampass setup su"))
    su = people.su("alice", "root", "root's own")  # the caller approves, and no setting says so
    people.phone.approve(token=alice)
    assert got_in(su, "root")

    shell.type(page.command(ON, "pam-iampass setup polkit-1"))
    shell.type(page.command(ON, "pam-iampass setup doas"))
    doas = machine.terminal("runuser", "-u", "alice", "--", "doas", "sh", "-c", "echo In as $(id -un).")
    type_password(doas)
    people.phone.approve(token=alice)
    assert got_in(doas, "root")
    assert [(each[0], each[2], each[3]) for each in outcomes(machine.journal(cursor))] == [
        ("approved", "alice", "sshd"),
        ("unlisted", "dave", "sshd"),
        ("approved", "alice", "sshd"),
        ("approved", "alice", "sshd"),
        ("approved", "alice", "sudo"),
        ("approved", "root", "su"),
        ("approved", "alice", "doas"),
    ]

    shown = shell.type(page.command(ON, "pam-iampass setup status"))
    for service in ("sshd", "sudo", "su", "polkit-1", "doas"):
        assert re.search(rf"\b{service}\b.{{1,20}}on", shown), shown
    assert "no trial" in shell.type(page.command(ON, "pam-iampass setup confirm"), 1)
    assert "denied" not in shell.type("journalctl -q -p warning -t pam_iampass --since -1s")
    shell.type(page.command("Read on", "pam-iampass log"))
    report = shell.type(page.command("Read on", "pam-iampass check") + "; true")
    assert "error" not in re.sub("No errors?", "", report), report
    nobody_reads_secrets(machine)
    shell.type(page.command(ON, "pam-iampass setup undo"))
    assert machine.shell("cd /etc && find pam.d ssh -type f -exec sha256sum {} + | sort") == before


def test_the_whole_page_was_typed(request: pytest.FixtureRequest, page: TypedPage) -> None:
    all_is_typed(request, page, ELSEWHERE)
