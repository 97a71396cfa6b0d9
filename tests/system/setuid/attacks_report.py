"""The report of attacks on sudo and su: build/reports/attacks.md."""

from __future__ import annotations

from collections.abc import Sequence

from tests.system.setuid.attacks import AROUND, ATTACKS, IN_PROCESS, OTHERS

HEAD = """\
# Attacks on sudo and su

What an unprivileged user can try against sudo and su, what stops it, and the test that tries it. The tests use the real
programs, the shipped files, the native door and the agent. The attacker knows the right password; the phone denies. No
denial may become a success, nothing planted may be run, read or written, no server but IAMPASS may be contacted, and
the login must end in time. Harmless variants are also tried with an approval, which must still work.

## Before the program starts

Tested by `test_attacks.py`. sudo runs without `env_reset` and `secure_path` there, so that the variables reach it.

"""

MIDDLE = """
## While the program runs

"""

BESIDE = """
## Around the phone

What the administrator has allowed, perhaps without knowing. Nothing stops it; it is made visible.

"""

INSIDE = """
## Against a module inside the program

The effect of these attacks on a plain Python module that pam_python runs inside sudo or su, tested by
`test_in_process.py`. This is why the doors are thin.

"""


def text() -> str:
    """The whole report."""
    before = [(attack.name, attack.stopped_by) for attack in ATTACKS]
    meanwhile, beside = (
        [(one.what, one.answer, f"`{file}.py::{one.test}`") for file, tests in files.items() for one in tests]
        for files in (OTHERS, AROUND)
    )
    inside = [(one.what, one.answer, f"`{one.test}`") for one in IN_PROCESS]
    stops = ("attack", "what stops it", "test")
    parts = (
        (HEAD, _table(stops[:2], before)),
        (MIDDLE, _table(stops, meanwhile)),
        (BESIDE, _table(("way", "what is done about it", "test"), beside)),
        (INSIDE, _table(("attack", "result", "test"), inside)),
    )
    return "".join(above + table for above, table in parts)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
