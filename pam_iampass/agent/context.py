"""Settings, user table and connections, which the logins of an agent share. They are read again when their files
change."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from pam_iampass.client import AuthenticationAPI, Gateways, ManagementAPI, TLSFailure, Transport
from pam_iampass.client.connection import USUAL, Network, system_certificates
from pam_iampass.client.http import Observer
from pam_iampass.config.settings import Settings, load
from pam_iampass.errors import ConfigurationError, Problem, UntrustedFile, shown
from pam_iampass.login.agent_state import AgentState
from pam_iampass.login.context import (
    ApprovalRequired,
    Configuration,
    LoginContext,
    connect,
    decider_of,
    transport_of,
)
from pam_iampass.login.typed_codes import TypedCodes
from pam_iampass.system import trusted_file
from pam_iampass.system.accounts import Accounts

#: Idle connections to IAMPASS that are kept open: as many calls are under way with 1,000 pending logins and 5,000 kept
#: sessions. A TLS handshake costs more than a poll.
CONNECTIONS = 64
#: Polls per second of all logins together; beyond that each login polls more slowly.
POLLS_PER_SECOND = 300.0
#: How long an API is used without a look at the settings: by kept sessions, which are polled often. Seconds.
API_SECONDS = 1.0
#: A file that changed this recently may change again without a new time stamp. Seconds.
TIMESTAMP_TICK = 0.1

Version = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class AgentConfiguration(Configuration):
    """The configuration for logins, and what kept sessions need, with connections of their own."""

    version: Version
    sessions_api: AuthenticationAPI
    sessions_manager: ManagementAPI
    """The calls about the phones of the people who approved them."""


class Configurations:
    """The configurations by their file, read again when anything of them has changed."""

    def __init__(
        self,
        network: Network = USUAL,
        sessions_network: Network = USUAL,
        *,
        owner: int = 0,
        observe: Observer = lambda *_attempt: None,
    ) -> None:
        """Calls are made over `network`, those about kept sessions over `sessions_network`. `observe` is told of each.

        `owner` is as for `trusted_file.read`.
        """
        self._lock = threading.Lock()
        self._networks = network, sessions_network
        self._observe = observe
        self._owner = owner
        self._kept: dict[str, AgentConfiguration] = {}
        self._apis: dict[str, tuple[AuthenticationAPI, float]] = {}

    def current(self, config: str) -> AgentConfiguration:
        """Return the configuration that is in the files now. Raises ConfigurationError."""
        with self._lock:  # of many simultaneous logins only one reads
            kept = self._kept.get(config)
            if kept is not None and kept.version == _version(kept.settings, self._owner):
                return kept
            fresh = _read(config, self._owner, *self._networks, self._observe)
            if not _just_changed(fresh.version):
                self._kept[config] = fresh
            return fresh

    def sessions_api(self, config: str) -> AuthenticationAPI:
        """The API for kept sessions; while the settings are invalid, the API for the last valid ones.

        Raises ConfigurationError.
        """
        now = time.monotonic()
        api, until = self._apis.get(config, (None, 0.0))
        if api is None or now >= until:
            try:
                api = self.current(config).sessions_api
            except ConfigurationError:
                if api is None:
                    raise
            self._apis[config] = api, now + API_SECONDS
        return api

    def manager(self, config: str) -> ManagementAPI:
        """The calls about users. Raises ConfigurationError."""
        return self.current(config).sessions_manager

    def manager_at_iampass(self, config: str, application: str) -> ManagementAPI:
        """The calls about users of an application to IAMPASS itself, also if the host has joined a gateway since.

        Raises ConfigurationError, also if the settings lead to another application, and TLSFailure.
        """
        current = self.current(config)
        settings, manager = current.settings, current.sessions_manager
        if settings.gateways and settings.joined_file:
            before = settings.joined_file.with_name("not-joined")  # is missing: nothing is joined
            settings = load(config, owner=self._owner, joined=before)
            transport = transport_of(settings, network=self._networks[1], observe=self._observe)
            manager = connect(ManagementAPI, settings, transport)
        if settings.application_id != application:
            what = f"the settings are for another application than {shown(application)}"
            problem = Problem(Path(config), None, "application_id", what, "set it as it was")
            raise ConfigurationError([problem])
        return manager


class LoginContexts:
    """Makes the context of each login."""

    def __init__(
        self,
        configurations: Configurations,
        state: AgentState,
        pending: Callable[[], int],
        tell_approver: Callable[[ApprovalRequired], None] = lambda _required: None,
    ) -> None:
        """`pending` returns the number of pending logins; `tell_approver` is as in LoginContext."""
        self._configurations = configurations
        self._state = state
        self._pending = pending
        self._tell_approver = tell_approver
        self._typed_codes = TypedCodes()

    def __call__(self, config: str, session_left_open: Callable[[str], None]) -> LoginContext:
        """The context of one login, with the settings in the file `config`."""
        return LoginContext(
            accounts=Accounts(),
            state=self._state,
            configure=lambda: self._configurations.current(config),
            began=self._state.throttle.now(),
            typed_codes=self._typed_codes,
            session_left_open=session_left_open,
            tell_approver=self._tell_approver,
            config=config,
            may_be_held=lambda: self._polling() <= CONNECTIONS,
            slowdown=self.slowdown,
        )

    def slowdown(self) -> float:
        """The factor by which each login stretches the time between its polls, so that all get their share."""
        return max(1.0, self._polling() * 2.0 / POLLS_PER_SECOND)

    def _polling(self) -> int:
        """The number of pending logins that may poll. Connections that are asked for a recovery code, which strangers
        can open, do not."""
        return self._pending() - self._typed_codes.asking


def _read(
    config: str, owner: int, network: Network, sessions_network: Network, observe: Observer
) -> AgentConfiguration:
    """Read everything, again if it changed meanwhile. Raises ConfigurationError."""
    settings, version = load(config, owner=owner), None
    while version != (now := _version(settings, owner)):
        settings, version = load(config, owner=owner), now
    try:
        options: dict[str, Any] = {"connections": CONNECTIONS, "observe": observe}
        logins = transport_of(settings, network=network, **options)
        sessions = transport_of(settings, network=sessions_network, **options)
        if isinstance(sessions, Gateways) and settings.ca_file in (None, *settings.files):
            with suppress(TLSFailure):
                server = settings.server, settings.ca_file, settings.proxy
                sessions.before = Transport(*server, network=sessions_network, **options)
    except TLSFailure as failure:
        raise ConfigurationError(
            [Problem(Path(config), None, "ca_file", str(failure), failure.remedy)]
        ) from None
    return AgentConfiguration(
        settings=settings,
        users=settings.user_table(owner),
        decider=decider_of(settings, logins),
        version=version or (),
        sessions_api=connect(AuthenticationAPI, settings, sessions),
        sessions_manager=connect(ManagementAPI, settings, sessions),
    )


def _version(settings: Settings, owner: int) -> Version | None:
    """The version of the files of the settings; None if one cannot be examined."""
    try:
        files = [str(file) for file in settings.files]
        if settings.joined_file and not trusted_file.is_missing(settings.joined_file):  # also if it is new
            files.append(str(settings.joined_file))
        if settings.ca_file is None:
            files.extend(map(os.path.realpath, system_certificates()))
        return tuple(trusted_file.versions(files, owner=owner))
    except UntrustedFile:
        return None


def _just_changed(version: Version) -> bool:
    now = time.time()
    return any(abs(now - part[0] / 1e9) < TIMESTAMP_TICK for part in version)
