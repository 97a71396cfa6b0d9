"""What the module remembers of users: who has recovery codes left, and whose phone rests. Read as its own user."""

from __future__ import annotations

import hashlib  # noqa: F401 - loaded while this process may still read everything
from collections.abc import Iterable
from dataclasses import dataclass, field

from pam_iampass.config.settings import Settings
from pam_iampass.login import rate_limit, recovery_codes
from pam_iampass.outcome import Login
from pam_iampass.system.service_user import CannotSwitchUser, as_service_user
from pam_iampass.system.state_dir import StateDir


class NotSeen(Exception):
    """What is remembered could not be read; the text says why."""


@dataclass(frozen=True)
class Memory:
    """What is remembered of the users who were asked about."""

    codes: dict[str, int] = field(default_factory=dict)
    """How many recovery codes each has left."""
    rests: dict[str, float] = field(default_factory=dict)
    """For how many seconds no request goes out to the phone, from one place at least; only those above 0."""


def remembered(names: Iterable[str], settings: Settings) -> Memory:
    """What is remembered of these users. Raises NotSeen, and StateError where the folders are not as they must be."""
    wanted = list(names)
    try:
        told = as_service_user(lambda: [_of(name, settings) for name in wanted])
    except CannotSwitchUser as error:
        raise NotSeen(str(error)) from None
    codes = {name: int(left) for name, (left, _rest) in zip(wanted, told)}
    rests = {name: float(rest) for name, (_left, rest) in zip(wanted, told) if rest > 0}
    return Memory(codes, rests)


def _of(name: str, settings: Settings) -> tuple[int, float]:
    """How many codes are left, and how long the phone rests. Runs in a child that is the module's user."""
    stored = recovery_codes.RecoveryCodes(
        StateDir(recovery_codes.CODES, recovery_codes.REMEDY), name
    ).stored()
    state = rate_limit.RateLimit(StateDir(rate_limit.STATE, rate_limit.REMEDY), name, Login(name, "")).state()
    now, limits = rate_limit.since_boot(), settings.throttle
    rests = [state.backoff(place, limits.cool_off, limits.longest_cool_off, now) for place in state.failures]
    return (stored.left if stored else 0), max([state.wait_for_cap(limits.requests_per_hour, now), *rests])
