"""Simulates a PAM stack: which modules are called, and what the application gets from libpam.

The rules are those of libpam's dispatcher; `tests/unit/pam/test_simulation.py` compares both on random stacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from pam_iampass.outcome import PamCode
from pam_iampass.pam.lines import Action, ControlAction
from pam_iampass.pam.stack import DEBIAN, Dialect, Handler, HandlerKind

ModuleAnswers = Callable[[Handler], int]
"""The return code of each module."""


@dataclass(frozen=True)
class Simulation:
    """The result of a simulated stack."""

    result: int
    """The return code for the application."""
    asked: tuple[Handler, ...]
    """The modules that were called, in order."""
    answered: dict[int, int]
    """The return code at each place of the stack, by its index."""

    @property
    def passed(self) -> bool:
        """Whether the application gets PAM_SUCCESS."""
        return self.result == PamCode.SUCCESS


@dataclass(frozen=True)
class _Impression:
    """libpam's impression of the login so far: undecided (None), good or bad, and its return code."""

    good: bool | None = None
    code: int = PamCode.PERM_DENIED


def simulate(
    stack: Sequence[Handler],
    answers: ModuleAnswers,
    frozen: dict[int, int] | None = None,
    dialect: Dialect = DEBIAN,
) -> Simulation:
    """Simulate `stack`.

    `frozen` is for pam_setcred, where the return codes of pam_authenticate at each place decide the way through the
    stack, and those of pam_setcred the result. It is empty if pam_authenticate was not called.
    """
    counted = frozen is not None and dialect.jump_counts_for_setcred
    return _Simulator(stack, answers, frozen or {}, counted).run()


class _Simulator:
    """One run through a stack."""

    def __init__(
        self, stack: Sequence[Handler], answers: ModuleAnswers, frozen: dict[int, int], jump_counts: bool
    ) -> None:
        self.stack = stack
        self.answers = answers
        self.frozen = frozen
        self.jump_counts = jump_counts
        self.state = _Impression()
        self.entered = {0: _Impression()}
        """The impression at the start of each level of substacks."""
        self.asked: list[Handler] = []
        self.answered: dict[int, int] = {}
        self.place = 0

    def run(self) -> Simulation:
        level_before = 0
        while self.place < len(self.stack):
            handler = self.stack[self.place]
            if level_before < handler.level:
                self.entered[handler.level] = self.state
            level_before = handler.level
            if handler.kind is not HandlerKind.SUBSTACK:
                answer = self._ask(handler)
                if answer == PamCode.INCOMPLETE:
                    return self._end(PamCode.INCOMPLETE)
                self._weigh(handler, answer)
            self.place += 1
        state = self.state
        return self._end(
            PamCode.PERM_DENIED if state.code == PamCode.SUCCESS and not state.good else state.code
        )

    def _ask(self, handler: Handler) -> int:
        if handler.kind is HandlerKind.MUST_FAIL:
            answer: int = PamCode.PERM_DENIED
        else:
            self.asked.append(handler)
            answer = self.answers(handler)
        self.answered[self.place] = answer
        return answer

    def _end(self, result: int) -> Simulation:
        return Simulation(result, tuple(self.asked), self.answered)

    def _weigh(self, handler: Handler, answer: int) -> None:
        """Apply the control to the answer."""
        decides = self.frozen.get(self.place, answer)
        action: ControlAction = (
            handler.actions[decides] if 0 <= decides < len(handler.actions) else Action.BAD
        )
        if not isinstance(action, Action):
            if self.jump_counts:
                self._take_as_good(answer, decides)
            self._jump(handler.level, action)
        elif action is Action.RESET:
            self.state = self.entered[handler.level]
        elif action in (Action.OK, Action.DONE):
            self._take_as_good(answer, decides)
            if action is Action.DONE and self.state.good:
                self._leave(handler.level)
        elif action in (Action.BAD, Action.DIE):
            self._take_as_bad(answer)
            if action is Action.DIE:
                self._leave(handler.level)

    def _take_as_good(self, answer: int, decides: int) -> None:
        undecided = self.state.good is None or (self.state.good and self.state.code == PamCode.SUCCESS)
        if undecided and (answer != PamCode.IGNORE or decides == answer):
            self.state = _Impression(True, answer)

    def _take_as_bad(self, answer: int) -> None:
        if self.state.good is not False:
            self.state = _Impression(False, PamCode.PERM_DENIED if answer == PamCode.IGNORE else answer)

    def _leave(self, level: int) -> None:
        """Skip the rest of the substack, or of the stack."""
        while self._next_level() >= level:
            self.place += 1

    def _jump(self, level: int, count: int) -> None:
        """Skip `count` places; a substack counts as one. A jump past the end makes the login fail."""
        while count and self._next_level() >= level:
            self.place += 1
            while self._next_level() > level:
                self.place += 1
            count -= 1
        if count:
            self.state = _Impression(False, PamCode.PERM_DENIED)

    def _next_level(self) -> int:
        """The level of the next place, -1 at the end of the stack."""
        return self.stack[self.place + 1].level if self.place + 1 < len(self.stack) else -1
