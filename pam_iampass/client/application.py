"""What both API objects are: an application with its secret, and connections to the server."""

from __future__ import annotations

import os
import re

from .exchange import Call
from .transport import Transport

SERVER = "https://iam-api.com"

# It stands in a header, where a colon ends it, and unquoted in a path.
_APPLICATION_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~@!$&'()*+,;=-]+")


class Application:
    """An application of IAMPASS. Threads may share it."""

    def __init__(
        self,
        application_id: str,
        application_secret: str,
        server: str = SERVER,
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
        self.transport = transport or Transport(server, ca_file, proxy)
        """The connections; other API objects may share them."""

    def __repr__(self) -> str:
        server = self.transport.origin.url
        return f"{type(self).__name__}(application_id={self.application_id!r}, server={server!r})"

    def close(self) -> None:
        """Closes the idle connections; those of a `transport` that was passed in, too."""
        self.transport.close()

    def _call(
        self,
        name: str,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        harmless_to_repeat: bool = False,
    ) -> Call:
        return Call(
            name=name,
            method=method,
            url=self.transport.origin.url + path,
            client_id=self.application_id,
            secret=self._secret,
            body=body,
            content_type=None if body is None else "application/json",
            harmless_to_repeat=harmless_to_repeat,
        )
