"""The errors of the sandbox.

SandboxError                the sandbox cannot start
Refusal                     a request violates the protocol: answered with a 4xx and a reason
└── Unknown                 it names an application or a user that the service does not know: a 404 with a sentence
"""

from __future__ import annotations

from pam_iampass.errors import PamIampassError
from pam_iampass.text import clean


class SandboxError(PamIampassError):
    """The sandbox cannot start; the text says why and what to do."""


class Refusal(Exception):
    """A request that the service refuses.

    :param status: HTTP status of the reply, 400 to 499.
    :param reason: one word in capitals for programs.
    :param detail: one sentence for people.
    """

    def __init__(
        self, status: int, reason: str, detail: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers


class Unknown(Refusal):
    """A signed request about an application or a user that was never added (404).

    :param what: `application` or `user`.
    :param name: not cleaned.
    """

    def __init__(self, what: str, name: str) -> None:
        super().__init__(404, f"UNKNOWN_{what.upper()}", f"There is no {what} {clean(name, 100)}.")


def unauthorized(reason: str, detail: str) -> Refusal:
    """A request without a valid signature or token."""
    return Refusal(401, reason, detail)


def bad_request(reason: str, detail: str) -> Refusal:
    """A signed request that violates the protocol."""
    return Refusal(400, reason, detail)
