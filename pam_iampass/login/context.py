"""The context of a login: the arguments of its PAM line, the configuration, and what its process provides."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from pam_iampass.client import AuthenticationAPI, Deadline, Gateways, ManagementAPI, Transport
from pam_iampass.config.settings import ServiceSettings, Settings, ThrottleSettings
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.value_types import SecondPerson
from pam_iampass.login.agent_state import AgentState
from pam_iampass.login.application import PamApplication
from pam_iampass.login.at_gateway import AtGateway
from pam_iampass.login.at_iampass import AtIampass
from pam_iampass.login.decider import Decider, Request
from pam_iampass.login.policy import Phone
from pam_iampass.login.typed_codes import TypedCodes
from pam_iampass.outcome import Login, Phase
from pam_iampass.system.accounts import Accounts
from pam_iampass.system.paths import SETTINGS

_API = TypeVar("_API", AuthenticationAPI, ManagementAPI)


@dataclass(frozen=True)
class ModuleArguments:
    """The arguments on a PAM line (pam_iampass(8))."""

    config: str = SETTINGS
    """The path of the settings."""

    first_factor: str | None = None
    """The method that sshd must have accepted before (`publickey`), or None."""

    rescue: str | None = None
    """The account that gets in where no agent runs or the settings cannot be used, or None."""

    codes: bool = False
    """Whether the line only takes a recovery code, before sshd's first factor (`typed_codes`)."""

    always: bool = False
    """Whether sudo asks in its account phase, for every command (`setup sudo --always`)."""

    debug: bool = False

    unknown: tuple[str, ...] = ()
    """Arguments that are unknown, malformed or repeated: the login is denied because of them."""

    def rescues(self, login: Login) -> bool:
        """Whether `rescue` lets this login in where the settings cannot be used: the rule of the door (`rescue.c`)."""
        if self.rescue is None or self.unknown or login.real_uid != 0 or not login.through_sshd:
            return False
        if login.phase is Phase.ACCOUNT:
            behind_first_factor = self.first_factor is None  # sshd has seen to it
        else:
            behind_first_factor = self.first_factor is not None and login.accepted(self.first_factor)
        return behind_first_factor and login.user == self.rescue

    def only_takes_code(self, login: Login) -> bool:
        """Whether the line does no more than to take a recovery code before sshd's first factor."""
        valid = self.codes and self.first_factor is None and not self.unknown
        return valid and login.through_sshd and login.phase is Phase.AUTHENTICATE

    @classmethod
    def parse(cls, argv: list[str]) -> ModuleArguments:
        """Parse `argv`, whose first word is the name of the module."""
        values: dict[str, str] = {}
        unknown = []
        for argument in argv[1:]:
            name, _, value = argument.partition("=")
            valid = {
                "config": value.startswith("/"),
                "first_factor": value == "publickey",
                "rescue": value != "",
                "codes": argument == "codes",
                "always": argument == "always",
                "debug": argument == "debug",
            }.get(name, False)
            if valid and name not in values:
                values[name] = value
            else:
                unknown.append(argument)
        return cls(
            values.get("config", SETTINGS),
            values.get("first_factor"),
            values.get("rescue"),
            "codes" in values,
            "always" in values,
            "debug" in values,
            tuple(unknown),
        )


def connect(api: type[_API], settings: Settings, transport: Transport | Gateways | None = None) -> _API:
    """An API object for the application of the settings. A `transport` brings its own connections.

    Raises TLSFailure if there are no certificates to trust.
    """
    return api(
        settings.application_id,
        settings.application_secret,
        transport=transport or transport_of(settings),
        previous_secret=settings.previous_secret,
    )


def transport_of(settings: Settings, **options: Any) -> Transport | Gateways:
    """Connections to what the settings name, with these options of a Transport. Raises TLSFailure as `connect`."""
    if settings.gateways:
        return Gateways(settings.gateways, settings.gateway_ca, **options)
    return Transport(settings.server, settings.ca_file, settings.proxy, **options)


def decider_of(settings: Settings, transport: Transport | Gateways) -> Decider:
    """The decider of requests with these settings, over the connections of `transport_of`."""
    api = connect(AuthenticationAPI, settings, transport)
    if isinstance(transport, Gateways):
        return AtGateway(api)
    return AtIampass(api, connect(ManagementAPI, settings, transport))


@dataclass(frozen=True)
class Configuration:
    """One version of the settings, and what belongs to it."""

    settings: Settings
    users: UserTable
    decider: Decider


@dataclass(frozen=True)
class AskedLogin:
    """A login that requires a second factor."""

    login: Login
    account: str
    """The account that is logged in to, by its name in NSS."""
    approver: str
    """The person whose phone is asked."""
    configuration: Configuration
    service: ServiceSettings

    @property
    def settings(self) -> Settings:
        return self.configuration.settings

    @property
    def decider(self) -> Decider:
        """The decider of a request for it."""
        return self.configuration.decider

    @property
    def counted(self) -> str:
        """The name under which simultaneous logins are counted."""
        return self.approver


@dataclass(frozen=True)
class ApprovalRequired(AskedLogin):
    """A login that a person must approve on a phone."""

    phone: Phone
    asker: str = ""
    """The person who logs in, if a second person must approve, or the account that acts for a person; else empty. Their
    account, if they may be unknown."""
    asker_is_known: bool = True
    """Whether `asker` is a person, and not an account that several may share (`allow_self`)."""
    is_agents: bool = False
    """Whether `asker` is an account that acts for a person (`acts_for`)."""
    others: tuple[ApprovalRequired, ...] = ()
    """The people who are asked after this second person, in this order."""

    @property
    def people(self) -> tuple[ApprovalRequired, ...]:
        """All who may be asked, in this order."""
        return (self, *self.others)

    @property
    def person(self) -> str:
        """The person who logs in; empty if nothing names them."""
        return self.counted if self.asker_is_known else ""

    @property
    def asks_owner(self) -> bool:
        """Whether an account asks the person for whom it acts, and no second person."""
        return self.is_agents and not isinstance(self.service.approver, SecondPerson)

    @property
    def agent(self) -> str:
        """The account that acts for a person and makes the request; empty without one."""
        return self.asker if self.is_agents else ""

    @property
    def limits(self) -> ThrottleSettings:
        """The limits on the requests to the phone."""
        return self.settings.agents_throttle if self.asks_owner else self.settings.throttle

    @property
    def counted(self) -> str:
        """The name of the person who asks a second person, if one must approve: so they keep nobody else from
        asking."""
        return self.asker or self.approver

    def request(self, application: PamApplication, deadline: Deadline) -> Request:
        """The request to approve it, or to redeem a code for it."""
        of_login = self.login, self.approver, self.asker, self.service, self.phone
        return Request(*of_login, application, deadline)


@dataclass(frozen=True)
class LoginContext:
    """The things that a login needs from its process. They are passed in, so that a test can bring its own."""

    accounts: Accounts
    state: AgentState

    configure: Callable[[], Configuration]
    """Raises ConfigurationError."""

    began: float
    """When the login began, before the person was looked up, in seconds since boot."""

    typed_codes: TypedCodes
    """Codes that users typed before the first factor."""

    session_left_open: Callable[[str], None]
    """Called with the reason where an IAMPASS session could not be ended."""

    tell_approver: Callable[[ApprovalRequired], None] = lambda _required: None
    """Called once the phone of another person than the one who logs in is asked: of a second person, or of the owner of
    an account that acts for them. It waits for nothing and raises nothing."""

    config: str = SETTINGS
    """The settings file."""

    cover_timeout: float = 5.0
    """The longest that IAMPASS may take to say that a kept session is active. Seconds."""

    clock: Callable[[], float] = time.monotonic

    first_poll: float = math.inf
    """The number of seconds after which a request is first polled, if that is sooner than `approval.FIRST_POLL`."""

    least_share: float = 14.0
    """The shortest time in which a second person is asked after another one: 15 s, less what it takes to end the
    request before. Seconds."""

    may_be_held: Callable[[], bool] = lambda: True
    """Whether a gateway may hold a poll, which takes a connection meanwhile."""

    slowdown: Callable[[], float] = lambda: 1.0
    """The factor, 1 or more, by which the time between polls is stretched where many logins wait."""


#: From the path of the settings, and `session_left_open`, to the context of a login.
ContextFactory = Callable[[str, Callable[[str], None]], LoginContext]
