"""Who has signed a request: checked with a signer that shares no code with the server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from pam_iampass.server.messages import IncomingRequest, RefusedRequest
from pam_iampass.server.signatures import NONCE_SECONDS, Credentials, NoncesInMemory, require_signature
from tests.sandbox.signer import signed

NOW = 1_800_000_000
HOST = "iam.example"
SECRETS = {"web-1": "s3cret", "web-2": "other", "token": "of-a-session", "empty": ""}


def request(
    headers: Mapping[str, str], target: str = "/session/1/status", host: str = HOST
) -> IncomingRequest:
    return IncomingRequest("GET", target, [("Host", host), *headers.items()], b"")


def call(client: str, target: str = "/session/1/status", **options: Any) -> IncomingRequest:
    """A request that the client has signed; `secret`, `nonce` and `timestamp` differ if they are given."""
    secret = options.pop("secret", SECRETS.get(client, "?"))
    options = {"timestamp": NOW, **options}
    return request(signed(client, secret, f"https://{HOST}{target}", **options), target)


class Server:
    """One of several that share their nonces."""

    def __init__(self, nonces: NoncesInMemory | None = None) -> None:
        self._nonces = nonces or NoncesInMemory()

    def takes(self, request: IncomingRequest, client: str = "web-1") -> bool:
        """Raises RefusedRequest."""
        self._nonces.use_up(require_signature(request, client, SECRETS.get(client), float(NOW)))
        return True

    def refuses(self, request: IncomingRequest, client: str = "web-1") -> str:
        with pytest.raises(RefusedRequest) as refused:
            self.takes(request, client)
        assert refused.value.status == 401
        return refused.value.reason


def test_the_caller_is_who_has_signed() -> None:
    for client in ("web-1", "web-2", "token"):
        assert Server().takes(call(client), client)


def test_another_client_cannot_take_the_place_of_the_expected_one() -> None:
    assert Server().refuses(call("web-2")) == "UNKNOWN_CLIENT"
    assert Server().refuses(call("web-1", secret="other")) == "BAD_SIGNATURE"


def test_an_unknown_client_and_one_with_an_empty_secret_are_refused() -> None:
    assert Server().refuses(call("eve", secret=""), "eve") == "UNKNOWN_CLIENT"
    assert Server().refuses(call("empty", secret=""), "empty") == "UNKNOWN_CLIENT"


@pytest.mark.parametrize(
    ("target", "host"),
    [("/session/2/status", HOST), ("/session/1/status?wait=25", HOST), (None, "elsewhere")],
)
def test_a_signature_holds_for_one_url(target: str | None, host: str) -> None:
    headers = signed("web-1", "s3cret", f"https://{HOST}/session/1/status", timestamp=NOW)
    assert Server().refuses(request(headers, target or "/session/1/status", host)) == "BAD_SIGNATURE"


@pytest.mark.parametrize("offset", [-301, 301])
def test_an_old_signature_and_one_of_the_future_are_refused(offset: int) -> None:
    assert Server().refuses(call("web-1", timestamp=NOW + offset)) == "STALE_TIMESTAMP"
    assert Server().takes(call("web-1", timestamp=NOW + offset // 301 * 299))


def test_a_nonce_is_good_once_over_all_servers_that_share_them() -> None:
    nonces, sent = NoncesInMemory(), call("web-1", nonce="7")
    assert Server(nonces).takes(sent)
    assert Server(nonces).refuses(sent) == "REPLAYED_NONCE"
    assert Server(nonces).takes(call("web-2", nonce="7"), "web-2")


def test_only_its_client_can_use_up_a_nonce() -> None:
    nonces = NoncesInMemory()
    for wrong in (call("web-1", nonce="7", secret="x"), call("web-1", nonce="7", timestamp=NOW - 999)):
        Server(nonces).refuses(wrong)
    assert Server(nonces).takes(call("web-1", nonce="7"))


def test_nonces_are_forgotten_only_after_every_timestamp_is_stale() -> None:
    now = [0.0]
    nonces = NoncesInMemory(lambda: now[0])

    def is_new() -> bool:
        with suppress(RefusedRequest):
            nonces.use_up(Credentials("web-1", "7", "", str(NOW)))
            return True
        return False

    assert is_new()
    now[0] = NONCE_SECONDS
    assert not is_new()
    now[0] = NONCE_SECONDS + 1
    assert is_new()


AUTHENTICATION = "Authentication"
TIMESTAMP = "X-IAMPASS-Authentication-Timestamp"
VERSION = "X-IAMOASS-Authentication-Version"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        *((name, None, "BAD_HEADERS") for name in (AUTHENTICATION, TIMESTAMP, VERSION)),
        (VERSION, "2", "BAD_VERSION"),
        (AUTHENTICATION, "Bearer web-1", "BAD_AUTHENTICATION"),
        (AUTHENTICATION, "Basic web-1:7:x", "BAD_AUTHENTICATION"),
        (AUTHENTICATION, "hmac web-1:7", "BAD_AUTHENTICATION"),
        (AUTHENTICATION, "hmac web-1:7:x:y", "BAD_AUTHENTICATION"),
        (AUTHENTICATION, "hmac web-1::x", "BAD_NONCE"),
        (AUTHENTICATION, "hmac web-1:-1:x", "BAD_NONCE"),
        (AUTHENTICATION, "hmac web-1:07:x", "BAD_NONCE"),
        (AUTHENTICATION, "hmac web-1:٣:x", "BAD_NONCE"),
        (AUTHENTICATION, f"hmac web-1:{2**64}:x", "BAD_NONCE"),
        pytest.param(AUTHENTICATION, f"hmac web-1:{'9' * 5000}:x", "BAD_NONCE", id="endless nonce"),
        (AUTHENTICATION, "hmac web-1:7:AAAAAAAAAAAAAAAAAAAAAA==", "BAD_SIGNATURE"),
        (AUTHENTICATION, "hmac web-1:7:\udcff", "BAD_SIGNATURE"),
        (TIMESTAMP, "now", "BAD_TIMESTAMP"),
        (TIMESTAMP, "-1", "BAD_TIMESTAMP"),
        (TIMESTAMP, "1e9", "BAD_TIMESTAMP"),
        (TIMESTAMP, "9" * 30, "BAD_TIMESTAMP"),
        (TIMESTAMP, str(NOW - 1), "BAD_SIGNATURE"),
    ],
)
def test_malformed_credentials_are_refused(name: str, value: str | None, reason: str) -> None:
    headers = signed("web-1", "s3cret", f"https://{HOST}/session/1/status", timestamp=NOW)
    changed = {key: each for key, each in {**headers, name: value}.items() if each is not None}
    assert Server().refuses(request(changed)) == reason


@pytest.mark.parametrize("name", [AUTHENTICATION, TIMESTAMP, VERSION])
def test_a_header_that_stands_twice_is_refused(name: str) -> None:
    headers = signed("web-1", "s3cret", f"https://{HOST}/", timestamp=NOW)
    sent = [("Host", HOST), *headers.items(), (name.lower(), headers[name])]
    assert Server().refuses(IncomingRequest("GET", "/", sent, b"")) == "BAD_HEADERS"


@pytest.mark.parametrize("nonce", ["0", str(2**64 - 1)])
def test_the_smallest_and_the_largest_nonce_are_accepted(nonce: str) -> None:
    assert Server().takes(call("web-1", nonce=nonce))
