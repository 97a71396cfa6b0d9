"""What is wrong with one stack that names us: it is played with right and wrong first factors, and all our answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pam_iampass.doctor.catalogue import KINDS
from pam_iampass.doctor.finding import Finding, names
from pam_iampass.pam.behaviour import (
    Person,
    Role,
    World,
    conditions,
    is_ours,
    own_arguments,
    people,
    role,
    setcred_answer,
)
from pam_iampass.pam.controls import (
    ABORT,
    CODES,
    IGNORE,
    INCOMPLETE,
    MAXTRIES,
    MODULE_UNKNOWN,
    SUCCESS,
)
from pam_iampass.pam.dialect import Dialect
from pam_iampass.pam.simulation import Played, play
from pam_iampass.pam.stack import Handler

_LIKELY = (ABORT, MAXTRIES, MODULE_UNKNOWN)
"""What our doors answer to a denial, and what libpam answers for a module that is not there."""
_NO_DENIALS = (SUCCESS, IGNORE, INCOMPLETE)
_DENIALS = [*_LIKELY, *(code for code in range(len(CODES)) if code not in (*_LIKELY, *_NO_DENIALS))]
_ROOT_ITSELF = "pam_rootok"  # root, who becomes somebody else, is no login


@dataclass(frozen=True)
class Run:
    """A way through the stack."""

    world: World
    played: Played

    @property
    def asked_us(self) -> bool:
        return any(is_ours(handler) for handler in self.played.asked)


class StackExamination:
    """Plays one `auth` stack that names us."""

    def __init__(
        self, service: str, stack: Sequence[Handler], missing: frozenset[str], dialect: Dialect
    ) -> None:
        """`missing` are the paths of modules, as lines have them, that are not on this machine."""
        self.service = service
        self.stack = stack
        self.missing = missing
        self.dialect = dialect
        self.ours = next(handler for handler in stack if is_ours(handler))

    @cached_property
    def has_first_factor(self) -> bool:
        """Whether the stack asks for a password."""
        return any(role(handler) is Role.FIRST_FACTOR for handler in self.stack)

    @property
    def wants_key(self) -> bool:
        """Whether our line demands that sshd has accepted a key."""
        return "first_factor=publickey" in own_arguments(self.ours)

    @property
    def phone_alone(self) -> bool:
        """Whether an approval is all that somebody needs to get through this stack."""
        if self.has_first_factor:
            return False
        return any(run.played.passed for run in self._runs(False, SUCCESS, (Role.OTHER_FACTOR,)))

    def findings(self, fresh_setcred: bool) -> Iterator[Finding]:
        """Everything that is wrong.

        `fresh_setcred`: pam_setcred is also called in a process that has not called pam_authenticate (sshd does).
        """
        right = self._runs(True, SUCCESS)
        passing = [run for run in right if run.played.passed]
        if self.ours.path in self.missing:  # of which the caller tells
            if passing:
                yield self._of("stack-denial-passes", "although the module is missing")
            return
        if not passing:
            yield self._of("stack-approved-fails", CODES[right[0].played.result])
            return
        skips = list(self._skips(passing))
        yield from skips
        yield from self._wrong(upside_down=any(skip.kind.id == "stack-upside-down" for skip in skips))
        yield from self._denials()
        yield from self._ignored([run for run in passing if run.asked_us])
        yield from self._setcred([run for run in passing if run.asked_us], fresh_setcred)

    def _runs(self, right: bool, ours: int, no: tuple[Role, ...] = ()) -> list[Run]:
        return [
            self._run(World(person, said, ours, self.missing))
            for person in people(self.stack, right)
            for said in conditions(self.stack, no)
        ]

    def _run(self, world: World) -> Run:
        return Run(world, play(self.stack, world.answers(), dialect=self.dialect))

    def _skips(self, passing: list[Run]) -> Iterator[Finding]:
        for person in dict.fromkeys(run.world.person for run in passing):
            his = [run for run in passing if run.world.person == person]
            skipping = [run for run in his if not run.asked_us]
            if skipping and len(skipping) == len(his):
                upside_down = any(self._reached_by_wrong(person))
                yield self._of(
                    "stack-upside-down" if upside_down else "stack-skipped", _ended_by(skipping[0].played)
                )
            elif skipping:
                cause = _cause(skipping, his)
                if cause[0] != _ROOT_ITSELF:
                    yield self._of("stack-skipped-sometimes", condition=_condition(cause))

    def _reached_by_wrong(self, person: Person) -> Iterator[bool]:
        for run in self._runs(False, SUCCESS, (Role.OTHER_FACTOR,)):
            if run.world.person.checker == person.checker:
                yield run.asked_us

    def _wrong(self, upside_down: bool) -> Iterator[Finding]:
        if not self.has_first_factor:
            return
        no = (Role.OTHER_FACTOR,)
        if any(run.played.passed for code in (ABORT, IGNORE) for run in self._runs(False, code, no)):
            yield self._of("stack-wrong-passes")
        elif any(run.played.passed for run in self._runs(False, SUCCESS, no)):
            yield self._of("stack-either")
        ringing = [run for run in self._runs(False, SUCCESS, no) if run.asked_us]
        if ringing and not upside_down:
            before = [handler for handler in ringing[0].played.asked if role(handler) is Role.FIRST_FACTOR]
            at = ringing[0].played.asked
            asked_first = bool(before) and at.index(before[0]) < next(
                place for place, handler in enumerate(at) if is_ours(handler)
            )
            if asked_first:
                yield self._of("stack-wrong-rings", f"after {before[0].place}: {before[0].text}")
            else:
                yield self._of("stack-rings-first")

    def _denials(self) -> Iterator[Finding]:
        passed = [
            CODES[code]
            for code in _DENIALS
            if any(run.asked_us and run.played.passed for run in self._runs(True, code))
        ]
        if passed:
            yield self._of("stack-denial-passes", "although we answered " + names(passed, 3))

    def _ignored(self, asking: list[Run]) -> Iterator[Finding]:
        for run in asking:
            ignored = self._run(World(run.world.person, run.world.conditions, IGNORE, self.missing))
            if not ignored.played.passed:
                yield self._of("stack-ignored-fails", _all_ignore(ignored.played))
                return

    def _setcred(self, asking: list[Run], fresh: bool) -> Iterator[Finding]:
        answers: Callable[[Handler], int] = lambda handler: setcred_answer(handler, self.missing)  # noqa: E731
        for run in asking:
            frozen = [run.played.answered, *([{}] if fresh else [])]
            for before in frozen:
                played = play(self.stack, answers, before, self.dialect)
                if not played.passed:
                    yield self._of("stack-setcred-fails", f"pam_setcred ends in {CODES[played.result]}")
                    return

    def _of(self, kind: str, evidence: str = "", condition: str = "") -> Finding:
        place = f"{self.ours.place}: {self.ours.text}"
        return Finding.of(
            KINDS[kind],
            self.service,
            f"{place} ({evidence})" if evidence else place,
            place=self.ours.place,
            condition=condition,
        )


def _ended_by(played: Played) -> str:
    """The line that was the last to be asked."""
    last = played.asked[-1]
    return f"ends at {last.place}: {last.text}"


def _all_ignore(played: Played) -> str:
    answered = set(played.answered.values())
    return "every module ignores" if answered == {IGNORE} else f"it ends in {CODES[played.result]}"


def _cause(skipping: list[Run], all_runs: list[Run]) -> tuple[str, tuple[str, ...], bool]:
    """The condition, and what it says, that all ways past us have in common; the first where there are several."""
    for name in skipping[0].world.conditions:
        said = {run.world.conditions[name] for run in skipping}
        if len(said) == 1 and {run.world.conditions[name] for run in all_runs} != said:
            return (*name, said.pop())
    first = next(iter(skipping[0].world.conditions))
    return (*first, skipping[0].world.conditions[first])


def _condition(cause: tuple[str, tuple[str, ...], bool]) -> str:
    module, arguments, says = cause
    return f"{' '.join([module + '.so', *arguments])} says {'yes' if says else 'no'}"
