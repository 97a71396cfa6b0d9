"""A kept session, and the logins that it belongs to, as they are stored between two starts of the agent."""

from __future__ import annotations

import enum
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from pam_iampass.config.settings import CoverSettings, SessionSettings
from pam_iampass.config.value_types import Enforcement
from pam_iampass.enforcer.protocol import LoginSession, Reason, Verb


@dataclass(frozen=True)
class AttachedLogin(LoginSession):
    """A login session that belongs to a kept session. Its process id is the one in the PID namespace of the agent."""

    rhost: str | None = None
    since: float = 0.0
    """Unix time at which it was attached."""
    inode: int | None = None
    """The inode of the pidfd of its process, which no other process has; None before Linux 6.9 (pidfs)."""


@dataclass(frozen=True)
class Opener:
    """A process that may still open a login session: its login was approved, or covered as a further connection."""

    pid: int
    inode: int | None = None
    """The inode of its pidfd, as in `AttachedLogin`."""


_E = TypeVar("_E", bound=enum.Enum)

#: How long after the deadline of a request, or after `longest`, IAMPASS ends the session if we do not. Seconds.
SESSION_MARGIN = 30


def new_id() -> str:
    """An id for a session. It is no secret: it gives no access to anything."""
    return secrets.token_hex(16)


class State(enum.Enum):
    """How far a kept session has come. `docs/one-server/sessions.md` has the table of all that can happen."""

    ASKED = "asked"
    """The request is on the phone. After a restart of the agent nobody waits for it."""
    APPROVED = "approved"
    """The application has been let in, and the agent has not been told of its login session yet."""
    OPEN = "open"
    """A login session is attached."""
    ENDING = "ending"
    """It covers nothing. IAMPASS has to be told, or login sessions have to be ended."""


class EndCause(enum.Enum):
    """The cause of the end of a kept session."""

    LOGIN = "login"
    """The last attached login is over."""
    NOT_OPENED = "not opened"
    """No login session was opened after the approval."""
    PHONE = "phone"
    """IAMPASS reports that it is over: it was ended on the phone, at IAMPASS, or by its duration there."""
    GATEWAY = "gateway"
    """The gateway reports that it is over: it was ended on the phone, at IAMPASS, by an administrator of the gateway,
    or with the login on another host that covers it."""
    AWAY = "away"
    """The phone is no longer near, and the settings say that this ends the login."""
    NO_PHONE = "no phone"
    """IAMPASS reports that the person has no phone any more: it was lost, perhaps on another machine."""
    ADMINISTRATOR = "administrator"
    LONGEST = "longest"
    """It was kept as long as the settings allow."""
    KILLED = "killed"
    """The process of an attached login has ended without closing it; nothing is attached any more."""
    NOT_APPROVED = "not approved"
    """The phone did not approve the login that began it."""


@dataclass(frozen=True)
class KeptSession:
    """A session at IAMPASS that lasts as long as the logins that are attached to it."""

    id: str
    state: State
    session: str = field(repr=False)
    """The session at IAMPASS as JSON, with its secret: never to be shown."""
    config: str
    """The settings file of the login."""
    user: str
    """The account that was logged in to, by its name in NSS."""
    approver: str
    """The person who approved it."""
    service: str
    rhost: str
    through_sshd: bool
    address: str
    """The address of the ssh client (SSH_CONNECTION); empty if it has none, and outside sshd."""
    first_factor: str | None
    """`Login.first_factor`; None if it was not known."""
    methods: tuple[str, ...]
    """The methods that the request allowed; empty if IAMPASS chose."""
    rules: SessionSettings
    """The settings that held at the approval. What is covered depends on the present settings."""
    began: float
    """When the request was sent, in seconds since boot."""
    approved: float
    """When the phone approved it, in seconds since boot; 0 while it has not."""
    since: float
    """The Unix time of the approval, for people."""
    token: str = field(default="", repr=False)
    """The token of the phone that approved it: never to be shown."""
    person: str = ""
    """The person who logged in: `approver`, unless that was a second person. Empty if it is not known."""
    of_gateway: bool = False
    """Whether it is a session of a gateway, and not of IAMPASS itself."""
    agent: str = ""
    """The account that acts for a person and has logged in; empty if people have logged in for themselves."""
    covered_by: str = ""
    """The other host whose login covers the login that began this session, for which no phone was asked; else empty.
    Not cleaned."""
    awaited: tuple[Opener, ...] = ()
    """The processes whose logins may still be attached: one for the approval, one for each further connection that it
    covered."""
    attached: tuple[AttachedLogin, ...] = ()
    revoked: bool = False
    """Whether it covers nothing any more."""
    away: bool = False
    """Whether the phone is no longer near, and `when_away` was applied."""
    locked: bool = False
    """Whether we locked its logins."""
    killed: bool = False
    """Whether the process of a login that was attached has ended without closing it."""
    covered: int = 0
    """How many logins it covered."""
    last_covered: float = 0.0
    """The Unix time of the last of them."""
    leads_on: bool = False
    """Whether this host has said that a login on another host begins in one of its logins."""
    ended_by: EndCause | None = None
    """The cause of its end; None in any other state than ENDING."""
    told: bool = False
    """Whether nothing remains to be done at IAMPASS."""
    wanted: Verb | None = None
    """The action that the enforcer still has to take on the attached logins."""
    why: Reason | None = None
    """The reason for it."""

    @property
    def ends_at(self) -> float:
        """When it has been kept as long as possible, in seconds since boot."""
        return self.began + self.rules.longest

    @property
    def is_let_in(self) -> bool:
        """Whether a login has been let in and the session has not ended: a login session is open, or may be."""
        return self.state in (State.APPROVED, State.OPEN)

    @property
    def is_over(self) -> bool:
        """Whether nothing remains to be done for it. A login that is still to be opened must be ended, too."""
        is_done = self.told and self.wanted is None and not self.attached
        return self.state is State.ENDING and is_done and not self.awaited


def encode(kept: KeptSession) -> str:
    """A session as it is stored, its secret and token included."""
    return json.dumps(asdict(kept), default=_plain)


def decode(data: str) -> KeptSession:
    """The session that was stored. Raises ValueError, whose text contains nothing of it."""
    try:
        members = json.loads(data)
        return KeptSession(
            **{
                **_known(KeptSession, members),
                "state": State(members["state"]),
                "methods": tuple(members["methods"]),
                "rules": _rules(members["rules"]),
                "attached": tuple(AttachedLogin(**_known(AttachedLogin, one)) for one in members["attached"]),
                "awaited": tuple(Opener(**_known(Opener, one)) for one in members.get("awaited", ())),
                "ended_by": _optional(EndCause, members.get("ended_by")),
                "wanted": _optional(Verb, members.get("wanted")),
                "why": _optional(Reason, members.get("why")),
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise ValueError("this is not a kept session")  # outside of the handler, which holds the secret


def _optional(kind: type[_E], value: Any) -> _E | None:
    return None if value is None else kind(value)


def _rules(members: Mapping[str, Any]) -> SessionSettings:
    enforcements = {name: Enforcement(members[name]) for name in ("when_closed", "when_away")}
    covers = CoverSettings(frozenset(members["covers"]["services"]), members["covers"]["within"])
    return SessionSettings(**{**_known(SessionSettings, members), **enforcements, "covers": covers})


def _known(kind: type[Any], members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that this version knows: another version may have written more."""
    names = kind.__dataclass_fields__
    return {name: value for name, value in members.items() if name in names}


def _plain(value: enum.Enum | frozenset[str]) -> Any:
    return value.value if isinstance(value, enum.Enum) else sorted(value)
