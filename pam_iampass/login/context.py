"""What a login needs from its process. It is passed in, so that a test brings its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

from pam_iampass.login.bypass import Bypasses
from pam_iampass.login.concurrency import ConcurrencyLimit
from pam_iampass.outcome import Login
from pam_iampass.system import paths
from pam_iampass.system.accounts import Accounts

if TYPE_CHECKING:
    from pam_iampass.client import AuthenticationAPI
    from pam_iampass.config.settings import Settings
    from pam_iampass.login.policy import Users
    from pam_iampass.login.rate_limit import RateLimit
    from pam_iampass.login.recovery_codes import RecoveryCodes
    from pam_iampass.session.keeper import KeptSessions


@dataclass(frozen=True)
class StateDirs:
    """Where the things are that are kept between logins."""

    state: str = paths.RATE_LIMITS
    codes: str = paths.RECOVERY_CODES
    bypasses: Bypasses = field(default_factory=Bypasses)

    def rate_limit(self, user: str, login: Login) -> RateLimit:
        """The rate limit of the user's logins from this origin."""
        from pam_iampass.login.rate_limit import REMEDY, RateLimit
        from pam_iampass.system.state_dir import StateDir

        return RateLimit(StateDir(self.state, REMEDY), user, login)

    def recovery_codes(self, user: str) -> RecoveryCodes:
        """The user's recovery codes."""
        from pam_iampass.login.recovery_codes import REMEDY, RecoveryCodes
        from pam_iampass.system.state_dir import StateDir

        return RecoveryCodes(StateDir(self.codes, REMEDY), user)


@dataclass(frozen=True)
class LoginContext:
    """What a login needs from its process."""

    accounts: Accounts
    load_settings: Callable[[], Settings]
    open_users: Callable[[Settings], Users]
    connect: Callable[[Settings], AuthenticationAPI]

    session_left_open: Callable[[str], None]
    """Called with the reason where an IAMPASS session could not be ended."""

    concurrency: ConcurrencyLimit
    dirs: StateDirs

    config: str = paths.SETTINGS
    """The settings file."""

    kept_sessions: KeptSessions | None = None
    """Sessions that last as long as their logins; None in a process that serves one login."""

    cover_timeout: float = 5.0
    """The longest that IAMPASS may take to say that one of them is active. Seconds."""

    clock: Callable[[], float] = time.monotonic

    slowdown: Callable[[], float] = lambda: 1.0
    """The factor, 1 or more, by which the time between polls is stretched where many logins wait."""


#: From the path of the settings, and `session_left_open`, to the context of a login.
ContextFactory = Callable[[str, Callable[[str], None]], LoginContext]
