"""The pictures of the portal: a person's first page while an agent asks, and what a help desk does for them.

Of a fleet with real hosts and logins, in an isolated root of its own.
"""

from __future__ import annotations

import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.chromium import chromium
from tests.browser.conftest import PATIENCE_MS
from tests.browser.test_portal import Person
from tests.browser.test_roads import USERS, Fleet, link_shown, operator, running_fleet, unfold, with_passkey
from tests.support.gateway_machine import run_gateway
from tests.support.installation import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES = ROOT / "docs/images"
AGENT = "claude"
ACCOUNT, PERSON = IMAGES / "portal-account.png", IMAGES / "portal-person.png"


def make() -> None:
    """Make both. Raises CalledProcessError."""
    command = ["tests/support/isolated-root.sh", "/usr/bin/python3", "-m", "tests.browser.portal_pictures"]
    subprocess.run(command, cwd=ROOT, check=True)


def take(fleet: Fleet, browser: Browser, origin: str) -> None:
    """Take the pictures: alice is logged in on web1 when an agent that acts for her calls sudo there."""

    def new_person() -> Person:
        context = browser.new_context(viewport={"width": 1040, "height": 800})
        context.set_default_timeout(PATIENCE_MS)
        return Person(context, context.new_page(), origin)

    dora = operator(fleet, new_person, "dora")
    dora.open("/people/alice")
    unfold(dora, "Make a link for a passkey")
    dora.press("Make a link for a passkey")
    dora.sees("This link is valid once.")
    alice = with_passkey(fleet, new_person, link_shown(dora))
    terminal = fleet.ssh("alice", "web1.example")
    fleet.sandbox.approve(fleet.rings())
    terminal.expect_exact("web1$ ")
    run_gateway("user", "add", AGENT, "--acts-for", "alice", "--group", "staff")
    fleet.on("web1.example", "sh", "-c", f"echo '{AGENT} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/agent")
    fleet.on("web1.example", "env", "SUDO_USER=erin", "pam-iampass", "setup", "sudo", "--always", "--force")
    command = ("runuser", "-u", AGENT, "--", "sudo", "-n", "systemctl", "restart", "nginx")
    with ThreadPoolExecutor(1) as running:
        # It is asked 30 s after a request of hers at the earliest.
        agents = running.submit(fleet.hosts["web1.example"].run, *command)
        asked = fleet.rings()
        alice.open("/")
        alice.sees("the phone is ringing")
        photograph(alice, ACCOUNT)
        dora.open("/people/alice")
        unfold(dora, "Ring to verify a caller")
        photograph(dora, PERSON)
        fleet.sandbox.deny(asked)
        agents.result()
    terminal.kill()


def photograph(person: Person, path: Path) -> None:
    person.page.get_by_text("checking").wait_for(state="detached")
    person.page.screenshot(path=path)


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, chromium() as browser:
        origin = f"http://localhost:{listener.getsockname()[1]}"
        with running_fleet(listener, origin, users=(*USERS, AGENT)) as fleet:
            take(fleet, browser, origin)


if __name__ == "__main__":
    main()
