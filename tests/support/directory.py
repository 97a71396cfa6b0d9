"""A directory service: a real sssd, which takes its users from the machine and has a say in who may log in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.world import PATIENCE, wait_until

#: The packages that tests/support/requirements.sh has downloaded.
PACKAGES = Path(os.environ.get("PAM_IAMPASS_TOOLS", f"/var/tmp/pam-iampass-tools-{os.getuid()}")) / "unpacked"
_MODULE = Path("/usr/lib") / sysconfig.get_config_var("MULTIARCH") / "security/pam_sss.so"
_STATE = Path("/var/lib/sss")
_SETTINGS = Path("/etc/sssd/sssd.conf")
_PAM = Path("/etc/pam.d")
_SSSD_CONF = """\
[sssd]
services = nss, pam
domains = machine
[domain/machine]
id_provider = proxy
proxy_lib_name = files
auth_provider = none
access_provider = proxy
proxy_pam_target = directory-access
"""


@contextmanager
def sssd(expired: str, refused: str) -> Iterator[None]:
    """Run sssd. For it, the account of the user `expired` has expired, and `refused` has no access."""
    for package in sorted(PACKAGES.glob("*.deb")):
        subprocess.run(["dpkg", "-x", package, "/"], check=True)
    subprocess.run(["ldconfig"], check=True)
    for folder in ("db", "mc", "pipes/private", "pubconf/krb5.include.d", "gpo_cache", "deskprofile"):
        (_STATE / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("/run/sssd", "/var/log/sssd"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    subprocess.run(["chown", "-R", "root:root", _STATE, "/var/log/sssd", _SETTINGS.parent], check=True)
    subprocess.run(["useradd", "--system", "--no-create-home", "sssd"], check=True)
    _SETTINGS.write_text(_SSSD_CONF)
    _SETTINGS.chmod(0o600)
    (_SETTINGS.parent / "access").write_text(f"- : {refused} : ALL\n")
    (_PAM / "directory-access").write_text(
        f"account [success=ignore default=1] pam_succeed_if.so quiet user = {expired}\n"
        "account requisite pam_debug.so acct=acct_expired\n"
        f"account required pam_access.so accessfile={_SETTINGS.parent}/access\n"
    )
    (_PAM / "directory").write_text("account required pam_sss.so\n")
    server = subprocess.Popen(["sssd", "-i", "--logger=files"])
    try:
        wait_until(lambda: _account("daemon") == 0, "sssd does not answer", PATIENCE)
        yield
    finally:
        server.terminate()
        server.wait(60)
        _MODULE.unlink()
        for name in ("directory", "directory-access"):
            (_PAM / name).unlink()
        shutil.rmtree(_STATE)
        subprocess.run(["userdel", "sssd"], check=True)


def _account(user: str) -> int:
    command = ["pamtester", "directory", user, "acct_mgmt"]
    return subprocess.run(command, capture_output=True, check=False).returncode
