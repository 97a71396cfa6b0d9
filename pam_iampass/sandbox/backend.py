"""The simulated service behind its calls: the application, the state, the clock, the signatures."""

from __future__ import annotations

import secrets
from typing import Callable

from pam_iampass.sandbox.automatic import Behaviour
from pam_iampass.sandbox.errors import Unknown
from pam_iampass.sandbox.phone_stream import PhoneStream
from pam_iampass.sandbox.request import IncomingRequest
from pam_iampass.sandbox.service_state import ServiceState
from pam_iampass.sandbox.signature import SignatureCheck, read_credentials


class Backend:
    """The service with its one application.

    :param control_token: the bearer token of control calls.
    :param clock: returns the service's Unix time in seconds.
    """

    def __init__(
        self,
        application_id: str,
        secret: str,
        state: ServiceState,
        behaviour: Behaviour,
        control_token: str,
        clock: Callable[[], float],
    ) -> None:
        self.application_id = application_id
        self.secret = secret
        self.state = state
        self.behaviour = behaviour
        self.control_token = control_token
        self.clock = clock
        # New for each run: a page from an earlier run must not control this one.
        self.phone_key = secrets.token_urlsafe(18)
        self.phone = PhoneStream(state)
        self._signatures = SignatureCheck(clock)

    def require_application(self, request: IncomingRequest) -> None:
        """Raises Refusal unless the path names the application, and the application signed the request."""
        if request.segments[2] != self.application_id:  # whose secret would the signature be checked with?
            raise Unknown("application", request.segments[2])
        self.require_signature(request, self.application_id, self.secret)

    def require_user(self, request: IncomingRequest) -> str:
        """The known user that the path names, in a request of the application. Raises Refusal."""
        self.require_application(request)
        user = request.user_id()
        if self.state.users.has_device(user) is None:
            raise Unknown("user", user)
        return user

    def require_signature(self, request: IncomingRequest, client_id: str, secret: str) -> None:
        """Raises Refusal unless this client signed the request."""
        credentials = read_credentials(request.headers)
        self._signatures.check(credentials, request.signed_url, client_id, secret)
