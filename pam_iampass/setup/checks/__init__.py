"""The checks before a change, and after it."""

from __future__ import annotations

from dataclasses import dataclass

from pam_iampass.errors import Severity


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. An ERROR stops setup."""

    what: str
    severity: Severity | None = None
    """None: no problem."""
    remedy: str = ""
    forcible: bool = False
    """Whether --force continues nevertheless: the administrator may be locked out, but the machine works."""

    @property
    def stops(self) -> bool:
        """Whether it is an error."""
        return self.severity is Severity.ERROR


def fine(what: str) -> CheckResult:
    """No problem."""
    return CheckResult(what)


def warning(what: str, remedy: str) -> CheckResult:
    """A problem that does not stop setup."""
    return CheckResult(what, Severity.WARNING, remedy)


def error(what: str, remedy: str) -> CheckResult:
    """A problem that stops setup."""
    return CheckResult(what, Severity.ERROR, remedy)


def lockout(what: str, remedy: str) -> CheckResult:
    """The administrator could be locked out."""
    return CheckResult(what, Severity.ERROR, remedy, forcible=True)
