"""Correct and incorrect PAM stacks: the module after a password, with the right and with a wrong password.

The incorrect stacks show why the shipped PAM files are written as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.faults.case import AUTH_ERR, PERM_DENIED, SUCCESS, Case, Expected
from tests.support.faults.expected import APPROVED, EXEMPT, MISCONFIGURED, NONSENSE
from tests.support.faults.server import ACTIVE, ENDED, PENDING, scripted
from tests.support.scripted_server import answer
from tests.support.world import PASSWORD

OURS, PERMIT = "auth required {module}", "auth required pam_permit.so"
UNIX = "pam_unix.so nodelay"
RIGHT, WRONG = PASSWORD, "wrong"
#: The module is not reached.
SKIPPED = Expected(SUCCESS, "", "")


def table() -> Iterator[Case]:
    """All rows."""
    exempt = {"exempt": "{users: ['{user}']}"}
    fine = scripted(PENDING, ACTIVE, ENDED)
    alone = EXEMPT.but(code=PERM_DENIED)
    yield Case(
        "the user is exempt, and the module is alone in its stack", alone, fine, exempt, stack=(OURS, "")
    )
    yield Case(
        "the user is exempt, and pam_permit follows the module",
        EXEMPT.but(code=SUCCESS),
        fine,
        exempt,
        stack=(OURS, PERMIT),
    )
    yield from _behind_a_password()
    yield from _from_another_file()
    yield from _not_required()


def _pair(what: str, stack: tuple[str, ...], right: Expected, wrong: Expected, *other: str) -> Iterator[Case]:
    for password, expected in ((RIGHT, right), (WRONG, wrong)):
        yield Case(
            f"{what}, and the password is {'right' if password == RIGHT else 'wrong'}",
            expected,
            scripted(PENDING, ACTIVE, ENDED),
            application={"typed": password},
            stack=stack,
            included=other,
        )


def _behind_a_password() -> Iterator[Case]:
    stopped, rings = SKIPPED.but(code=AUTH_ERR), APPROVED.but(code=AUTH_ERR)
    for control, wrong in (
        ("required", rings),
        ("requisite", stopped),
        ("[success=ok default=die]", stopped),
    ):
        stack = (f"auth {control} {UNIX}", OURS, PERMIT)
        yield from _pair(f"pam_unix comes before the module as {control}", stack, APPROVED, wrong)


def _from_another_file() -> Iterator[Case]:
    upside_down = (f"auth sufficient {UNIX}", "auth required pam_deny.so")
    for how in ("include", "substack"):
        what = f"a file with a sufficient pam_unix comes before the module through {how}"
        yield from _pair(
            what,
            (f"auth {how} {{other}}", OURS, PERMIT),
            SKIPPED if how == "include" else APPROVED,
            APPROVED.but(code=AUTH_ERR),
            *upside_down,
        )


def _not_required() -> Iterator[Case]:
    for control in ("required", "optional", "[default=ignore]"):
        code = NONSENSE.code if control == "required" else SUCCESS
        yield Case(
            f"the module is {control}, and denies",
            NONSENSE.but(code=code),
            scripted(answer(200)),
            application={"typed": RIGHT},
            stack=(f"auth requisite {UNIX}", f"auth {control} {{module}}", PERMIT),
        )
        yield Case(
            f"the module is {control} and cannot run, and the password is wrong",
            SKIPPED.but(code=AUTH_ERR),
            scripted(answer(200)),
            application={"typed": WRONG},
            prepare=lambda place: place.settings_file.unlink(),
            stack=(f"auth requisite {UNIX}", f"auth {control} {{module}}", PERMIT),
        )
        yield Case(
            f"the module is {control} and cannot run, and the password is right",
            MISCONFIGURED.but(code=code),
            scripted(answer(200)),
            application={"typed": RIGHT},
            prepare=lambda place: place.settings_file.unlink(),
            stack=(f"auth requisite {UNIX}", f"auth {control} {{module}}", PERMIT),
        )
