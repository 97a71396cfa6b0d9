"""Where the files of a gateway and its portal are, and under which accounts they run."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path("/etc/iampass-gateway")

DEFAULT_PATH = FOLDER / "gateway.yaml"

ACCOUNT = "_iampass-gateway"
"""The account of the service."""

PORTAL_ACCOUNT = "_iampass-portal"
"""The account of the portal, which has no access to the settings' secrets and the database."""

PORTAL_FOLDER = Path("/etc/iampass-portal")
"""The folder with the portal's settings, and with links to its certificate and key, where it is set up."""

PORTAL_CERTIFICATE = PORTAL_FOLDER / "certificate.pem"

PORTAL_KEY = PORTAL_FOLDER / "certificate-key.pem"

PORTAL_SOCKET = "pam-iampass-portal.socket"
"""The unit that accepts browsers' connections for the portal."""

CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""The variable by which systemd names the folder with the service's secrets."""
