"""What the logins of an agent share: settings, user table, connections. Read again when their files change."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from pam_iampass.client import AuthenticationAPI, ManagementAPI, TLSFailure, Transport
from pam_iampass.client.connection import (
    USUAL,
    Network,
    socket_of_both_families,
    system_certificates,
)
from pam_iampass.config.settings import Settings, load
from pam_iampass.config.user_table import UserTable
from pam_iampass.errors import ConfigurationError, Problem, UntrustedFile
from pam_iampass.login.agent_state import AgentState
from pam_iampass.login.api import connect
from pam_iampass.login.context import LoginContext
from pam_iampass.login.rate_limit import ConcurrencyLimit
from pam_iampass.session.keeper import KeptSessions
from pam_iampass.system import trusted_file
from pam_iampass.system.accounts import Accounts

#: Idle connections to IAMPASS that are kept open: 1,000 pending logins and 5,000 kept sessions have up to so many calls
#: under way. A TLS handshake costs more than a poll.
CONNECTIONS = 64
#: Polls per second of all logins together; beyond that each login polls more slowly.
POLLS_PER_SECOND = 300.0
#: How long an API is used without a look at the settings: by kept sessions, which are polled often. Seconds.
API_SECONDS = 1.0
#: A file that changed this recently may change again without a new time stamp. Seconds.
TIMESTAMP_TICK = 0.1

#: Ports that the agent keeps for calls about kept sessions: as many of them as are made at the same time.
OWN_PORTS = 8
#: Closing a connection resets it: one that waits for late packets would keep its port from being used again.
_RESET = struct.pack("ii", 1, 0)

Version = tuple[tuple[int, ...], ...]


class OwnPorts:
    """Ports that no user can take away, for what a user must not be able to prevent.

    A user who takes all ephemeral ports makes every connection fail that needs one, and name lookups too. Some ports
    are taken beforehand, by sockets that are never connected; with SO_REUSEPORT further sockets of the same user id,
    and of no other, can use them (socket(7)).
    """

    def __init__(self, usual: Network = USUAL) -> None:
        self._usual = usual
        self._reserved: list[socket.socket] = []
        self._addresses: dict[Any, Any] = {}
        self.network = Network(self._look_up, self._connect)
        """Uses them if there are no others."""
        self._reserve()

    def close(self) -> None:
        """Gives them up."""
        for reserved in self._reserved:
            reserved.close()

    def _look_up(self, host: str, port: int, **options: Any) -> Any:
        """As `Network.getaddrinfo`; the last answer if no name server can be asked."""
        try:
            self._addresses[host, port] = self._usual.getaddrinfo(host, port, **options)
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN or (host, port) not in self._addresses:
                raise
        return self._addresses[host, port]

    def _connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """As `socket.create_connection`; from a reserved port if there is no other."""
        try:
            return self._usual.create_connection(address, timeout)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            problem = error
        self._reserve()
        for reserved in self._reserved:
            sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.settimeout(timeout)
                sock.bind(("", reserved.getsockname()[1]))
                sock.connect(address)
                return sock
            except OSError as error:
                sock.close()
                if error.errno != errno.EADDRNOTAVAIL:  # there is a connection from this port already
                    raise
        raise problem

    def _reserve(self) -> None:
        """Takes ports of both families, as long as there are any."""
        while len(self._reserved) < OWN_PORTS:
            sock = socket_of_both_families(socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind(("", 0))
            except OSError:
                sock.close()
                return
            self._reserved.append(sock)


@dataclass(frozen=True)
class Shared:
    """What belongs to one version of the settings."""

    version: Version
    settings: Settings
    users: UserTable
    api: AuthenticationAPI
    """For logins."""
    sessions_api: AuthenticationAPI
    """For kept sessions."""
    manager: ManagementAPI
    """For the phones of those who approved them."""


class SharedContext:
    """Makes the context of each login. `pending` returns the number of pending logins; calls are made over `network`,
    those about kept sessions over `sessions_network`."""

    def __init__(
        self,
        pending: Callable[[], int],
        state: AgentState,
        network: Network = USUAL,
        sessions_network: Network = USUAL,
    ) -> None:
        self._pending = pending
        self._state = state
        self._places = ConcurrencyLimit()
        self._lock = threading.Lock()
        self._networks = network, sessions_network
        self._kept: dict[str, Shared] = {}
        self._apis: dict[str, tuple[AuthenticationAPI, float]] = {}
        self.kept_sessions: KeptSessions | None = None
        """Keeps the sessions of logins; None where none is kept."""

    def __call__(self, config: str, session_left_open: Callable[[str], None]) -> LoginContext:
        """The context of one login, with the settings in the file `config`."""
        current: list[Shared] = []

        def load_settings() -> Settings:
            current.append(self._current(config))
            return current[0].settings

        return LoginContext(
            accounts=Accounts(),
            load_settings=load_settings,
            open_users=lambda _settings: current[0].users,
            connect=lambda _settings: current[0].api,
            session_left_open=session_left_open,
            concurrency=self._places,
            state=self._state,
            slowdown=self.slowdown,
            config=config,
            kept_sessions=self.kept_sessions,
        )

    def connect(self, config: str) -> AuthenticationAPI:
        """The API of the settings in the file `config`, for kept sessions; while these are invalid, of those before.

        Raises ConfigurationError.
        """
        now = time.monotonic()
        api, until = self._apis.get(config, (None, 0.0))
        if api is None or now >= until:
            try:
                api = self._current(config).sessions_api
            except ConfigurationError:
                if api is None:
                    raise
            self._apis[config] = api, now + API_SECONDS
        return api

    def manage(self, config: str) -> ManagementAPI:
        """The calls about users, of the settings in the file `config`. Raises ConfigurationError."""
        return self._current(config).manager

    def slowdown(self) -> float:
        """The factor by which each login stretches the time between its polls, so that all get their share."""
        return max(1.0, self._pending() * 2.0 / POLLS_PER_SECOND)

    def _current(self, config: str) -> Shared:
        """What belongs to the files as they are now. Raises ConfigurationError."""
        with self._lock:  # of many simultaneous logins only one reads
            kept = self._kept.get(config)
            if kept is not None and kept.version == _version(kept.settings):
                return kept
            fresh = _read(config, *self._networks)
            if not _just_changed(fresh.version):
                self._kept[config] = fresh
            return fresh


def _read(config: str, network: Network, sessions_network: Network) -> Shared:
    """Read everything, again where it changed meanwhile. Raises ConfigurationError."""
    settings, version = load(config), None
    while version != (now := _version(settings)):
        settings, version = load(config), now
    server = settings.server, settings.ca_file, settings.proxy
    try:
        logins = Transport(*server, connections=CONNECTIONS, network=network)
        sessions = Transport(*server, connections=CONNECTIONS, network=sessions_network)
    except TLSFailure as failure:
        raise ConfigurationError(
            [Problem(Path(config), None, "ca_file", str(failure), failure.remedy)]
        ) from None
    return Shared(
        version or (),
        settings,
        UserTable(settings.users, settings.users_folder),
        connect(AuthenticationAPI, settings, logins),
        connect(AuthenticationAPI, settings, sessions),
        connect(ManagementAPI, settings, sessions),
    )


def _version(settings: Settings) -> Version | None:
    """The version of the files of the settings; None where one cannot be examined."""
    try:
        files = [str(file) for file in settings.files]
        if settings.ca_file is None:
            files.extend(map(os.path.realpath, system_certificates()))
        return tuple(trusted_file.versions(files))
    except UntrustedFile:
        return None


def _just_changed(version: Version) -> bool:
    now = time.time()
    return any(abs(now - part[0] / 1e9) < TIMESTAMP_TICK for part in version)
