"""A signer of its own, so that the sandbox is not checked against itself, and a caller that uses it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote_plus, urlsplit

from tests.support.sandbox import Sandbox


def signed(
    client_id: str, secret: str, url: str, nonce: str | None = None, timestamp: int | None = None
) -> dict[str, str]:
    """The headers of a right call."""
    nonce = str(secrets.randbits(64)) if nonce is None else nonce
    when = str(int(time.time()) if timestamp is None else timestamp)
    key = hashlib.sha256(f"{nonce}{secret}".encode()).digest()[:16]
    text = nonce + url[len("https://") :] + when
    signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()[:16]).decode()
    return {
        "Authentication": f"hmac {client_id}:{nonce}:{signature}",
        "X-IAMPASS-Authentication-Timestamp": when,
        "X-IAMOASS-Authentication-Version": "1",
    }


@dataclass
class Reply:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> Any:
        return self.json["reason"]

    @property
    def authentication(self) -> Any:
        return self.json["authentication_status"]


class Server(Protocol):
    """A sandbox, or a gateway with a host."""

    port: int
    ca_file: Path
    application_id: str
    application_secret: str

    @property
    def url(self) -> str: ...


S = TypeVar("S", bound=Server)


@dataclass
class Signer(Generic[S]):
    """Calls a server as its application would, over one connection for each call."""

    sandbox: S
    timeout: float = 60.0
    context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self.context = ssl.create_default_context(cafile=str(self.sandbox.ca_file))

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self.sandbox.port, timeout=self.timeout, context=self.context
        )

    def send(
        self, method: str, target: str, headers: list[tuple[str, str]] | dict[str, str], body: bytes = b""
    ) -> Reply:
        """Send a request exactly so; nothing is added but Host and Content-Length where they are missing."""
        pairs = list(headers.items()) if isinstance(headers, dict) else headers
        connection = self.connect()
        try:
            names = {name.lower() for name, _ in pairs}
            connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
            for name, value in pairs:
                connection.putheader(name, value)
            if "content-length" not in names and (body or method == "POST"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def application(self, target: str, **chosen: Any) -> dict[str, str]:
        """Signing headers of the application for a target."""
        url = self.sandbox.url + target
        return signed(self.sandbox.application_id, self.sandbox.application_secret, url, **chosen)

    def post(self, target: str, value: Any) -> Reply:
        headers = {**self.application(target), "Content-Type": "application/json"}
        return self.send("POST", target, headers, json.dumps(value).encode())

    def get(self, target: str) -> Reply:
        return self.send("GET", target, self.application(target))

    def start(self, user: str, query: str = "", body: Mapping[str, Any] = MappingProxyType({})) -> Reply:
        path = f"/authentication/authenticate_user/{self.sandbox.application_id}/{quote_plus(user)}"
        return self.post(path + query, dict(body))

    def session(self, method: str, begun: Any, key: str) -> Reply:
        """Poll (GET, status_url) or end (POST, logout_url) what a start answered."""
        url = begun[key]
        headers = signed(begun["session_token"], begun["session_secret"], url)
        target = urlsplit(url)._replace(scheme="", netloc="").geturl()
        return self.send(method, target, {**headers, "Content-Type": "application/json"})

    def poll(self, begun: Any) -> str:
        status: str = self.session("GET", begun, "status_url").authentication["session_status"]
        return status

    def end(self, begun: Any) -> bool:
        ended: bool = self.session("POST", begun, "logout_url").json["status"]
        return ended

    def manage(self, call: str, user: str = "") -> str:
        """The target of a management call."""
        tail = f"/{quote_plus(user)}" if user else ""
        return f"/management/{call}/{self.sandbox.application_id}{tail}"


class Caller(Signer[Sandbox]):
    """Calls a sandbox."""
