"""The fleet's own certificate authority, and the certificate of a gateway.

Hosts trust this CA for their gateway alone, and nothing else does: it has no constraints on names, which would have to
be known for twenty years. An invite carries its fingerprint.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pam_iampass.system import trusted_file
from pam_iampass.system.trusted_folder import trusted_folder

CA_LIFETIME = timedelta(days=20 * 365)
LIFETIME = timedelta(days=825)
RENEW_BEFORE = timedelta(days=90)
"""A certificate that is valid for less is due for renewal."""
_MOST_LINKS = 40  # as Linux: path_resolution(7)
_BACKDATED = timedelta(days=1)  # for clocks that differ


@dataclass(frozen=True)
class Certified:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def new_authority(fleet: str) -> Certified:
    """A new CA, named after a gateway."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"pam-iampass fleet of {fleet}"[:64])])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _certificate(name, name, key.public_key(), key.public_key(), CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return _signed(builder, key, key)


def new_certificate(names: Sequence[str], authority: Certified) -> Certified:
    """A new certificate for these host names and addresses, with a new key. Raises ValueError for a key of another
    CA or none."""
    ca = x509.load_pem_x509_certificate(authority.certificate)
    ca_key = load_pem_private_key(authority.key, None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey) or ca_key.public_key() != ca.public_key():
        raise ValueError("the key is not that of the CA's certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    lifetime = min(LIFETIME, ca.not_valid_after_utc - datetime.now(timezone.utc))
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = (
        _certificate(subject, ca.subject, key.public_key(), ca_key.public_key(), lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(server, critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
    )
    return _signed(builder, key, ca_key)


def is_due(certificate: bytes, names: Sequence[str], authority: bytes) -> str | None:
    """Why the certificate of a gateway needs to be renewed, as the end of a sentence; None if it does not. Raises
    ValueError for what is no certificate (PEM)."""
    found, ca = (x509.load_pem_x509_certificate(pem) for pem in (certificate, authority))
    try:
        found.verify_directly_issued_by(ca)
    except Exception:  # noqa: BLE001 - InvalidSignature, ValueError and TypeError all say that it is another CA's
        return "is not from the fleet's CA"
    alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    missing = [name for name in names if _general_name(name) not in list(alternative)]
    if missing:
        return f"does not name {', '.join(missing)}"
    left = found.not_valid_after_utc - datetime.now(timezone.utc)
    if left < RENEW_BEFORE:
        return "has expired" if left < timedelta() else f"expires in {left.days} days"
    return None


def problem_in_browsers(chain: Path, key: Path, name: str) -> str | None:
    """Why browsers would not trust a server that has this certificate, the ones after it in the file (PEM) and this
    key as the host `name`, as the end of a sentence; None if they would. What they trust is what this system trusts.
    """
    server, browser = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    browser.hostname_checks_common_name = False
    try:
        server.load_cert_chain(chain, key, password="")  # an encrypted one is refused
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        return (
            "has another key"
            if mismatch
            else "cannot be read, or its key cannot: both must be PEM, the key plain"
        )
    to_server, to_browser = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        browser.wrap_bio(to_browser, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_browser, server_side=True),
    )
    try:
        for _ in range(3):
            for end in ends:
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return f"is not trusted by browsers: {error.verify_message}"
    except ssl.SSLError as error:
        return f"cannot be used: {error.reason}"
    return None


def read_trusted(file: Path) -> bytes:
    """The content of a file that only root can exchange, also by way of the links that lead to it. Raises
    UntrustedFile."""
    where = os.fspath(file.absolute())
    for _ in range(_MOST_LINKS):
        if not os.path.islink(where):
            break
        folder, name = os.path.split(where)
        with trusted_folder(folder, 0) as descriptor:
            where = os.path.join(folder, os.readlink(name, dir_fd=descriptor))
    return trusted_file.read(where)


def expiry(certificate: bytes) -> datetime:
    """The time until which a certificate (PEM) is valid. Raises ValueError."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def fingerprint(certificate: bytes) -> str:
    """The fingerprint of a certificate (PEM), as an invite has it. Raises ValueError."""
    found = x509.load_pem_x509_certificate(certificate)
    return base64.urlsafe_b64encode(found.fingerprint(hashes.SHA256())).decode().rstrip("=")


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Certified:
    certificate = builder.sign(signer, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certified(certificate.public_bytes(Encoding.PEM), private)


def _usage(**used: bool) -> x509.KeyUsage:
    all_of_them = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{**dict.fromkeys(all_of_them, False), **used})


def _general_name(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)
