"""Checks one stack that names us, by simulating the results of all modules: right and wrong first factors, all our
return codes, and what other lines refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pam_iampass.check.catalogue import finding
from pam_iampass.errors import Problem, Severity
from pam_iampass.outcome import PamCode
from pam_iampass.pam.lines import CODES, Action, ControlAction
from pam_iampass.pam.modules import (
    Role,
    Scenario,
    are_too_many,
    combinations,
    conditions,
    demands_key,
    first_factors,
    fixed_answer,
    is_ours,
    role,
    setcred_answer,
    stem,
)
from pam_iampass.pam.simulation import Simulation, simulate
from pam_iampass.pam.stack import Dialect, Handler, HandlerKind
from pam_iampass.text import names

_COMMON_DENIALS = (PamCode.ABORT, PamCode.MAXTRIES, PamCode.MODULE_UNKNOWN)
"""The return codes of our doors for a denial, and libpam's for a missing module."""
_NO_DENIALS = (PamCode.SUCCESS, PamCode.IGNORE, PamCode.INCOMPLETE)
_DENIALS = [*_COMMON_DENIALS, *(code for code in PamCode if code not in (*_COMMON_DENIALS, *_NO_DENIALS))]
CALLED_BY_PEOPLE = frozenset(
    (
        *("su", "su-l", "sudo", "sudo-i", "doas", "passwd", "chsh", "chfn", "newgrp", "runuser", "runuser-l"),
        *("ksu", "super"),
    )
)
"""The PAM services of programs whose real user is their caller."""
_ROOT_ITSELF = "pam_rootok"
"""Succeeds if the real user is root. In a program that people call root becomes another user, which is no login; a
daemon is root, and it succeeds for everybody. So does polkit's helper, if systemd starts it."""
_WITHOUT_OTHERS = (Role.OTHER_FACTOR,)


_OF_CONDITIONS = (PamCode.SUCCESS, PamCode.PERM_DENIED, PamCode.IGNORE)
_NO_FAILURES = (PamCode.SUCCESS, PamCode.NEW_AUTHTOK_REQD, PamCode.IGNORE)
_REFUSALS = (PamCode.ACCT_EXPIRED, PamCode.PERM_DENIED)

Conditions = Mapping[tuple[str, tuple[str, ...]], bool]
"""Whether each condition is met, as in `Scenario.conditions`."""
Results = Mapping[str, int]
"""The result of each module, by its name and arguments."""


class SimulatedStack:
    """The stack of a service for one PAM facility."""

    passes: Sequence[int] = (PamCode.SUCCESS,)
    """The results that let in."""
    first_factor: Sequence[int] = (PamCode.SUCCESS,)
    """The results that a right first factor may have in it."""

    def __init__(
        self, service: str, stack: Sequence[Handler], missing: frozenset[str], dialect: Dialect
    ) -> None:
        """`missing` are the paths of modules, as the lines have them, that are not installed."""
        self.service = service
        self.stack = stack
        self.missing = missing
        self.dialect = dialect

    @cached_property
    def ours(self) -> Handler:
        """Our first line. Raises StopIteration if the stack has none."""
        return next(handler for handler in self.stack if is_ours(handler))

    def lost_refusals(self, before: Sequence[Handler]) -> list[Handler]:
        """The lines that kept a login out in the stack as it was `before` our lines, and no longer do."""
        asking = {handler.top for handler in before if role(handler) is Role.FIRST_FACTOR}
        replaced = asking if demands_key(self.ours) else set()  # by the key, with what they include
        lost: dict[Handler, None] = {}
        for results in combinations(self.varied([*before, *self.stack])):
            was = self.run(results, PamCode.IGNORE, before)
            refusing = None if was.result in self.passes else self._refusing(results, was, before)
            if refusing is None or refusing.top in replaced:
                continue
            if any(
                self.run(results, ours).result in self.passes for ours in (PamCode.SUCCESS, PamCode.IGNORE)
            ):
                lost[refusing] = None
        return list(lost)

    def _refusing(self, results: Results, refused: Simulation, stack: Sequence[Handler]) -> Handler | None:
        """The line without whose failure a refused login would have passed."""
        failed = [
            (stack[place], code) for place, code in refused.answered.items() if code not in _NO_FAILURES
        ]
        # What ends the stack comes before what only did not end it well, such as pam_rootok.
        failed.sort(key=lambda one: one[0].actions[one[1]] not in (Action.BAD, Action.DIE))
        for handler, _ in failed:
            key = _key(handler)
            if (
                key in results
                and self.run({**results, key: PamCode.SUCCESS}, PamCode.IGNORE, stack).result in self.passes
            ):
                return handler
        return None

    def varied(self, stack: Sequence[Handler]) -> dict[str, Sequence[int]]:
        """The results that each module may have, but for ours and those with one result."""
        found: dict[str, Sequence[int]] = {}
        for handler in stack:
            kind = role(handler)
            if handler.kind is HandlerKind.MODULE and kind not in (Role.OURS, Role.FIXED):
                found[_key(handler)] = self.first_factor if kind is Role.FIRST_FACTOR else _OF_CONDITIONS
            elif stem(handler) == "pam_nologin" or "preauth" in handler.arguments:  # of pam_faillock
                found[_key(handler)] = _OF_CONDITIONS
        return found

    def left_out(self, before: Sequence[Handler]) -> Iterator[Problem]:
        """Whether some combinations are left out here, and in comparing with the stack as it was `before` our lines."""
        varied = self.varied([*before, *self.stack])
        if are_too_many(varied):
            count = sum(len(results) > 1 for results in varied.values())
            what = f"{self.ours.file}: {count} modules may succeed or fail"
            yield finding("stack-not-all", self.service, what, count=count, file=self.ours.file)

    def run(self, results: Results, ours: int, stack: Sequence[Handler] | None = None) -> Simulation:
        """A login through this stack or another; `ours` is our result."""

        def answer(handler: Handler) -> int:
            if handler.path in self.missing:
                return PamCode.MODULE_UNKNOWN
            if is_ours(handler):
                return ours
            found = results.get(_key(handler))
            return fixed_answer(handler) if found is None else found

        return simulate(self.stack if stack is None else stack, answer, dialect=self.dialect)

    def _finding(
        self, kind: str, evidence: str = "", severity: Severity | None = None, **words: object
    ) -> Problem:
        text = f"{self.ours} ({evidence})" if evidence else str(self.ours)
        return finding(kind, self.service, text, severity, place=self.ours.place, **words)


@dataclass(frozen=True)
class SimulatedLogin:
    """A scenario and its result."""

    scenario: Scenario
    simulation: Simulation

    @property
    def passed(self) -> bool:
        return self.simulation.passed

    @property
    def asked_us(self) -> bool:
        return any(is_ours(handler) for handler in self.simulation.asked)


class StackCheck(SimulatedStack):
    """Simulates one `auth` stack that names us, or, for `lets_in_unasked`, does not."""

    @cached_property
    def has_first_factor(self) -> bool:
        """Whether the stack asks for a password."""
        return any(role(handler) is Role.FIRST_FACTOR for handler in self.stack)

    @property
    def demands_key(self) -> bool:
        """Whether our line demands that sshd has accepted a key."""
        return demands_key(self.ours)

    @property
    def phone_alone(self) -> bool:
        """Whether an approval alone is enough to pass this stack."""
        if self.has_first_factor:
            return False
        return any(login.passed for login in self._logins(False, PamCode.SUCCESS, _WITHOUT_OTHERS))

    @property
    def lets_in_unasked(self) -> bool:
        """Whether the stack passes for anybody but root although the phone denies, or is not asked."""
        return any(
            login.passed
            and not (
                self.service in CALLED_BY_PEOPLE
                and any(met for name, met in login.scenario.conditions.items() if name[0] == _ROOT_ITSELF)
            )
            for login in self._logins(True, PamCode.ABORT)
        )

    @property
    def needs_permit(self) -> bool:
        """Whether nothing in the stack succeeds where we ignore a login."""
        asking = [login for login in self._logins(True, PamCode.SUCCESS) if login.passed and login.asked_us]
        return any(self._ignored(asking)) or any(self._setcred(asking, fresh=True))

    def findings(self, fresh_setcred: bool) -> Iterator[Problem]:
        """Everything that is wrong.

        `fresh_setcred`: pam_setcred is also called in a process that has not called pam_authenticate (sshd does that).
        """
        right = self._logins(True, PamCode.SUCCESS)
        passing = [login for login in right if login.passed]
        if self.ours.path in self.missing:  # which the caller reports
            if passing:
                yield self._finding("stack-denial-passes", "although the module is missing")
            return
        if not passing:
            yield self._finding("stack-approved-fails", CODES[right[0].simulation.result])
            return
        yield from self._skips(passing)
        yield from self._wrong()
        yield from self._denials()
        asking = [login for login in passing if login.asked_us]
        yield from self._ignored(asking)
        yield from self._setcred(asking, fresh_setcred)

    def _logins(self, right: bool, ours: int, failing: tuple[Role, ...] = ()) -> list[SimulatedLogin]:
        return [
            self._login(Scenario(factor, self._of_a_caller(results), ours, self.missing))
            for factor in first_factors(self.stack, right)
            for results in conditions(self.stack, failing)
        ]

    def _of_a_caller(self, results: Conditions) -> Conditions:
        """The results, in which pam_rootok succeeds unless a person calls the program."""
        if self.service in CALLED_BY_PEOPLE:
            return results
        return {name: met or name[0] == _ROOT_ITSELF for name, met in results.items()}

    def _login(self, scenario: Scenario) -> SimulatedLogin:
        return SimulatedLogin(scenario, simulate(self.stack, scenario.answer, dialect=self.dialect))

    def _skips(self, passing: list[SimulatedLogin]) -> Iterator[Problem]:
        for factor in dict.fromkeys(login.scenario.first_factor for login in passing):
            logins = [login for login in passing if login.scenario.first_factor == factor]
            skipping = [login for login in logins if not login.asked_us]
            if skipping and len(skipping) == len(logins):
                yield self._finding("stack-skipped", f"ends at {skipping[0].simulation.asked[-1]}")
            elif skipping:
                module, arguments, result = _cause(skipping, logins)
                if module != _ROOT_ITSELF:
                    words = " ".join([f"{module}.so", *arguments])
                    condition = f"{words} {'succeeds' if result else 'fails'}"
                    yield self._finding("stack-skipped-sometimes", condition=condition)

    def _wrong(self) -> Iterator[Problem]:
        if not self.has_first_factor:
            return
        refused = [self._logins(False, code, _WITHOUT_OTHERS) for code in (PamCode.ABORT, PamCode.IGNORE)]
        approved = self._logins(False, PamCode.SUCCESS, _WITHOUT_OTHERS)
        if any(login.passed for logins in refused for login in logins):
            yield self._finding("stack-wrong-passes")
        elif any(login.passed for login in approved):
            yield self._finding("stack-wrong-passes", "after an approval")
        ringing = next((login.simulation.asked for login in approved if login.asked_us), ())
        if ringing:
            ours = next(place for place, handler in enumerate(ringing) if is_ours(handler))
            before = [handler for handler in ringing[:ours] if role(handler) is Role.FIRST_FACTOR]
            yield self._finding("stack-wrong-rings", f"after {before[0]}" if before else "")

    def _denials(self) -> Iterator[Problem]:
        results: dict[tuple[ControlAction, ...], bool] = {}
        passed = []
        for code in _DENIALS:
            # Codes with the same actions differ only in what the application gets.
            actions = tuple(handler.actions[code] for handler in self.stack if is_ours(handler))
            if actions not in results:
                logins = self._logins(True, code)
                results[actions] = any(login.asked_us and login.passed for login in logins)
            if results[actions]:
                passed.append(CODES[code])
        if passed:
            yield self._finding("stack-denial-passes", "although we return " + names(passed, 3))

    def _ignored(self, asking: list[SimulatedLogin]) -> Iterator[Problem]:
        for login in asking:
            simulation = self._login(replace(login.scenario, ours=PamCode.IGNORE)).simulation
            if not simulation.passed:
                all_ignore = set(simulation.answered.values()) == {PamCode.IGNORE}
                ends = "every module ignores" if all_ignore else f"it ends in {CODES[simulation.result]}"
                yield self._finding("stack-ignored-fails", ends, facility="auth")
                return

    def _setcred(self, asking: list[SimulatedLogin], fresh: bool) -> Iterator[Problem]:
        answers: Callable[[Handler], int] = lambda handler: setcred_answer(handler, self.missing)  # noqa: E731
        for login in asking:
            for frozen in (login.simulation.answered, *([{}] if fresh else [])):
                simulation = simulate(self.stack, answers, frozen, self.dialect)
                if not simulation.passed:
                    ends = f"pam_setcred: {CODES[simulation.result]}"
                    yield self._finding("stack-ignored-fails", ends, Severity.ERROR, facility="auth")
                    return


class AccountCheck(SimulatedStack):
    """Simulates one `account` stack that names us, which counts in sshd."""

    passes: Sequence[int] = (PamCode.SUCCESS, PamCode.NEW_AUTHTOK_REQD)
    """The results that let in. With the second one, sshd lets the user in to change an expired password."""
    first_factor: Sequence[int] = (*passes, *_REFUSALS, PamCode.USER_UNKNOWN)

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong."""
        runs = [
            (results, self.run(results, PamCode.SUCCESS)) for results in combinations(self.varied(self.stack))
        ]
        passing = [(results, run) for results, run in runs if run.result in self.passes]
        if self.ours.path in self.missing:  # which the caller reports
            return
        if not passing:
            yield self._finding("stack-approved-fails", CODES[runs[0][1].result])
            return
        skipped = next((run for _results, run in passing if not _asks(run)), None)
        if demands_key(self.ours):
            argument = "first_factor=publickey on an account line"
            yield self._finding("module-argument", arguments=argument)
        if skipped is not None:
            yield self._finding("stack-skipped", f"ends at {skipped.asked[-1]}")
        asking = [results for results, run in passing if _asks(run)]
        yield from self._denied(asking)
        if asking and self.run(asking[0], PamCode.IGNORE).result not in self.passes:
            yield self._finding("stack-ignored-fails", facility="account")

    def _denied(self, asking: Sequence[Results]) -> Iterator[Problem]:
        for code in PamCode:
            if code in (*self.passes, PamCode.IGNORE, PamCode.INCOMPLETE):
                continue
            if any(self.run(results, code).result in self.passes for results in asking):
                yield self._finding("stack-denial-passes", f"although we return {CODES[code]}")
                return


class SudoAccountCheck(AccountCheck):
    """Simulates an `account` stack of sudo that asks for every command.

    sudo runs what needs no password although the password has expired. An unknown module may say that it has.
    """

    passes = (*AccountCheck.passes, PamCode.AUTHTOK_EXPIRED)
    first_factor = (*AccountCheck.first_factor, PamCode.AUTHTOK_EXPIRED)

    def varied(self, stack: Sequence[Handler]) -> dict[str, Sequence[int]]:
        """The results that each module may have, but for ours and those with one result."""
        found = super().varied(stack)
        unknown = {_key(handler) for handler in stack if role(handler) is Role.OTHER_FACTOR}
        expired = (PamCode.NEW_AUTHTOK_REQD, PamCode.AUTHTOK_EXPIRED)
        return {key: (*results, *expired) if key in unknown else results for key, results in found.items()}


def _asks(run: Simulation) -> bool:
    return any(is_ours(handler) for handler in run.asked)


def _cause(skipping: list[SimulatedLogin], logins: list[SimulatedLogin]) -> tuple[str, tuple[str, ...], bool]:
    """The first condition, with its result, that all logins past us have in common."""
    first = skipping[0].scenario.conditions
    for name in first:
        results = {login.scenario.conditions[name] for login in skipping}
        if len(results) == 1 and {login.scenario.conditions[name] for login in logins} != results:
            return (*name, results.pop())
    name = next(iter(first))
    return (*name, first[name])


def _key(handler: Handler) -> str:
    """The module and, where they decide, its arguments: pam_unix says the same with any."""
    if role(handler) is Role.FIRST_FACTOR:
        return stem(handler)
    return " ".join((stem(handler), *handler.arguments))
