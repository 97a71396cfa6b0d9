"""docs/sessions.md, typed on a machine: what a kept session covers, who ends it, what covers further connections."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import Login, all_log_out, ended, sessions, wait_for
from tests.packages.people import KEY, People, got_in, outcomes, press_enter
from tests.packages.phone import PORT, token_of
from tests.packages.typed_page import TypedPage, all_is_typed

ON = "Switch it on"
WHAT = "What belongs to what"
AWAY = "When the phone ends it, or walks away"
FURTHER = "Further connections"


@pytest.fixture(scope="module")
def page() -> TypedPage:
    """The page."""
    return TypedPage("docs/sessions.md")


@pytest.fixture(scope="module")
def block(page: TypedPage) -> dict[str, object]:
    """The settings of the page; IAMPASS is asked more often than by default."""
    found: dict[str, object] = yaml.safe_load(page.block(ON, "session:"))["session"]
    return {**found, "check": "2s"}


@pytest.fixture(scope="module")
def ready(machine: Booted, administrator: Administrator, block: dict[str, object]) -> Administrator:
    """sshd and sudo ask the phone, without a prompt, and the settings are those of the page."""
    administrator.start_iampass()
    administrator.configure(session=json.dumps(block))
    administrator.set_up("sshd", "sudo", "--quiet")
    return administrator


@pytest.fixture
def cursor(machine: Booted, ready: Administrator, people: People, block: dict[str, object]) -> Iterator[str]:
    """Where the journal was when the test began: without a prompt, nobody logged in, and no phone in backoff."""
    ready.configure(session=json.dumps(block))
    ready.set_up("sshd", "--quiet")
    machine.run("pam-iampass", "throttle", "clear", "alice")
    yield machine.cursor()
    all_log_out(machine)


def test_one_approval_and_what_is_said_of_it(
    machine: Booted, people: People, page: TypedPage, cursor: str
) -> None:
    page.type(machine, ON, "pam-iampass check")
    login = Login(machine, people)
    login.sudo()
    login.terminal.expect("In as root.")
    assert people.phone.requests() == []
    watched = machine.terminal(*page.command(WHAT, "pam-iampass session list").split(), "--watch")
    watched.expect("alice")
    watched.kill()
    told = machine.shell(page.command(WHAT, "pam-iampass log").replace("ID", login.id))
    assert re.search("approved(.|\n)*covered", told), told
    explained = machine.shell(page.command(WHAT, "journalctl -x").replace("=ID", f"={login.id}"))
    assert "session_opened" in explained
    assert machine.shell("find /var/lib/iampass -perm /o+rwx; find /run/iampass/logins -perm /g+w,o+w") == ""
    for secret in (token_of("alice"), machine.read("/etc/iampass/application-secret").strip()):
        assert secret not in machine.run("journalctl", "-q", "-t", "pam_iampass", "-o", "json").stdout


def test_without_a_prompt_no_further_connection_is_covered(
    machine: Booted,
    ready: Administrator,
    people: People,
    page: TypedPage,
    block: dict[str, object],
    cursor: str,
) -> None:
    ready.configure(session=json.dumps({**block, "covers_connections": True}))
    assert "covers_connections" in page.type(machine, FURTHER, "pam-iampass check", check=False).stdout
    first = Login(machine, people)
    second = people.ssh("alice")
    people.phone.deny("alice")
    assert not got_in(second, "alice")
    assert first.lives()
    assert [each[0] for each in outcomes(machine.journal_now(cursor))] == ["approved", "denied"]


def test_at_a_prompt_the_same_key_from_the_same_address_is_covered_and_nothing_else(
    machine: Booted, ready: Administrator, people: People, block: dict[str, object], cursor: str
) -> None:
    ready.configure(session=json.dumps({**block, "covers_connections": True}))
    ready.set_up("sshd", "--prompt")
    machine.shell(
        "ssh-keygen -q -t ed25519 -N '' -f /root/other; cat /root/other.pub >> /home/alice/.ssh/authorized_keys"
    )
    known = people.phone.sessions("alice")
    first = people.ssh("alice", "exec sh -i", options=(*KEY, "-tt"))
    press_enter(first)
    people.phone.approve("alice")
    first.expect(r"\$ ")
    wait_for(lambda: [len(each["logins"]) for each in sessions(machine)] == [1], "the session opens")
    [number] = set(people.phone.sessions("alice")) - set(known)

    covered = people.ssh("alice", "exec sh -i", options=(*KEY, "-tt"))
    covered.expect(r"\$ ")
    assert "IAMPASS" not in covered.shown, "no prompt"
    for options in (("-i", "/root/other"), (*KEY, "-b", "127.0.0.2")):
        asked = people.ssh("alice", options=options)
        press_enter(asked)
        people.phone.deny("alice")
        assert not got_in(asked, "alice")
    wait_for(lambda: [len(each["logins"]) for each in sessions(machine)] == [2], "both are one session")
    assert people.phone.requests() == []
    people.phone.move(number, "end")
    for terminal in (first, covered):
        terminal.expect_exact("The IAMPASS session of this login was ended on the phone.")
        terminal.finish()
    wait_for(lambda: sessions(machine) == [], "the session ends")
    found = [each[0] for each in outcomes(machine.journal_now(cursor))]
    assert found == ["approved", "covered", "denied", "denied"]


@pytest.mark.parametrize(
    "verb", ["session end USER", "session end --all", "phone lost USER", "user remove USER"]
)
def test_an_administrator_ends_the_logins_of_a_person(
    machine: Booted, ready: Administrator, people: People, page: TypedPage, cursor: str, verb: str
) -> None:
    if verb.startswith("user"):  # of users.d, as `enroll` and `user add` leave it
        machine.shell(
            f"sed -i /^alice:/d /etc/iampass/users.yaml; pam-iampass user add alice --token {token_of('alice')}"
        )
    login = Login(machine, people)
    command = page.command(AWAY, f"pam-iampass {verb}").replace("USER", "alice")
    typed = machine.terminal(*command.split())
    if verb.split()[0] in ("phone", "user"):
        typed.expect(r"\[y/N\]: ")
        typed.sendline("y")
    if verb.startswith("phone"):
        typed.expect(rf"https://127.0.0.1:{PORT}(/register/[A-Za-z0-9_-]+)")
        machine.shell(f"test ! -e /proc/{login.pid}")  # the login is over by then
        people.phone.register(typed.match.group(1))
    assert typed.finish() == 0, typed.shown
    assert sessions(machine) == []
    machine.shell(f"test ! -e /proc/{login.pid}")
    wait_for(lambda: ended(machine, people, login), "the session ends at IAMPASS")
    login.terminal.finish()
    if verb.startswith("user"):
        assert not got_in(people.ssh("alice"), "alice")


def test_the_whole_page_was_typed(request: pytest.FixtureRequest, page: TypedPage) -> None:
    elsewhere = {
        "pam-iampass setup",  # with a service
        "systemctl edit pam-iampass-enforcer@.service",  # an editor
    }
    all_is_typed(request, page, elsewhere - page.typed)
