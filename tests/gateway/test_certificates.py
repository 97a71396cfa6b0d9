"""The fleet's CA and the certificates from it, as Python's and OpenSSL's own checks see them."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from pam_iampass.gateway import certificates
from pam_iampass.gateway.certificates import Certified

NAMES = ["gateway.example.com", "192.0.2.1", "2001:db8::1"]


@pytest.fixture(scope="module")
def authority() -> Certified:
    return certificates.new_authority("gateway.example.com")


def _connect(folder: Path, served: Certified, authority: Certified, name: str) -> None:
    """Raises SSLError unless a client that trusts the CA alone accepts the certificate for the name."""
    (folder / "certificate").write_bytes(served.certificate)
    (folder / "key").write_bytes(served.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "certificate", folder / "key")
    client = ssl.create_default_context(cadata=authority.certificate.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_trusts_the_ca_accepts_the_certificate(
    tmp_path: Path, authority: Certified, name: str
) -> None:
    _connect(tmp_path, certificates.new_certificate(NAMES, authority), authority, name)


def test_a_client_accepts_no_other_name_and_no_other_ca(tmp_path: Path, authority: Certified) -> None:
    made = certificates.new_certificate(NAMES, authority)
    with pytest.raises(ssl.SSLCertVerificationError):
        _connect(tmp_path, made, authority, "other.example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        _connect(tmp_path, made, certificates.new_authority("gateway.example.com"), NAMES[0])


def test_a_certificate_of_a_gateway_is_no_ca(tmp_path: Path, authority: Certified) -> None:
    gateway = certificates.new_certificate(NAMES, authority)
    forged = certificates.new_certificate(NAMES, gateway)
    with pytest.raises(ssl.SSLCertVerificationError):
        _connect(
            tmp_path, Certified(forged.certificate + gateway.certificate, forged.key), authority, NAMES[0]
        )


def test_the_key_must_be_that_of_the_ca(authority: Certified) -> None:
    other = certificates.new_authority("gateway.example.com")
    for key in (other.key, b"", b"x"):
        with pytest.raises(ValueError, match="key"):
            certificates.new_certificate(NAMES, Certified(authority.certificate, key))


def test_a_certificate_is_due_for_renewal(authority: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    made = certificates.new_certificate(NAMES[:2], authority).certificate
    assert certificates.is_due(made, NAMES[:2], authority.certificate) is None
    assert certificates.is_due(made, NAMES, authority.certificate) == "does not name 2001:db8::1"
    other = certificates.new_authority("gateway.example.com").certificate
    assert certificates.is_due(made, NAMES[:2], other) == "is not from the fleet's CA"
    monkeypatch.setattr(certificates, "RENEW_BEFORE", certificates.LIFETIME)
    assert "expires in 8" in (certificates.is_due(made, NAMES[:2], authority.certificate) or "")
