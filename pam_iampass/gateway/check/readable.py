"""Whether the service can read the files that the settings name. Root, who looks, can read all of them.

systemd reads the secrets as root and passes them to the service, under the names that its unit has (`LoadCredential`).
All other files must be readable for the account of the service, and not be where its unit shows it nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pam_iampass.errors import Problem
from pam_iampass.gateway.base.places import ACCOUNT, FOLDER
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.system import programs
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.service_user import reading_as, service_group
from pam_iampass.system.trusted_folder import shell_word

_SECRETS = ("application_secret_file", "key_file", "certificate_key_file", "directory.password_file")
_UNITS = (
    "pam-iampass-gateway.service",
    "pam-iampass-gateway-acts.service",
    "pam-iampass-gateway-sync.service",
)
_PASSED = ("application-secret", "key", "certificate-key.pem", "directory-password")
"""The names of the secrets in the units as they are installed, which are looked at where systemd does not run."""
_HIDDEN = ("/home", "/root", "/run/user")
"""Folders that the unit hides from the service (ProtectHome)."""


def problems(config: Path, settings: GatewaySettings) -> list[Problem]:
    """The files that root can read, and the service cannot. None is found unless root looks, and the account exists."""
    if os.geteuid() != 0 or service_group(ACCOUNT) is None:
        return []
    who, passed = _passed()
    found = []
    with reading_as(ACCOUNT, with_groups=True):
        for key, path in {"": config, **settings.files}.items():
            what, remedy = _secret(path, who, passed) if key in _SECRETS else _file(path)
            if what:
                found.append(Problem(config, None, key, what, remedy))
    return found


def _secret(path: Path, who: str, passed: Mapping[str, Path]) -> tuple[str, str]:
    """The problem of a secret, and its remedy; empty if systemd passes it."""
    source = passed.get(path.name)
    if source == path:
        return "", ""
    what = f"{who} passes {source or 'nothing'} to the service under this name, not {path}"
    line = f"LoadCredential={path.name}:{path}"
    return what, f"keep it in {FOLDER}, or write {line} (systemctl edit {' '.join(_UNITS)})"


def _file(path: Path) -> tuple[str, str]:
    """The problem of another file, and its remedy. A file that is missing is reported elsewhere."""
    real = os.path.realpath(path)
    for hidden in _HIDDEN:
        if Path(hidden) in Path(real).parents:
            return f"{path} is below {hidden}, which the service does not see", f"move it to {FOLDER}"
    for folder in reversed(Path(real).parents):
        if not os.access(folder, os.X_OK, effective_ids=True):
            return f"{folder} cannot be entered by {ACCOUNT}", f"chmod o+x {shell_word(str(folder))}"
    if os.path.exists(real) and not os.access(real, os.R_OK, effective_ids=True):
        return f"{path} cannot be read by {ACCOUNT}", f"chmod 0644 {shell_word(real)}"
    return "", ""


def _passed() -> tuple[str, dict[str, Path]]:
    """The subject of a sentence that says how secrets are passed to the service, and their sources by name."""
    try:
        units = programs.run(["systemctl", "cat", *_UNITS])
    except CommandUnavailable:
        units = None
    if units is None or not units.ok:
        installed = {name: FOLDER / name for name in _PASSED}
        return "systemd, which does not answer here, by the units as they are installed,", installed
    found = re.findall(r"^LoadCredential=([^:\s]+):(/\S*)$", units.output, re.MULTILINE)
    return "systemd", {name: Path(path) for name, path in found}
