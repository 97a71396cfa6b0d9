"""Checks the `account` stack of sshd's PAM service, if it names us, by simulating the results of all modules."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from pam_iampass.doctor.stack_check import SimulatedStack
from pam_iampass.errors import Problem
from pam_iampass.outcome import PamCode
from pam_iampass.pam.controls import CODES, Action
from pam_iampass.pam.modules import Role, demands_key, fixed_answer, is_ours, role, stem
from pam_iampass.pam.simulation import Simulation, simulate
from pam_iampass.pam.stack import Handler, HandlerKind

_PASSES = (PamCode.SUCCESS, PamCode.NEW_AUTHTOK_REQD)
"""With the second, sshd lets the user in to change an expired password."""
_REFUSALS = (PamCode.ACCT_EXPIRED, PamCode.PERM_DENIED)
_OF_ACCOUNTS = (PamCode.SUCCESS, PamCode.NEW_AUTHTOK_REQD, *_REFUSALS, PamCode.USER_UNKNOWN)
_OF_CONDITIONS = (PamCode.SUCCESS, PamCode.PERM_DENIED, PamCode.IGNORE)
_MAX_RUNS = 4000

Results = Mapping[str, int]
"""The result of each module, by its name and arguments."""


class AccountCheck(SimulatedStack):
    """Simulates one `account` stack that names us."""

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong."""
        runs = [(results, self._run(results, PamCode.SUCCESS)) for results in self._results]
        passing = [(results, run) for results, run in runs if run.result in _PASSES]
        if self.ours.path in self.missing:  # which the caller reports
            return
        if not passing:
            yield self._finding("account-approved-fails", CODES[runs[0][1].result])
            return
        skipped = next((run for _results, run in passing if not _asks(run)), None)
        if demands_key(self.ours):
            yield self._finding("account-key-demanded")
        if skipped is not None:
            yield self._finding("account-skipped", f"ends at {skipped.asked[-1]}")
        asking = [results for results, run in passing if _asks(run)]
        yield from self._denied(asking)
        if asking and self._run(asking[0], PamCode.IGNORE).result not in _PASSES:
            yield self._finding("account-ignored-fails")
        yield from self._in_vain(run for _results, run in runs if _asks(run) and run.result not in _PASSES)

    def _denied(self, asking: Sequence[Results]) -> Iterator[Problem]:
        for code in PamCode:
            if code in (*_PASSES, PamCode.IGNORE, PamCode.INCOMPLETE):
                continue
            if any(self._run(results, code).result in _PASSES for results in asking):
                yield self._finding("account-denial-passes", f"although we return {CODES[code]}")
                return

    def _in_vain(self, runs: Iterator[Simulation]) -> Iterator[Problem]:
        for run in runs:
            for handler, code in zip(run.asked, run.answered.values()):
                if code in _REFUSALS and _refuses(handler, code):
                    yield self._finding("account-rings-in-vain", f"refused by {handler}")
                    return

    @cached_property
    def _results(self) -> Sequence[Results]:
        """Combinations of the results of all modules; if there are too many, each module is varied alone."""
        varied: dict[str, tuple[PamCode, ...]] = {}
        for handler in self.stack:
            kind = role(handler)
            if handler.kind is HandlerKind.MODULE and kind not in (Role.OURS, Role.FIXED):
                varied[_key(handler)] = _OF_ACCOUNTS if kind is Role.FIRST_FACTOR else _OF_CONDITIONS
            elif stem(handler) == "pam_nologin":
                varied[_key(handler)] = _OF_CONDITIONS
        every = itertools.product(*varied.values())
        found = [dict(zip(varied, codes)) for codes in itertools.islice(every, _MAX_RUNS + 1)]
        if len(found) <= _MAX_RUNS:
            return found
        usual = dict.fromkeys(varied, PamCode.SUCCESS)
        return [usual, *({**usual, name: code} for name, codes in varied.items() for code in codes)]

    def _run(self, results: Results, ours: int) -> Simulation:
        def answer(handler: Handler) -> int:
            if handler.path in self.missing:
                return PamCode.MODULE_UNKNOWN
            if is_ours(handler):
                return ours
            found = results.get(_key(handler))
            return fixed_answer(handler) if found is None else found

        return simulate(self.stack, answer, dialect=self.dialect)


def _asks(run: Simulation) -> bool:
    return any(is_ours(handler) for handler in run.asked)


def _refuses(handler: Handler, code: int) -> bool:
    """Whether the module, rather than one after it, refuses the login."""
    if stem(handler) == "pam_deny":
        return False
    return role(handler) is Role.FIRST_FACTOR or handler.actions[code] in (Action.BAD, Action.DIE)


def _key(handler: Handler) -> str:
    """The module and, where they decide, its arguments: pam_unix says the same with any."""
    if role(handler) is Role.FIRST_FACTOR:
        return stem(handler)
    return " ".join((stem(handler), *handler.arguments))
