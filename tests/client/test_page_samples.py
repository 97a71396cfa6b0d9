"""The samples of the published client's page run with ours: only their imports are changed.

What the page leaves for its reader to fill in is filled in: the application's id and secret, the phone number, the
server and its certificate.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pam_iampass.client import Session
from tests.support.sandbox import Sandbox

FILE = Path(__file__).with_name("page_samples.txt")


def samples() -> dict[str, str]:
    """The code of each sample, by its name."""
    _, *parts = re.split(r"^=== (.*)\n", FILE.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2]))


class Page:
    """Runs the samples as one program after the other, in the same names."""

    def __init__(self, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
        self.sandbox = sandbox
        self.capsys = capsys
        self.ran: list[str] = []
        # The samples of sessions take these two as imported.
        self.names: dict[str, Any] = {"Session": Session, "time": SimpleNamespace(sleep=self.sleep)}

    def sleep(self, seconds: float) -> None:
        """While the program sleeps, the person approves."""
        if self.sandbox.sessions[-1].undecided:
            self.sandbox.approve("MY USER 1")

    def run(self, name: str) -> str:
        """Run a sample; returns what it printed."""
        self.ran.append(name)
        code = re.sub(r"from IAMPASS\.\w+ import", "from pam_iampass.client import", samples()[name])
        given = f'server="{self.sandbox.url}", ca_file="{self.sandbox.ca_file}"'
        code = re.sub(r'(application_secret="[A-Z ]+")\)', rf"\1, {given})", code)
        code = code.replace("MY APPLICATION ID", self.sandbox.application_id)
        code = code.replace("MY APPLICATION SECRET", self.sandbox.application_secret)
        exec(compile(code.replace("+1XXXYYYY", "+15551234567"), name, "exec"), self.names)
        return self.capsys.readouterr().out


@pytest.fixture
def page(shared_sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> Page:
    shared_sandbox.behave()
    shared_sandbox.auto, shared_sandbox.request_timeout = "ask", 60.0
    for user in [user for user in shared_sandbox.users if user.startswith("MY USER")]:
        shared_sandbox.delete_user(user)
    return Page(shared_sandbox, capsys)


def test_every_sample_of_the_page_runs(page: Page) -> None:
    sandbox = page.sandbox
    assert page.run("a manager") == ""
    assert page.run("add a user") == "user added\n"
    assert page.run("add users") == (
        "Users created: ['MY USER 1', 'MY USER 2', 'MY USER 3']\nExisting users: []\n"
    )
    page.run("a registration link")
    assert page.names["registration_link"].startswith(f"{sandbox.url}/register/")
    sent = len(sandbox.messages)
    page.run("a registration SMS")
    page.run("a registration SMS with a message")
    first, second = sandbox.messages[sent:]
    assert (first.user, first.display_name, first.phone_number) == (
        "MY USER 1",
        "MY USER1@myapp",
        "+15551234567",
    )
    assert second.text.startswith("REGISTER FOR MY APP ")
    assert page.run("has the user a device") == "User has no mobile device.\n"
    page.run("delete a user")
    assert "MY USER 1" not in sandbox.users
    sandbox.add_user("MY USER 1", device=True)
    page.run("delete users")
    assert [user for user in sandbox.users if user.startswith("MY USER")] == ["MY USER", "MY USER 3"]

    sandbox.add_user("MY USER 1", device=True)
    assert page.run("start") == "Authentication in progress\n"
    assert page.run("JSON") == ""
    assert page.names["new_session"] == page.names["session"]
    assert page.run("wait") == "authenticated\n"
    assert sandbox.wait_for_end("MY USER 1").user == "MY USER 1"
    page.run("end")
    page.run("seal")
    assert page.names["s"].loads(page.names["session_token"]) == page.names["session_json"]
    assert sorted(page.ran) == sorted(samples())
