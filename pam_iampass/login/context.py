"""What a login is decided with: all of it is passed in, so that a test brings its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from pam_iampass.login import policy
from pam_iampass.login.concurrency import ConcurrencyLimit
from pam_iampass.outcome import Login
from pam_iampass.system.accounts import Accounts

if TYPE_CHECKING:
    from pam_iampass.client import AuthenticationAPI
    from pam_iampass.config.settings import Settings
    from pam_iampass.login.rate_limit import Throttle
    from pam_iampass.login.recovery_codes import RecoveryCodes


@dataclass(frozen=True)
class StateDirs:
    """Where things are remembered from one login to the next."""

    state: str = "/run/iampass/state"
    codes: str = "/var/lib/iampass/recovery"

    def throttle(self, user: str, login: Login) -> Throttle:
        """What is remembered of the user's logins from this place."""
        from pam_iampass.login.rate_limit import REMEDY, Throttle
        from pam_iampass.system.state_dir import StateDir

        return Throttle(StateDir(self.state, REMEDY), user, login)

    def recovery_codes(self, user: str) -> RecoveryCodes:
        """The user's recovery codes."""
        from pam_iampass.login.recovery_codes import REMEDY, RecoveryCodes
        from pam_iampass.system.state_dir import StateDir

        return RecoveryCodes(StateDir(self.codes, REMEDY), user)


@dataclass(frozen=True)
class LoginContext:
    """What a login is decided with."""

    accounts: Accounts
    load_settings: Callable[[], Settings]
    open_users: Callable[[Settings], policy.Users]
    connect: Callable[[Settings], AuthenticationAPI]

    left_open: Callable[[str], None]
    """Told why the IAMPASS session could not be ended."""

    concurrency: ConcurrencyLimit
    """Of this process."""

    stores: StateDirs

    clock: Callable[[], float] = time.monotonic

    slowable: bool = False
    """Whether who began the login may have slowed this process down: it was started for this login alone, and lives in
    the limits (control group, niceness) of the application. A time-out is then no sign of an outage."""

    slowdown: Callable[[], float] = lambda: 1.0
    """By how much to stretch the time between polls, where many logins wait at once; 1 or more."""


@dataclass(frozen=True)
class Demands:
    """What the module's arguments ask for beyond the settings."""

    first_factor: str | None = None
    """The method that sshd must have accepted before (`publickey`), or None."""


#: From the path of the settings, and a function that is called when an IAMPASS session could not be ended (with the
#: reason), to the context of a login.
ContextFactory = Callable[[str, Callable[[str], None]], LoginContext]
