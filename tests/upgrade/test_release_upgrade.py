"""docs/one-server/release-upgrade.md, typed over ssh, while other users log in."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pytest

from tests.packages.administrator import Administrator, built
from tests.packages.booted import PATIENCE, Booted
from tests.packages.people import WHO, got_in, outcomes, type_password
from tests.packages.test_restored_files import SOON
from tests.packages.typed_page import Shell, TypedPage, in_ssh
from tests.upgrade.outside import (
    ADMINISTRATOR,
    APPROVES,
    DENIES,
    PEOPLE,
    Gaps,
    Login,
    Logins,
    Outside,
    Phones,
    iampass,
)

BEFORE = os.environ.get("PACKAGES_BEFORE", "bookworm")
RELEASE = os.environ.get("PACKAGES_RELEASE", "trixie")
FOLDER = Path(os.environ.get("PACKAGES_FOLDER", "build/deb/trixie"))
NAMES = ("libpam-iampass",)
SECTIONS = {"trixie": "From Debian 12 to 13", "forky": "From Debian 13 to testing"}
#: The PAM files that dpkg asks about.
ASKED = {"trixie": {"sshd", "login"}, "forky": {"sshd", "sudo", "sudo-i", "su", "login"}}
OURS = {"iampass.yaml", "users.yaml"}
ENDED, CONTINUE, CONFFILE, RESTART = range(4)
QUESTIONS = [
    r"\[ended with ([0-9]+)\]",
    r"\[Y/n\]",
    r"\*\*\* (\S+) \(Y/I/N/O/D/Z\)[^?]*\?",
    r"\[yes/no\]",
]
BEGIN, RING, END = "Before the upgrade", "If the phone gets no request", "After the upgrade"


@pytest.fixture
def page() -> TypedPage:
    """The page."""
    return TypedPage("docs/one-server/release-upgrade.md")


def prepared(machine: Booted) -> Administrator:
    """An administrator who has installed the packages, and has those of the next release."""
    shutil.copytree(os.environ["PACKAGES_REPOSITORY"], machine.root / "srv/debian")
    administrator = Administrator(machine, PEOPLE)
    administrator.make_people()
    administrator.install(*built(NAMES, FOLDER.parent / BEFORE))
    machine.write("/etc/apt/sources.list", f"deb [trusted=yes] file:/srv/debian/{BEFORE} ./\n")
    for package in built(NAMES):
        machine.copy_in(package, "/root/new-release")
    return administrator


def answer_all(shell: Shell, about_files: str) -> set[str]:
    """Answer all questions of the command that was typed, and wait for its end; the PAM files that were asked about."""
    asked = set()
    terminal = shell.terminal
    while (found := terminal.expect(QUESTIONS, timeout=5 * PATIENCE)) != ENDED:
        answer = {CONTINUE: "y", CONFFILE: about_files, RESTART: "yes"}[found]
        if found == CONFFILE and terminal.match.group(1) in OURS:
            answer = "N"
        elif found == CONFFILE:
            asked.add(terminal.match.group(1))
        terminal.sendline(answer)
    assert terminal.match.group(1) == "0", terminal.before
    return asked


def upgrade(shell: Shell, page: TypedPage, logins: Logins, answer: str) -> set[str]:
    """Type the upgrade; the PAM files that dpkg asked about. Both users try to log in during the long part of it."""
    section = SECTIONS[RELEASE]
    asked = set()
    for start in ("sed -i", "apt update", "apt upgrade", "apt full-upgrade", "apt install"):
        begun = time.monotonic()
        shell.send(page.command(section, start))
        asked |= answer_all(shell, answer)
        if start == "apt full-upgrade":
            now = time.monotonic()
            during = {each.user for each in logins.all if begun < each.begun and each.ended < now}
            assert during == {APPROVES, DENIES}
    return asked


def wrong(logins: list[Login], gaps: Gaps) -> list[Login]:
    """Logins with key and phone that were refused, and logins without the phone that were not.

    For some seconds in all, sshd, which is being replaced, drops connections before it asks anything. A login
    during a gap, in which the PAM file has no line of ours, needs the key alone.
    """
    of_one = [each for each in logins if each.user == APPROVES]
    dropped = [list(run) for is_dropped, run in groupby(of_one, attrgetter("dropped")) if is_dropped]
    briefly = sum(run[-1].ended - run[0].begun for run in dropped) < SOON

    def right(login: Login) -> bool:
        in_gap = any(login.begun < end and begin < login.ended for begin, end in gaps.all["sshd"])
        if login.user == APPROVES:
            return (login.inside and (login.approvals == 1 or in_gap)) or (login.dropped and briefly)
        return not login.inside or in_gap

    return [each for each in logins if not right(each)]


def gets_in(outside: Outside, phones: Phones) -> int:
    """How often the phone of the administrator approves when they log in and call sudo, both with success."""
    before = phones.approvals[ADMINISTRATOR]
    terminal = in_ssh(outside, ADMINISTRATOR, f"sudo -k sh -c '{WHO}'")
    type_password(terminal)
    assert got_in(terminal, "root")
    return phones.approvals[ADMINISTRATOR] - before


@pytest.mark.parametrize("answer", ["keep", "replace"])
def test_the_phone_decides_before_during_and_after_the_upgrade(page: TypedPage, answer: str) -> None:
    machine = Booted(Path(os.environ["PACKAGES_ROOT"]))
    outside = Outside(machine)
    try:
        machine.boot()
        administrator = prepared(machine)
        with ExitStack() as stack:
            stack.enter_context(iampass(administrator, outside))
            administrator.trust_iampass()
            administrator.configure(exempt="{users: [exempt]}")
            administrator.set_up("sshd", "sudo", "su", "login")
            phones = stack.enter_context(Phones(outside))
            gaps, begun = Gaps(machine), machine.cursor()
            with gaps, Logins(outside, phones) as logins:
                for start in ("ssh", "sudo -s"):
                    page.command(BEGIN, start)
                shell = Shell(outside, ADMINISTRATOR)
                assert "All is well." in shell.type(page.command(BEGIN, "pam-iampass check"))
                logins.wait_for_more(DENIES)
                asked = upgrade(shell, page, logins, {"keep": "N", "replace": "Y"}[answer])
                logins.wait_for_more(DENIES)
            for each in logins.all:
                print(each)
            print("Without our lines:", gaps.all)
            assert asked == ASKED[RELEASE]
            assert wrong(logins.all, gaps) == []
            records = outcomes(machine.journal_now(begun))
            assert {each[0] for each in records if each[2] == APPROVES} == {"approved"}
            for service, found in gaps.all.items():
                assert sum(end - begin for begin, end in found) < SOON
                assert found == [] or (answer == "replace" and service in asked)
            after(machine, shell, page, outside, phones)
            without_the_phone(shell, page, outside, phones)
            page.command(END, "systemctl reboot")
            shell.terminal.kill()
        machine.reboot()  # the container's program for it
        with iampass(administrator, outside), Phones(outside) as phones:
            assert gets_in(outside, phones) == 2
            assert not outside.log_in(DENIES, "127.0.0.3").stdout
        left = {title for title in SECTIONS.values() if title != SECTIONS[RELEASE]}
        assert page.not_typed() - {line for title in left for line in page.sections[title]} == set()
    except BaseException:
        if machine.pid:
            print(machine.run("journalctl", "-n", "200", "--no-pager", check=False).stdout)
        raise
    finally:
        machine.close()


def after(machine: Booted, shell: Shell, page: TypedPage, outside: Outside, phones: Phones) -> None:
    """Type what the page says for after the upgrade."""
    assert RELEASE in machine.read("/etc/os-release")
    [package] = built(NAMES)
    version = subprocess.run(
        ["dpkg-deb", "-f", str(package), "Version"], capture_output=True, text=True, check=True
    ).stdout
    assert machine.run("dpkg-query", "-W", "-f", "${Version}\n", *NAMES).stdout == version
    assert machine.run("dpkg", "--audit").stdout == ""
    assert "All is well." in shell.type(page.command(END, "pam-iampass check"))
    for start in ("ssh", "sudo -k"):
        page.command(END, start)
    assert gets_in(outside, phones) == 2


def without_the_phone(shell: Shell, page: TypedPage, outside: Outside, phones: Phones) -> None:
    """Type what the page says for a phone that does not ring."""

    def approvals() -> int:
        before = phones.approvals[ADMINISTRATOR]
        done = outside.log_in(ADMINISTRATOR, "127.0.0.1")
        assert done.stdout == f"In as {ADMINISTRATOR}.\n", done
        return phones.approvals[ADMINISTRATOR] - before

    assert "approved" in shell.type(page.command(RING, "pam-iampass log"))
    assert "All is well." in shell.type(page.command(RING, "pam-iampass check"))
    for off, on in (
        ("pam-iampass bypass alice", "pam-iampass bypass end"),
        ("pam-iampass setup undo", "pam-iampass setup sshd"),
    ):
        shell.type(page.command(RING, off))
        assert approvals() == 0
        shell.type(page.command(RING, on))
        assert approvals() == 1
