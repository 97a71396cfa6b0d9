"""PAM stacks that are put together rightly, and wrongly: the module behind a password, each time right and wrong.

The wrong ones are here so that nobody has to believe it: they are why the shipped files look as they do.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.faults.case import AUTH_ERR, PERM_DENIED, SUCCESS, Case, Expected
from tests.support.faults.expected import APPROVED_AT_ONCE, EXEMPT, MISCONFIGURED, NONSENSE
from tests.support.faults.server import ACTIVE_AT_ONCE, ENDED, scripted
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
    fine = scripted(ACTIVE_AT_ONCE, ENDED)
    alone = EXEMPT.but(code=PERM_DENIED)
    yield Case("an exempt user meets the module alone in its stack", alone, fine, exempt, stack=(OURS, ""))
    yield Case(
        "an exempt user meets the module with pam_permit behind it",
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
            scripted(ACTIVE_AT_ONCE, ENDED),
            application={"typed": password},
            stack=stack,
            included=other,
        )


def _behind_a_password() -> Iterator[Case]:
    stopped, rings = SKIPPED.but(code=AUTH_ERR), APPROVED_AT_ONCE.but(code=AUTH_ERR)
    for control, wrong in (
        ("required", rings),
        ("requisite", stopped),
        ("[success=ok default=die]", stopped),
    ):
        stack = (f"auth {control} {UNIX}", OURS, PERMIT)
        yield from _pair(f"pam_unix stands before the module as {control}", stack, APPROVED_AT_ONCE, wrong)


def _from_another_file() -> Iterator[Case]:
    upside_down = (f"auth sufficient {UNIX}", "auth required pam_deny.so")
    for how in ("include", "substack"):
        what = f"a file with a sufficient pam_unix comes before the module by {how}"
        yield from _pair(
            what,
            (f"auth {how} {{other}}", OURS, PERMIT),
            SKIPPED if how == "include" else APPROVED_AT_ONCE,
            APPROVED_AT_ONCE.but(code=AUTH_ERR),
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
