"""PAM's return codes, and what a control says to do with each of them (pam.conf(5))."""

from __future__ import annotations

import enum
from typing import Union


class Action(enum.Enum):
    """What is done with a module's answer."""

    IGNORE = "ignore"
    OK = "ok"
    DONE = "done"
    BAD = "bad"
    DIE = "die"
    RESET = "reset"


Does = Union[Action, int]
"""An action, or how many modules are jumped over."""


CODES = (
    *("success", "open_err", "symbol_err", "service_err", "system_err", "buf_err", "perm_denied", "auth_err"),
    *(
        "cred_insufficient",
        "authinfo_unavail",
        "user_unknown",
        "maxtries",
        "new_authtok_reqd",
        "acct_expired",
    ),
    *("session_err", "cred_unavail", "cred_expired", "cred_err", "no_module_data", "conv_err", "authtok_err"),
    *("authtok_recover_err", "authtok_lock_busy", "authtok_disable_aging", "try_again", "ignore", "abort"),
    *("authtok_expired", "module_unknown", "bad_item", "conv_again", "incomplete"),
)
"""The names of the return codes in a control, by their number."""

SUCCESS, SERVICE_ERR, PERM_DENIED, AUTH_ERR, USER_UNKNOWN = 0, 3, 6, 7, 10
MAXTRIES, IGNORE, ABORT, MODULE_UNKNOWN, INCOMPLETE = 11, 25, 26, 28, 31

_SPACE = " \t\n\v\f\r"
_LARGEST_JUMP = 2**31 - 1


def _words(default: Action, **special: Action) -> tuple[Does, ...]:
    return tuple(special.get(code, default) for code in CODES)


ALL_BAD: tuple[Does, ...] = _words(Action.BAD)

WORDS: dict[str, tuple[Does, ...]] = {
    "required": _words(Action.BAD, success=Action.OK, new_authtok_reqd=Action.OK, ignore=Action.IGNORE),
    "requisite": _words(Action.DIE, success=Action.OK, new_authtok_reqd=Action.OK, ignore=Action.IGNORE),
    "optional": _words(Action.IGNORE, success=Action.OK, new_authtok_reqd=Action.OK),
    "sufficient": _words(Action.IGNORE, success=Action.DONE, new_authtok_reqd=Action.DONE),
}
"""The controls of one word."""


def control(text: str) -> tuple[Does, ...]:
    """What the control `text`, a word or the inside of brackets, does; where it makes no sense all codes are bad."""
    word = WORDS.get(text.lower())
    return word if word is not None else _Reader(text).control()


class _Reader:
    """Reads `code=action` pairs, as loosely as libpam does: nothing need stand between two of them."""

    def __init__(self, text: str) -> None:
        self.rest = text

    def control(self) -> tuple[Does, ...]:
        does: list[Does | None] = [None] * len(CODES)
        self._skip_space()
        while self.rest:
            code = self._one_of((*CODES, "default"))
            action = self._action() if code and self.rest and self._takes_equals() else None
            if action is None:
                return ALL_BAD
            if code == "default":
                does = [action if known is None else known for known in does]
            else:
                does[CODES.index(str(code))] = action
            self._skip_space()
        return tuple(Action.BAD if known is None else known for known in does)

    def _action(self) -> Does | None:
        word = self._one_of(tuple(action.value for action in Action))
        if word is not None:
            return Action(word)
        digits = self.rest[: len(self.rest) - len(self.rest.lstrip("0123456789"))]
        self.rest = self.rest[len(digits) :]
        jump = int(digits[:20]) if digits else 0
        return jump if 0 < jump <= _LARGEST_JUMP else None

    def _takes_equals(self) -> bool:
        self._skip_space()
        found = self.rest.startswith("=")
        self.rest = self.rest[1:]
        self._skip_space()
        return found and bool(self.rest)

    def _one_of(self, words: tuple[str, ...]) -> str | None:
        found = next((word for word in words if self.rest.startswith(word)), None)
        if found is not None:
            self.rest = self.rest[len(found) :]
        return found

    def _skip_space(self) -> None:
        self.rest = self.rest.lstrip(_SPACE)
