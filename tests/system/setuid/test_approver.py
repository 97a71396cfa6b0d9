"""Whose phone su asks: the target's, or by setting the caller's, where it is certain who that is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.setuid.people import AS_ROOT, SHOW_WHO
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest, Phone, Seen
from tests.support.terminal import Terminal

PHONE_ONLY = Path("/etc/pam.d/phone-only")


@pytest.fixture(autouse=True, scope="module")
def caller_approves(sudo_and_su: Installation) -> Iterator[None]:
    """The setting; and a PAM service that takes its caller's word for everything."""
    sudo_and_su.change(services="{su: {approver: ruser}, phone-only: {approver: ruser}}")
    PHONE_ONLY.write_text("auth required pam_iampass.so\n")
    yield
    PHONE_ONLY.unlink()


def says(guest: Guest, ruser: str, *, real_uid: int) -> Seen:
    """A program with root's rights that says `ruser` is its caller, and belongs to somebody."""
    arguments = ["-I", f"ruser={ruser}", PHONE_ONLY.name, guest.twin, "authenticate"]
    terminal = Terminal(["setpriv", f"--ruid={real_uid}", "pamtester", *arguments])
    return Seen(terminal.finish(), terminal.shown)


@side_by_side
def test_the_callers_phone_is_asked(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    seen = guest.play("su")
    assert seen.got_in, seen
    assert [session.user for session in guest.sessions()] == [f"token-of-{guest.name}"]


@side_by_side
def test_the_callers_denial_counts(guest: Guest) -> None:
    guest.set_phone(Phone.DENIES)
    seen = guest.play("su", "-", guest.twin, "-c", SHOW_WHO)
    assert (seen.status, seen.got_in) == (1, False)
    assert guest.starts() == 1


@side_by_side
def test_a_caller_is_believed_where_the_process_is_theirs(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    seen = says(guest, guest.name, real_uid=guest.person.uid)
    assert seen.status == 0, seen
    assert [session.user for session in guest.sessions()] == [f"token-of-{guest.name}"]


@side_by_side
def test_a_caller_who_names_somebody_else_is_denied_and_nobody_is_asked(guest: Guest) -> None:
    friend = guest.stage.guest(Phone.APPROVES)
    seen = says(guest, friend.name, real_uid=guest.person.uid)
    assert seen.status == 1
    assert (guest.starts(), friend.starts()) == (0, 0)
    assert guest.record().startswith("outcome=misconfigured result=denied ")
    assert "PAM_RUSER is not the owner of the process" in guest.record()


@side_by_side
def test_a_name_from_afar_is_not_believed(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    seen = says(guest, guest.name, real_uid=0)
    assert seen.status == 1
    assert guest.starts() == 0


@side_by_side
def test_a_variable_of_the_caller_names_nobody(guest: Guest) -> None:
    friend = guest.stage.guest(Phone.APPROVES)
    guest.set_phone(Phone.DENIES)
    names = ("USER", "LOGNAME", "PAM_RUSER", "PAM_USER", "SUDO_USER", "RUSER")
    terminal = guest.run(
        "/bin/sh",
        "-c",
        " ".join(f"{name}={friend.name}" for name in names) + f" su {guest.twin} -c '{SHOW_WHO}'",
    )
    terminal.expect("assword: ")
    terminal.sendline("correct horse")
    assert terminal.finish() == 1
    assert AS_ROOT not in terminal.shown
    assert (guest.starts(), friend.starts()) == (1, 0)


@side_by_side
def test_root_is_asked_nothing(guest: Guest) -> None:
    su = Terminal(["su", guest.name, "-c", "/usr/bin/id -un"])
    assert (su.finish(), su.shown) == (0, f"{guest.name}\n")
    assert guest.starts() == 0


@side_by_side
def test_sudo_asks_the_caller_as_ever(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    assert guest.play("sudo").got_in
    assert [session.user for session in guest.sessions()] == [f"token-of-{guest.name}"]
