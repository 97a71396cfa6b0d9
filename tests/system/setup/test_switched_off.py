"""What switches the phone off for a whole service, beside its lines, is an error wherever an administrator looks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pam_iampass.system.paths import PAM_FIGURES
from tests.support.journald import Journald
from tests.system.setup.conftest import Administrator
from tests.system.setup.test_refusals import DROP_INS, file

SUDOERS = Path("/etc/sudoers.d/zz-site")
PAM = Path("/etc/pam.d")


@dataclass(frozen=True)
class Way:
    """A way around the phone of a service: a file, and what is written into it before all that it has."""

    kind: str
    path: Path
    text: str
    service: str = "sshd"
    mode: int = 0o644
    mended: bool = False
    """Whether setup takes care of it, if it is run again."""


SHUT = {
    "sshd without PAM": Way("sshd-pam-off", DROP_INS / "05-site.conf", "UsePAM no\n"),
    "another PAM service": Way("sshd-unasked", DROP_INS / "05-site.conf", "PAMServiceName login\n"),
    "a block for all users": Way(
        "sshd-unasked", DROP_INS / "05-site.conf", "Match User *\n  PAMServiceName login\nMatch all\n"
    ),
    "a line above ours": Way(
        "stack-skipped", PAM / "sshd", "account sufficient pam_permit.so\n", mended=True
    ),
    "a second sshd": Way(
        "sshd-pam-off",
        Path("/etc/systemd/system/sshd-admin.service"),
        "[Service]\nExecStart=/usr/sbin/sshd -D -o UsePAM=no\n",
    ),
    "a line above ours in sudo": Way(
        "stack-skipped", PAM / "sudo", "auth sufficient pam_permit.so\n", "sudo"
    ),
    "sudo asks nobody": Way("sudo-rule-bypasses", SUDOERS, "Defaults !authenticate\n", "sudo", 0o440),
    "another PAM service of sudo": Way(
        "sudo-other-service", SUDOERS, "Defaults pam_service=login\n", "sudo", 0o440
    ),
}


@contextmanager
def open_way(way: Way) -> Iterator[None]:
    before = way.path.read_text() if way.path.exists() else ""
    with file(way.path, way.text + before, way.mode):
        yield


def in_force(administrator: Administrator, service: str) -> str:
    """The figure of the watch, which looks now."""
    administrator.setup("--watch")
    (value,) = re.findall(rf'pam_in_force{{service="{service}"}} (\d)', Path(PAM_FIGURES).read_text())
    return str(value)


def ids(administrator: Administrator, *verb: str) -> set[str]:
    """The ids of the errors that a command reports."""
    told = json.loads(administrator.run(*verb, "--json").stdout)
    of_status = [each for service in told.get("services", {}).values() for each in service["problems"]]
    found = told.get("findings") or told.get("problems") or of_status
    return {each["id"] for each in found if each["severity"] == "error"}


@pytest.mark.parametrize("name", SHUT)
def test_what_switches_the_phone_off_for_a_service_is_an_error_everywhere(
    administrator: Administrator, journald: Journald, name: str
) -> None:
    way = SHUT[name]
    administrator.setup(way.service)
    assert way.kind not in ids(administrator, "check", "--settings") | ids(administrator, "setup", "status")
    assert in_force(administrator, way.service) == "1"
    with open_way(way):
        for verb in (["check", "--settings"], ["setup", "status"], ["check", "--offline"]):
            assert way.kind in ids(administrator, *verb), verb
        assert administrator.run("check", "--settings").returncode == 1
        assert "error " in administrator.setup("status")
        for arguments in (
            () if way.mended else ([way.service, "--dry-run"], [way.service], [way.service, "--quiet"])
        ):
            told = administrator.setup(*arguments, ok=False)
            assert "error " in told
            assert "undone" not in told
        cursor = journald.cursor()
        assert in_force(administrator, way.service) == "0"
        (record,) = [one for one in journald.records(cursor) if one.get("IAMPASS_EVENT") == "pam_file_off"]
        assert (record["PRIORITY"], record["IAMPASS_SERVICE"]) == ("2", way.service)
        if way.mended:
            told = administrator.setup(way.service, "--dry-run")
            assert "warning   as it is now: sshd: A right password gets in without the phone" in told
            administrator.setup(way.service)
            assert in_force(administrator, way.service) == "1"
    if way.mended:  # the file is as it was before
        administrator.setup(way.service)
    assert in_force(administrator, way.service) == "1"
    assert "nothing to change" in administrator.setup(way.service)


def test_a_dry_run_finds_what_keeps_sshd_from_asking_before_it_is_set_up(
    administrator: Administrator,
) -> None:
    with open_way(SHUT["a second sshd"]):
        told = administrator.setup("sshd", "--dry-run", ok=False)
        assert "error     sshd-admin.service: sshd does not use PAM" in told
        administrator.setup("sshd", "--force")
    administrator.setup("undo")


def test_a_match_block_for_some_users_is_an_error_of_check_and_no_record_of_the_watch(
    administrator: Administrator,
) -> None:
    administrator.setup("sshd")
    block = Way(
        "sshd-unasked", DROP_INS / "90-site.conf", "Match User bob\n  PAMServiceName login\nMatch all\n"
    )
    with open_way(block):
        assert "sshd-unasked" in ids(administrator, "check", "--settings")
        assert in_force(administrator, "sshd") == "1"


def test_methods_above_ours_that_show_no_prompt_are_told(administrator: Administrator) -> None:
    administrator.setup("sshd", "--prompt")
    methods = Way("sshd-prompt-skipped", DROP_INS / "05-site.conf", "AuthenticationMethods publickey\n")
    with open_way(methods):
        for verb in (["check", "--settings"], ["setup", "status"], ["check", "--offline"]):
            told = json.loads(administrator.run(*verb, "--json").stdout)
            assert methods.kind in json.dumps(told), verb
        assert "sshd does not show the prompt: everybody" in administrator.setup("status")
        assert in_force(administrator, "sshd") == "1", "the phone is asked all the same"
    assert methods.kind not in administrator.run("check", "--settings", "--json").stdout
