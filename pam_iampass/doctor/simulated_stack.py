"""A stack that names us, as the checks that simulate it see it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from pam_iampass.doctor.catalogue import finding
from pam_iampass.errors import Problem
from pam_iampass.pam.dialect import Dialect
from pam_iampass.pam.modules import is_ours
from pam_iampass.pam.stack import Handler


class SimulatedStack:
    """The stack of a service for one PAM facility."""

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

    def _finding(self, kind: str, evidence: str = "", condition: str = "") -> Problem:
        text = f"{self.ours} ({evidence})" if evidence else str(self.ours)
        return finding(kind, self.service, text, place=self.ours.place, condition=condition)
