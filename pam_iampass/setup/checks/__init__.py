"""The checks before a change, and after it. They yield what is wrong, and what is in order (Severity.OK)."""

from __future__ import annotations

from pam_iampass.errors import Problem, Severity


def fine(what: str) -> Problem:
    """No problem."""
    return Problem(None, None, "", what, "", Severity.OK)


def warning(what: str, remedy: str) -> Problem:
    """A problem that does not stop setup."""
    return Problem(None, None, "", what, remedy, Severity.WARNING)


def error(what: str, remedy: str) -> Problem:
    """A problem that stops setup."""
    return Problem(None, None, "", what, remedy)


def lockout(what: str, remedy: str) -> Problem:
    """The administrator could be locked out."""
    return Problem(None, None, "", what, remedy, forcible=True)
