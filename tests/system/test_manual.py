"""The files that the installed man pages name are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.installation import Installation
from tests.support.man_page import ManPage
from tests.support.sandbox import Sandbox

MAN = Path("/usr/share/man")
PAGES = (
    *("man1/pam-iampass.1", "man5/iampass.yaml.5", "man8/pam_iampass.8"),
    *("man8/pam-iampass-agent.8", "man8/pam-iampass-enforcer.8"),
)


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_a_page_names_is_there(
    machine: Installation, sandbox: Sandbox, agent: RunningAgent, name: str
) -> None:
    machine.configure(sandbox)
    machine.write_users("{}\n")
    page = ManPage.of(MAN / name)
    if "FILES" not in page.parts():
        return
    created = {
        "/etc/iampass/users.d",
        "/etc/iampass/keys.yaml",
    }  # by the command or by hand, when first needed
    named = [path for term in page.terms("FILES") for path in term.split(", ")]
    assert named
    assert [path for path in named if path not in created and not os.path.lexists(path)] == []
