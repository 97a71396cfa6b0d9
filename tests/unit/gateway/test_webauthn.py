"""Registrations and assertions: what a browser says for the portal counts, and whatever else somebody sends is refused.

FUZZ_EXAMPLES sets how long the property tests go on.
"""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fido2")
pytest.importorskip("cryptography")

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fido2 import cbor

from pam_iampass.fleet.passkeys import MOST_BYTES
from pam_iampass.gateway.sign_in import webauthn
from pam_iampass.gateway.sign_in.webauthn import Credential, Refused
from tests.support.authenticator import (
    ATTACKS,
    ATTACKS_ON_ASSERTIONS,
    ATTESTED,
    EDDSA,
    ES256,
    EXTENSIONS,
    HONEST,
    HOSTILE_CBOR,
    PRESENT,
    RS256,
    VERIFIED,
    Authenticator,
    Deviation,
    authenticator_data,
    cose,
    cose_parts,
    encoded,
    new_key,
)
from tests.support.examples import examples

CHALLENGE = bytes(range(64))
OWNER = encoded(b"alice" * 8)


@dataclass(frozen=True)
class AtExample:
    origin: str = "https://iampass.example.com"
    rp_id: str = "iampass.example.com"


PORTAL = AtExample()
CREATION = webauthn.creation_options(PORTAL, CHALLENGE, "alice", "Alice", OWNER, ())
REQUEST = webauthn.request_options(PORTAL, CHALLENGE)


def registration(deviation: Deviation = HONEST) -> dict[str, Any]:
    return Authenticator(PORTAL.origin).create(CREATION, deviation)


def register(deviation: Deviation = HONEST) -> Credential:
    return webauthn.registered(PORTAL, registration(deviation), CHALLENGE)


class Signer:
    """An authenticator with one passkey that is registered."""

    def __init__(self, algorithm: int = ES256) -> None:
        self.authenticator = Authenticator(PORTAL.origin, algorithm)
        self.credential = webauthn.registered(PORTAL, self.authenticator.create(CREATION), CHALLENGE)

    def answer(self, deviation: Deviation = HONEST) -> dict[str, Any]:
        return self.authenticator.get(REQUEST, deviation)

    def agree(self, answer: object, named: bool = False) -> None:
        webauthn.asserted(PORTAL, answer, CHALLENGE, self.credential, OWNER, named=named)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.mark.parametrize("algorithm", [ES256, EDDSA, RS256])
def test_a_passkey_that_was_registered_agrees_to_a_challenge(algorithm: int) -> None:
    signer = Signer(algorithm)
    for known in ((), (signer.credential.id,)):
        options = json.loads(json.dumps(webauthn.request_options(PORTAL, CHALLENGE, known)))
        answer = signer.authenticator.get(options)
        assert webauthn.challenge_of(answer) == CHALLENGE
        assert webauthn.credential_of(answer) == signer.credential.id
        signer.agree(answer, named=bool(known))


def test_browsers_are_asked_for_passkeys_that_verify_their_user_and_can_be_found_without_a_name() -> None:
    options = webauthn.creation_options(PORTAL, CHALLENGE, "alice", "Alice", OWNER, ["AAAA"])
    assert options["rp"]["id"] == "iampass.example.com"
    assert options["user"] == {"id": OWNER, "name": "alice", "displayName": "Alice"}
    assert [each["alg"] for each in options["pubKeyCredParams"]] == [ES256, EDDSA, RS256]
    assert options["excludeCredentials"] == [{"type": "public-key", "id": "AAAA"}]
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert REQUEST["userVerification"] == "required"


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_no_page_of_the_portal_has_got_is_no_registration(attack: str) -> None:
    with pytest.raises(Refused):
        register(ATTACKS[attack])


@pytest.mark.parametrize("attack", [*ATTACKS, *ATTACKS_ON_ASSERTIONS])
def test_what_no_page_of_the_portal_has_got_is_no_assertion(attack: str, signer: Signer) -> None:
    with pytest.raises(Refused):
        signer.agree(signer.answer({**ATTACKS, **ATTACKS_ON_ASSERTIONS}[attack]))


def test_an_assertion_is_no_registration(signer: Signer) -> None:
    with pytest.raises(Refused):
        register(Deviation(type="webauthn.get"))
    with pytest.raises(Refused):
        webauthn.registered(PORTAL, signer.answer(), CHALLENGE)


def test_another_passkey_agrees_for_nobody_else(signer: Signer) -> None:
    other = Signer()
    with pytest.raises(Refused, match="Unknown credential"):
        signer.agree(other.answer())
    with pytest.raises(Refused, match="Invalid signature"):
        signer.agree({**other.answer(), "id": signer.credential.id})


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("handle", [encoded(b"bob" * 8), "", f"{OWNER}=", 1, [OWNER], {OWNER: OWNER}])
def test_a_passkey_that_was_made_for_somebody_else_is_refused(
    handle: object, named: bool, signer: Signer
) -> None:
    with pytest.raises(Refused, match="for somebody else"):
        signer.agree(signer.answer(Deviation(response={"userHandle": handle})), named)


def test_only_a_passkey_that_was_named_may_say_nothing_of_whom_it_was_made_for(signer: Signer) -> None:
    null = signer.answer(Deviation(response={"userHandle": None}))
    absent = signer.answer()
    del absent["response"]["userHandle"]
    for answer in (null, absent):
        signer.agree(answer, named=True)
        with pytest.raises(Refused, match="does not say for whom"):
            signer.agree(answer)


@pytest.mark.parametrize("size", [0, 15, 1024, 5000])
def test_an_id_of_a_length_that_no_passkey_has_is_refused(size: int) -> None:
    with pytest.raises(Refused, match=f"has {size} bytes"):
        register(Deviation(credential_id=bytes(size)))


@pytest.mark.parametrize("size", [16, 1023])
def test_the_shortest_and_the_longest_id_are_registered(size: int) -> None:
    assert register(Deviation(credential_id=bytes(size))).id == encoded(bytes(size))


def changed(algorithm: int, parts: Mapping[object, object]) -> Callable[[], bytes]:
    return lambda: cbor.encode({**cose_parts(new_key(algorithm)), **parts})


def on_another_curve() -> bytes:
    point = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    return cbor.encode(
        {1: 2, 3: -35, -1: 2, -2: point.x.to_bytes(48, "big"), -3: point.y.to_bytes(48, "big")}
    )


def short_rsa() -> bytes:
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    return cbor.encode({1: 3, 3: RS256, -1: numbers.n.to_bytes(128, "big"), -2: b"\x01\x00\x01"})


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(changed(ES256, {3: 0}), id="algorithm none"),
        pytest.param(changed(ES256, {3: "none"}), id="algorithm as text"),
        pytest.param(changed(ES256, {3: [ES256]}), id="algorithm as a list"),
        pytest.param(lambda: cbor.encode({1: 2}), id="no algorithm"),
        pytest.param(on_another_curve, id="ES384"),
        pytest.param(changed(RS256, {3: -37}), id="PS256"),
        pytest.param(changed(RS256, {3: -65535}), id="RSA with SHA-1"),
        pytest.param(changed(ES256, {3: -47, -1: 8}), id="ES256K"),
        pytest.param(changed(ES256, {3: -6}), id="an algorithm that nobody knows"),
        pytest.param(changed(EDDSA, {3: ES256}), id="EdDSA as ES256"),
        pytest.param(changed(ES256, {-1: 2}), id="ES256 on another curve"),
        pytest.param(changed(ES256, {-2: bytes(32)}), id="a point that is not on the curve"),
        pytest.param(changed(ES256, {-2: bytes(33)}), id="a coordinate that is too long"),
        pytest.param(changed(ES256, {-2: [1] * 32}), id="a coordinate as a list"),
        pytest.param(changed(ES256, {-2: 32}), id="a coordinate as a number"),
        pytest.param(changed(ES256, {4: [2]}), id="a member that does not belong there"),
        pytest.param(short_rsa, id="RSA with 1024 bits"),
        pytest.param(changed(RS256, {-1: bytes([255]) * 2048}), id="RSA with 16384 bits"),
        pytest.param(changed(RS256, {-2: b"\x01" * 128}), id="RSA with a long exponent"),
        pytest.param(changed(RS256, {-2: b"\x01\x00\x00"}), id="RSA with an even exponent"),
        pytest.param(lambda: cbor.encode([1, 2]), id="a list"),
        pytest.param(lambda: cbor.encode(7), id="a number"),
        pytest.param(lambda: cbor.encode(cose(new_key(ES256))), id="bytes"),
    ],
)
def test_a_key_of_another_kind_is_not_registered(key: Callable[[], bytes]) -> None:
    with pytest.raises(Refused):
        register(Deviation(public_key=key()))


def attested(**parts: object) -> Deviation:
    """A registration with this attestation object, for the rest an honest one."""
    credential = bytes(16) + b"\x00\x10" + bytes(16) + cose(new_key(ES256))
    data = authenticator_data(PORTAL.rp_id, HONEST, ATTESTED, credential)
    whole: dict[str, object] = {"fmt": "none", "authData": data, "attStmt": {}, **parts}
    return Deviation(attestation=cbor.encode(whole))


def test_attestation_does_not_count() -> None:
    register(attested(fmt="packed", attStmt={"alg": 0, "sig": b"", "x5c": [b""]}))


@pytest.mark.parametrize(
    "deviation",
    [
        attested(authData="text"),
        attested(authData=[1, 2]),
        attested(authData=b""),
        attested(authData=authenticator_data(PORTAL.rp_id, HONEST)),
        attested(authData=authenticator_data(PORTAL.rp_id, HONEST, ATTESTED)),
        attested(
            authData=authenticator_data(PORTAL.rp_id, HONEST, ATTESTED, bytes(16) + b"\xff\xff" + bytes(99))
        ),
        Deviation(attestation=cbor.encode({"fmt": "none", "attStmt": {}})),
        Deviation(attestation=cbor.encode([])),
        Deviation(attestation=cbor.encode("authData")),
        Deviation(attestation=cbor.encode(1)),
        Deviation(attestation=(attested().attestation or b"") + b"\x00"),
    ],
    ids=[
        "data as text",
        "data as a list",
        "no bytes of data",
        "no passkey",
        "no bytes of a passkey",
        "a passkey that ends early",
        "no data",
        "a list",
        "a text",
        "a number",
        "bytes behind",
    ],
)
def test_an_attestation_object_that_is_none_is_refused(deviation: Deviation) -> None:
    with pytest.raises(Refused):
        register(deviation)


@pytest.mark.parametrize("hostile", HOSTILE_CBOR)
def test_hostile_cbor_is_refused_wherever_it_stands(hostile: str, signer: Signer) -> None:
    data = HOSTILE_CBOR[hostile]
    for deviation in (
        Deviation(attestation=data),
        Deviation(public_key=data),
        Deviation(behind=data, flags=PRESENT | VERIFIED | EXTENSIONS),
    ):
        with pytest.raises(Refused):
            register(deviation)
    for deviation in (
        Deviation(behind=data, flags=PRESENT | VERIFIED | EXTENSIONS),
        Deviation(behind=bytes(16) + b"\x00\x10" + bytes(16) + data, flags=PRESENT | VERIFIED | ATTESTED),
    ):
        with pytest.raises(Refused):
            signer.agree(signer.answer(deviation))
    with pytest.raises(Refused):
        webauthn.asserted(
            PORTAL,
            signer.answer(),
            CHALLENGE,
            replace(signer.credential, public_key=encoded(data)),
            OWNER,
            named=False,
        )


def test_what_is_longer_than_16_kib_is_not_parsed(signer: Signer) -> None:
    assert MOST_BYTES == 16 * 1024
    long = {"padding": "x" * MOST_BYTES}
    extension = Deviation(behind=cbor.encode(long), flags=PRESENT | VERIFIED | EXTENSIONS)
    for deviation in (attested(attStmt=long), Deviation(client=long), extension):
        with pytest.raises(Refused, match="characters"):
            register(deviation)
    for deviation in (Deviation(client=long), extension, Deviation(signature=lambda _: bytes(MOST_BYTES))):
        with pytest.raises(Refused, match="characters"):
            signer.agree(signer.answer(deviation))
    with pytest.raises(Refused, match="characters"):
        webauthn.credential_of({"id": "A" * (MOST_BYTES + 4)})


@pytest.mark.parametrize(
    "text", ["AAAA=", "AA==", "AB", "A", "AA\n", " AA", "AA+/", "AAäA", "\ud800AAA", "AA=A"]
)
def test_an_id_is_written_in_one_way_only(text: str) -> None:
    assert webauthn.credential_of({"id": "AA"}) == "AA"
    with pytest.raises(Refused):
        webauthn.credential_of({"id": text})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"type challenge origin topOrigin"',
        b"{}",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"[" * 10_000,
        b'{"type":' * 1_500,
        b"1" * 10_000,
        json.dumps({"type": "webauthn.get", "challenge": "AAAA", "origin": ""}).encode("utf-16"),
        *(
            json.dumps({"type": "webauthn.get", "origin": PORTAL.origin, "challenge": wrong}).encode()
            for wrong in (None, 1, True, ["AAAA"], {"AAAA": 1}, "ä", "A", "\ud800")
        ),
    ],
)
def test_client_data_of_another_form_is_refused(data: bytes, signer: Signer) -> None:
    deviation = Deviation(client_data=data)
    for call in (
        lambda: webauthn.challenge_of(signer.answer(deviation)),
        lambda: register(deviation),
        lambda: signer.agree(signer.answer(deviation)),
    ):
        with pytest.raises(Refused):
            call()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
fuzzed = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", examples(300))))
MEMBERS = ("clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle")


@given(json_values | st.fixed_dictionaries({"response": json_values}, optional={"id": json_values}))
def test_json_that_is_no_answer_is_refused(signer: Signer, answer: object) -> None:
    for call in (
        lambda: webauthn.challenge_of(answer),
        lambda: webauthn.registered(PORTAL, answer, CHALLENGE),
        lambda: signer.agree(answer),
    ):
        with pytest.raises(Refused):
            call()


@given(st.sampled_from(MEMBERS), json_values)
def test_an_answer_with_a_member_of_another_kind_is_refused(
    signer: Signer, member: str, value: object
) -> None:
    answers: list[tuple[dict[str, Any], Callable[[object], object]]] = [
        (registration(), lambda answer: webauthn.registered(PORTAL, answer, CHALLENGE)),
        (signer.answer(), signer.agree),
    ]
    for answer, call in answers:
        if member in answer["response"]:
            answer["response"][member] = value
            with pytest.raises(Refused):
                call(answer)


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Changes of bytes: pieces are cut out, replaced or put in, among them heads of CBOR with large numbers."""
    heads = st.sampled_from(
        [b"\x81" * 3000, b"\xa1" * 3000, b"\xbb" + b"\xff" * 8, b"\x5b" + b"\xff" * 8, b"\xf6"]
    )
    pieces = draw(
        st.lists(
            st.tuples(st.floats(0, 1), st.integers(0, 40), heads | st.binary(max_size=4)),
            min_size=1,
            max_size=3,
        )
    )

    def damage(data: bytes) -> bytes:
        for place, cut, put in pieces:
            begin = int(place * len(data))
            data = data[:begin] + put + data[begin + cut :]
        return data

    return damage


@fuzzed
@given(damages())
def test_a_damaged_registration_is_refused_or_makes_a_passkey_that_counts(
    damage: Callable[[bytes], bytes],
) -> None:
    whole = attested().attestation or b""
    try:
        credential = register(Deviation(attestation=damage(whole)))
    except Refused:
        return
    with pytest.raises(Refused, match="Invalid signature"):
        webauthn.asserted(
            PORTAL,
            {**Signer().answer(), "id": credential.id},
            CHALLENGE,
            credential,
            OWNER,
            named=False,
        )


@fuzzed
@given(st.sampled_from(["clientDataJSON", "authenticatorData", "signature"]), damages())
def test_a_damaged_assertion_is_refused(
    signer: Signer, member: str, damage: Callable[[bytes], bytes]
) -> None:
    answer = signer.answer()
    whole = urlsafe_b64decode(answer["response"][member] + "==")
    if damage(whole) == whole:
        return
    answer["response"][member] = encoded(damage(whole))
    with pytest.raises(Refused):
        signer.agree(answer)
