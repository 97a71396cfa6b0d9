"""Sessions as signed, URL-safe tokens, for a cookie or a link."""

from __future__ import annotations

import hashlib
import time
from typing import Callable

from .errors import BadSignature
from .session import APIObject, Session, SessionSchema

_PURPOSE = "pam_iampass.client.session"


class SessionSigner:
    """Turns sessions into signed tokens, and tokens back into sessions.

    Needs the package itsdangerous. The signature prevents changes, it does not hide anything: the token contains the
    secret of the session, with which its holder can poll the session and end it. So give the token only to the
    person whose session it is, over https.
    """

    def __init__(
        self,
        key: str,
        api: APIObject | None = None,
        max_age: int = 3600,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """The sessions of verified tokens belong to `api`, as with `Session.Schema`. `max_age` is in seconds, `clock`
        returns Unix time. Raises ValueError for a key of less than 16 characters."""
        from itsdangerous import TimestampSigner, URLSafeTimedSerializer

        class ClockSigner(TimestampSigner):
            """Signs with the time of our clock."""

            def get_timestamp(self) -> int:
                return int(clock())

        if len(key) < 16:
            raise ValueError("the key has less than 16 characters; secrets.token_urlsafe() makes a good one")
        options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeTimedSerializer(key, _PURPOSE, signer=ClockSigner, signer_kwargs=options)
        self._schema = SessionSchema(api)
        self._max_age = max_age

    def sign(self, session: Session) -> str:
        """The token of a session: letters, digits, and `-`, `_` and `.`."""
        token = self._serializer.dumps(self._schema.dumps(session))
        return token if isinstance(token, str) else token.decode("ascii")

    def verify(self, token: str) -> Session:
        """The session in a token. Raises BadSignature if the token was changed, is older than `max_age` or was
        signed with another key, and ValueError for a session of another server."""
        from itsdangerous import BadData, SignatureExpired

        try:
            text = self._serializer.loads(token, max_age=self._max_age)
            problem = None
        except SignatureExpired:
            problem = "it has expired"
        except BadData:
            problem = "it was changed, or signed with another key"
        if problem is not None:  # outside of the handler, whose error contains what was signed
            raise BadSignature(f"verify: the token is refused: {problem}")
        return self._schema.loads(text)
