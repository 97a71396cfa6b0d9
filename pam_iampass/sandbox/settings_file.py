"""The iampass.yaml of a machine that uses the sandbox."""

from __future__ import annotations

import yaml

FOLDER = "/etc/iampass"
SECRET = f"{FOLDER}/application-secret"
CA = f"{FOLDER}/sandbox-ca.pem"


def settings_text(application_id: str, url: str) -> str:
    """The content of the file."""
    settings = {
        "application_id": application_id,
        "application_secret_file": SECRET,
        "server": url,
        "ca_file": CA,
        "users": f"{FOLDER}/users.yaml",
        "services": {"su": {"approver": "caller"}, "su-l": {"approver": "caller"}},
    }
    return str(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=1000))
