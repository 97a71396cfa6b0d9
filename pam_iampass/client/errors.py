"""The errors of this package.

    IampassError
    ├── Unavailable      no response from IAMPASS (name lookup, connection, time-out), a 5xx or a 429
    ├── Refused          a complete 401 or 403
    ├── NotFound         a complete 404: IAMPASS does not know the application, the user or the session
    ├── Declined         a management call that IAMPASS understood and did not carry out
    ├── TLSFailure       an untrusted certificate, a wrong name, an old protocol version
    ├── LocalFailure     this machine cannot connect: descriptors, ports, memory, permissions, an unknown server
    │                    name, and any other errno that the far side cannot have caused
    ├── ProtocolError    an invalid response: malformed, wrong types, an unknown status, a URL of another
    │                    server, a redirect, another 4xx, larger than 128 KiB, compressed
    ├── BadSignature     a signed session that was changed, has expired, or was signed with another key
    └── SessionFailed    for callers who want a failed session as an exception; no call here raises it

A message names the call ("start", "poll", "end", "add users" and so on), and contains no secret, token, user id or
signed URL. Only the reason is the server's own text.
"""

from __future__ import annotations


def printable(text: str, limit: int = 200) -> str:
    """Return at most `limit` characters of text from outside, safe for a terminal or a log."""
    cleaned = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def clock_difference(offset: float) -> str:
    """Say by how much this machine's clock differs, where the server's is `offset` seconds ahead."""
    return (
        f"this machine's clock is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} the server's"
    )


AWAY = {
    "IAMPASS_AWAY": "the gateway gets no answer from IAMPASS",
    "DATABASE_AWAY": "the gateway cannot use its database",
}
"""The reasons for which a gateway cannot serve, in words."""


class IampassError(Exception):
    """A call failed; `str()` says which one and why."""

    remedy = "See the journal for earlier errors."

    def __init__(self, what: str, *, may_have_started: bool = False, remedy: str | None = None) -> None:
        super().__init__(what)
        self.may_have_started = may_have_started
        """Whether IAMPASS may have carried out the call. False only if no byte of the request was sent, or after a
        complete 4xx; after a 429 only for calls that ask no phone."""
        if remedy is not None:
            self.remedy = remedy

    def diagnostics(self) -> str:
        """Returns what failed, why, and what to do."""
        return f"{self}. {self.remedy}"


class Unavailable(IampassError):
    """IAMPASS is unreachable, did not answer in time, or says that it cannot answer now."""

    remedy = "Check the network, the proxy, name lookup and the state of the service, then try again."

    def __init__(
        self,
        what: str,
        *,
        may_have_started: bool = False,
        remedy: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        timed_out: bool = False,
        outage: bool = False,
        away: str = "",
    ) -> None:
        super().__init__(what, may_have_started=may_have_started, remedy=remedy)
        self.status = status
        """The HTTP status, if a complete response was received."""
        self.retry_after = retry_after
        """The seconds that the server asks to wait (infinity for an absurd number), or None."""
        self.timed_out = timed_out
        """Whether the time was over."""
        self.outage = outage
        """Whether a caller may continue as if IAMPASS were out of service. True only if no byte of the request was
        sent, and the connection was refused or timed out, there is no route, or the name lookup failed although this
        machine has UDP sockets left. Also true if a gateway says that it could not connect for this request. A user
        of this machine can cause some of these failures."""
        self.away = away
        """The service that a gateway cannot reach: `IAMPASS_AWAY`, `DATABASE_AWAY`, or empty."""


class Refused(IampassError):
    """IAMPASS does not accept the signature: the id, the secret or the clock is wrong."""

    remedy = "Check application_id, the application secret and this machine's clock."

    def __init__(
        self, what: str, *, status: int, clock_offset: float | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(what, remedy=remedy)
        self.status = status
        """401 or 403."""
        self.clock_offset = clock_offset
        """How many seconds the server's clock is ahead of ours (negative: behind), if that explains the refusal."""


class NotFound(IampassError):
    """IAMPASS does not know the application or the user; of a poll or an end, the session. This is no outage.

    Source: the service's documentation names a 404 as the failure of every call.
    """

    remedy = "Check application_id and server, and that the user was added to this application."


class Declined(IampassError):
    """IAMPASS did not carry out a management call."""

    remedy = "See the reason; add the user before any other call."

    def __init__(self, what: str, *, reason: str | None = None) -> None:
        super().__init__(what)
        self.reason = reason
        """The server's text, such as UNKNOWN_USER, or None. Not cleaned for a terminal or a log."""


class TLSFailure(IampassError):
    """The connection is not trustworthy. This is no outage."""

    remedy = (
        "Check server and ca_file. Do not continue if another machine may be answering in the server's name."
    )


class LocalFailure(IampassError):
    """This machine itself cannot connect. This is no outage."""

    remedy = (
        "Check the spelling of `server`, free descriptors, ports (ss -tuna) and memory, and rules that forbid "
        "connections."
    )


class ProtocolError(IampassError):
    """IAMPASS sent an invalid response."""

    remedy = (
        "Check that `server` names IAMPASS itself, and that a proxy may connect to it; "
        "if so, report this to the service."
    )


class BadSignature(IampassError):
    """A signed session must not be used."""

    remedy = "Start a new session."


class SessionFailed(IampassError):
    """The session ended without an approval."""

    remedy = "See the reason; a user without a registered device has to register one."
