"""The Ansible role: any number of runs with the same result, nothing broken by settings that make no sense."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.installation import ETC, ROOT, Installation

PLAY = [{"hosts": "localhost", "connection": "local", "roles": ["pam_iampass"]}]
VARIABLES: dict[str, Any] = {
    "ansible_python_interpreter": "/usr/bin/python3",
    "pam_iampass_application_id": "demo",
    "pam_iampass_application_secret": "kept-to-ourselves",
    "pam_iampass_packages": [],
    "pam_iampass_settings": {"timeout": "30s", "exempt": {"users": ["root"]}},
    "pam_iampass_users": {
        "alice": "7f3c-alice",
        "bob": {"token": "91aa-bob", "methods": ["facial"]},
        "no": "x",
    },
}
FILES = ("iampass.yaml", "users.yaml", "application-secret")


@pytest.fixture(autouse=True, scope="module")
def _set_up(machine: Installation) -> None:
    """The packages are there already, and root has no token in any earlier test's table."""


def play(folder: Path, **variables: Any) -> tuple[int, int, str]:
    """Run the role; returns exit status, how many tasks changed something, and what was shown."""
    (folder / "play.yml").write_text(json.dumps(PLAY))
    (folder / "variables.yml").write_text(json.dumps({**VARIABLES, **variables}))
    run = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-e", f"@{folder / 'variables.yml'}", folder / "play.yml"],
        env={
            "PATH": os.defpath + ":/usr/sbin:/sbin",
            "LC_ALL": "C.UTF-8",
            "HOME": str(folder),
            "ANSIBLE_ROLES_PATH": str(ROOT / "packaging/ansible/roles"),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    shown = run.stdout + run.stderr
    changed = re.search(r"changed=(\d+)", shown)
    return run.returncode, int(changed[1]) if changed else 0, shown


def states() -> dict[str, str]:
    """What `pam-iampass setup` says is switched on."""
    command = ["pam-iampass", "setup", "--status", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: service["state"] for name, service in json.loads(said)["services"].items()}


def test_settings_come_first_then_services_and_bad_settings_change_nothing(tmp_path: Path) -> None:
    # That a second run changes nothing, and that what is on can be taken back: tests/packages/test_ansible.py.
    status, _, shown = play(tmp_path)
    assert status == 0, shown
    assert "kept-to-ourselves" not in shown
    assert "7f3c-alice" not in shown
    for name in FILES:
        found = (ETC / name).stat()
        assert (found.st_uid, found.st_mode & 0o777) == (0, 0o640)
    assert (ETC / "application-secret").read_text() == "kept-to-ourselves\n"
    assert subprocess.run(["pam-iampass", "check"], check=False).returncode == 0
    assert states() == {"sshd": "off", "sudo": "off", "su": "off"}

    assert play(tmp_path, pam_iampass_services=["sudo"])[:2] == (0, 1)
    assert states() == {"sshd": "off", "sudo": "on", "su": "off"}

    before = (ETC / "iampass.yaml").read_text()
    status, changed, shown = play(
        tmp_path, pam_iampass_services=["sudo"], pam_iampass_settings={"timeout": "never"}
    )
    assert (status, changed) == (2, 0)
    assert "is not a duration" in shown
    assert (ETC / "iampass.yaml").read_text() == before
    subprocess.run(["pam-iampass", "setup", "undo"], check=True, capture_output=True)


@pytest.mark.parametrize(
    "variables",
    [
        {"pam_iampass_application_secret": ""},
        {"pam_iampass_services": ["--force"]},
        {"pam_iampass_first_factor": "none"},
    ],
    ids=["no secret", "an option as a service", "an unknown first factor"],
)
def test_what_makes_no_sense_is_refused_before_anything_changes(
    tmp_path: Path, variables: dict[str, Any]
) -> None:
    status, changed, _ = play(tmp_path, **variables)
    assert (status, changed) == (2, 0)
