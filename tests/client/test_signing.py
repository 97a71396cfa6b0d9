"""Signatures are those of the service's table."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.client.call import Call, signature
from pam_iampass.client.errors import ProtocolError

TEXT = st.text(st.characters(blacklist_categories=["Cs"]))


def expected_signature(nonce: str, secret: str, signed_url: str, timestamp: str) -> str:
    """Step by step as the table has it."""
    sha = hashlib.sha256()
    sha.update(nonce.encode("utf-8"))
    sha.update(secret.encode("utf-8"))
    key = sha.digest()[0:16]
    mac = hmac.HMAC(key, digestmod="sha256")
    for part in (nonce, signed_url, timestamp):
        mac.update(part.encode("utf-8"))
    return base64.standard_b64encode(mac.digest()[0:16]).decode()


def test_a_fixed_request_has_the_signature_that_was_worked_out_by_hand() -> None:
    # printf 12345678901234567890s3cret | sha256sum | cut -c1-32 gives the key for openssl's hmac.
    url = "https://iam-api.com/authentication/authenticate_user/my-app/alice?methods=facial"
    headers = signature("my-app", "s3cret", url, 12345678901234567890, 1700000000)
    assert headers == {
        "Authentication": "hmac my-app:12345678901234567890:yRFeSM/mx4uYN2mUGGQQYw==",
        "X-IAMPASS-Authentication-Timestamp": "1700000000",
        "X-IAMOASS-Authentication-Version": "1",
    }


@given(secret=TEXT, path=TEXT, nonce=st.integers(0, 2**64 - 1), timestamp=st.integers(0, 2**33))
def test_every_signature_is_the_tables(secret: str, path: str, nonce: int, timestamp: int) -> None:
    headers = signature("id", secret, f"https://host:8443/{path}", nonce, timestamp)
    expected = expected_signature(str(nonce), secret, f"host:8443/{path}", str(timestamp))
    assert headers["Authentication"] == f"hmac id:{nonce}:{expected}"


@pytest.mark.parametrize("text", ["a\r\nX: y", "a\nb", "a\0b", "a\x85b", "\u2028", "ü"])
def test_no_text_can_begin_another_header(text: str) -> None:
    call = Call("poll", "GET", "https://localhost/status", text, "s3cret", lambda response: response)
    with pytest.raises(ProtocolError) as caught:
        call.headers(1, 2)
    assert not caught.value.may_have_started
    assert not any(secret in repr(call) for secret in ("s3cret", "https"))
