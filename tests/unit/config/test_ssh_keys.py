"""What a key or a certificate says, compared with ssh-keygen; and what is none."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.config.ssh_keys import (
    Certificate,
    KeyEntry,
    MalformedKey,
    PlainKey,
    accepted_keys,
    fingerprint,
    read_key,
)
from tests.support.ssh_keys import accepted, listed, make_key, sign

KINDS = ["ed25519", "rsa", "ecdsa"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_has_the_fingerprint_that_ssh_keygen_prints(tmp_path: Path, kind: str) -> None:
    public = make_key(tmp_path / "key", kind)
    shown = listed(public, tmp_path)
    assert accepted_keys(accepted(public)) == [PlainKey(shown)]
    assert fingerprint(public) == fingerprint(" ".join(public.split()[:2])) == fingerprint(shown) == shown


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_is_its_ca_with_its_key_id_and_principals_whatever_its_key_is(
    tmp_path: Path, kind: str
) -> None:
    ca = listed(make_key(tmp_path / "ca"), tmp_path)
    make_key(tmp_path / "key", kind)
    signed = sign(tmp_path / "ca", tmp_path / "key", "älice #1", "root,deploy")
    assert accepted_keys(accepted(signed)) == [Certificate(ca, "älice #1", ("root", "deploy"))]
    without = sign(tmp_path / "ca", tmp_path / "key", "alice")
    assert accepted_keys(accepted(without)) == [Certificate(ca, "alice", ())]


def test_a_key_id_cannot_close_its_quotes() -> None:
    certificate = Certificate("SHA256:x", 'a" of the CA SHA256:ok was approved; reason="\\', ())
    entry = KeyEntry("SHA256:x", key_id='a" of the CA SHA256:ok, principal "b')
    shown = '"a\\" of the CA SHA256:ok was approved; reason=\\"\\\\"'
    assert str(certificate) == f"the certificate with the key id {shown} of the CA SHA256:x"
    assert str(entry) == 'key id "a\\" of the CA SHA256:ok, principal \\"b" of the CA SHA256:x'


def test_only_the_first_word_of_a_line_makes_it_a_key(tmp_path: Path) -> None:
    public = " ".join(make_key(tmp_path / "key").split()[:2])
    text = f'hostbased {public} client user "publickey {public}"\npassword\n'
    assert accepted_keys(text) == accepted_keys("") == []


def test_each_of_several_keys_counts(tmp_path: Path) -> None:
    keys = [make_key(tmp_path / name) for name in ("a", "b")]
    assert accepted_keys(accepted(*keys)) == [PlainKey(listed(key, tmp_path)) for key in keys]


def malformed(tmp_path: Path) -> dict[str, str]:
    kind, blob = make_key(tmp_path / "key").split()[:2]
    make_key(tmp_path / "ca")
    host = sign(tmp_path / "ca", tmp_path / "key", "alice", "", "-h")
    signed, certificate = sign(tmp_path / "ca", tmp_path / "key", "alice").split()[:2]
    new = signed.replace("v01", "v02")
    data = base64.b64decode(certificate)
    unknown = base64.b64encode(data.replace(signed.encode(), new.encode())).decode()
    return {
        "no key": "publickey",
        "no blob": f"publickey {kind}",
        "more than a key": f"publickey {kind} {blob} alice",
        "no base64": f"publickey {kind} {blob[:-4]}!!!!",
        "a type alone": f"publickey {kind} {base64.b64encode(data[:0] + _string(kind)).decode()}",
        "another type": f"publickey ssh-rsa {blob}",
        "a certificate that says it is a key": f"publickey {kind} {certificate}",
        "a host certificate": "publickey " + " ".join(host.split()[:2]),
        "an unknown kind of certificate": f"publickey {new} {unknown}",
        "a certificate that ends early": f"publickey {signed} {base64.b64encode(data[:-7]).decode()}",
        "a certificate with more": f"publickey {signed} {base64.b64encode(data + bytes(3)).decode()}",
        "a good line before": f"publickey {kind} {blob}\npublickey {kind} AAAA",
    }


def _string(text: str) -> bytes:
    return len(text).to_bytes(4, "big") + text.encode()


def test_what_is_malformed_is_no_key(tmp_path: Path) -> None:
    for what, text in malformed(tmp_path).items():
        with pytest.raises(MalformedKey):
            pytest.fail(f"{what}: {accepted_keys(text)}")


@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(data: bytes) -> None:
    kind = "ssh-ed25519-cert-v01@openssh.com"
    for blob in (data, _string(kind) + data):
        with suppress(MalformedKey):
            read_key(kind, base64.b64encode(blob).decode())


@pytest.mark.parametrize(
    "text",
    [
        "alice",
        "",
        "SHA256:",
        "SHA256:" + "A" * 42,
        "SHA256:" + "A" * 42 + "B",  # no digest is written so
        "SHA256:" + "A" * 43 + " alice",
        "MD5:" + ":".join(["00"] * 16),
        "no-touch-required ssh-ed25519 AAAA",
    ],
)
def test_what_is_written_is_a_key_or_a_fingerprint(text: str) -> None:
    with pytest.raises(MalformedKey):
        fingerprint(text)
