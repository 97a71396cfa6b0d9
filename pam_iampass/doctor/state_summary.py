"""The module's state about users: their recovery codes, and how long no request is sent to their phones."""

from __future__ import annotations

import hashlib  # noqa: F401 - loaded while this process can still read everything
from collections.abc import Iterable
from dataclasses import dataclass, field

from pam_iampass.config.settings import Settings
from pam_iampass.login import rate_limit, rate_limit_file, recovery_codes  # noqa: F401 - as above
from pam_iampass.login.context import StateDirs
from pam_iampass.outcome import Login
from pam_iampass.system.boot import since_boot
from pam_iampass.system.service_user import as_service_user


@dataclass(frozen=True)
class StateSummary:
    """The state about some users."""

    codes: dict[str, int] = field(default_factory=dict)
    """The number of recovery codes that each has left."""
    waits: dict[str, float] = field(default_factory=dict)
    """The seconds for which no request is sent, from one origin at least; only those above 0."""


def summarize(names: Iterable[str], settings: Settings) -> StateSummary:
    """The state about these users. Raises CannotSwitchUser, and StateError if the state cannot be read."""
    wanted = list(names)
    found = as_service_user(lambda: [_of(name, settings) for name in wanted])
    codes = {name: int(left) for name, (left, _wait) in zip(wanted, found)}
    waits = {name: float(wait) for name, (_left, wait) in zip(wanted, found) if wait > 0}
    return StateSummary(codes, waits)


def _of(name: str, settings: Settings) -> tuple[int, float]:
    """The codes left and the wait. Runs in a child as the module's user."""
    dirs = StateDirs()
    stored = dirs.recovery_codes(name).stored()
    state = dirs.rate_limit(name, Login(name, "")).state()
    now, limits = since_boot(), settings.throttle
    waits = [state.backoff(place, limits.cool_off, limits.longest_cool_off, now) for place in state.failures]
    return (stored.left if stored else 0), max([state.wait_for_cap(limits.requests_per_hour, now), *waits])
