"""A login and its decision: the one table from outcome to result to PAM code."""

from __future__ import annotations

import enum
import secrets
from dataclasses import dataclass, field


class PamCode(enum.IntEnum):
    """The PAM return codes (Linux-PAM, `_pam_types.h`)."""

    SUCCESS = 0
    OPEN_ERR = 1
    SYMBOL_ERR = 2
    SERVICE_ERR = 3
    SYSTEM_ERR = 4
    BUF_ERR = 5
    PERM_DENIED = 6
    AUTH_ERR = 7
    CRED_INSUFFICIENT = 8
    AUTHINFO_UNAVAIL = 9
    USER_UNKNOWN = 10
    MAXTRIES = 11
    NEW_AUTHTOK_REQD = 12
    ACCT_EXPIRED = 13
    SESSION_ERR = 14
    CRED_UNAVAIL = 15
    CRED_EXPIRED = 16
    CRED_ERR = 17
    NO_MODULE_DATA = 18
    CONV_ERR = 19
    AUTHTOK_ERR = 20
    AUTHTOK_RECOVER_ERR = 21
    AUTHTOK_LOCK_BUSY = 22
    AUTHTOK_DISABLE_AGING = 23
    TRY_AGAIN = 24
    IGNORE = 25
    ABORT = 26
    AUTHTOK_EXPIRED = 27
    MODULE_UNKNOWN = 28
    BAD_ITEM = 29
    CONV_AGAIN = 30
    INCOMPLETE = 31


class Phase(enum.IntEnum):
    """The PAM function that was called, by its number in the relay protocol. Only the first two decide a login."""

    AUTHENTICATE = 1
    """pam_sm_authenticate: the person can be asked."""

    ACCOUNT = 2
    """pam_sm_acct_mgmt: in sshd, where nothing can be asked, and what is said appears once it is over; and in sudo, if
    it asks for every command."""

    OPEN_SESSION = 3
    """pam_sm_open_session of a login with a kept session."""

    CLOSE_SESSION = 4
    """pam_sm_close_session of the same."""


class Result(enum.Enum):
    """The result that the module reports to PAM."""

    SUCCESS = "success"
    IGNORED = "ignored"
    DENIED = "denied"


class Outcome(enum.Enum):
    """The end of a login."""

    APPROVED = "approved"
    RECOVERED = "recovered"
    EXEMPT = "exempt"
    COVERED = "covered"
    BYPASSED = "bypassed"
    DENIED = "denied"
    TIMED_OUT = "timed_out"
    NO_DEVICE = "no_device"
    UNLISTED = "unlisted"
    UNAVAILABLE = "unavailable"
    MISCONFIGURED = "misconfigured"
    THROTTLED = "throttled"
    CANCELLED = "cancelled"


class SessionEvent(enum.Enum):
    """An event of a kept session, apart from the logins that it covers."""

    OPENED = "session_opened"
    ENDED = "session_ended"
    AWAY = "session_away"
    BACK = "session_back"
    SILENT = "session_silent"


_SUCCESS = frozenset({Result.SUCCESS})
_IGNORED = frozenset({Result.IGNORED})
_DENIED = frozenset({Result.DENIED})

#: The results that each outcome can have. Only an approval or a redeemed recovery code gives success.
RESULTS = {
    Outcome.APPROVED: _SUCCESS,
    Outcome.RECOVERED: _SUCCESS,
    Outcome.EXEMPT: _IGNORED,
    Outcome.COVERED: _IGNORED,
    Outcome.BYPASSED: _IGNORED,
    Outcome.UNLISTED: _IGNORED | _DENIED,
    Outcome.UNAVAILABLE: _IGNORED | _DENIED,
    Outcome.MISCONFIGURED: _IGNORED | _DENIED,
    Outcome.DENIED: _DENIED,
    Outcome.TIMED_OUT: _DENIED,
    Outcome.NO_DEVICE: _DENIED,
    Outcome.THROTTLED: _DENIED,
    Outcome.CANCELLED: _DENIED,
}


@dataclass
class Participants:
    """Facts of a login for its audit record: the accounts of the other people in it, and the command."""

    caller: str = ""
    """The user who started the application (`login.policy.caller_name`)."""

    approver: str = ""
    """The person whose phone is asked, whose recovery code is spent, or who is bypassed."""

    person: str = ""
    """The person who logs in, if a second person must approve."""

    session_user: str = ""
    """The account of the login session in which the application was started (`login.policy.session_account`)."""

    command: str = ""
    """The command that the application runs, unless the settings keep it out of records."""


@dataclass(frozen=True)
class Login:
    """A login: who logs in, through which service, from where. Texts come from PAM uncleaned: clean them before
    output."""

    user: str
    """PAM_USER. In sudo the caller, in su the target."""

    service: str
    """PAM_SERVICE, the name of the PAM service file."""

    rhost: str | None = None
    """PAM_RHOST: an address or a host name, set by the application."""

    tty: str | None = None
    """PAM_TTY."""

    ruser: str | None = None
    """PAM_RUSER. In su the caller; elsewhere the remote side may have chosen it."""

    real_uid: int | None = None
    """The real user id of the application's process."""

    login_uid: int | None = None
    """The user id of the login session in which the application was started (`/proc/PID/loginuid`). It stays when the
    user becomes another one. A process outside of login sessions can choose it once. None in sshd, or without one."""

    address: str = ""
    """The address of the client of sshd (SSH_CONNECTION). Empty where it has none, and outside sshd."""

    ssh_auth_info: str | None = None
    """`SSH_AUTH_INFO_0`: the methods that sshd has accepted, one a line; empty for none; None outside sshd."""

    phase: Phase = Phase.AUTHENTICATE

    sshd_shows_text: bool = False
    """Whether this sshd shows a text at once when it can ask, and can ask now."""

    command: str = field(default="", repr=False, compare=False)
    """The command that sudo, su or doas run for their caller, cleaned. It decides nothing."""

    participants: Participants = field(default_factory=Participants, compare=False)

    id: str = field(default_factory=lambda: secrets.token_hex(16), compare=False)
    """The id of the login in all records of it, here and at a gateway; no secret."""

    @property
    def through_sshd(self) -> bool:
        """Whether the application is sshd. `SSH_AUTH_INFO_0` counts even if it is empty (sshd(8))."""
        return self.ssh_auth_info is not None

    @property
    def shows_text(self) -> bool:
        """Whether the application shows a text at once; otherwise it shows it with a prompt, or after the result.

        In its account phase sudo does on a terminal. Without one it runs for a program, which reads what it shows.
        """
        if self.through_sshd:
            return self.phase is Phase.AUTHENTICATE and self.sshd_shows_text
        return self.phase is Phase.AUTHENTICATE or bool(self.tty)

    @property
    def first_factor(self) -> str | None:
        """The methods that sshd has accepted before the phone; None where they are not known.

        In the account phase, the method that has just succeeded is not in SSH_AUTH_INFO_0 yet.
        """
        return None if self.phase is Phase.ACCOUNT else self.ssh_auth_info

    def accepted(self, method: str) -> bool:
        """Whether sshd has already accepted the authentication method `method` (for example `publickey`).

        Only the first word of a line counts: the client chooses the rest of a `hostbased` line.
        """
        lines = (self.ssh_auth_info or "").split("\n")
        return any(line.split(" ", 1)[0] == method for line in lines)


@dataclass(frozen=True)
class Decision:
    """The outcome of a login, and why."""

    outcome: Outcome
    result: Result
    reason: str = ""
    """The text for the administrator: what happened, without secrets, tokens or codes. Not cleaned."""

    message: str = ""
    """The line for the user. Not cleaned. Empty for no message."""

    elapsed: float = 0.0
    """Seconds from the request to IAMPASS until the decision; 0 if no request was made."""

    session: str = ""
    """The id of the kept session that the login began, or that covers it: ours, no secret. Empty for none."""

    covered_by: str = ""
    """The other host with the login that covers this one. Not cleaned."""

    of_gateway: bool = False
    """Whether a gateway has decided it, which has a record of its own."""

    notice: str = ""
    """A further line for the user, which they should see once, whatever the application. Not cleaned."""

    def __post_init__(self) -> None:
        if self.result not in RESULTS[self.outcome]:
            raise ValueError(f"the outcome {self.outcome.value} cannot have the result {self.result.value}")

    @property
    def is_reported(self) -> bool:
        """Whether this host has let somebody in by itself, so that a gateway hears of it only by a report. An approval
        is known where it was asked for."""
        by_itself = self.outcome is not Outcome.APPROVED and not self.of_gateway
        return by_itself and self.result is not Result.DENIED

    def pam_code(self, login: Login) -> PamCode:
        """The code for PAM.

        A denial must end the login at once, or the application runs the stack again and sends another request to
        the phone. PAM_MAXTRIES ends it in sshd, PAM_ABORT in sudo and su; in sshd's account phase any denial does.
        """
        if self.result is Result.SUCCESS:
            return PamCode.SUCCESS
        if self.result is Result.IGNORED:
            return PamCode.IGNORE
        if login.phase is Phase.ACCOUNT:
            return PamCode.PERM_DENIED
        return PamCode.MAXTRIES if login.through_sshd else PamCode.ABORT


def denied(outcome: Outcome, reason: str, message: str = "", elapsed: float = 0.0) -> Decision:
    """A decision with the result denied."""
    return Decision(outcome, Result.DENIED, reason, message, elapsed)
