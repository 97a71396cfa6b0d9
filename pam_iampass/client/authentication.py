"""Starts sessions: asks IAMPASS for approval by a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from .base_api import BaseAPI, path_segment
from .deadline import Deadline
from .retries import ATTEMPTS
from .session import Session, read_session
from .status import AuthenticationMethod


class AuthenticationAPI(BaseAPI):
    """The calls by which an application has its users authenticated. Threads may share it."""

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
        """Makes IAMPASS send its request to the user's phone.

        Without methods IAMPASS chooses; without a duration the session lasts 3600 s on the server. If IAMPASS
        cannot ask the user (no device, for example), the session has failed and has a `failure_reason`. Without a
        deadline the call takes 30 s at most. It is retried only while no byte of it was sent. Raises
        IampassError, ValueError, TypeError.
        """
        user = path_segment(user_id)
        query = _query(authentication_methods, duration_seconds)
        path = f"/authentication/authenticate_user/{self.application_id}/{user}{query}"
        request = self._request("start", "POST", path, b"{}", rings=True)
        reply = self._call(request, deadline, attempts=attempts, pause=pause)
        return read_session(reply.json, self.transport, reply.clock_offset)


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
