"""Checks the `account` stack of sshd's PAM service, if it names us, by simulating the results of all modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pam_iampass.doctor.stack_check import Results, SimulatedStack
from pam_iampass.errors import Problem
from pam_iampass.outcome import PamCode
from pam_iampass.pam.lines import CODES, Action
from pam_iampass.pam.modules import Role, demands_key, is_ours, role, stem
from pam_iampass.pam.simulation import Simulation
from pam_iampass.pam.stack import Handler

_REFUSALS = (PamCode.ACCT_EXPIRED, PamCode.PERM_DENIED)


class AccountCheck(SimulatedStack):
    """Simulates one `account` stack that names us."""

    passes = (PamCode.SUCCESS, PamCode.NEW_AUTHTOK_REQD)
    """With the second, sshd lets the user in to change an expired password."""
    first_factor = (*passes, *_REFUSALS, PamCode.USER_UNKNOWN)

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong."""
        runs = [(results, self.run(results, PamCode.SUCCESS)) for results in self.combinations(self.stack)]
        passing = [(results, run) for results, run in runs if run.result in self.passes]
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
        if asking and self.run(asking[0], PamCode.IGNORE).result not in self.passes:
            yield self._finding("account-ignored-fails")
        yield from self._in_vain(
            run for _results, run in runs if _asks(run) and run.result not in self.passes
        )

    def _denied(self, asking: Sequence[Results]) -> Iterator[Problem]:
        for code in PamCode:
            if code in (*self.passes, PamCode.IGNORE, PamCode.INCOMPLETE):
                continue
            if any(self.run(results, code).result in self.passes for results in asking):
                yield self._finding("account-denial-passes", f"although we return {CODES[code]}")
                return

    def _in_vain(self, runs: Iterator[Simulation]) -> Iterator[Problem]:
        for run in runs:
            for place, code in run.answered.items():
                handler = self.stack[place]
                if code in _REFUSALS and _refuses(handler, code):
                    yield self._finding("account-rings-in-vain", f"refused by {handler}")
                    return


def _asks(run: Simulation) -> bool:
    return any(is_ours(handler) for handler in run.asked)


def _refuses(handler: Handler, code: int) -> bool:
    """Whether the module, rather than one after it, refuses the login."""
    if stem(handler) == "pam_deny":
        return False
    return role(handler) is Role.FIRST_FACTOR or handler.actions[code] in (Action.BAD, Action.DIE)
