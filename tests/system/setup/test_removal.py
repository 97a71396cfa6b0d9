"""Removal of the packages: a refusal leaves the second factor on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.setup.conftest import Administrator, everything

PACKAGING = Path(__file__).parents[3] / "packaging"


def _deb(folder: Path) -> list[str]:
    return ["sh", str(PACKAGING / "debian/libpam-iampass.prerm"), "remove"]


def _rpm(folder: Path) -> list[str]:
    spec = (PACKAGING / "rpm/pam-iampass.spec").read_text()
    [script] = re.findall(r"^%preun\n(.*?)^%postun$", spec, re.S | re.M)
    # The end of the script stops the agent, which is another test's.
    script = script.partition("    if [ -d /run/systemd")[0] + "fi\n"
    preun = folder / "preun"
    preun.write_text(script.replace("%{_bindir}", "/usr/bin").replace("%{_sharedstatedir}", "/var/lib"))
    return ["sh", str(preun), "0"]


def check(administrator: Administrator) -> list[dict[str, str]]:
    """What `pam-iampass check` finds."""
    found: list[dict[str, str]] = json.loads(administrator.run("check", "--offline", "--json").stdout)[
        "findings"
    ]
    return found


@pytest.mark.parametrize("script", [_deb, _rpm])
def test_a_refused_removal_leaves_the_second_factor_on(
    administrator: Administrator, tmp_path: Path, script: Callable[[Path], list[str]]
) -> None:
    administrator.setup("sudo", "su")
    own = Path("/etc/pam.d/mine")
    own.write_text("auth required pam_iampass.so\nauth required pam_permit.so\n")
    before = everything()
    remove = script(tmp_path)
    # pam-auth-update rewrites the common files; on a machine where they were written by hand it would ask.
    environment = {"PATH": f"{tmp_path}:/usr/bin:/usr/sbin", "LANG": "C.UTF-8"}
    shutil.copy("/usr/bin/true", tmp_path / "pam-auth-update")
    try:
        refused = subprocess.run(remove, capture_output=True, text=True, env=environment, check=False)
        assert refused.returncode == 1, refused
        assert str(own) in refused.stderr
        assert "/etc/pam.d/su" not in refused.stderr
        assert everything() == before
    finally:
        own.unlink()
    removed = subprocess.run(remove, capture_output=True, text=True, env=environment, check=False)
    assert removed.returncode == 0, removed
    assert "iampass" not in Path("/etc/pam.d/sudo").read_text()
    # The package is installed again.
    found = [one for one in check(administrator) if one["id"] == "switched-off"]
    assert [(one["severity"], one["title"].partition(" asked")[0]) for one in found] == [
        ("error", "sudo, su")
    ]
    administrator.setup("sudo")
    administrator.setup("undo", "su")
    assert "switched-off" not in [one["id"] for one in check(administrator)]
