"""What is looked at before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass

from pam_iampass.errors import Severity


@dataclass(frozen=True)
class Finding:
    """What a check found. An ERROR keeps setup from going on."""

    what: str
    severity: Severity | None = None
    """None: all is well."""
    remedy: str = ""
    forcible: bool = False
    """Whether --force goes on all the same: it may lock somebody out, but the machine works."""

    @property
    def stops(self) -> bool:
        """Whether it is an error."""
        return self.severity is Severity.ERROR


def fine(what: str) -> Finding:
    """All is well."""
    return Finding(what)


def warning(what: str, remedy: str) -> Finding:
    """It can go on, but a person should know."""
    return Finding(what, Severity.WARNING, remedy)


def lockout(what: str, remedy: str) -> Finding:
    """Whoever sets this up could not log in any more."""
    return Finding(what, Severity.ERROR, remedy, forcible=True)
