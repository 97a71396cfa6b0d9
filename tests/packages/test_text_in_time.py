"""sshd that shows text at once (OpenSSH 10.3): the phone rings without Enter. An sshd that is not the installed one, or
is older, asks for Enter as before. Other releases have an older one (conftest.py)."""

from __future__ import annotations

import json

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.people import KEY, PROMPT, TEXT, People, got_in, outcomes, type_password
from tests.support.deadline import DENIED
from tests.support.terminal import Terminal

PROGRAM = "/usr/lib/openssh/sshd-session"
CODE = "recovery code[^:]*: "


@pytest.fixture(scope="module", autouse=True)
def ready(administrator: Administrator) -> Administrator:
    """sshd asks for the key, then the phone."""
    administrator.start_iampass()
    administrator.configure()
    administrator.set_up("sshd", "--prompt")
    return administrator


@pytest.fixture(autouse=True)
def nobody_waits(machine: Booted) -> None:
    machine.run("pam-iampass", "throttle", "clear", "alice")


def asks_for_enter(login: Terminal) -> bool:
    """Whether sshd asks for Enter, and not the phone at once."""
    seen: int = login.expect([PROMPT, TEXT])
    return seen == 0


def test_the_text_says_at_once_that_the_phone_is_asked_and_nobody_presses_enter(
    machine: Booted, people: People
) -> None:
    cursor = machine.cursor()
    login = people.ssh("alice")
    assert not asks_for_enter(login)
    people.phone.approve("alice")
    assert got_in(login, "alice")
    assert "Approved" not in login.shown
    assert outcomes(machine.journal(cursor)) == [("approved", "success", "alice", "sshd")]


def test_a_refusal_is_shown_and_no_code_is_asked_for(machine: Booted, people: People) -> None:
    login = people.ssh("alice")
    assert not asks_for_enter(login)
    people.phone.deny("alice")
    assert not got_in(login, "alice")
    assert DENIED in login.shown
    assert "recovery code" not in login.shown


def test_after_silence_a_code_is_asked_for_and_lets_in_once(
    machine: Booted, ready: Administrator, people: People
) -> None:
    ready.configure(timeout="10s")
    shown = machine.run("pam-iampass", "recovery", "new", "alice").stdout
    assert "ssh asks for a code if the phone could not be asked or did not answer." in shown
    made = machine.run("pam-iampass", "recovery", "new", "alice", "--yes", "--json").stdout
    code = json.loads(made)["codes"][0]
    for inside in (True, False):
        machine.run("pam-iampass", "throttle", "clear", "alice")
        login = people.ssh("alice")
        login.expect("Nobody answered on your phone within 10 seconds.")
        login.expect(CODE)
        login.sendline(code)
        assert got_in(login, "alice") == inside
        assert code not in login.shown, "what is typed is hidden"
    ready.configure()


def test_the_pam_python_door_has_the_text_shown_at_once_too(machine: Booted, people: People) -> None:
    """Nothing puts our lines back meanwhile, not even what had begun to look before."""
    watch = "pam-iampass-watch.path pam-iampass-watch.timer pam-iampass-watch.service"
    again = "pam-iampass-watch-again@success.service pam-iampass-watch-again@failure.service"
    machine.shell(
        f"""
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libpam-python
        systemctl mask --runtime --now {watch} {again}
        cp -p /etc/pam.d/sshd /root/
        sed -i 's|pam_iampass.so|pam_python.so /usr/lib/pam-iampass/pam_iampass.py|' /etc/pam.d/sshd
        grep -q 'pam_python.so' /etc/pam.d/sshd
        """
    )
    login = people.ssh("alice")
    assert not asks_for_enter(login)
    people.phone.approve("alice")
    assert got_in(login, "alice")
    assert "pam_python.so" in machine.shell("cat /etc/pam.d/sshd")
    machine.shell(
        f"""
        cp -p /root/sshd /etc/pam.d/sshd
        systemctl unmask --runtime {watch} {again}
        systemctl start pam-iampass-watch.path pam-iampass-watch.timer
        """
    )


def test_the_settings_can_demand_enter(ready: Administrator, people: People) -> None:
    ready.configure(prompt="always")
    login = people.ssh("alice")
    assert asks_for_enter(login)
    login.kill()
    ready.configure()


def test_a_program_that_an_upgrade_replaces_meanwhile_asks_for_enter_and_the_new_one_does_not(
    machine: Booted, ready: Administrator, people: People
) -> None:
    ready.set_up("sshd", "--password")
    login = people.ssh("alice", options=("-o", "PubkeyAuthentication=no"))
    login.expect("(?i)password[^:]*: ")
    machine.shell(f"cp -a {PROGRAM} {PROGRAM}.new && mv {PROGRAM}.new {PROGRAM}")
    login.sendline("correct horse")
    assert asks_for_enter(login)
    login.sendline("")
    people.phone.approve("alice")
    assert got_in(login, "alice")

    login = people.ssh("alice", options=("-o", "PubkeyAuthentication=no"))
    type_password(login)
    assert not asks_for_enter(login)
    people.phone.approve("alice")
    assert got_in(login, "alice")
    ready.set_up("sshd", "--prompt")


@pytest.mark.parametrize("release", ["OpenSSH_10.2p1", "OpenSSH_xx.xpx"])
def test_a_program_of_an_older_or_unknown_version_asks_for_enter(
    machine: Booted, people: People, release: str
) -> None:
    """The text that says the version is exchanged: nothing else tells the agent."""
    machine.shell(
        f"""
        cp -a {PROGRAM} /root/{release}
        sed -E 's/OpenSSH_[0-9]+\\.[0-9]p[0-9]/{release}/g' /root/{release} > {PROGRAM}.new
        chmod 755 {PROGRAM}.new && mv {PROGRAM}.new {PROGRAM}
        """
    )
    login = people.ssh("alice", options=KEY)
    assert asks_for_enter(login)
    login.sendline("")
    people.phone.approve("alice")
    assert got_in(login, "alice")
    machine.run("mv", f"/root/{release}", PROGRAM)
    login = people.ssh("alice")
    assert not asks_for_enter(login)
    people.phone.approve("alice")
    assert got_in(login, "alice")
