"""What all calls of the service share: the application, the world, the clock, who signed."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Callable

from pam_iampass.sandbox.automatic import Automatic
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.incoming import Incoming
from pam_iampass.sandbox.phone_stream import PhoneStream
from pam_iampass.sandbox.signature import SignatureCheck, read_credentials
from pam_iampass.sandbox.world import World


@dataclass(frozen=True)
class Application:
    """The one application that the sandbox knows."""

    application_id: str
    secret: str


class Clock:
    """The server's Unix time, which can be wrong on purpose."""

    def __init__(self, skew: float = 0.0) -> None:
        self.skew = skew

    def __call__(self) -> float:
        return time.time() + self.skew


class Service:
    """The service behind the wire.

    :param control_token: the bearer token of control calls.
    """

    def __init__(
        self, application: Application, world: World, clock: Callable[[], float], control_token: str
    ) -> None:
        self.application = application
        self.world = world
        self.control_token = control_token
        # For this run only: a page that was left open must not play the phone for the next one.
        self.phone_key = secrets.token_urlsafe(18)
        self.phone = PhoneStream(world)
        self.automatic = Automatic(world)
        self._check = SignatureCheck(clock)

    def require_application(self, incoming: Incoming) -> None:
        """Raises Refusal unless the application signed the call, and the path is its own."""
        application = self.application
        self._require(incoming, {application.application_id: application.secret})
        if incoming.target.segments[2] != application.application_id:
            raise Refusal(403, "WRONG_APPLICATION", "the path names another application than the signature")

    def require_session(self, incoming: Incoming, token: str, secret: str) -> None:
        """Raises Refusal unless this session signed the call."""
        self._require(incoming, {token: secret})

    def _require(self, incoming: Incoming, secrets: dict[str, str]) -> None:
        self._check.check(read_credentials(incoming.headers), incoming.signed_url, secrets)
