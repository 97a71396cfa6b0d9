"""All errors of this package.

    IampassError
    ├── Unavailable      out of reach: look-up, connection, time, 5xx, 429 to the end
    ├── Refused          a complete 401 or 403
    ├── Declined         a management call that IAMPASS understood and did not carry out
    ├── TLSFailure       a certificate that is not trusted, a wrong name, an old protocol version
    ├── LocalFailure     this machine cannot connect: descriptors, memory, permission, a name that is unknown
    ├── ProtocolError    an answer that makes no sense: junk, wrong types, an unknown status, a foreign
    │                    URL, a redirect, another 4xx, more than 64 KiB, compressed
    ├── SealBroken       a sealed session that was changed, is too old, or was sealed with another key
    └── SessionFailed    for callers who want a failed session as an exception; no call here raises it

No message holds a secret, a token, a user id or a signed URL: a call is named «start», «poll», «end», «add
users» and so on. (The reason that the server gives is its own text.) An argument that makes no sense is no
IampassError but a ValueError or a TypeError, raised before anything is sent.
"""

from __future__ import annotations


def printable(text: str, limit: int = 200) -> str:
    """Text from outside, at most `limit` characters of it, safe for a terminal or a log."""
    cleaned = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


class IampassError(Exception):
    """A call that did not succeed; `str()` says what happened, and to what."""

    remedy = "Look at the journal for what went before."

    def __init__(self, what: str, *, may_have_started: bool = False, remedy: str | None = None) -> None:
        super().__init__(what)
        self.may_have_started = may_have_started
        """May IAMPASS have carried out the call? False only if no byte of the request has left for certain,
        or if a complete 4xx or 5xx came in answer."""
        if remedy is not None:
            self.remedy = remedy

    def diagnostics(self) -> str:
        """What happened, to what, and what to do about it."""
        return f"{self}. {self.remedy}"


class Unavailable(IampassError):
    """IAMPASS is out of reach, did not answer in time, or says that it cannot serve now."""

    remedy = "Check the network, name look-up and the state of the service, then try again."

    def __init__(
        self,
        what: str,
        *,
        may_have_started: bool = False,
        remedy: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        timed_out: bool = False,
    ) -> None:
        super().__init__(what, may_have_started=may_have_started, remedy=remedy)
        self.status = status
        """The HTTP status, where a complete answer came."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait (infinity for absurd ones), where it said so."""
        self.timed_out = timed_out
        """The time for it ran out."""


class Refused(IampassError):
    """IAMPASS does not accept the signature: wrong id, wrong secret, or a clock that is off."""

    remedy = "Check application_id, the application secret and this machine's clock."

    def __init__(
        self, what: str, *, status: int, clock_offset: float | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(what, remedy=remedy)
        self.status = status
        """401 or 403."""
        self.clock_offset = clock_offset
        """Seconds that the server's clock is ahead of ours (negative: behind), where that is far enough to
        explain the refusal."""


class Declined(IampassError):
    """IAMPASS understood a management call and says that it did not do it."""

    remedy = "See the reason; a user has to be added before anything else."

    def __init__(self, what: str, *, reason: str | None = None) -> None:
        super().__init__(what)
        self.reason = reason
        """As the server said it, such as UNKNOWN_USER: not cleaned for a terminal or a log. None: it said
        none."""


class TLSFailure(IampassError):
    """No trustworthy connection: never to be taken for an outage."""

    remedy = "Check server and ca_file; do not go on if somebody else may be answering in the server's name."


class LocalFailure(IampassError):
    """This machine is not able to connect, whatever the state of IAMPASS: never to be taken for an outage."""

    remedy = "Check that `server` is spelt right; look for what uses up descriptors or memory, or forbids connections."


class ProtocolError(IampassError):
    """An answer that does not follow the protocol."""

    remedy = "Check that `server` names IAMPASS itself; if it does, report this to the service."


class SealBroken(IampassError):
    """A sealed session is not to be used."""

    remedy = "Start a new session."


class SessionFailed(IampassError):
    """The session did not come to an approval."""

    remedy = "See the reason; a user without a registered device has to register one."
