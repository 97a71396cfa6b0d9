"""The section "Switch it off" of docs/one-server/operations.md, typed where Python is broken: everybody gets in
again."""

from __future__ import annotations

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.people import WHO, People, got_in, press_enter, type_password
from tests.packages.typed_page import TypedPage

SWITCH_OFF = "Switch it off"
FILES = "cd /etc && find pam.d ssh sudoers.d -type f | sort | xargs sha256sum"


def test_without_python_the_commands_of_the_page_take_the_phone_out_of_every_service(
    machine: Booted, administrator: Administrator, people: People
) -> None:
    page = TypedPage("docs/one-server/operations.md")
    before = machine.shell(FILES)
    administrator.configure()
    administrator.start_iampass()
    administrator.set_up("sshd", "sudo", "su", "--prompt")
    login = people.ssh("alice")
    press_enter(login)
    people.phone.approve("alice")
    assert got_in(login, "alice")

    machine.run("pam-auth-update", "--enable", "iampass", "iampass-session")
    machine.shell("chmod a-x /usr/bin/python3.[0-9]*; pkill -KILL -u _iampass || :")
    assert not got_in(people.ssh("alice"), "alice")
    assert not got_in(people.sudo("alice"), "root")
    assert page.type(machine, SWITCH_OFF, "pam-iampass setup undo", check=False).returncode != 0
    cursor = machine.cursor()
    for start in ("rm -f", "sed -i", "systemctl reload ssh", "pam-auth-update --disable"):
        page.type(machine, SWITCH_OFF, start)
    # systemctl does not wait for sshd's new start.
    started = f'journalctl -q --grep "Server listening" --after-cursor="{cursor}" | grep -q .'
    machine.shell(f"timeout 60 sh -c 'until {started}; do sleep 0.2; done'")
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
    page.type(machine, SWITCH_OFF, "pam-iampass check", check=False)
    assert machine.shell(FILES) == before
    assert got_in(people.ssh("alice"), "alice")
    assert set(page.sections[SWITCH_OFF]) - page.typed == {"systemctl reload sshd"}, "that of Red Hat"
