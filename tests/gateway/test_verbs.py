"""The command `pam-iampass-gateway` itself: other tests run it in a process that has imported all verbs."""

from __future__ import annotations

import pytest

from pam_iampass.gateway.cli import GROUPS
from tests.support.gateway_machine import run_gateway


@pytest.mark.parametrize("verb", [verb for verbs in GROUPS.values() for verb in verbs])
def test_each_verb_starts_in_a_process_that_has_imported_nothing_else(verb: str) -> None:
    shown = run_gateway(verb, "--help", as_installed=True)
    assert shown.startswith(f"Usage: pam-iampass-gateway {verb} ")
