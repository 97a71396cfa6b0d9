"""The simulated service behind its calls: the application, the state, the clock, the signatures."""

from __future__ import annotations

import secrets
import time

from pam_iampass.sandbox.automatic import Behaviour
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.phone_stream import PhoneStream
from pam_iampass.sandbox.request import IncomingRequest
from pam_iampass.sandbox.service_state import ServiceState
from pam_iampass.sandbox.signature import SignatureCheck, read_credentials


class Backend:
    """The service with its one application.

    :param control_token: the bearer token of control calls.
    """

    def __init__(
        self, application_id: str, secret: str, state: ServiceState, behaviour: Behaviour, control_token: str
    ) -> None:
        self.application_id = application_id
        self.secret = secret
        self.state = state
        self.behaviour = behaviour
        self.control_token = control_token
        # New for each run: a page from an earlier run must not control this one.
        self.phone_key = secrets.token_urlsafe(18)
        self.phone = PhoneStream(state)
        self._signatures = SignatureCheck(self.now)

    def now(self) -> float:
        """The service's Unix time, which can be wrong on purpose."""
        return time.time() + self.behaviour.clock_skew

    def require_application(self, request: IncomingRequest) -> None:
        """Raises Refusal unless the application signed the request, and the path names it."""
        self.require_signature(request, self.application_id, self.secret)
        if request.segments[2] != self.application_id:
            raise Refusal(403, "WRONG_APPLICATION", "the path names another application than the signature")

    def require_signature(self, request: IncomingRequest, client_id: str, secret: str) -> None:
        """Raises Refusal unless this client signed the request."""
        credentials = read_credentials(request.headers)
        self._signatures.check(credentials, request.signed_url, client_id, secret)
