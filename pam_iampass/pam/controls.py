"""The controls of PAM lines: what libpam does with each return code (pam.conf(5))."""

from __future__ import annotations

import enum
from typing import Union

from pam_iampass.outcome import PamCode


class Action(enum.Enum):
    """What libpam does with a module's return code."""

    IGNORE = "ignore"
    OK = "ok"
    DONE = "done"
    BAD = "bad"
    DIE = "die"
    RESET = "reset"


ControlAction = Union[Action, int]
"""An action, or the number of modules to jump over."""

CODES = tuple(code.name.lower() for code in PamCode)
"""The names of the return codes in a control, in the order of their numbers."""

_SPACE = " \t\n\v\f\r"
_LARGEST_JUMP = 2**31 - 1


def _words(default: Action, **special: Action) -> tuple[ControlAction, ...]:
    return tuple(special.get(code, default) for code in CODES)


ALL_BAD: tuple[ControlAction, ...] = _words(Action.BAD)

WORDS: dict[str, tuple[ControlAction, ...]] = {
    "required": _words(Action.BAD, success=Action.OK, new_authtok_reqd=Action.OK, ignore=Action.IGNORE),
    "requisite": _words(Action.DIE, success=Action.OK, new_authtok_reqd=Action.OK, ignore=Action.IGNORE),
    "optional": _words(Action.IGNORE, success=Action.OK, new_authtok_reqd=Action.OK),
    "sufficient": _words(Action.IGNORE, success=Action.DONE, new_authtok_reqd=Action.DONE),
}
"""The controls of one word."""


def control(text: str) -> tuple[ControlAction, ...]:
    """The action for each code. `text` is a word or the inside of brackets; if it is invalid, all codes are bad."""
    return WORDS.get(text.lower()) or _ControlReader(text).control()


class _ControlReader:
    """Reads `code=action` pairs as leniently as libpam does, which needs no blank between two of them."""

    def __init__(self, text: str) -> None:
        self.rest = text

    def control(self) -> tuple[ControlAction, ...]:
        actions: list[ControlAction | None] = [None] * len(CODES)
        self._skip_space()
        while self.rest:
            code = self._one_of((*CODES, "default"))
            action = self._action() if code and self.rest and self._takes_equals() else None
            if action is None:
                return ALL_BAD
            if code == "default":
                actions = [action if known is None else known for known in actions]
            else:
                actions[CODES.index(str(code))] = action
            self._skip_space()
        return tuple(Action.BAD if known is None else known for known in actions)

    def _action(self) -> ControlAction | None:
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
