"""Which certificates are trusted, and which versions of TLS are accepted."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence

from .errors import TLSFailure

# Named here, because SSL_CERT_FILE and SSL_CERT_DIR change OpenSSL's own defaults, and requests brings other
# certificates.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL, where the link above is gone
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine
)


def tls_context(
    ca_file: str | os.PathLike[str] | None = None, *, bundles: Sequence[str] = SYSTEM_BUNDLES
) -> ssl.SSLContext:
    """TLS 1.2 or newer, trusting only `ca_file`, or the system's certificates without one. Raises TLSFailure.

    Not made by `ssl.create_default_context`: that obeys SSLKEYLOGFILE, which would reveal everything that is sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # An end of the stream without close_notify may be an attack that cuts the response short; newer Pythons would
    # take it for a regular end.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    _trust(context, system_bundle(bundles) if ca_file is None else os.fspath(ca_file))
    return context


def _trust(context: ssl.SSLContext, bundle: str) -> None:
    problem: str | None = None
    try:
        context.load_verify_locations(cafile=bundle)
    except ssl.SSLError:
        problem = "it contains no certificates in PEM form"
    except OSError as error:
        problem = error.strerror or "it cannot be read"
    if problem is not None:
        raise TLSFailure(
            f"cannot load certificate authorities from {bundle}: {problem}",
            remedy="Put the certificates to trust there, in PEM form, or correct ca_file.",
        )


def system_bundle(bundles: Sequence[str] = SYSTEM_BUNDLES) -> str:
    for bundle in bundles:
        if os.path.exists(bundle):
            return bundle
    raise TLSFailure(
        "this system has no bundle of certificate authorities in any of the usual places",
        remedy="Install the system's CA certificates (Debian: ca-certificates) or set ca_file.",
    )
