"""The roads of a person, a help desk and an admin through the portal, from the first link to the last act: a gateway as
it is installed, hosts that have joined it, real logins, and a browser for each.

`build/reports/portal` has a picture of each main step.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import pytest
import trustme
from playwright.sync_api import Browser, expect

from pam_iampass.portal import calls
from pam_iampass.portal.gateway import GatewayClient, GatewayError
from pam_iampass.portal.sign_in import SIGN_IN
from pam_iampass.sandbox.sessions import SandboxSession
from tests import reports
from tests.browser.conftest import SMALL, WIDE
from tests.browser.test_portal import Person, browser, certificate, new_person
from tests.support.fleet import GATEWAY_ADDRESS, FleetHost, running_hosts
from tests.support.gateway_machine import ACTS_SOCKET, initialised, run_gateway, serving, showing
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.sshd import Login
from tests.support.world import PATIENCE

__all__ = ["browser", "certificate", "new_person"]

GATEWAY = "gateway.example"
PASSWORD = "correct horse"
HOSTS = {"web1.example": "web", "bastion.example": "bastion"}
PEOPLE = {"alice": "staff", "bob": "staff", "erin": "staff", "carol": "ops", "dora": "desk", "zoe": "it"}
USERS = ("alice", "bob", "erin")
"""The people with an account on the hosts."""
SETTINGS = """\
groups:
  web: {people: [staff], codes: true}
  bastion: {people: [staff], admit: true}
operators: {admin: [it], helpdesk: {people: [desk], helps: [staff]}}
self_service: [staff]
portal: {origin: ORIGIN}
"""
PICTURES = reports.FOLDER / "portal"

NewPerson = Callable[[], Person]


@dataclass
class Fleet:
    """A gateway with its portal, two hosts, and everybody's phone."""

    sandbox: Sandbox
    hosts: dict[str, FleetHost]
    rung: int = 0

    def rings(self) -> SandboxSession:
        """The next request on a phone."""
        found = self.sandbox.wait_for_session(
            lambda each: each.undecided and each.number > self.rung, PATIENCE, "a phone rings"
        )
        self.rung = found.number
        return found

    def join(self, host: str) -> str:
        """Have a host join as its administrator does; what that says."""
        terms = ("--group", HOSTS[host], "--name", host, "--network", f"{self.hosts[host].address}/32")
        made = json.loads(run_gateway("host", "invite", *terms, "--json"))
        return self.on(host, "pam-iampass", "join", made["url"], made["invite"])

    def on(self, host: str, *words: str) -> str:
        done = self.hosts[host].run(*words)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def ask_phone(self, host: str) -> None:
        """Have sshd of a host ask the phone, or take a code before the key, and keep the sessions of logins."""
        keys_only = "echo 'PasswordAuthentication no' > /etc/ssh/sshd_config.d/20-site.conf"
        self.on(host, "sh", "-c", keys_only)
        keep = "session: {keep: true}"
        self.on(host, "sh", "-c", f"echo '{keep}' > /etc/iampass/iampass.yaml")
        self.on(host, "env", "SUDO_USER=erin", "pam-iampass", "setup", "sshd", "--codes")
        self.hosts[host].reload_sshd()

    def ssh(self, user: str, host: str) -> Login:
        return self.hosts[host].login(user, options=("RequestTTY=force",), timeout=PATIENCE)


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """Where browsers connect."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as made:
        yield made


@pytest.fixture(scope="module")
def origin(listener: socket.socket) -> str:
    return f"https://localhost:{listener.getsockname()[1]}"


@contextlib.contextmanager
def running_fleet(
    listener: socket.socket, origin: str, settings: str = "", users: tuple[str, ...] = USERS
) -> Iterator[Fleet]:
    """The fleet, with its portal at a socket. web1 has joined, bastion has not. `settings` are lines of portal.yaml;
    `users` have accounts on the hosts."""
    machine = Installation()
    for user in users:
        machine.add_user(user, PASSWORD)
    with contextlib.ExitStack() as running:
        running.enter_context(Journald())
        hosts = running.enter_context(running_hosts(HOSTS, users, GATEWAY))
        _, sandbox = running.enter_context(initialised(SETTINGS.replace("ORIGIN", origin), GATEWAY))
        running.enter_context(serving(subprocess.DEVNULL))
        running.enter_context(showing(listener, origin, settings))
        for host in hosts.values():
            host.wait()
        fleet = Fleet(sandbox, hosts)
        for user, group in PEOPLE.items():
            said = run_gateway("enroll", user, "--group", group, "--no-wait")
            [link] = re.findall("https://.*", said)
            sandbox.open_link(link.strip())
        fleet.join("web1.example")
        fleet.ask_phone("web1.example")
        yield fleet


@pytest.fixture(scope="module")
def portal(
    browser: Browser, certificate: trustme.LeafCert, listener: socket.socket, origin: str
) -> Iterator[Fleet]:
    pem = Path(tempfile.mkdtemp(dir="/run"), "portal.pem")
    pem.parent.chmod(0o755)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
    pem.chmod(0o644)
    with running_fleet(listener, origin, f"certificate_file: {pem}\ncertificate_key_file: {pem}\n") as fleet:
        yield fleet


@pytest.fixture
def fleet(portal: Fleet) -> Fleet:
    return portal


def picture(person: Person, name: str) -> None:
    """Take a picture of all of the page, and one as it is on a phone at night."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page = person.page
    expect(page.get_by_text("checking")).to_have_count(0)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
    page.set_viewport_size(SMALL)
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=PICTURES / f"{name}-small.png", full_page=True)
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")


def unfold(person: Person, label: str) -> None:
    """Unfold an act."""
    person.page.locator("summary", has_text=label).first.click()


def with_passkey(fleet: Fleet, new_person: NewPerson, link: str) -> Person:
    """Somebody who has used a link, approved that on the phone, and signed in."""
    person = new_person()
    person.add_authenticator()
    person.page.goto(link)
    person.press("Make a passkey")
    person.sees("Your phone is ringing. Approve there.")
    fleet.sandbox.approve(fleet.rings())
    person.press("Continue")
    person.sees("The passkey is registered")
    person.page.get_by_role("link", name="Sign in with the passkey").click()
    person.press("Sign in with a passkey")
    expect(person.page.get_by_role("heading", name="Requests for you")).to_be_visible()
    return person


def operator(fleet: Fleet, new_person: NewPerson, name: str) -> Person:
    """Somebody with a role, by root's link."""
    said = run_gateway("operator", "link", name)
    [link] = re.findall(r"https?://\S+", said)
    return with_passkey(fleet, new_person, link)


def link_shown(person: Person) -> str:
    """The link that is shown once."""
    return str(person.page.locator("code.link").inner_text())


def test_a_persons_road(fleet: Fleet, new_person: NewPerson) -> None:
    dora = operator(fleet, new_person, "dora")
    dora.open("/people/alice")
    unfold(dora, "Make a link for a passkey")
    dora.press("Make a link for a passkey")
    dora.sees("This link is valid once.")

    alice = new_person()
    alice.add_authenticator()
    alice.page.goto(link_shown(dora))
    expect(alice.page.locator("[data-person]")).to_have_text("alice")
    alice.page.get_by_label("Name, such as").fill("laptop")
    picture(alice, "person-1-link")
    alice.press("Make a passkey")
    alice.sees("Your phone is ringing. Approve there.")
    request = fleet.rings()
    picture(alice, "person-2-phone-rings")
    fleet.sandbox.approve(request)
    alice.press("Continue")
    alice.sees("The passkey is registered")
    alice.page.get_by_role("link", name="Sign in with the passkey").click()
    alice.press("Sign in with a passkey")
    alice.sees("No request for you")
    alice.sees("laptop")
    picture(alice, "person-3-account")

    terminal = fleet.ssh("alice", "web1.example")
    request = fleet.rings()
    asks = alice.page.locator(".request")
    expect(asks.get_by_role("heading", name="web1.example")).to_be_visible()
    expect(asks).to_contain_text(f"sshd from {GATEWAY_ADDRESS}")
    expect(asks).not_to_contain_text("waits for an earlier request")
    picture(alice, "person-4-asks")
    fleet.sandbox.approve(request)
    terminal.expect_exact("web1$ ")
    alice.sees("No request for you")
    unfold(alice, "End this login")
    picture(alice, "person-5-logged-in")
    alice.press("End this login: alice on web1.example, sshd")
    alice.sees("1 login has ended")
    picture(alice, "person-6-ended")
    assert terminal.finish() != 0

    alice.page.get_by_role("link", name="Go back").click()
    alice.sees("You have no open logins")
    stranger = fleet.ssh("alice", "web1.example")
    request = fleet.rings()
    alice.press("That is not me")
    alice.sees("The request has ended, and your administrators get an alert")
    assert stranger.finish() != 0
    assert fleet.sandbox.wait_for_end(request).ended_by is not None

    alice.open("/")
    unfold(alice, "Report the phone lost")
    picture(alice, "person-7-phone-lost")
    alice.press("Report the phone lost")
    alice.sees("Approvals from this phone are now rejected.")
    alice.page.get_by_role("link", name="Go back").click()
    alice.sees("Your phone is reported lost")
    unfold(alice, "Get a code to log in with")
    picture(alice, "person-8-one-code")
    alice.press("Get a code to log in with")
    expect(alice.page.locator(".codes code")).to_have_count(1)
    picture(alice, "person-9-the-code")
    [code] = alice.page.locator(".codes code").all_inner_texts()
    [command] = [each for each in alice.page.locator("code").all_inner_texts() if each.startswith("ssh -o ")]
    option = command.split()[2]
    terminal = fleet.hosts["web1.example"].login(
        "alice", options=(option, "RequestTTY=force"), timeout=PATIENCE
    )
    terminal.expect_exact("recovery code")
    terminal.sendline(code)
    terminal.expect_exact("web1$ ")
    terminal.sendline("exit")
    assert terminal.finish() == 0


def refused(who: Person, act: str, **parameters: str) -> str:
    """The answer of the gateway to an act that somebody begins at its socket, with the token of their sign-in."""
    [token] = (each["value"] for each in who.context.cookies() if each["name"] == SIGN_IN)

    async def begin() -> None:
        async with GatewayClient(ACTS_SOCKET) as gateway:
            await gateway.call(calls.BeginAct(token, act, parameters, "0" * 16))

    with ThreadPoolExecutor(1) as thread, pytest.raises(GatewayError) as error:
        thread.submit(asyncio.run, begin()).result(PATIENCE)
    return str(error.value.code)


def test_a_help_desks_road(fleet: Fleet, new_person: NewPerson) -> None:
    dora = operator(fleet, new_person, "dora")
    dora.page.get_by_role("link", name="People", exact=True).click()
    dora.page.get_by_label("a part of the name, or a group").fill("b")
    dora.press("Search")
    picture(dora, "desk-1-people")
    dora.page.get_by_role("link", name="bob").click()
    dora.sees("Hosts by group")
    picture(dora, "desk-2-bob")

    unfold(dora, "Ring to verify a caller")
    dora.press("Ring to verify a caller")
    fleet.sandbox.approve(fleet.rings())
    expect(dora.page.get_by_role("heading", name="Approved on the phone.")).to_be_visible()
    picture(dora, "desk-3-verified")
    dora.page.get_by_role("link", name="Go back").click()

    unfold(dora, "Report the phone lost")
    picture(dora, "desk-4-phone-lost")
    dora.press("Report the phone lost")
    dora.sees("Approvals from this phone are now rejected.")
    dora.page.get_by_role("link", name="Go back").click()
    expect(dora.page.locator(".facts")).to_contain_text("reported lost")

    unfold(dora, "Register a new phone")
    dora.press("Register a new phone")
    dora.sees("bob can register a phone with this link")
    expect(dora.page.locator(".qr svg")).to_be_visible()
    picture(dora, "desk-5-new-phone")
    fleet.sandbox.open_link(link_shown(dora))
    dora.page.get_by_role("link", name="Go back").click()

    unfold(dora, "Allow logins without the phone")
    dora.page.get_by_label("For how long").select_option("1 hour")
    dora.page.get_by_label("Reason").fill("ticket 4711")
    picture(dora, "desk-6-bypass")
    dora.press("Allow logins without the phone")
    dora.sees("bob can log in without the phone until")
    rung = len(fleet.sandbox.sessions)
    terminal = fleet.ssh("bob", "web1.example")
    terminal.expect_exact("web1$ ")
    terminal.sendline("exit")
    assert terminal.finish() == 0
    assert len(fleet.sandbox.sessions) == rung
    dora.page.get_by_role("link", name="Go back").click()
    dora.sees("ticket 4711")
    picture(dora, "desk-7-done")

    expect(dora.page.get_by_role("link", name="Hosts", exact=True)).to_have_count(0)
    dora.open("/people")
    expect(dora.page.get_by_role("link", name="carol")).to_have_count(0)
    dora.open("/people/carol")
    dora.sees("You cannot help a person with this name")
    assert refused(dora, "phone_lost", person="carol") == "NOT_PERMITTED"
    assert refused(dora, "host_suspend", host="web1.example") == "NOT_PERMITTED"


def test_an_admins_road(fleet: Fleet, new_person: NewPerson) -> None:
    zoe = operator(fleet, new_person, "zoe")
    said = fleet.join("bastion.example")
    [id] = {*re.findall("h-[a-z0-9]{12}", said)}
    zoe.page.locator("nav a[href='/log']").click()
    picture(zoe, "admin-1-log")
    zoe.page.get_by_role("link", name="Hosts", exact=True).click()
    zoe.sees("waits for admission")
    picture(zoe, "admin-2-hosts")
    zoe.page.get_by_role("link", name="bastion.example").click()
    expect(zoe.page.locator(".notice code")).to_have_text(id)
    picture(zoe, "admin-3-host-waits")
    zoe.press("Admit this host")
    zoe.sees("bastion.example can send requests to phones")

    fleet.ask_phone("bastion.example")
    terminal = fleet.ssh("erin", "bastion.example")
    request = fleet.rings()
    zoe.page.get_by_role("link", name="Open logins", exact=True).click()
    zoe.sees("the phone is ringing")
    picture(zoe, "admin-4-open-logins")
    zoe.page.get_by_role("link", name="bastion.example").click()
    unfold(zoe, "Suspend")
    picture(zoe, "admin-5-suspend")
    zoe.page.get_by_label("Also end its open logins").check()
    zoe.press("Suspend this host")
    zoe.sees("Nobody can log in there by phone. 1 login or request has ended.")
    picture(zoe, "admin-6-suspended")
    assert terminal.finish() != 0
    assert fleet.sandbox.wait_for_end(request).ended_by is not None
    zoe.page.get_by_role("link", name="Go back").click()
    zoe.sees("suspended")
    picture(zoe, "admin-7-host")
