"""Passkeys: what a browser is asked for, and whether its answer is a registration or an assertion that counts here.

`fido2` parses and verifies (W3C, Web Authentication Level 2, 7.1 and 7.2); what it leaves to its caller is decided
here. Nothing here knows people or the database: a challenge is made and spent elsewhere, once. An answer is JSON as
`PublicKeyCredential.toJSON()` makes it, and comes from anybody: every function that takes one raises Refused, and
nothing else, for what it does not accept.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import fido2.features
from cryptography.exceptions import InvalidSignature
from fido2 import cbor
from fido2.cose import ES256, RS256, CoseKey, EdDSA
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
)

from pam_iampass.fleet.passkeys import MOST_BYTES
from pam_iampass.text import clean

fido2.features.webauthn_json_mapping.enabled = True  # what fido2 2 does; without a choice it warns

_CREDENTIAL_ID_BYTES = range(16, 1024)  # Web Authentication Level 2, 4, "Credential ID"
_NO_AAGUID = bytes(16)
_KEYS: tuple[dict[int, object], ...] = (
    {1: 2, 3: ES256.ALGORITHM, -1: 1, -2: bytes(32), -3: bytes(32)},
    {1: 1, 3: EdDSA.ALGORITHM, -1: 6, -2: bytes(32)},
    *({1: 3, 3: RS256.ALGORITHM, -1: bytes(bits // 8), -2: bytes(3)} for bits in (2048, 3072, 4096)),
)
"""The keys that count, as COSE has them (RFC 9053, RFC 8230), with zeros for all bytes. The exponent of RSA is 65537
everywhere, and a long one would make each verification slow."""
_ALGORITHMS = (ES256.ALGORITHM, EdDSA.ALGORITHM, RS256.ALGORITHM)  # the first one is preferred


class Refused(Exception):
    """An answer that does not count. The text says why, for records; the sender of the answer must not see it."""


class Portal(Protocol):
    """Where people sign in."""

    @property
    def origin(self) -> str:
        """Scheme, host and port as browsers write them: without the port that the scheme has anyway."""

    @property
    def rp_id(self) -> str:
        """The host of the origin, for which passkeys are made."""


@dataclass(frozen=True)
class Credential:
    """A passkey as it is stored. Both are base64url without padding."""

    id: str
    public_key: str
    """COSE."""


def creation_options(
    portal: Portal, challenge: bytes, name: str, display_name: str, owner: str, known: Sequence[str]
) -> dict[str, Any]:
    """Options for `PublicKeyCredential.parseCreationOptionsFromJSON`. `known` are the ids of passkeys that this person
    has: their authenticators make no second one."""
    return {
        "rp": {"id": portal.rp_id, "name": portal.rp_id},
        "user": {"id": owner, "name": name, "displayName": display_name},
        "challenge": _encoded(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in _ALGORITHMS],
        "excludeCredentials": _descriptors(known),
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
    }


def request_options(portal: Portal, challenge: bytes, known: Sequence[str] = ()) -> dict[str, Any]:
    """Options for `PublicKeyCredential.parseRequestOptionsFromJSON`. Without `known`, the person chooses a passkey."""
    return {
        "rpId": portal.rp_id,
        "challenge": _encoded(challenge),
        "allowCredentials": _descriptors(known),
        "userVerification": "required",
    }


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - fido2 meets CBOR and JSON of anybody with errors of any kind
        raise Refused(clean(f"{type(error).__name__}: {error}")) from None


@_refusing()
def challenge_of(answer: object) -> bytes:
    """The challenge that this answer is for, as its sender says. Raises Refused."""
    return _client_data(_response(answer)).challenge


@_refusing()
def credential_of(answer: object) -> str:
    """The id of the passkey that this answer is of, as its sender says. Raises Refused."""
    return _encoded(_bytes(answer, "id"))


@_refusing()
def registered(portal: Portal, answer: object, challenge: bytes) -> Credential:
    """The new passkey. Nothing proves which authenticator has made it, or that its id is of no other passkey.

    Raises Refused.
    """
    response = _response(answer)
    data = _server(portal).register_complete(
        _state(challenge), _client_data(response), AttestationObject(_bytes(response, "attestationObject"))
    )
    made = data.credential_data
    if made is None:
        raise Refused("there is no passkey in the registration")
    if len(made.credential_id) not in _CREDENTIAL_ID_BYTES:
        raise Refused(f"the id of the passkey has {len(made.credential_id)} bytes")
    _demand_known_key(made.public_key)
    return Credential(_encoded(made.credential_id), _encoded(cbor.encode(made.public_key)))


@_refusing()
def asserted(
    portal: Portal, answer: object, challenge: bytes, credential: Credential, owner: str, *, named: bool
) -> None:
    """Return if somebody whom this passkey has verified agrees to the challenge. Raises Refused otherwise.

    `credential` is that of `credential_of`, and `owner` the user handle with which it was made. An authenticator may
    leave the handle away only if its passkey was `named` to it by `request_options`.
    """
    response = _response(answer)
    known = AttestedCredentialData.create(
        _NO_AAGUID,
        _decoded(credential.id, "the passkey's id"),
        CoseKey.parse(cbor.decode(_decoded(credential.public_key, "the passkey's key"))),  # type: ignore[arg-type]
    )
    _server(portal).authenticate_complete(
        _state(challenge),
        [known],
        _bytes(answer, "id"),
        _client_data(response),
        AuthenticatorData(_bytes(response, "authenticatorData")),
        _bytes(response, "signature"),
    )
    handle = response.get("userHandle")
    if handle != owner and not (named and handle is None):
        raise Refused("the passkey was made for somebody else, or does not say for whom")


def _server(portal: Portal) -> Fido2Server:
    # By itself it would accept other ports, and names below this one.
    return Fido2Server(
        PublicKeyCredentialRpEntity(portal.rp_id, portal.rp_id),
        verify_origin=lambda origin: origin == portal.origin,
    )


def _state(challenge: bytes) -> dict[str, str]:
    return {"challenge": _encoded(challenge), "user_verification": "required"}


def _response(answer: object) -> Mapping[str, object]:
    response = answer.get("response") if isinstance(answer, Mapping) else None
    if not isinstance(response, Mapping):
        raise Refused("the answer has no response")
    return response


def _client_data(response: Mapping[str, object]) -> CollectedClientData:
    data = CollectedClientData(_bytes(response, "clientDataJSON"))
    if data.cross_origin is not False or "topOrigin" in json.loads(data.decode()):
        raise Refused("the browser was asked by a page within that of another origin")
    return data


def _demand_known_key(key: CoseKey) -> None:
    shape = {label: bytes(len(part)) if isinstance(part, bytes) else part for label, part in key.items()}
    if shape not in _KEYS:
        raise Refused(f"the key is none of ES256, EdDSA and RS256: algorithm {key.get(3)!r}")
    with contextlib.suppress(InvalidSignature):
        key.verify(b"", b"")  # another error means that it could never verify anything


def _bytes(part: object, name: str) -> bytes:
    value = part.get(name) if isinstance(part, Mapping) else None
    if not isinstance(value, str):
        raise Refused(f"{name} is missing, or no text")
    return _decoded(value, name)


def _decoded(text: str, name: str) -> bytes:
    if len(text) > MOST_BYTES:
        raise Refused(f"{name} has {len(text)} characters")
    found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encoded(found) != text:
        raise Refused(f"{name} is no base64url")
    return found


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _descriptors(ids: Sequence[str]) -> list[dict[str, str]]:
    return [{"type": "public-key", "id": each} for each in ids]
