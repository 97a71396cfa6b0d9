"""`make screenshots`: the pictures of the README, from a real session in a terminal and the real phone page.

Runs in an isolated root (tests/support/isolated-root.sh), which is called `server`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser import fleet_picture, moving_picture, portal_pictures
from tests.browser.chromium import chromium
from tests.sandbox.signer import Caller
from tests.support.agent import RunningAgent, running_enforcer
from tests.support.installation import ROOT, Installation
from tests.support.journald import Journald
from tests.support.pam_files import write
from tests.support.sandbox import Sandbox
from tests.support.sshd import PROMPT, Sshd
from tests.support.terminal import Terminal
from tests.system import demo_session

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = ROOT / "docs/images"
PASSWORD = "correct horse"
SHELL = r"alice@server\S*\$\S* "  # with colours in between


def set_up(sandbox: Sandbox) -> Installation:
    """A machine with alice on it, who logs in with a key and the phone, and becomes root with password and phone."""
    machine = Installation()
    machine.add_user("alice", PASSWORD)
    subprocess.run(["usermod", "--shell", "/bin/bash", "alice"], check=True)
    machine.configure(sandbox, timeout="60s")
    machine.write_users("alice: alice\n")
    for service, choice in (("sshd", "key"), ("sudo", "")):
        write(service, choice)
    shutil.copy(ROOT / "config/sshd_config.d/10-iampass.conf", "/etc/ssh/sshd_config.d/")
    Path("/etc/sudoers.d/alice").write_text("alice ALL=(ALL) ALL\nDefaults lecture=never\n")
    # No message of the day: it tells of the machine that the picture is made on.
    Path("/home/alice/.hushlogin").touch()
    Path("/etc/hosts").write_text("127.0.0.1 localhost server\n")
    for name in ("alice", "bob", "carol"):
        sandbox.add_user(name, device=name != "carol")
    return machine


def shell_that_knows(sshd: Sshd, folder: Path) -> Terminal:
    """A shell in a terminal, whose ssh finds the server by its name."""
    (folder / "known-hosts").write_text((folder / "known-hosts").read_text().replace("127.0.0.1", "server"))
    settings = [
        f"Port {sshd.port}",
        f"UserKnownHostsFile {folder / 'known-hosts'}",
        f"IdentityFile {sshd.client_key}",
    ]
    Path("/etc/ssh/ssh_config.d/server.conf").write_text(
        "Host server\n" + "".join(f"  {s}\n" for s in settings)
    )
    return Terminal(["sh", "-i"], 60, {"PS1": "$ ", "ENV": "", "TERM": "xterm-256color"})


def approve(page: Page) -> None:
    """Press Approve of the request for alice."""
    card = page.locator(".request:not(.done)", has=page.get_by_role("heading", name="alice", exact=True))
    card.get_by_role("button", name="Approve").click()


def page_in(browser: Browser, sandbox: Sandbox, **options: object) -> Page:
    """The phone page, connected."""
    context = browser.new_context(ignore_https_errors=True, reduced_motion="reduce", **options)
    page = context.new_page()
    page.goto(sandbox.phone_url)
    page.locator("#connection", has_text="Connected").wait_for()
    return page


def take(page: Page, name: str, user: str) -> None:
    """A picture of the page, as soon as this user's request is on it."""
    page.get_by_role("heading", name=user, exact=True).wait_for()
    page.locator(".left", has_text=re.compile("5[0-7] s left")).first.wait_for()
    page.locator(".request.done").wait_for(state="detached")
    page.screenshot(path=IMAGES / f"{name}.png")


def play(sandbox: Sandbox, sshd: Sshd, folder: Path, browser: Browser) -> None:
    """One session of alice, and the phone meanwhile."""
    wide = page_in(browser, sandbox, viewport={"width": 1040, "height": 770})
    small = page_in(
        browser, sandbox, viewport={"width": 375, "height": 560}, device_scale_factor=2, color_scheme="dark"
    )
    terminal = shell_that_knows(sshd, folder)
    terminal.expect(r"\$ ")
    terminal.sendline("ssh alice@server")
    terminal.expect(PROMPT)
    terminal.sendline("")
    take(small, "phone-small", "alice")
    approve(small)
    terminal.expect(SHELL)
    caller = Caller(sandbox)
    body = {"phone_number": "+15551234567", "display_name": "carol@server"}
    caller.post(caller.manage("send_registration_sms", "carol"), body)
    terminal.sendline("sudo id")
    terminal.expect("password for alice: ")
    terminal.sendline(PASSWORD)
    sandbox.wait_for_request("alice", 20)
    caller.start("bob", "?methods=facial")
    take(wide, "phone-wide", "bob")
    approve(wide)
    terminal.expect(SHELL)
    terminal.sendline("exit")
    terminal.expect(r"\$ ")
    screen = moving_picture.plain(terminal.shown)
    picture = moving_picture.svg(screen, "ssh and sudo, approved on the phone", "login")
    (IMAGES / "login.svg").write_text(picture, encoding="utf-8")
    terminal.kill()


def main() -> None:
    """Set everything up and take the pictures."""
    folder = Path(tempfile.mkdtemp(dir="/var/lib"))
    IMAGES.mkdir(exist_ok=True)
    with Sandbox(application_id="demo") as sandbox, Journald():
        machine = set_up(sandbox)
        with RunningAgent(), Sshd(folder, "PrintLastLog=no") as sshd, chromium() as browser:
            sshd.admit("alice")
            try:
                play(sandbox, sshd, folder, browser)
                machine.change(session=demo_session.SETTINGS)
                with running_enforcer():
                    frames = moving_picture.record(sandbox, "alice", PASSWORD)
                (IMAGES / "session.svg").write_text(
                    moving_picture.animation(frames, "session"), encoding="utf-8"
                )
            finally:
                for terminal in list(Terminal.open):  # of a session that went wrong
                    terminal.kill()
                    print(terminal.shown)
    (IMAGES / "fleet.svg").write_text(fleet_picture.moving_picture(), encoding="utf-8")
    portal_pictures.make()
    for path in sorted(IMAGES.iterdir()):
        print(f"docs/images/{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
