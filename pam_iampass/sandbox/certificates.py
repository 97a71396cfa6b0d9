"""The sandbox's certificate authority, and its server certificate."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable
from pathlib import Path

import trustme

from pam_iampass.sandbox.errors import SandboxError
from pam_iampass.sandbox.state_folder import CA_FILE, StateFolder

CA_KEY_FILE = "ca-key.pem"


class CertificateAuthority:
    """Created on first use, and kept in the state folder. Raises SandboxError if the files there are invalid."""

    def __init__(self, state: StateFolder) -> None:
        self.fingerprint = ""
        self.file: Path = state.path / CA_FILE
        certificate, key = state.read(CA_FILE), state.read(CA_KEY_FILE)
        if certificate is None or key is None:
            self._authority = trustme.CA(organization_name="pam-iampass sandbox")
            # The key first: a certificate without its key cannot be used again.
            state.write(CA_KEY_FILE, self._authority.private_key_pem.bytes())
            state.write(CA_FILE, self._authority.cert_pem.bytes())
            return
        try:
            self._authority = trustme.CA.from_pem(certificate, key)
        except (ValueError, TypeError) as error:
            raise SandboxError(
                f"{self.file} or its key is invalid; remove both to create new ones"
            ) from error

    def server_context(self, names: Iterable[str]) -> ssl.SSLContext:
        """TLS 1.2 or newer with a new certificate for these names and addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate = self._authority.issue_cert(*names)
        certificate.configure_cert(context)
        encoded = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
        self.fingerprint = hashlib.sha256(encoded).digest().hex(":").upper()
        return context
