"""The rules for which kept session covers a login, without the question to IAMPASS."""

from __future__ import annotations

from dataclasses import dataclass, field

from pam_iampass.config.settings import SessionSettings, same_program
from pam_iampass.config.value_types import METHODS
from pam_iampass.outcome import Login
from pam_iampass.session.kept_session import KeptSession, State

#: How many logins are attached to one session by `covers_connections`: each costs a descriptor.
MOST_ATTACHED = 100


@dataclass(frozen=True)
class CoverRequest:
    """A login that may be covered. What identifies it comes from the kernel and from root, not from its environment."""

    login: Login
    config: str
    """The settings file of the login."""
    account: str
    """The account that is logged in to, by its name in NSS."""
    approver: str
    methods: tuple[str, ...]
    """The methods that a request for it would allow; empty if IAMPASS chooses."""
    audit_session: int | None
    """The kernel's audit session of the application; None without one."""
    token: str = field(default="", repr=False)
    """The token of the phone that would be asked."""
    of_gateway: bool = False
    """Whether a gateway would be asked, and not IAMPASS itself."""
    agent: str = ""
    """The account that acts for the approver and asks; empty if people ask for themselves."""
    key_names_person: bool = False
    """Whether the key says who logs in, so that people share accounts."""


@dataclass(frozen=True)
class Cover:
    """The cover of a login by a kept session."""

    session: str
    """The id of the kept session."""
    service: str
    """The service through which the session was approved."""
    age: float
    """Seconds since the approval."""
    connection: bool
    """Whether it is a further connection, which is attached to the session."""
    request: CoverRequest | None = field(default=None, compare=False, repr=False)
    """The login that is covered."""

    def holds(self, kept: KeptSession) -> bool:
        """Whether the login session is still attached: asking IAMPASS takes time."""
        return self.connection or (self.request is not None and _covers_within(kept, self.request))


def cover(kept: KeptSession, request: CoverRequest, settings: SessionSettings, now: float) -> Cover | None:
    """Whether a kept session covers a login, if IAMPASS confirms it.

    `settings` are the settings of the session's service as they are now, `now` is in seconds since boot.
    """
    if kept.revoked or kept.away or kept.approved == 0.0 or not settings.keep:
        return None
    asked = request.config, request.approver, request.token, request.of_gateway, request.agent
    if asked != (kept.config, kept.approver, kept.token, kept.of_gateway, kept.agent):
        return None
    if strength(request.methods) > strength(kept.methods):
        return None
    age = now - kept.approved
    if (
        _covers_within(kept, request)
        and {request.login.service, same_program(request.login.service)} & settings.covers.services
        and 0 <= age < settings.covers.within
    ):
        return Cover(kept.id, kept.service, age, connection=False, request=request)
    if settings.covers_connections and _is_further_connection(kept, request) and 0 <= age < settings.longest:
        return Cover(kept.id, kept.service, age, connection=True)
    return None


def is_within(kept: KeptSession, audit_session: int | None, uid: int | None) -> bool:
    """Whether the kernel says that an application, whose real user id is `uid`, runs in an attached login session, as
    the user of that login."""
    if kept.state is not State.OPEN or audit_session is None or uid is None:
        return False
    place = audit_session, uid
    return any((login.audit_session, login.uid) == place for login in kept.attached)


def _covers_within(kept: KeptSession, request: CoverRequest) -> bool:
    return is_within(kept, request.audit_session, request.login.real_uid)


def _is_further_connection(kept: KeptSession, request: CoverRequest) -> bool:
    """Whether the same user comes through the same service from the same address, by what is known to be the same
    first factor.

    A session that was covered itself, by a login on another host, is for that very connection, and for no other one
    from there. Where people share accounts, that need not be the same person: the ssh agent that one forwards to an
    account signs for anyone who uses the account, and the address is the one of its machine.
    """
    if kept.state not in (State.APPROVED, State.OPEN) or kept.covered_by:
        return False
    if len(kept.attached) + len(kept.awaited) >= MOST_ATTACHED:
        return False
    login = request.login
    if not login.address or login.first_factor is None or request.key_names_person:
        return False
    origin = login.address, request.account, login.service, login.first_factor
    return origin == (kept.address, kept.user, kept.service, kept.first_factor)


def strength(methods: tuple[str, ...]) -> int:
    """The place of the weakest method that is allowed. Where IAMPASS chooses, it can be the weakest of all."""
    return min((METHODS.index(method) for method in methods), default=0)
