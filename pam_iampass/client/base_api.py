"""The base of both API classes: an application, its secret, and a transport to the server."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import replace
from typing import Callable
from urllib.parse import quote_plus

from .deadline import Deadline
from .errors import Refused, Unavailable
from .request import SignedRequest
from .retries import ATTEMPTS
from .transport import DEFAULT_SECONDS, Reply, Transport

SERVER = "https://iam-api.com"

# The id stands in a header, where a colon ends it, and unquoted in a path.
_APPLICATION_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~@!$&'()*+,;=-]+")


class BaseAPI:
    """The API of one IAMPASS application. Threads may share it."""

    def __init__(
        self,
        application_id: str,
        application_secret: str,
        server: str = SERVER,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        *,
        transport: Transport | None = None,
        previous_secret: str = "",
    ) -> None:
        """`server` is `https://HOST[:PORT]`, `ca_file` contains the only certificates to trust (None: the
        system's), `proxy` is `http://HOST:PORT`. A `transport` replaces these three. While the secret is being changed,
        `previous_secret` is tried after a 401 to the other one. Raises ValueError for an
        invalid argument, and TLSFailure if there are no certificates to trust."""
        if not _APPLICATION_ID.fullmatch(application_id):
            raise ValueError("application_id is empty or has characters that no id can have")
        if not application_secret:
            raise ValueError("application_secret is empty")
        self.application_id = application_id
        self._secret = application_secret
        self._previous_secret = previous_secret
        self.used_previous_secret = False
        """Whether the last call was rejected with the secret, and not with the previous one."""
        self.transport = transport or Transport(server, ca_file, proxy)
        """The connections; other API objects may share them."""

    def __repr__(self) -> str:
        server = self.transport.origin.url
        return f"{type(self).__name__}(application_id={self.application_id!r}, server={server!r})"

    def close(self) -> None:
        """Closes the idle connections, also those of a `transport` that was passed in."""
        self.transport.close()

    def _request(
        self,
        name: str,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        idempotent: bool = False,
        rings: bool = False,
    ) -> SignedRequest:
        return SignedRequest(
            name=name,
            method=method,
            url=self.transport.origin.url + path,
            client_id=self.application_id,
            secret=self._secret,
            body=body,
            content_type=None if body is None else "application/json",
            idempotent=idempotent,
            rings=rings,
        )

    def _call(
        self,
        request: SignedRequest,
        deadline: Deadline | None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> Reply:
        """As `Transport.call`, and once more with the previous secret if the other one is rejected with 401."""
        deadline = deadline or Deadline.after(DEFAULT_SECONDS)
        self.used_previous_secret = False
        try:
            return self.transport.call(request, deadline, attempts=attempts, pause=pause)
        except Refused as refused:
            if refused.status != 401 or not self._previous_secret:
                raise
        request = replace(request, secret=self._previous_secret)
        self.used_previous_secret = True
        try:
            return self.transport.call(request, deadline, attempts=attempts, pause=pause)
        except Refused:
            self.used_previous_secret = False
            raise
        except Unavailable as unavailable:
            unavailable.cause = None  # the request was sent, and refused
            raise


def path_segment(user_id: str) -> str:
    """A user id quoted for a path. Raises TypeError, or ValueError for an id that would name another path."""
    if not isinstance(user_id, str):
        raise TypeError("user_id must be text")
    if user_id in ("", ".", ".."):
        raise ValueError('user_id must not be empty, "." or ".."')
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in user_id):
        raise ValueError("user_id must not contain control characters or lone surrogates")
    return quote_plus(user_id)
