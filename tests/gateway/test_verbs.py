"""The command `pam-iampass-gateway` itself: other tests run it in a process that has imported all verbs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pam_iampass.gateway.cli import GROUPS
from tests.support.gateway_machine import package, run_gateway


@pytest.mark.parametrize("verb", [verb for verbs in GROUPS.values() for verb in verbs])
def test_each_verb_starts_in_a_process_that_has_imported_nothing_else(verb: str) -> None:
    shown = run_gateway(verb, "--help", as_installed=True)
    assert shown.startswith(f"Usage: pam-iampass-gateway {verb} ")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("thro", "throttle"),
        ("host sus", "suspend"),
        ("host list --uns", "--unseen"),
        ("host list --status wai", "waiting"),
    ],
)
def test_a_shell_completes_verbs_options_and_their_values(typed: str, offered: str) -> None:
    words = f"pam-iampass-gateway {typed}"
    environment = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    environment["_PAM_IAMPASS_GATEWAY_COMPLETE"] = "bash_complete"
    command = [sys.executable, "-m", "pam_iampass.gateway.cli"]
    done = subprocess.run(command, env=environment, cwd=package(), capture_output=True, text=True, check=True)
    assert done.stdout == f"plain,{offered}\n"
