"""The Ansible role: any number of runs with the same result, nothing broken by settings that make no sense."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.deadline import PATIENCE
from tests.support.installation import ETC, ROOT, Installation

PLAY: list[dict[str, Any]] = [{"hosts": "all", "gather_subset": ["min"], "roles": ["pam_iampass"]}]
VARIABLES: dict[str, Any] = {
    "ansible_connection": "local",
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


@pytest.fixture(autouse=True, scope="module")
def _set_up(machine: Installation, agent: RunningAgent) -> None:
    """The packages are there already, the agent runs, and root has no token in any earlier test's table."""


@dataclass(frozen=True)
class Played:
    """What a run of the role did to a host, and what was shown of all hosts."""

    changed: int
    """How many tasks changed something."""
    failed: int
    shown: str

    @property
    def ended(self) -> tuple[int, int]:
        """How many tasks failed, and how many changed something."""
        return self.failed, self.changed


def play(
    folder: Path, hosts: dict[str, dict[str, Any]], playbook: list[dict[str, Any]] = PLAY
) -> dict[str, Played]:
    """Run the role for hosts, all of them this machine, each with variables of its own."""
    return run_plays(folder, playbook, {"all": {"vars": VARIABLES, "hosts": hosts}})


def run_plays(folder: Path, plays: list[dict[str, Any]], inventory: dict[str, Any]) -> dict[str, Played]:
    """Run plays with the roles of this tree; of every host of theirs, what they did to it."""
    (folder / "play.yml").write_text(json.dumps(plays))
    (folder / "hosts.yml").write_text(json.dumps(inventory))
    run = subprocess.run(
        ["ansible-playbook", "-i", folder / "hosts.yml", folder / "play.yml"],
        env={
            "PATH": os.defpath + ":/usr/sbin:/sbin",
            "LC_ALL": "C.UTF-8",
            "HOME": str(folder),
            "ANSIBLE_ROLES_PATH": str(ROOT / "packaging/ansible/roles"),
            "ANSIBLE_PIPELINING": "1",
        },
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,  # it starts a Python for each task
        check=False,
    )
    shown = run.stdout + run.stderr
    recap = re.findall(r"^(\S+)\s+: ok=\d+ +changed=(\d+) +unreachable=0 +failed=(\d+)", shown, re.MULTILINE)
    assert recap, shown
    return {host: Played(int(changed), int(failed), shown) for host, changed, failed in recap}


def test_what_makes_no_sense_is_refused_before_anything_changes(tmp_path: Path) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "no-secret": {"pam_iampass_application_secret": ""},
        "an-option-as-a-service": {"pam_iampass_services": ["--force"]},
        "an-unknown-first-factor": {"pam_iampass_first_factor": "none"},
    }
    for host, played in play(tmp_path, wrong).items():
        assert played.ended == (1, 0), (host, played.shown)
        assert "Set pam_iampass_application_id and pam_iampass_application_secret" in played.shown
        assert "kept-to-ourselves" not in played.shown


def searching(folder: Path, secret: str) -> tuple[dict[str, str], Path]:
    """Variables of a host whose Python first looks for a secret in Ansible's own files; and the file that then has the
    names of these."""
    python, found = folder / "python", folder / "found"
    python.write_text(
        f'#!/bin/sh\ngrep -rlsF -e {secret} {folder}/.ansible >> {found}\nexec /usr/bin/python3 "$@"\n'
    )
    python.chmod(0o755)
    found.touch()
    return {
        "ansible_python_interpreter": str(python),
        "ansible_pipelining": "no",
        "ansible_remote_tmp": f"{folder}/.ansible/remote",
    }, found


def test_the_secret_is_in_no_file_of_ansible(tmp_path: Path) -> None:
    host, found = searching(tmp_path, "kept-for-this")
    host |= {"pam_iampass_application_secret": "kept-for-this"}
    for changed in (True, False):
        played = play(tmp_path, {"host": host})["host"]
        assert (played.failed, played.changed > 0) == (0, changed), played.shown
        assert found.read_text() == ""
    file = ETC / "application-secret"
    assert file.read_text() == "kept-for-this\n"
    assert (file.owner(), file.group(), file.stat().st_mode & 0o777) == ("root", "_iampass", 0o640)
    assert [each.name for each in ETC.glob(".*")] == []
    file.chmod(0o644)
    assert play(tmp_path, {"host": host})["host"].ended == (0, 1)
    assert file.stat().st_mode & 0o777 == 0o640


def test_settings_that_check_refuses_are_not_installed(tmp_path: Path) -> None:
    before = (ETC / "iampass.yaml").read_text()
    played = play(tmp_path, {"never": {"pam_iampass_settings": {"timeout": "never"}}})["never"]
    assert played.failed == 1, played.shown
    assert "is not a duration" in played.shown
    assert "kept-to-ourselves" not in played.shown
    assert "7f3c-alice" not in played.shown
    assert (ETC / "iampass.yaml").read_text() == before


def test_sudo_asks_for_every_command_if_the_role_says_so_and_keeps_its_way_if_it_says_nothing(
    tmp_path: Path,
) -> None:
    sudo = {"pam_iampass_services": ["sudo"], "pam_iampass_force": True}
    file = Path("/etc/pam.d/sudo")
    try:
        for always, wanted in ((True, True), ("", True), (False, False)):
            played = play(tmp_path, {"host": {**sudo, "pam_iampass_sudo_always": always}})["host"]
            assert played.failed == 0, played.shown
            assert ("pam_iampass.so always" in file.read_text()) == wanted
    finally:
        run_command("setup", "undo")
