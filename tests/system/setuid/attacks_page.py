"""Writes docs/attacks.md: `/usr/bin/python3 -m tests.system.setuid.attacks_page > docs/attacks.md`."""

from __future__ import annotations

from collections.abc import Sequence

from tests.system.setuid.attacks import ATTACKS, IN_PROCESS, OTHERS

HEAD = """\
# Attacks on sudo and su

What an unprivileged user can try on sudo and su, what stops it, and the test that tries it. The tests use the real
programs, the files that are shipped, and the native door, once with the agent and once with the helper. The attacker
knows the right password; the phone denies. No denial may become a success, nothing planted may run, be read or be
written, no server but IAMPASS may be reached, and the login must end in time. Where it makes sense the same is tried
with an approval, to see that nothing breaks.

This page is made from the tests: `/usr/bin/python3 -m tests.system.setuid.attacks_page > docs/attacks.md`.

## Before the program begins

All by `test_attacks.py`. The variables really arrive: sudo has neither `env_reset` nor `secure_path` there.

"""

MIDDLE = """
## Around it

"""

INSIDE = """
## Against a module inside the program

What of this works against a plain Python module that pam_python runs inside sudo or su, by `test_in_process.py`. It is
why the doors are thin.

"""


def page() -> str:
    """The whole page."""
    before = [(attack.name, attack.stopped_by) for attack in ATTACKS]
    around = [
        (one.what, one.answer, f"`{file}.py::{one.test}`") for file, tests in OTHERS.items() for one in tests
    ]
    inside = [(one.what, one.answer, f"`{one.test}`") for one in IN_PROCESS]
    stops = ("attack", "what stops it", "test")
    parts = (
        (HEAD, _table(stops[:2], before)),
        (MIDDLE, _table(stops, around)),
        (INSIDE, _table(("attack", "what comes of it", "test"), inside)),
    )
    return "".join(text + table for text, table in parts)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    print(page(), end="")
