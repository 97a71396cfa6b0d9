"""Lines of sudoers that lead around the phone: each does so on real sudo, and check and setup report it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command import run_command
from tests.support.installation import Installation
from tests.support.setuid.people import AS_ROOT, HOME, SHOW_WHO, SUDO, enter_password
from tests.support.setuid.stage import Guest, Phone, Stage
from tests.support.terminal import ENVIRONMENT, Terminal
from tests.support.world import PASSWORD, token_of

SUDOERS = Path("/etc/sudoers.d/site")
SUDO_RS = Path("/usr/bin/sudo-rs")
UNASKED_SERVICE = Path("/etc/pam.d/unasked")
PLAIN = "auth requisite pam_unix.so\nauth required pam_permit.so\naccount required pam_permit.so\n"
"""A PAM file that asks for the password, and not the phone."""
ASKPASS = Path("/usr/local/bin/answer-sudo")
SHELL = ("/bin/sh", "-c", SHOW_WHO)


@dataclass(frozen=True)
class Rule:
    """A rule for one user. `{user}`, `{uid}` and `{twin}`, another account of that user, are filled in."""

    kind: str
    """The finding about it."""
    text: str
    command: tuple[str, ...] = SHELL
    """The arguments of sudo."""
    password: bool = False
    """Whether sudo asks for the password in the terminal."""
    shown: str = AS_ROOT
    """What the command shows."""


UNASKED, SERVICE = "sudo-rule-bypasses", "sudo-other-service"
RULES = {
    "user": Rule(UNASKED, "Defaults:{user} !authenticate"),
    "user id": Rule(UNASKED, "Defaults:#{uid} !authenticate"),
    "group": Rule(UNASKED, "Defaults:%of-{user} !authenticate"),
    "alias": Rule(UNASKED, "User_Alias SPARED = {user}\nDefaults:SPARED !authenticate"),
    "target": Rule(UNASKED, "Defaults>{twin} !authenticate", ("-u", "{twin}", *SHELL)),
    "command": Rule(UNASKED, "Defaults!/usr/bin/dirname !authenticate", ("dirname", "in/x"), shown="in"),
    "exempt group": Rule(UNASKED, "Defaults exempt_group=of-{user}"),
    "service": Rule(SERVICE, "Defaults:{user} pam_service=unasked", password=True),
    "service of sudo -i": Rule(SERVICE, "Defaults:{user} pam_login_service=unasked", ("-i", *SHELL), True),
    "service of sudo -A": Rule(SERVICE, "Defaults@server pam_askpass_service=unasked", ("-A", *SHELL)),
    "service of a command": Rule(
        SERVICE, "Defaults!/usr/bin/basename pam_service=unasked", ("basename", "x/in"), True, "in"
    ),
    "service of a target": Rule(
        SERVICE, "Defaults>{twin} pam_service=unasked", ("-u", "{twin}", *SHELL), True
    ),
    "no expiry": Rule("sudo-never-asks-again", "Defaults:{user} timestamp_timeout=-1"),
}
"""By what each is bound to."""

PASSWORD_OF_ROOT = "root's own"
OTHERS_PASSWORDS = {
    "rootpw": (PASSWORD_OF_ROOT, ()),
    "runaspw": (PASSWORD_OF_ROOT, ()),
    "targetpw": (PASSWORD, ("-u", "{twin}")),
}
"""Settings with which sudo asks for the password of another user, and gives PAM that user's name: the password, and
the options that name the user."""

Cast = dict[str, Guest]


@pytest.fixture(scope="module")
def cast(stage: Stage) -> Iterator[Cast]:
    """A user for each rule, and all rules in force."""
    found = {name: stage.guest() for name in RULES}
    for guest in found.values():
        subprocess.run(["groupadd", "--users", guest.name, f"of-{guest.name}"], check=True)
    SUDOERS.write_text("".join(filled(rule.text, found[name]) + "\n" for name, rule in RULES.items()))
    SUDOERS.chmod(0o440)
    UNASKED_SERVICE.write_text(PLAIN)
    ASKPASS.write_text(f"#!/bin/sh\necho {PASSWORD}\n")
    ASKPASS.chmod(0o755)
    yield found
    SUDOERS.unlink()
    UNASKED_SERVICE.unlink()
    for guest in found.values():
        subprocess.run(["groupdel", f"of-{guest.name}"], check=True)


def filled(text: str, guest: Guest) -> str:
    """The text for one user."""
    return text.format(user=guest.name, uid=guest.person.uid, twin=guest.twin)


def sudo(guest: Guest, *words: str) -> Terminal:
    """Start sudo with all groups of the user, as a login has them."""
    environment = {**ENVIRONMENT, "SUDO_ASKPASS": str(ASKPASS), "HOME": str(HOME)}
    whose = ["--reuid", guest.name, "--regid", "people", "--init-groups"]
    return Terminal(["setpriv", *whose, SUDO, *words], environment=environment)


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.kind in (UNASKED, SERVICE)])
def test_real_sudo_runs_the_command_and_no_phone_rings(cast: Cast, name: str) -> None:
    rule, guest = RULES[name], cast[name]
    guest.set_phone(Phone.DENIES)
    terminal = sudo(guest, *(filled(word, guest) for word in rule.command))
    if rule.password:
        enter_password(terminal)
    assert terminal.finish() == 0, terminal.shown
    assert terminal.lines[-1] == rule.shown
    assert guest.starts() == 0


@pytest.fixture
def exempt_root(sudo_and_su: Installation) -> Iterator[None]:
    """root has a password, and is exempt."""
    shadow = Path("/etc/shadow")
    before = shadow.read_bytes()
    subprocess.run(["chpasswd"], input=f"root:{PASSWORD_OF_ROOT}\n", text=True, check=True)
    sudo_and_su.change(exempt="{users: [root]}")
    yield
    sudo_and_su.change()
    shadow.write_bytes(before)


@pytest.mark.usefixtures("exempt_root")
@pytest.mark.parametrize("setting", OTHERS_PASSWORDS)
def test_real_sudo_with_the_password_of_another_user_asks_the_phone_of_its_caller(
    stage: Stage, setting: str
) -> None:
    password, options = OTHERS_PASSWORDS[setting]
    guest, rule = stage.guest(Phone.APPROVES), SUDOERS.with_name("passwords")
    rule.write_text(f"Defaults:{guest.name} {setting}\n")
    words = (*(word.format(twin=guest.twin) for word in options), *SHELL)
    try:
        terminal = enter_password(sudo(guest, "-k", *words), password)
        assert terminal.finish() == 0, terminal.shown
        assert terminal.lines[-1] == AS_ROOT
        guest.set_phone(Phone.DENIES)
        terminal = enter_password(sudo(guest, "-k", *words), password)
        assert terminal.finish() != 0, terminal.shown
    finally:
        rule.unlink()
    assert [session.user for session in guest.sessions()] == [token_of(guest.name)] * 2
    records = [str(record.get("MESSAGE", "")) for record in stage.authpriv()]
    records = [text for text in records if f" caller={guest.name} approver={guest.name} " in text]
    user = guest.twin if options else "root"
    assert [text.partition(" service=")[0] for text in records] == [
        f"outcome=approved result=success user={user}",
        f"outcome=denied result=denied user={user}",
    ]


@pytest.mark.usefixtures("exempt_root")
@pytest.mark.parametrize("setting", ["", "rootpw", "targetpw"])
def test_real_sudo_rs_asks_the_phone_of_its_caller(stage: Stage, setting: str) -> None:
    if not SUDO_RS.exists():
        pytest.skip("Debian 12 has no sudo-rs")
    guest, rules = stage.guest(Phone.APPROVES), Path("/etc/sudoers-rs")
    rules.write_text("%people ALL=(ALL:ALL) ALL\n" + (f"Defaults {setting}\n" if setting else ""))
    rules.chmod(0o440)
    try:
        terminal = guest.run(str(SUDO_RS), *SHELL)
        enter_password(terminal, PASSWORD_OF_ROOT if setting else PASSWORD)
        assert terminal.finish() == 0, terminal.shown
    finally:
        rules.unlink()
    assert terminal.lines[-1] == AS_ROOT
    assert [session.user for session in guest.sessions()] == [token_of(guest.name)]


def test_check_reports_each_rule_with_its_line_and_the_user(cast: Cast) -> None:
    findings = json.loads(run_command("check", "--json", "--offline").stdout)["findings"]
    for name, rule in RULES.items():
        about = [
            one for one in findings if one["id"] == rule.kind and line_of(cast[name], rule) in one["evidence"]
        ]
        whom = cast[name].name if "{user}" in rule.text or "{uid}" in rule.text else "everybody"
        assert any(one["title"].endswith(f": {whom}") for one in about), name


def test_setup_refuses_services_that_do_not_ask_and_warns_of_the_other_rules(cast: Cast) -> None:
    asking = {file: file.read_bytes() for file in map(Path, ("/etc/pam.d/sudo", "/etc/pam.d/sudo-i"))}
    for file in asking:
        file.write_text(PLAIN)
    try:
        done = run_command("setup", "sudo", "--dry-run")
    finally:
        for file, content in asking.items():
            file.write_bytes(content)
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 1
    for name, rule in RULES.items():
        about = [line for line in lines if line_of(cast[name], rule) in line]
        assert about, (name, lines)
        assert {line.split()[0] for line in about} == {"error" if rule.kind == SERVICE else "warning"}


def line_of(guest: Guest, rule: Rule) -> str:
    """The last line of a rule, with its place."""
    line = filled(rule.text, guest).splitlines()[-1]
    return f"{SUDOERS}:{SUDOERS.read_text().splitlines().index(line) + 1}: {line}"
