"""A browser with an authenticator: makes passkeys, registrations and assertions, also such as no browser makes."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Union
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor

Key = Union[ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey]

ES256, EDDSA, RS256 = -7, -8, -257
PRESENT, VERIFIED, ATTESTED, EXTENSIONS = 0x01, 0x04, 0x40, 0x80


@dataclass(frozen=True)
class Deviation:
    """What an answer has otherwise than one of an honest browser and authenticator."""

    type: str = ""
    origin: Callable[[str], object] = str
    """Makes the origin of the page from that of the portal."""
    client: Mapping[str, object] = field(default_factory=dict)
    """Further members of clientDataJSON, or others."""
    client_data: bytes | None = None
    rp_id: Callable[[str], str] = str
    flags: int = PRESENT | VERIFIED
    behind: bytes = b""
    """Follows the authenticator data, which the signature covers with it."""
    signed: Callable[[bytes], bytes] = bytes
    """Makes what the authenticator signs from what it says."""
    signature: Callable[[bytes], bytes] = bytes
    # At a registration only
    credential_id: bytes | None = None
    public_key: bytes | None = None
    """CBOR."""
    attestation: bytes | None = None
    # Of the answer that is sent
    answer: Mapping[str, object] = field(default_factory=dict)
    response: Mapping[str, object] = field(default_factory=dict)


HONEST = Deviation()
#: What neither a registration nor an assertion may have.
ATTACKS: dict[str, Deviation] = {
    "without user verification": Deviation(flags=PRESENT),
    "without a user": Deviation(flags=VERIFIED),
    "another port": Deviation(origin=lambda origin: f"https://{urlsplit(origin).hostname}:81"),
    "a subdomain": Deviation(origin=lambda origin: origin.replace("://", "://evil.")),
    "the domain above": Deviation(origin=lambda origin: f"https://{origin.partition('.')[2]}"),
    "plain http": Deviation(origin=lambda origin: origin.replace("https://", "http://")),
    "a path behind the origin": Deviation(origin=lambda origin: f"{origin}/"),
    "another case": Deviation(origin=str.upper),
    "no origin": Deviation(origin=lambda _: None),
    "two origins": Deviation(origin=lambda origin: [origin]),
    "in a frame of another origin": Deviation(client={"crossOrigin": True}),
    "crossOrigin as text": Deviation(client={"crossOrigin": "false"}),
    "crossOrigin as null": Deviation(client={"crossOrigin": None}),
    "crossOrigin as a number": Deviation(client={"crossOrigin": 0}),
    "below a page of another origin": Deviation(client={"topOrigin": "https://evil.example"}),
    "another challenge": Deviation(client={"challenge": "A" * 43}),
    "a part of the challenge": Deviation(client={"challenge": ""}),
    "another type": Deviation(type="payment.get"),
    "the rp id of the domain above": Deviation(rp_id=lambda rp_id: rp_id.partition(".")[2]),
    "bytes behind the authenticator data": Deviation(behind=b"\x00"),
}
#: What no assertion may have besides. The flags say then that the person was verified, and the signature does not.
ATTACKS_ON_ASSERTIONS: dict[str, Deviation] = {
    "made as a registration": Deviation(type="webauthn.create"),
    "flags changed since they were signed": Deviation(
        signed=lambda data: data[:32] + bytes([PRESENT]) + data[33:]
    ),
    "a counter changed since it was signed": Deviation(
        signed=lambda data: data[:33] + b"\0\0\0\1" + data[37:]
    ),
    "nothing but the hash signed": Deviation(signed=lambda _: b""),
    "a bit of the signature changed": Deviation(
        signature=lambda signature: signature[:-1] + bytes([signature[-1] ^ 1])
    ),
    "an empty signature": Deviation(signature=lambda _: b""),
    "bytes behind the signature": Deviation(signature=lambda signature: signature + b"\0"),
}
#: CBOR that is not well-formed, or that fido2 meets with an error of some kind.
HOSTILE_CBOR: dict[str, bytes] = {
    "nothing": b"",
    "arrays in arrays": b"\x81" * 10_000,
    "maps in maps": b"\xa1\x01" * 5_000,
    "maps as keys of maps": b"\xa1" * 10_000,
    "an array as a key": b"\xa1\x80\x01",
    "an array of 2^64 - 1": b"\x9b" + b"\xff" * 8,
    "a map of 2^64 - 1": b"\xbb" + b"\xff" * 8,
    "a number of which half is missing": b"\x1a\x00\x00",
    "an array without an end": b"\x9f\x01",
    "reserved length": b"\x5c",
    "a tag": b"\xc0\x01",
    "text that is not UTF-8": b"\x62\xff\xff",
    "bytes behind": b"\xa0\x00",
}


@dataclass(frozen=True)
class Passkey:
    id: bytes
    owner: str
    key: Key


class Authenticator:
    """Holds passkeys, whose counter is always 0, like those that are synced. `origin` is that of the page."""

    def __init__(self, origin: str, algorithm: int = ES256) -> None:
        self.origin, self.algorithm = origin, algorithm
        self.passkeys: list[Passkey] = []

    def create(self, options: Mapping[str, Any], deviation: Deviation = HONEST) -> dict[str, Any]:
        """Make a passkey. Returns what `PublicKeyCredential.toJSON` does, for `navigator.credentials.create`."""
        passkey = Passkey(
            secrets.token_bytes(32) if deviation.credential_id is None else deviation.credential_id,
            options["user"]["id"],
            new_key(self.algorithm),
        )
        self.passkeys.append(passkey)
        public_key = cose(passkey.key) if deviation.public_key is None else deviation.public_key
        credential = bytes(16) + len(passkey.id).to_bytes(2, "big") + passkey.id + public_key
        data = authenticator_data(options["rp"]["id"], deviation, ATTESTED, credential)
        attestation = cbor.encode({"fmt": "none", "authData": data, "attStmt": {}})
        if deviation.attestation is not None:
            attestation = deviation.attestation
        response = {
            "clientDataJSON": encoded(self._client_data("webauthn.create", options, deviation)),
            "attestationObject": encoded(attestation),
            "transports": ["internal", "hybrid"],
        }
        return _answer(passkey, response, deviation)

    def get(self, options: Mapping[str, Any], deviation: Deviation = HONEST) -> dict[str, Any]:
        """Use the newest passkey that `options` allow. Returns the same for `navigator.credentials.get`."""
        allowed = [each["id"] for each in options.get("allowCredentials", ())]
        passkey = [each for each in self.passkeys if not allowed or encoded(each.id) in allowed][-1]
        client_data = self._client_data("webauthn.get", options, deviation)
        data = authenticator_data(options["rpId"], deviation)
        signed = deviation.signed(data) + hashlib.sha256(client_data).digest()
        response = {
            "clientDataJSON": encoded(client_data),
            "authenticatorData": encoded(data),
            "signature": encoded(deviation.signature(_signature(passkey.key, signed))),
            "userHandle": passkey.owner,
        }
        return _answer(passkey, response, deviation)

    def _client_data(self, kind: str, options: Mapping[str, Any], deviation: Deviation) -> bytes:
        if deviation.client_data is not None:
            return deviation.client_data
        members = {
            "type": deviation.type or kind,
            "challenge": options["challenge"],
            "origin": deviation.origin(self.origin),
            "crossOrigin": False,
            **deviation.client,
        }
        return json.dumps(members, separators=(",", ":")).encode()


def authenticator_data(rp_id: str, deviation: Deviation, flags: int = 0, credential: bytes = b"") -> bytes:
    digest = hashlib.sha256(deviation.rp_id(rp_id).encode()).digest()
    return digest + bytes([deviation.flags | flags]) + bytes(4) + credential + deviation.behind


def new_key(algorithm: int) -> Key:
    if algorithm == ES256:
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == EDDSA:
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def cose(key: Key) -> bytes:
    """The public key in CBOR (RFC 9053, RFC 8230)."""
    return cbor.encode(cose_parts(key))


def cose_parts(key: Key) -> dict[int, Any]:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        return {1: 2, 3: ES256, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {1: 1, 3: EDDSA, -1: 6, -2: key.public_key().public_bytes_raw()}
    numbers = key.public_key().public_numbers()
    return {1: 3, 3: RS256, -1: numbers.n.to_bytes(256, "big"), -2: numbers.e.to_bytes(3, "big")}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _signature(key: Key, data: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(SHA256()))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    return key.sign(data, padding.PKCS1v15(), SHA256())


def _answer(passkey: Passkey, response: Mapping[str, object], deviation: Deviation) -> dict[str, Any]:
    return {
        "id": encoded(passkey.id),
        "rawId": encoded(passkey.id),
        "type": "public-key",
        "authenticatorAttachment": "platform",
        "clientExtensionResults": {},
        "response": {**response, **deviation.response},
        **deviation.answer,
    }
