"""Other ways to root than sudo: check lists those that do not ask the phone, and no others."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.pam.lines import unedited
from tests.support.command import run_command
from tests.support.deadline import DENIED
from tests.support.pam_files import asking
from tests.support.setuid.people import AS_ROOT, SHOW_WHO, SU, enter_password
from tests.support.setuid.stage import Guest, Phone, Stage
from tests.support.terminal import ENVIRONMENT, Terminal

PAM = Path("/etc/pam.d")
SHELL = ("/bin/sh", "-c", SHOW_WHO)
ASKING = "@include common-auth\nauth required pam_iampass.so"
DOAS = Path("/etc/doas.conf")
PROGRAMS = {"doas": ("/usr/bin/doas", *SHELL)}
SERVICES = {"doas": ("doas",), "su": ("su", "su-l"), "login": ("login",)}
"""The PAM services of each way in, by the name that setup knows."""
WAYS_IN = (
    *("way-in-open", "way-in-console", "way-in-unknown-program", "way-in-other-services"),
    *("doas-no-password", "sibling-unprotected", "way-in-without-pam", "polkit-empower"),
)
"""The kinds of finding about them: the tests here bring about each."""


@pytest.fixture
def guest(stage: Stage) -> Iterator[Guest]:
    """A user of all these programs, whose phone denies everything; the PAM files are put back afterwards."""
    kept = {PAM / name: (PAM / name).read_bytes() for names in SERVICES.values() for name in names}
    DOAS.write_text("permit :people\n")
    yield stage.guest(Phone.DENIES)
    DOAS.unlink()
    for path, content in kept.items():
        path.write_bytes(content)


def ways_in(guest: Guest) -> dict[str, str]:
    """The findings about other ways in: the title of each, and what it says to do."""
    found = {}
    report = json.loads(run_command("check", "--json", "--offline", guest.name).stdout)
    for one in report["findings"]:
        if one["id"] in WAYS_IN:
            assert one["severity"] == (
                "warning" if one["id"] in ("sibling-unprotected", "polkit-empower") else "note"
            )
            found[one["title"]] = one["remedy"]
    return found


def close(*services: str) -> None:
    """Make PAM services ask the phone after the password."""
    for name in services:
        text = (PAM / name).read_text()
        assert "@include common-auth" in text
        (PAM / name).write_text(text.replace("@include common-auth", ASKING))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_way_in_is_listed_until_it_asks_the_phone(guest: Guest, name: str) -> None:
    assert enter(guest, *PROGRAMS[name]) == AS_ROOT
    assert guest.starts() == 0
    assert ways_in(guest)[f"{name} does not ask the phone"] == f"To protect it: pam-iampass setup {name}"
    set_up = run_command("setup", name, environment={**ENVIRONMENT, "SUDO_USER": guest.name})
    try:
        assert set_up.returncode == 0, set_up.stdout + set_up.stderr
        assert DENIED in enter(guest, *PROGRAMS[name])
        assert f"{name} does not ask the phone" not in ways_in(guest)
    finally:
        run_command("setup", "undo", name)


def test_su_is_listed_where_it_does_not_ask_and_half_of_it_is_a_warning(guest: Guest) -> None:
    assert not [title for title in ways_in(guest) if title.startswith("su ")]
    su = (PAM / "su").read_text()
    (PAM / "su-l").write_text(unedited(su))
    assert enter(guest, SU, "-", guest.twin, "-c", SHOW_WHO) == AS_ROOT
    assert guest.starts() == 0
    assert ways_in(guest)["su asks the phone, and su-l does not"] == "pam-iampass setup su"
    (PAM / "su").write_bytes((PAM / "su-l").read_bytes())
    assert enter(guest, SU, guest.twin, "-c", SHOW_WHO) == AS_ROOT
    assert ways_in(guest)["su does not ask the phone"] == "To protect it: pam-iampass setup su"


def test_a_command_of_doas_without_a_password_is_listed_with_its_line(guest: Guest) -> None:
    DOAS.write_text(f"# permit nopass {guest.name}\npermit keepenv nopass {guest.name} cmd /bin/sh\n")
    terminal = guest.run(*PROGRAMS["doas"])
    assert (terminal.finish(), terminal.shown) == (0, f"{AS_ROOT}\n")
    title = "doas asks for neither password nor phone: permit keepenv nopass"
    assert [one for one in ways_in(guest) if one.startswith(title)] == [f"{title} {guest.name} cmd /bin/sh"]


def test_a_command_of_doas_without_a_password_is_a_warning_where_sudo_asks_for_every_command(
    guest: Guest,
) -> None:
    DOAS.write_text(f"permit nopass {guest.name} as root\n")

    def severity() -> str:
        report = json.loads(run_command("check", "--json", "--offline", guest.name).stdout)
        (found,) = (one for one in report["findings"] if one["id"] == "doas-no-password")
        return str(found["severity"])

    assert severity() == "note"
    with asking("sudo", choice="always"):
        assert severity() == "warning"


def test_the_console_may_stay_open_and_programs_that_change_accounts_are_no_ways_in(guest: Guest) -> None:
    listed = ways_in(guest)
    assert listed["The console does not ask the phone"].startswith(
        "Leave it open as the way in while IAMPASS"
    )
    words = {word.strip(",") for title in listed for word in title.split()}
    assert not words & {
        "passwd",
        "chfn",
        "chsh",
        "runuser",
        "cron",
        "systemd-user",
        "sudo",
        "other",
    }
    close("login")
    assert "The console does not ask the phone" not in ways_in(guest)


def test_polkit_is_a_way_in_where_its_file_is_in_another_folder(guest: Guest) -> None:
    vendor = Path("/usr/lib/pam.d/polkit-1")
    content = vendor.read_bytes() if vendor.exists() else None
    vendor.write_text("@include common-auth\n@include common-account\n")
    title = "polkit (pkexec, run0, dialogs of the desktop) does not ask the phone"
    try:
        assert ways_in(guest)[title] == "To protect it: pam-iampass setup polkit-1"
        (PAM / "polkit-1").write_text(f"{ASKING}\n")
        assert title not in ways_in(guest)
    finally:
        (PAM / "polkit-1").unlink()
        vendor.unlink()
        if content is not None:
            vendor.write_bytes(content)


def test_whom_a_rule_of_systemd_lets_pass_every_check_of_polkit_is_listed(guest: Guest) -> None:
    rule, listed, primary = Path("/usr/share/polkit-1/rules.d/empower.rules"), guest.name, "empower"
    (PAM / "polkit-1").write_text(f"{ASKING}\n")
    title = "polkit asks neither password nor phone: {}"
    subprocess.run(["useradd", "--user-group", primary], check=True)
    try:
        assert title.format(primary) not in ways_in(guest)
        rule.parent.mkdir(parents=True, exist_ok=True)
        rule.touch()
        assert title.format(primary) in ways_in(guest)
        subprocess.run(["gpasswd", "--add", listed, "empower"], check=True)
        assert title.format(f"{primary}, {listed}") in ways_in(guest)
        (PAM / "polkit-1").write_text("@include common-auth\n")
        assert not [one for one in ways_in(guest) if one.startswith(title.format(""))]
    finally:
        (PAM / "polkit-1").unlink()
        rule.unlink(missing_ok=True)
        subprocess.run(["gpasswd", "--delete", listed, "empower"], check=False)
        subprocess.run(["userdel", primary], check=True)


def test_programs_that_let_in_without_pam_are_listed_by_name(guest: Guest) -> None:
    calife, server, title = (
        Path("/usr/local/bin/calife"),
        Path("/usr/local/sbin/dropbear"),
        "{} lets users in without PAM, and never asks the phone",
    )
    for path, mode in ((calife, 0o4755), (server, 0o755)):
        shutil.copy("/usr/bin/true", path)
        path.chmod(mode)
    try:
        listed = ways_in(guest)
        calife.chmod(0o755)
        assert title.format("calife") not in ways_in(guest)
    finally:
        for path in (calife, server):
            path.unlink()
    assert "chmod u-s /usr/local/bin/calife" in listed[title.format("calife")]
    assert title.format("dropbear") in listed


def test_unknown_programs_and_services_that_ask_for_the_password_only_are_listed(guest: Guest) -> None:
    program, services = Path("/usr/local/sbin/become"), (PAM / "filed", PAM / "denier")
    shutil.copy(SU, program)
    program.chmod(0o4755)
    services[0].write_text("auth sufficient pam_unix.so\nauth required pam_deny.so\n")
    services[1].write_text("auth required pam_unix.so\nauth required pam_deny.so\n")
    try:
        listed = ways_in(guest)
        program.chmod(0o755)
        assert len(ways_in(guest)) == len(listed) - 1
    finally:
        for path in (program, *services):
            path.unlink()
    assert f"An unknown set-uid program uses PAM, perhaps without asking the phone: {program}" in listed
    (others,) = (title for title in listed if title.startswith("Other PAM services do not ask the phone: "))
    assert "filed" in others
    assert "denier" not in others


def enter(guest: Guest, *command: str) -> str:
    """Run a program with the right password; returns the last line, or everything if it fails."""
    terminal: Terminal = enter_password(guest.run(*command))
    return str(terminal.lines[-1]) if terminal.finish() == 0 else terminal.shown
