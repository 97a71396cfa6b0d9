"""Decides when IAMPASS, and not a single user, is at fault."""

from __future__ import annotations

from pam_iampass.client import Declined, IampassError, ProtocolError, Unavailable

_MAX_FAILURES = 3  # in a row


class FailureStreak:
    """The failures in a row while many users are handled one after the other."""

    def __init__(self) -> None:
        self._number = 0

    def reset(self) -> None:
        """Note that a user was handled."""
        self._number = 0

    def affect_all(self, error: IampassError) -> bool:
        """Count a failure. Returns whether the other users would fail, too."""
        single = isinstance(error, (Declined, ProtocolError, Unavailable))
        self._number = 0 if isinstance(error, Declined) else self._number + 1
        return not single or self._number >= _MAX_FAILURES
