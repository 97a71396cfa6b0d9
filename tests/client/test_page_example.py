"""The examples of docs/reference/client.md, run as they stand on the page."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest

from tests.client.test_reference import PAGE
from tests.support.sandbox import Sandbox

KEYS = """keys = {"application_id": "my-application", "application_secret": "its secret"}"""


def run_examples(sandbox: Sandbox) -> dict[str, Any]:
    """Run the page's code, of which only the keys are others; returns its variables."""
    introduction = PAGE.read_text("utf-8").partition("\n## ")[0]
    code = "\n".join(
        textwrap.dedent(block) for block in re.findall("(?:^(?: {4}.*)?\n)+", introduction, re.M)
    )
    assert code.count(KEYS) == 1
    keys = {
        "application_id": sandbox.application_id,
        "application_secret": sandbox.application_secret,
        "server": sandbox.url,
        "ca_file": str(sandbox.ca_file),
    }
    variables: dict[str, Any] = {}
    exec(code.replace(KEYS, f"keys = {keys!r}"), variables)
    return variables


def test_the_examples_ask_a_phone_and_end_the_session(capsys: pytest.CaptureFixture[str]) -> None:
    with Sandbox(auto="approve") as sandbox:
        sandbox.add_user("alice")
        session = run_examples(sandbox)["session"]
        assert capsys.readouterr().out == "approved\n"
        assert session.active
        assert [each.ended_by is not None for each in sandbox.sessions] == [True]


def test_the_examples_show_a_link_to_a_user_without_a_phone(capsys: pytest.CaptureFixture[str]) -> None:
    with Sandbox() as sandbox:
        run_examples(sandbox)
        link, reason = capsys.readouterr().out.splitlines()
        assert link.startswith(f"{sandbox.url}/register/")
        assert reason == "NO_MOBILE_DEVICE"
