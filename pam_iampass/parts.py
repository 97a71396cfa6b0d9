"""What a login is decided with: all of it is passed in, so that a test brings its own."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Protocol

from pam_iampass import policy
from pam_iampass.accounts import Accounts
from pam_iampass.login import Login
from pam_iampass.places import Places

if TYPE_CHECKING:
    from pam_iampass.client import AuthenticationAPI
    from pam_iampass.recovery import RecoveryCodes
    from pam_iampass.settings import Settings
    from pam_iampass.throttle import Throttle


class Waiting(Protocol):
    """What a login needs of the application while it waits (`relay.handle.Handle`)."""

    afterwards: contextlib.ExitStack

    def promise(self, seconds: float) -> None:
        """Tell the door when it will have its answer."""

    def pause(self, seconds: float) -> None:
        """Wait, unless the application dies."""


@dataclass(frozen=True)
class Stores:
    """Where things are remembered from one login to the next."""

    state: str = "/run/iampass/state"
    codes: str = "/var/lib/iampass/recovery"

    def throttle(self, user: str, login: Login) -> Throttle:
        """What is remembered of the user's logins from this place."""
        from pam_iampass.state_folder import StateFolder
        from pam_iampass.throttle import REMEDY, Throttle

        return Throttle(StateFolder(self.state, REMEDY), user, login)

    def recovery_codes(self, user: str) -> RecoveryCodes:
        """The user's recovery codes."""
        from pam_iampass.recovery import REMEDY, RecoveryCodes
        from pam_iampass.state_folder import StateFolder

        return RecoveryCodes(StateFolder(self.codes, REMEDY), user)


@dataclass(frozen=True)
class Parts:
    """What a login is decided with."""

    accounts: Accounts
    load_settings: Callable[[], Settings]
    open_users: Callable[[Settings], policy.Users]
    connect: Callable[[Settings], AuthenticationAPI]

    left_open: Callable[[str], None]
    """Told why the IAMPASS session could not be ended."""

    places: Places
    """Of this process."""

    stores: Stores

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
