"""The fleet's CA and the certificates from it, and the certificate of the portal, as Python's and OpenSSL's own checks
see them."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from pam_iampass.gateway.hosts import certificates
from pam_iampass.gateway.hosts.certificates import Certified

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


# The certificate of the portal, which comes from elsewhere


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A CA that this system trusts."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "trusted.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    return ca


def _in_browsers(
    folder: Path, served: trustme.LeafCert, key: bytes = b"", *, chain: bool = True
) -> str | None:
    chain_pems = served.cert_chain_pems if chain else served.cert_chain_pems[:1]
    (folder / "certificate.pem").write_bytes(b"".join(each.bytes() for each in chain_pems))
    (folder / "key.pem").write_bytes(key or served.private_key_pem.bytes())
    name = "iampass.example.com"
    return certificates.problem_in_browsers(folder / "certificate.pem", folder / "key.pem", name)


def test_browsers_trust_what_the_system_trusts_with_all_certificates_between(
    tmp_path: Path, trusted: trustme.CA
) -> None:
    between = trusted.create_child_ca()
    for names in (["iampass.example.com"], ["other.example.com", "*.example.com"]):
        assert _in_browsers(tmp_path, trusted.issue_cert(*names)) is None
        assert _in_browsers(tmp_path, between.issue_cert(*names)) is None
    alone = _in_browsers(tmp_path, between.issue_cert("iampass.example.com"), chain=False)
    assert alone == "is not trusted by browsers: unable to get local issuer certificate"


def test_browsers_do_not_trust_another_name_another_time_or_another_ca(
    tmp_path: Path, trusted: trustme.CA, authority: Certified
) -> None:
    name, now = "iampass.example.com", datetime.now(timezone.utc)
    in_common_name = trusted.issue_cert("other.example.com", common_name=name)
    for served, problem in (
        (trusted.issue_cert("example.com"), "Hostname mismatch"),
        (in_common_name, "Hostname mismatch"),
        (trusted.issue_cert(name, not_after=now - timedelta(days=1)), "certificate has expired"),
        (trusted.issue_cert(name, not_before=now + timedelta(days=1)), "certificate is not yet valid"),
        (trustme.CA().issue_cert(name), "unable to get local issuer certificate"),
    ):
        found = _in_browsers(tmp_path, served)
        assert found is not None
        assert f"is not trusted by browsers: {problem}" in found
    of_the_fleet = certificates.new_certificate([name], authority)
    (tmp_path / "certificate.pem").write_bytes(of_the_fleet.certificate)
    (tmp_path / "key.pem").write_bytes(of_the_fleet.key)
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    assert "unable to get" in str(certificates.problem_in_browsers(*files, name))


def test_a_key_that_is_another_one_or_cannot_be_read_is_no_key_of_a_certificate(
    tmp_path: Path, trusted: trustme.CA
) -> None:
    served, other = (trusted.issue_cert("iampass.example.com") for _ in range(2))
    assert _in_browsers(tmp_path, served, other.private_key_pem.bytes()) == "has another key"
    key = load_pem_private_key(served.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    for unreadable in (b"nothing", encrypted):
        found = _in_browsers(tmp_path, served, unreadable)
        assert found == "cannot be read, or its key cannot: both must be PEM, the key plain"
