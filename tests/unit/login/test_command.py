"""How the command of sudo is described, whatever its caller has made of the arguments."""

from __future__ import annotations

import os
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.login.command import described
from pam_iampass.outcome import PamCode
from tests.support.door import AccountDoor
from tests.support.setting import ME, Setting


def item(*arguments: bytes) -> str:
    """As the door sends it."""
    every = b"".join(one + b"\0" for one in arguments)
    head, rest = every[:1024], every[1024:]
    return f"{len(every)}:{head.hex()}:{rest[-512:].hex()}"


def told(*arguments: bytes, folder: str = "/srv") -> str:
    return described("/usr/bin/sudo", item(*arguments), folder)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((b"apt", b"upgrade"), "sudo apt upgrade (in /srv)"),
        ((b"sh", b"-c", b"echo 'a b' $x; id"), """sudo sh -c 'echo '"'"'a b'"'"' $x; id' (in /srv)"""),
        ((b"", b"(in /root)"), "sudo '' '(in /root)' (in /srv)"),
        ((b"\x1b[2J\x07id",), r"sudo $'\x1b[2J\x07id' (in /srv)"),
        ((b"a\nMESSAGE=b\r",), r"sudo $'a\x0aMESSAGE=b\x0d' (in /srv)"),
        (("\u202eevil\u2066".encode(),), r"sudo $'\u202eevil\u2066' (in /srv)"),
        ((b"\xff\xfe",), r"sudo $'\xff\xfe' (in /srv)"),
        ((b"\\x1b'\n",), r"sudo $'\\x1b\'\x0a' (in /srv)"),
        (("Ω é".encode(),), "sudo 'Ω é' (in /srv)"),
        ((), "sudo (in /srv)"),
    ],
)
def test_arguments_are_quoted_and_printable(arguments: tuple[bytes, ...], shown: str) -> None:
    assert told(*arguments) == shown


@given(st.lists(st.binary(max_size=2000).map(lambda each: each.replace(b"\0", b"")), max_size=9))
def test_whatever_they_are_the_text_is_short_printable_and_on_one_line(arguments: list[bytes]) -> None:
    shown = told(*arguments, folder=os.fsdecode(b"".join(arguments)))
    assert shown.startswith("sudo")
    assert shown.isprintable()
    assert len(shown) < 1300


@given(st.lists(st.text(max_size=20).filter(str.isprintable), max_size=5))
def test_a_shell_reads_what_is_shown_as_the_arguments(arguments: list[str]) -> None:
    shown = told(*(one.encode() for one in arguments))
    assert shlex.split(shown.rpartition(" (in ")[0]) == ["sudo", *arguments]


@pytest.mark.parametrize("padding", [b" " * 100_000, "Ω".encode() * 50_000])
def test_of_a_hundred_thousand_bytes_the_beginning_and_the_end_are_shown_and_that_there_is_more(
    padding: bytes,
) -> None:
    shown = told(b"sh", b"-c", b"begins" + padding + b"rm -rf /")
    assert shown.startswith("sudo sh -c 'begins")
    assert " … [100,021 bytes] … " in shown
    assert "rm -rf /" in shown[-100:]


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/usr/lib/polkit-1/polkit-agent-helper-1", item(b"alice")),
        ("/usr/bin/sudo", ""),
        ("/usr/bin/sudo", "1:zz:"),
        ("", item(b"id")),
    ],
)
def test_of_other_programs_and_of_nonsense_nothing_is_shown(program: str, command: str) -> None:
    assert described(program, command, "/") == ""


def test_a_program_that_an_upgrade_has_replaced_is_named() -> None:
    assert described("/usr/bin/sudo (deleted)", item(b"id"), "/") == "sudo id (in /)"


def test_a_folder_whose_path_the_kernel_does_not_tell_is_said_to_be_unknown() -> None:
    assert described("/usr/bin/sudo", item(b"./x"), "") == "sudo ./x (in a folder that is not known)"


@pytest.mark.parametrize("shown", ["true", "false"])
def test_the_record_has_the_command_unless_the_settings_leave_it_out(world: Setting, shown: str) -> None:
    world.configure(show_command=shown)
    world.sandbox.auto = "deny"
    world.door_class = AccountDoor
    word = "very " * 60
    told = world.login(
        "always",
        "debug",
        answers=(),
        service="sudo",
        ruser=ME,
        uid=str(os.geteuid()),
        program="/usr/bin/sudo",
        command=item(b"echo", word.encode()),
        folder="/srv",
    )
    assert told.code == PamCode.PERM_DENIED
    found = [fields.get("IAMPASS_COMMAND") for fields in world.records.fields]
    assert (f"sudo echo '{word}' (in /srv)" in found) == (shown == "true")
    assert any("very" in fields["MESSAGE"] for fields in world.records.fields) == (shown == "true")
