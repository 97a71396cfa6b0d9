"""`pam-iampass check --settings`, against real files. What it finds: `tests/unit/check/test_configuration.py`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pexpect
import pytest
from click.testing import CliRunner

from pam_iampass.cli import group
from pam_iampass.cli.check import FILES_ONLY
from tests.support.installation import ROOT
from tests.support.shipped_settings import Installed


def test_the_installed_files_are_well_once_the_application_id_is_filled_in(for_root: Installed) -> None:
    finished = for_root.check()
    read = f"Read {for_root.file}, {for_root.folder}/application-secret, {for_root.folder}/users.yaml."
    accounts = "With the accounts of this machine, [0-9]+ users?: .* (is|are) denied[.]"
    assert re.fullmatch(f"{read}\nThe table lists 0 users.\n{accounts}\nAll is well.\n", finished.stdout)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_an_unedited_file_is_a_clear_error(for_root: Installed) -> None:
    for_root.set("application_id", "")
    finished = for_root.check()
    assert finished.returncode == 1
    assert re.search(
        f"^{for_root.file}:[0-9]+: application_id: application_id is not set$", finished.stdout, re.M
    )
    assert "every login is denied, once a PAM service uses these settings." in finished.stdout


def test_errors_of_settings_and_table_are_reported_together_line_by_line(for_root: Installed) -> None:
    for_root.set("timeout", "60")
    for_root.write("users.yaml", "alice: a\nbob: ''\n")
    finished = for_root.check()
    assert finished.returncode == 1
    assert re.search(f'^{for_root.file}:[0-9]+: timeout: "60" has no unit$', finished.stdout, re.M)
    assert f"\n{for_root.folder}/users.yaml:2: bob: the token is empty\n" in finished.stdout
    assert "2 errors, 0 warnings" in finished.stdout
    assert "\x1b" not in finished.stdout


def test_json_holds_what_the_text_says(for_root: Installed) -> None:
    for_root.write("users.yaml", "alice: a\nbob: a\n")
    for_root.set("timeout", "60")
    finished = for_root.check("--json")
    told = json.loads(finished.stdout)
    assert finished.returncode == 1
    assert told["ok"] is False
    assert told["users"] == 2
    assert told["files"] == [str(for_root.file), f"{for_root.folder}/users.yaml"]
    error, warning = told["problems"]
    assert error["severity"] == "error"
    assert error["file"] == str(for_root.file)
    assert error["line"] > 1
    assert error["key"] == "timeout"
    assert error["what"] == '"60" has no unit'
    assert error["remedy"] == "write 60s for seconds, 60m for minutes"
    assert (warning["severity"], warning["line"], warning["key"]) == ("warning", 2, "bob")


@pytest.mark.parametrize("others", [["alice"], ["--offline"], ["--monitoring"], ["--from", "192.0.2.7"]])
@pytest.mark.parametrize("verb", [["check", "--settings"], ["check", "--config", "/etc/iampass/new.yaml"]])
def test_what_needs_more_than_files_is_not_ignored_beside_them(verb: list[str], others: list[str]) -> None:
    refused = CliRunner().invoke(group, [*verb, *others])
    assert (refused.exit_code, FILES_ONLY in refused.output) == (2, True)


def test_the_secret_is_never_shown(for_root: Installed) -> None:
    finished = for_root.check("--json")
    assert "s3cret" not in finished.stdout + for_root.check().stdout


def test_warnings_do_not_fail(for_root: Installed) -> None:
    for_root.write("users.yaml", "alice: a\nbob: a\n")
    finished = for_root.check()
    assert finished.returncode == 0
    assert f"{for_root.folder}/users.yaml:2: bob: warning: has the same token" in finished.stdout
    assert "\nThe table lists 2 users.\n" in finished.stdout
    assert finished.stdout.endswith("\nNo error, 1 warning.\n")


def test_a_relative_path_is_taken_from_where_one_is(for_root: Installed) -> None:
    command = [sys.executable, "-m", "pam_iampass.cli", "check", "--config", "iampass.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        command, cwd=for_root.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout


def test_a_terminal_is_shown_colours_and_words_are_not_cut(for_root: Installed) -> None:
    for_root.set("prompt", "'[bold]" + "x" * 60 + "'")
    command = ["-m", "pam_iampass.cli", "check", "--config", str(for_root.file)]
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", "HOME": "/root"}
    terminal = pexpect.spawn(
        sys.executable, command, cwd=str(ROOT), env=environment, encoding="utf-8", dimensions=(24, 60)
    )
    shown = terminal.read()
    terminal.close()
    assert terminal.exitstatus == 1
    assert "\x1b[1;31m" in shown
    assert f'prompt: "[bold]{"x" * 60}" is unknown' in " ".join(re.sub(r"\x1b\[[0-9;]*m", "", shown).split())


def test_many_files_are_counted_and_not_listed(for_root: Installed) -> None:
    (for_root.folder / "users.d").mkdir()
    for number in range(50):
        for_root.write(f"users.d/user{number}.yaml", f"user{number}: token{number}\n")
    told = for_root.check().stdout
    assert "48 more files" in told
    assert "The table lists 50 users." in told
    assert len(told.split("\n")[0]) < 600
