"""Starts sessions: asks IAMPASS to ask a person."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Callable

from .deadline import Deadline
from .exchange import Call
from .origin import path_segment
from .retries import ATTEMPTS
from .session import Session, read_session
from .status import AuthenticationMethod
from .transport import Transport

# It stands in a header, where a colon ends it, and unquoted in a path.
_APPLICATION_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~@!$&'()*+,;=-]+")


class AuthenticationAPI:
    """The calls by which an application has its users authenticated. Threads may share it."""

    def __init__(
        self,
        application_id: str,
        application_secret: str,
        server: str = "https://iam-api.com",
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        *,
        transport: Transport | None = None,
    ) -> None:
        """`server` is `https://HOST[:PORT]`, `ca_file` the only certificates to trust (None: the system's),
        `proxy` `http://HOST:PORT`. A `transport` brings these three with it. Raises ValueError for what
        makes no sense, and TLSFailure where there are no certificates to trust."""
        if not _APPLICATION_ID.fullmatch(application_id):
            raise ValueError("application_id: empty, or with characters that an id cannot have")
        if not application_secret:
            raise ValueError("application_secret: empty")
        self.application_id = application_id
        self._secret = application_secret
        self._transport = transport or Transport(server, ca_file, proxy)

    def __repr__(self) -> str:
        server = self._transport.origin.url
        return f"AuthenticationAPI(application_id={self.application_id!r}, server={server!r})"

    def close(self) -> None:
        """Closes the idle connections; those of a `transport` that was passed in, too."""
        self._transport.close()

    def authenticate_user(
        self,
        user_id: str,
        authentication_methods: Sequence[AuthenticationMethod] | None = None,
        duration_seconds: int | None = None,
        *,
        deadline: Deadline | None = None,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> Session:
        """Has IAMPASS send its request to the user's phone.

        Without methods IAMPASS chooses; without a duration the session lasts 3600 s on the server. A user
        whom IAMPASS cannot ask (no device, say) gives a failed session with its `failure_reason`. Without a
        deadline the call takes 30 s at most. It is repeated only while it is certain that it has started
        nothing. Raises IampassError, ValueError, TypeError.
        """
        user = path_segment(user_id)
        query = _query(authentication_methods, duration_seconds)
        path = f"/authentication/authenticate_user/{self.application_id}/{user}{query}"
        call = Call(
            name="start",
            method="POST",
            url=self._transport.origin.url + path,
            client_id=self.application_id,
            secret=self._secret,
            body=b"{}",
        )
        reply = self._transport.call(call, deadline, attempts=attempts, pause=pause)
        return read_session(reply.document, self._transport, reply.clock_offset)


def _query(methods: Sequence[AuthenticationMethod] | None, duration: int | None) -> str:
    parts = []
    if methods:
        if not all(isinstance(method, AuthenticationMethod) for method in methods):
            raise TypeError("authentication_methods must be AuthenticationMethod members")
        parts.append("methods=" + ",".join(method.name for method in methods))
    if duration is not None:
        if type(duration) is not int:
            raise TypeError("duration_seconds must be a whole number")
        if duration <= 0:
            raise ValueError("duration_seconds must be more than 0")
        parts.append(f"duration_seconds={duration}")
    return "?" + "&".join(parts) if parts else ""
