"""Plays a PAM stack: what libpam makes of the answers of its modules.

The rules are those of libpam's dispatcher, seen by running it: `tests/unit/pam/test_simulation.py` compares both on
random stacks. A stack is played to find out which modules are asked, and what the application is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from pam_iampass.pam.controls import IGNORE, INCOMPLETE, PERM_DENIED, SUCCESS, Action, Does
from pam_iampass.pam.dialect import DEBIAN, Dialect
from pam_iampass.pam.stack import Handler, Kind

Answers = Callable[[Handler], int]
"""What a module answers: its return code."""


@dataclass(frozen=True)
class Played:
    """How a stack was played."""

    result: int
    """What the application is told."""
    asked: tuple[Handler, ...]
    """The modules that were called, in turn."""
    answered: dict[int, int]
    """What each place of the stack answered, by its number from 0."""

    @property
    def passed(self) -> bool:
        """Whether the application is told PAM_SUCCESS."""
        return self.result == SUCCESS


@dataclass
class _State:
    """What libpam thinks of the login so far: nothing yet (None), good or bad; and the code that goes with it."""

    good: bool | None = None
    code: int = PERM_DENIED

    def copy(self) -> _State:
        return _State(self.good, self.code)


def play(
    stack: Sequence[Handler],
    answers: Answers,
    frozen: dict[int, int] | None = None,
    dialect: Dialect = DEBIAN,
) -> Played:
    """Play `stack` from its top.

    `frozen` is for pam_setcred: what each place answered in pam_authenticate then decides the way through the stack,
    while the answer of now counts for the result. It is empty where nothing went before.
    """
    counted = frozen is not None and dialect.jump_counts_for_setcred
    return _Play(stack, answers, frozen or {}, counted).played()


class _Play:
    """One run through a stack."""

    def __init__(
        self, stack: Sequence[Handler], answers: Answers, frozen: dict[int, int], jump_counts: bool
    ) -> None:
        self.stack = stack
        self.answers = answers
        self.frozen = frozen
        self.jump_counts = jump_counts
        self.state = _State()
        self.entered = {0: _State()}
        """The state in which each level of substacks was entered."""
        self.asked: list[Handler] = []
        self.answered: dict[int, int] = {}
        self.place = 0

    def played(self) -> Played:
        level_before = 0
        while self.place < len(self.stack):
            handler = self.stack[self.place]
            if level_before < handler.level:
                self.entered[handler.level] = self.state.copy()
            level_before = handler.level
            if handler.kind is not Kind.SUBSTACK:
                answer = self._ask(handler)
                if answer == INCOMPLETE:
                    return self._end(INCOMPLETE)
                self._weigh(handler, answer)
            self.place += 1
        state = self.state
        return self._end(PERM_DENIED if state.code == SUCCESS and not state.good else state.code)

    def _ask(self, handler: Handler) -> int:
        if handler.kind is Kind.MUST_FAIL:
            answer = PERM_DENIED
        else:
            self.asked.append(handler)
            answer = self.answers(handler)
        self.answered[self.place] = answer
        return answer

    def _end(self, result: int) -> Played:
        return Played(result, tuple(self.asked), self.answered)

    def _weigh(self, handler: Handler, answer: int) -> None:
        """Do what the control says of the answer."""
        decides = self.frozen.get(self.place, answer)
        action: Does = handler.does[decides] if 0 <= decides < len(handler.does) else Action.BAD
        if not isinstance(action, Action):
            if self.jump_counts:
                self._take_as_good(answer, decides)
            self._jump(handler.level, action)
        elif action is Action.RESET:
            self.state = self.entered[handler.level].copy()
        elif action in (Action.OK, Action.DONE):
            self._take_as_good(answer, decides)
            if action is Action.DONE and self.state.good:
                self._leave(handler.level)
        elif action in (Action.BAD, Action.DIE):
            self._take_as_bad(answer)
            if action is Action.DIE:
                self._leave(handler.level)

    def _take_as_good(self, answer: int, decides: int) -> None:
        undecided = self.state.good is None or (self.state.good and self.state.code == SUCCESS)
        if undecided and (answer != IGNORE or decides == answer):
            self.state = _State(True, answer)

    def _take_as_bad(self, answer: int) -> None:
        if self.state.good is not False:
            self.state = _State(False, PERM_DENIED if answer == IGNORE else answer)

    def _leave(self, level: int) -> None:
        """Go to the end of the substack, or of the stack."""
        while self._next_level() >= level:
            self.place += 1

    def _jump(self, level: int, count: int) -> None:
        """Go past `count` places; a substack is one. A jump past the end makes the login fail."""
        while count and self._next_level() >= level:
            self.place += 1
            while self._next_level() > level:
                self.place += 1
            count -= 1
        if count:
            self.state = _State(False, PERM_DENIED)

    def _next_level(self) -> int:
        """The level of the next place, -1 at the end of the stack."""
        return self.stack[self.place + 1].level if self.place + 1 < len(self.stack) else -1
