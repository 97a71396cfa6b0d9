"""What a login needs from its process. It is passed in, so that a test brings its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable

from pam_iampass.client import AuthenticationAPI
from pam_iampass.config.settings import Settings
from pam_iampass.config.user_table import UserTable
from pam_iampass.login.agent_state import AgentState
from pam_iampass.login.rate_limit import ConcurrencyLimit
from pam_iampass.session.store import KeptSessions
from pam_iampass.system import paths
from pam_iampass.system.accounts import Accounts


@dataclass(frozen=True)
class LoginContext:
    """What a login needs from its process."""

    accounts: Accounts
    load_settings: Callable[[], Settings]
    open_users: Callable[[Settings], UserTable]
    connect: Callable[[Settings], AuthenticationAPI]

    session_left_open: Callable[[str], None]
    """Called with the reason where an IAMPASS session could not be ended."""

    concurrency: ConcurrencyLimit
    state: AgentState

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
