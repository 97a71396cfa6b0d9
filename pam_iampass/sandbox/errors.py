"""What can go wrong in the sandbox.

SandboxError                the sandbox cannot start, or was asked for something impossible
Refusal                     a call is not as the protocol wants it: answered with a 4xx and a reason
"""

from __future__ import annotations

from pam_iampass.errors import PamIampassError


class SandboxError(PamIampassError):
    """The sandbox cannot do what it was asked for; the text says why and what to do."""


class Refusal(Exception):
    """A call that the service refuses.

    :param status: HTTP status of the answer, 400 to 499.
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


def unauthorized(reason: str, detail: str) -> Refusal:
    """A call whose signature, or what belongs to it, is not right."""
    return Refusal(401, reason, detail)


def bad_request(reason: str, detail: str) -> Refusal:
    """A call that is signed but not what the protocol wants."""
    return Refusal(400, reason, detail)
