"""What the verbs print fits into a terminal."""

from __future__ import annotations

import re
import sys

from tests.support.terminal import Terminal

PROGRAM = "from pam_iampass.cli.output import fields, finding, local, table\n"
LOG = """
rows = [
    ("2026-11-24 17:30:00", "alice", "bob", "-", "sudo", "203.0.113.255", ("timeout", "red"), "60.0 s", REASON),
    ("2026-11-24 17:31:00", "carol", "-", "-", "sshd", "-", ("approved", "green"), "3.1 s", ""),
]
table((local("WHEN"), "USER", "CALLER", "APPROVER", "SERVICE", "FROM", "OUTCOME", "TOOK", "REASON"), rows)
"""
REASON = "nobody answered on the phone in time, and no recovery code was typed in the time that was left"
FINDING = """
finding(
    [("error", "bold red"), " sshd-asks-nobody: logins through sshd are let in with the first factor alone, since"
     " UsePAM is no in /etc/ssh/sshd_config.d/10-ours.conf"],
    "Remove the line, reload sshd, and look again: pam-iampass check --settings --config /etc/iampass/iampass.yaml",
)
"""


def shown(program: str, columns: int) -> list[str]:
    command = [sys.executable, "-c", PROGRAM + program]
    terminal = Terminal(command, environment={"TZ": "Europe/Berlin"}, columns=columns)
    assert terminal.finish() == 0, terminal.shown
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in terminal.lines]


def test_a_narrow_terminal_has_columns_below_the_row_and_their_headings_with_them() -> None:
    lines = shown(LOG.replace("REASON)", f"{REASON!r})", 1), 80)
    assert max(map(len, lines)) <= 80
    assert " ".join(lines[0].split()) == "WHEN (CET/CEST) USER CALLER APPROVER SERVICE FROM OUTCOME"
    assert " ".join(lines[1].split()) == "2026-11-24 17:30:00 alice bob - sudo 203.0.113.255 timeout"
    assert " ".join(line.strip() for line in lines[2:-2]) == f"took 60.0 s: {REASON}"
    assert all(line.startswith("    ") for line in lines[2:-2])
    assert lines[-1] == "    took 3.1 s"


def test_a_wide_terminal_has_a_row_in_a_line() -> None:
    lines = shown(LOG.replace("REASON)", f"{REASON!r})", 1), 240)
    assert len(lines) == 3
    assert lines[1].endswith(REASON)


def test_a_last_column_goes_on_below_itself() -> None:
    lines = shown(f"table(('USER', 'STATUS'), [('alice', {REASON!r})])", 60)
    assert max(map(len, lines)) <= 60
    assert lines[1].startswith("alice  nobody")
    assert all(line.startswith("       ") for line in lines[2:])
    assert " ".join(" ".join(lines[1:]).split()) == f"alice {REASON}"


def test_a_value_stands_below_its_name_where_there_is_no_room_beside_it() -> None:
    lines = shown(f"fields([('display name', {REASON!r}), ('groups', 'staff')])", 40)
    assert max(map(len, lines)) <= 40
    assert lines[0].strip() == "display name"
    assert " ".join(" ".join(lines[1:-1]).split()) == REASON
    assert lines[-1].split() == ["groups", "staff"]


def test_a_finding_goes_on_between_words_and_not_inside_a_command() -> None:
    lines = shown(FINDING, 80)
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("error sshd-asks-nobody: ")
    assert all(line.startswith("    ") for line in lines[1:])
    assert "    pam-iampass check --settings --config /etc/iampass/iampass.yaml" in lines


def test_what_is_no_terminal_gets_each_row_in_a_line() -> None:
    terminal = Terminal(["sh", "-c", f'{sys.executable} -c "$0" | cat', f"{PROGRAM}{FINDING}"], columns=80)
    assert terminal.finish() == 0, terminal.shown
    assert len(terminal.lines) == 2
