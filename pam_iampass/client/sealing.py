"""Sessions as sealed, URL-safe tokens, for a cookie or a link."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Callable

from .errors import SealBroken
from .session import Session
from .session_json import SessionSchema

if TYPE_CHECKING:
    from .application import Application

_PURPOSE = "pam_iampass.client.session"


class SessionSealer:
    """Seals sessions with a key, and opens what was sealed with it not too long ago.

    Needs the package itsdangerous. A seal keeps others from changing the token, not from reading it: the
    secret of the session is in it, by which its holder can follow the session and end it. So give the token
    to nobody but the person whose session it is, over https.
    """

    def __init__(
        self,
        key: str,
        api: Application | None = None,
        max_age: int = 3600,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Sessions that are opened belong to `api`, as with `Session.Schema`. `max_age` is in seconds, `clock`
        tells Unix time. Raises ValueError for a key of less than 16 characters."""
        from itsdangerous import TimestampSigner, URLSafeTimedSerializer

        class Signer(TimestampSigner):
            """Signs with the time of our clock."""

            def get_timestamp(self) -> int:
                return int(clock())

        if len(key) < 16:
            raise ValueError("key: shorter than 16 characters; secrets.token_urlsafe() makes a good one")
        options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeTimedSerializer(key, _PURPOSE, signer=Signer, signer_kwargs=options)
        self._schema = SessionSchema(api)
        self._max_age = max_age

    def seal(self, session: Session) -> str:
        """The token of a session: letters, digits, and `-`, `_` and `.`."""
        token = self._serializer.dumps(self._schema.dumps(session))
        return token if isinstance(token, str) else token.decode("ascii")

    def open(self, token: str) -> Session:
        """The session in a token. Raises SealBroken where it was changed, is older than `max_age` or was
        sealed with another key, and ValueError for a session of another server."""
        from itsdangerous import BadData, SignatureExpired

        try:
            text = self._serializer.loads(token, max_age=self._max_age)
            problem = None
        except SignatureExpired:
            problem = "it is too old"
        except BadData:
            problem = "it was changed, or sealed with another key"
        if problem is not None:  # outside of the handler, whose error holds what was sealed
            raise SealBroken(f"open: the sealed session is refused: {problem}")
        return self._schema.loads(text)
