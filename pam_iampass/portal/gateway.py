"""The gateway, as the portal calls it at its unix socket (`docs/inside/acts-protocol.md`).

GatewayError
└── GatewayAway         there was no answer, or none that this protocol has: a call may have been carried out
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, get_type_hints

import aiohttp

from pam_iampass.portal.calls import SOCKET, Call

A = TypeVar("A")
_SECONDS = 180.0
"""The time for a call. The act `phone_verify` waits for a phone; other calls take 25 s at most."""
_MOST_BYTES = 8 * 1024 * 1024
_CONNECTIONS = 500
"""Each page that waits for what asks somebody now has one."""


class GatewayError(Exception):
    """A call that the gateway has refused."""

    def __init__(self, code: str, detail: str, parameter: str = "", status: int = 0) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        """One of the errors of `docs/inside/acts-protocol.md`, such as `NOT_SIGNED_IN`."""
        self.detail = detail
        self.parameter = parameter
        """The field that is wrong; empty if it is none."""
        self.status = status
        """The HTTP status; 0 if there was no answer."""


class GatewayAway(GatewayError):
    """There was no answer, or none that this protocol has. What was asked may have been carried out."""

    def __init__(self, detail: str, status: int = 0) -> None:
        super().__init__("AWAY", detail, status=status)


class GatewayClient:
    """Calls a gateway at its socket. Use it as an async context manager."""

    def __init__(self, path: Path = SOCKET, *, seconds: float = _SECONDS) -> None:
        self._path = path
        self._seconds = seconds

    async def __aenter__(self) -> GatewayClient:
        connector = aiohttp.UnixConnector(str(self._path), limit=_CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, call: Call[A]) -> A:
        """The answer to a call. Raises GatewayError."""
        given = {each.name: getattr(call, each.name) for each in dataclasses.fields(call)}
        sent = {name: value for name, value in given.items() if value is not None}
        try:
            async with self._session.post(f"http://gateway{call.PATH}", json=sent) as response:
                status, body = response.status, await response.content.read(_MOST_BYTES + 1)
                while not response.content.at_eof() and len(body) <= _MOST_BYTES:
                    body += await response.content.read(_MOST_BYTES + 1 - len(body))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise GatewayAway(str(error) or type(error).__name__) from None
        values = _object(status, body)
        if status != 200:
            code, detail = values.get("error"), values.get("detail")
            if not (isinstance(code, str) and isinstance(detail, str)):
                raise GatewayAway(f"status {status}", status)
            raise GatewayError(code, detail, str(values.get("parameter", "")), status)
        answer: A = _built(call.ANSWER, values)
        return answer


def _object(status: int, body: bytes) -> dict[str, Any]:
    """The JSON object in an answer. Raises GatewayAway."""
    try:
        if len(body) > _MOST_BYTES:
            raise ValueError("it is too large")
        values = json.loads(body)
        if not isinstance(values, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise GatewayAway(f"status {status}, and the answer cannot be read: {error}", status) from None
    return values


def _built(answer: type[Any], values: Mapping[str, Any]) -> Any:
    """The answer of this class. Members that it does not know are left out. Raises GatewayAway."""
    hints, found = get_type_hints(answer), {}
    for name, hint in hints.items():
        if name not in values:
            raise GatewayAway(f"the answer has no {name}", 200)
        found[name] = datetime.fromisoformat(values[name]) if hint is datetime else values[name]
    return answer(**found)
