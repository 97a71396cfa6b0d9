"""`make demo FLEET=1`: a gateway with a real PostgreSQL and a portal, hosts that join it, logins, and a thief on one of
them.

The hosts are in network and mount namespaces of their own. The exit status is 0 only if all went as expected. With
`make demo FLEET=1 PHONE=1` you are alice and the admin, in a browser: the phone page and the portal stay open.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any, Callable

import psycopg

from pam_iampass.config.yaml_document import parse
from pam_iampass.portal.settings import PortalSettings
from pam_iampass.sandbox.sessions import SandboxSession
from tests.sandbox.signer import Reply
from tests.support.authenticator import Authenticator
from tests.support.fleet import FleetHost, running_hosts
from tests.support.gateway import HostCaller
from tests.support.gateway_machine import ACTS_SOCKET, initialised, run_gateway, serving, showing
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.portal import RunningPortal, Visitor
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox
from tests.support.sshd import Login
from tests.support.world import wait_until
from tests.system.demo import REMOTE_COMMAND, indented, paint

GATEWAY = "gateway.example"
URL = f"https://{GATEWAY}:8443"
POLICY = """\
groups:
  bastion: {people: [staff], admit: true}
  web: {people: [staff], covered_by: [bastion]}
  db: {people: [dba]}
operators: {admin: [it], helpdesk: {people: [desk], helps: [staff]}}
self_service: [staff]
portal: {origin: ORIGIN}
"""
SETTINGS = "session: {keep: true, when_away: end, covers: {services: [sudo], for: 15m}}"
PEOPLE = {"alice": "staff", "bob": "dba"}
ADMIN = "zoe"
PASSWORD = "correct horse"
HOSTS = {"bastion.example": "bastion", "web1.example": "web", "web2.example": "web", "db1.example": "db"}
TRIES = 12
SECONDS = 60.0
_FIELDS = ("OUTCOME", "RESULT", "USER", "SERVICE", "RHOST", "REASON")
_GATEWAY_FIELDS = ("HOST", "OUTCOME", "EVENT", "USER", "SERVICE", "RHOST", "REASON")


@dataclass
class Fleet:
    """What takes part, and what has come of it."""

    hosts: dict[str, FleetHost]
    sandbox: Sandbox
    journald: Journald
    postgres: Postgres
    portal: RunningPortal
    """What a browser must know of it; it runs in a process of its own."""
    results: list[bool]

    def title(self, text: str) -> None:
        print("\n" + paint(text, "1"), flush=True)

    def secrets_of_web2(self) -> tuple[str, str]:
        """What no thief knows: the ids of web2 and of its login that waits."""
        select = "SELECT host, id FROM session ORDER BY began_at DESC LIMIT 1"
        with psycopg.connect(self.postgres.conninfo("iampass")) as connection:
            ((host, session),) = connection.execute(select).fetchall()
        return host, str(session)

    def judge(self, right: bool, expected: str = "") -> None:
        """Say whether something went as expected."""
        self.results.append(right)
        print("  " + (paint("as expected", "32") if right else paint(f"WRONG {expected}", "31")), flush=True)

    def gateway(self, *words: str, shown: bool = True) -> str:
        """Run the gateway's command, and show it."""
        if shown:
            indented([f"gateway# pam-iampass-gateway {' '.join(words)}"], "|")
        output = run_gateway(*words, as_installed=True)
        if shown:
            indented(output.splitlines(), "|")
        return output

    def on(self, host: str, *words: str, last: int = 0) -> bool:
        """Run a command on a host, and show its `last` lines, or all; returns whether it succeeded."""
        indented([f"{_short(host)}# {' '.join(words)}"], "|")
        done = self.hosts[host].run(*words)
        lines = done.stdout.splitlines()
        indented(lines[-last:] if done.returncode == 0 else lines, "|")
        return done.returncode == 0

    def log_in(self, user: str, host: str, outcome: str, gets_in: bool) -> None:
        """A person logs in with a key; show it, and the records of host and gateway."""
        cursor, began = self.journald.cursor(), time.monotonic()
        indented([f"$ ssh {user}@{_short(host)} '{REMOTE_COMMAND}'"], "|")
        terminal = self.hosts[host].login(user, REMOTE_COMMAND, timeout=SECONDS)
        status = terminal.finish()
        indented(
            [*terminal.lines, f"(ended with status {status} after {time.monotonic() - began:.1f} s)"], "|"
        )
        records = self._records(cursor)
        for record in records:
            _show(record, host)
        own = [record for record in records if "IAMPASS_HOST" not in record and "IAMPASS_OUTCOME" in record]
        came_in = status == 0 and f"You are {user} on {host}." in terminal.shown
        right = came_in == gets_in and [record["IAMPASS_OUTCOME"] for record in own] == [outcome]
        self.judge(right, outcome)

    def _records(self, cursor: str) -> list[dict[str, Any]]:
        """Of the host, and of the gateway if there comes one."""
        began = time.monotonic()
        while True:
            found = self.journald.records(cursor)
            whose = {"IAMPASS_HOST" in record for record in found if "IAMPASS_OUTCOME" in record}
            if len(whose) == 2 or time.monotonic() - began > (2 if False in whose else SECONDS):
                return found
            time.sleep(0.05)


def _short(host: str) -> str:
    return host.partition(".")[0]


def _show(record: dict[str, Any], host: str) -> None:
    """A record in one line."""
    of_gateway = "IAMPASS_HOST" in record
    found = ((name, record.get("IAMPASS_" + name)) for name in (_GATEWAY_FIELDS if of_gateway else _FIELDS))
    where = "gateway" if of_gateway else _short(host)
    indented([" ".join(f"{name}={value}" for name, value in found if value)], f"{where}'s journal:")


def set_up_people(fleet: Fleet) -> None:
    """Once, for all hosts."""
    fleet.title("People are added once, at the gateway")
    for user, group in PEOPLE.items():
        output = fleet.gateway("enroll", user, "--group", group, "--no-wait", shown=False)
        indented([f"gateway# pam-iampass-gateway enroll {user} --group {group} --no-wait"], "|")
        (link,) = (line.strip() for line in output.splitlines() if "https://" in line)
        indented([link], "|")
        context = ssl.create_default_context(cafile=str(fleet.sandbox.ca_file))
        urllib.request.urlopen(urllib.request.Request(link, method="POST"), context=context)
        indented([f"({user}'s phone opens the link)"], "|")


def join_all(fleet: Fleet) -> None:
    """Each host joins with an invite of its own."""
    for host, group in HOSTS.items():
        fleet.title(f"{host} joins, and sshd asks the phone from then on")
        terms = ("--group", group, "--name", host, "--network", f"{fleet.hosts[host].address}/32")
        made = json.loads(fleet.gateway("host", "invite", *terms, "--json", shown=False))
        indented([f"gateway# pam-iampass-gateway host invite {' '.join(terms)}"], "|")
        right = fleet.on(host, "pam-iampass", "join", made["url"], made["invite"])
        if group == "bastion":
            fleet.gateway("host", "admit", host)
        # An administrator who could not log in there afterwards would be refused.
        caller = "SUDO_USER=bob" if group == "db" else "SUDO_USER=alice"
        fleet.judge(right and fleet.on(host, "env", caller, "pam-iampass", "setup", "sshd", last=2))


def log_in_all(fleet: Fleet) -> None:
    """People log in, one of them where the gateway does not let her."""
    fleet.sandbox.auto, fleet.sandbox.delay = "approve", 1.5
    for user, host in (("alice", "web1.example"), ("alice", "web2.example"), ("bob", "db1.example")):
        fleet.title(f"{user} logs in to {host}, and approves after a second and a half")
        fleet.log_in(user, host, "approved", gets_in=True)
    fleet.title("alice is not of those who may log in to db1.example: her phone stays silent")
    fleet.log_in("alice", "db1.example", "unlisted", gets_in=False)


def go_on(fleet: Fleet) -> None:
    """alice goes on from the bastion to two hosts, and becomes root there; then she leaves with her phone."""
    fleet.title("bastion, web1 and web2 keep the sessions of logins, and sudo asks the phone, too")
    hosts = [f"{name}.example" for name in ("bastion", "web1", "web2")]
    for host in hosts:
        settings = ("sh", "-c", f"echo '{SETTINGS}' > /etc/iampass/iampass.yaml")
        setup = ("env", "SUDO_USER=alice", "pam-iampass", "setup", "sudo")
        fleet.judge(fleet.on(host, *settings) and fleet.on(host, *setup, last=1))

    fleet.title(
        "alice logs in to bastion.example, approves, and goes on to web1 and web2: no phone rings again"
    )
    sandbox, shown = fleet.sandbox, 0
    sandbox.auto = "ask"
    before = len(sandbox.sessions)
    indented(["$ ssh alice@bastion"], "|")
    terminal = fleet.hosts["bastion.example"].login(
        "alice", options=("RequestTTY=force",), timeout=2 * SECONDS
    )

    def announce(step: str) -> None:
        nonlocal shown
        screen = terminal.shown
        indented([*(line for line in screen[shown:].split("\n") if line.strip()), f"({step})"], "|")
        shown = len(screen)

    session = _waiting(sandbox, before)
    announce("alice approves")
    sandbox.approve(session)
    right = True
    for host in ("web1", "web2"):
        terminal.expect_exact("bastion$ ")
        terminal.sendline(f"ssh {host}")
        terminal.expect_exact(f"{host}$ ")
        terminal.sendline("sudo -k id")
        terminal.expect("password for alice: ")
        terminal.sendline(PASSWORD)
        terminal.expect_exact("uid=0(root)")
        terminal.expect_exact(f"{host}$ ")
        right = right and len(sandbox.sessions) == before + 1
        announce("the phone has stayed silent")
        terminal.send(
            "\r~~\x1a"
        )  # back to the bastion, where this ssh waits; the first ~ is for the ssh to there
    terminal.expect_exact("bastion$ ")
    fleet.gateway("session", "list", "alice")
    fleet.judge(right and len(sandbox.sessions) == before + 1)

    fleet.title("alice walks away with her phone: all three logins end")
    sandbox.walk_away(session)
    indented(["(I walk away, says the phone page)"], "|")
    terminal.finish()
    announce("the logins are over")
    fleet.gateway("session", "list", "alice")
    left = 0
    for host in hosts:
        fleet.on(host, "pam-iampass", "session", "list")
        listed = fleet.hosts[host].run("pam-iampass", "session", "list", "--json").stdout
        left += len(json.loads(listed)["sessions"])
    fleet.judge(left == 0)


@dataclass
class _Gateway:
    """What a thief knows of the gateway: what he has read on the host."""

    application_id: str
    application_secret: str
    ca_file: Path
    port: int = 8443
    url: str = URL


class Thief(HostCaller):
    """Calls the gateway with the credential of a host that was taken over, and as that machine."""

    machine = ""
    """By what the gateway knows the host."""

    def connect(self) -> HTTPSConnection:
        return HTTPSConnection(GATEWAY, self.sandbox.port, timeout=self.timeout, context=self.context)

    def ring(self, person: str) -> Reply:
        return self.ask(person, machine=self.machine)


def use_portal(fleet: Fleet) -> None:
    """alice ends a login from the portal."""
    sandbox = fleet.sandbox
    fleet.title("zoe, an admin, gets a link by root, and makes alice one at the portal")
    fleet.gateway("user", "add", ADMIN, "--group", "it")
    zoe = Visitor(fleet.portal, Authenticator(fleet.portal.settings.origin))
    right = _register(fleet, zoe, root_link(fleet)) == ADMIN
    link = link_for_alice(zoe)
    _at_portal(ADMIN, "People, alice, «Make a link for a passkey»:", link)
    fleet.judge(right)
    fleet.title("alice opens it, approves on her phone, and her browser makes a passkey")
    alice = Visitor(fleet.portal, Authenticator(fleet.portal.settings.origin))
    right = _register(fleet, alice, link) == "alice"
    fleet.judge(right and alice.sign_in().status == 303)

    fleet.title("Somebody logs in to web1.example as alice. Her page says who asks, while her phone rings")
    before = len(sandbox.sessions)
    indented(["$ ssh alice@web1   (not answered yet)"], "|")
    terminal = fleet.hosts["web1.example"].login("alice", options=("RequestTTY=force",), timeout=SECONDS)
    session = _waiting(sandbox, before)
    asks = re.search(r"web1\.example sshd from [\d.]+", alice.get("/").words)
    _at_portal("alice", "My account, Your phone is ringing for:", asks[0] if asks else "nothing")
    sandbox.approve(session)
    terminal.expect_exact("web1$ ")
    shown = len(terminal.lines)
    indented([*terminal.lines, "(alice has approved, by mistake)"], "|")
    fleet.judge(asks is not None)

    fleet.title("alice ends that login from the portal")
    page = alice.get("/").text
    found = re.search(r'action="/act/session_end".*?name="session" value="([^"]+)"', page, re.DOTALL)
    assert found is not None, page
    done = alice.act("session_end", person="alice", session=found[1]).words
    said = re.search(r"\d+ logins? ha(s|ve) ended", done)
    _at_portal("alice", "My account, Your logins, web1.example, «End»:", said[0] if said else done)
    status = terminal.finish()
    indented([*terminal.lines[shown:], f"(the login has ended with status {status})"], "|")
    listed = fleet.gateway("session", "list", "alice")
    fleet.judge(status != 0 and said is not None and "web1" not in listed)


def root_link(fleet: Fleet, shown: bool = True) -> str:
    """A link with which the admin registers a passkey."""
    output = fleet.gateway("operator", "link", ADMIN, shown=shown)
    (link,) = (line.strip() for line in output.splitlines() if "/link#" in line)
    return link


def link_for_alice(zoe: Visitor) -> str:
    """A link that the admin makes at the portal."""
    assert zoe.sign_in().status == 303
    made = re.search(
        r"http://localhost:\d+/link#[\w-]+", zoe.act("person_link", touch=True, person="alice").text
    )
    assert made is not None
    return made[0]


def _register(fleet: Fleet, visitor: Visitor, link: str) -> str:
    """What a browser does with a link, and the phone of who has one; returns whose link it is."""
    assert visitor.authenticator is not None
    form: Mapping[str, str] = {"token": link.partition("#")[2]}
    opened, before = visitor.ask("/link/challenge", form), len(fleet.sandbox.sessions)
    if opened["phone"]:
        form = {**form, "phone": visitor.ask("/link/ring", form)["phone"]}
        fleet.sandbox.approve(_waiting(fleet.sandbox, before))
        while (state := visitor.ask("/link/answer", form)["state"]) != "approved":
            assert state not in ("denied", "over"), state
        opened = visitor.ask("/link/challenge", form)
    answer = json.dumps(visitor.authenticator.create(opened["options"]))
    assert visitor.post("/link", {**form, "answer": answer, "label": "laptop"}).status == 303
    indented([f"({opened['person']}'s browser opens the link, and makes a passkey)"], "|")
    return str(opened["person"])


def _at_portal(person: str, where: str, what: str) -> None:
    """What a person does or sees at the portal."""
    indented([f"{person}'s browser, {where} {what}"], "|")


def play(fleet: Fleet, page: socket.socket, outside: Executor) -> None:
    """Let somebody be alice, and the admin, in a browser, until the end of standard input.

    :param page: where their browser finds the phone page.
    :param outside: a thread in the network of the machine, where the portal listens.
    """
    for host in HOSTS:
        fleet.on(host, "sh", "-c", f"echo '{SETTINGS}' > /etc/iampass/iampass.yaml")
    fleet.gateway("user", "add", ADMIN, "--group", "it")
    zoe, link = Visitor(fleet.portal, Authenticator(fleet.portal.settings.origin)), root_link(fleet)
    outside.submit(_register, fleet, zoe, link).result()
    for_alice = outside.submit(link_for_alice, zoe).result()
    _relay(page, fleet.sandbox.port)
    phone = fleet.sandbox.phone_url.replace(f":{fleet.sandbox.port}/", f":{page.getsockname()[1]}/")
    fleet.title("Your turn, in a browser on this machine")
    fleet.sandbox.auto = "ask"
    terminals: list[Login] = []
    print(f"  alice's phone:          {phone}")
    print(f"  the admin's passkey:    {root_link(fleet, shown=False)}")
    print(f"  alice's passkey:        {for_alice}")
    print(
        "  Each link is good once, for 15 minutes. Open them in two browsers, or one after the other: a browser"
    )
    print("  has one sign-in. alice approves her link on her phone.")
    print(f"  The portal:             {fleet.portal.settings.origin}")
    hosts = [name for name, group in HOSTS.items() if group != "db"]
    while True:
        host = hosts[len(terminals) % len(hosts)]
        print(f"  Press Enter: alice logs in to {host}. Ctrl-D: the end.", flush=True)
        if not sys.stdin.readline():
            break
        terminals.append(fleet.hosts[host].login("alice", options=("RequestTTY=force",), timeout=SECONDS))
    for terminal in terminals:
        terminal.kill()


def _own_network() -> None:
    """Leave the network of the machine, where sockets stay that listen there already."""
    os.unshare(os.CLONE_NEWNET)  # type: ignore[attr-defined]  # Python 3.12
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _relay(listener: socket.socket, port: int) -> None:
    """Pass connections on to a port of this network."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                browser, server = listener.accept()[0], socket.create_connection(("127.0.0.1", port))
                for pair in ((browser, server), (server, browser)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def take_over(fleet: Fleet, host: str) -> Thief:
    """Read on the host what root can read there."""
    files = ("iampass/gateway-secret", "iampass/joined.yaml", "machine-id")
    secret, settings, machine = (fleet.hosts[host].run("cat", f"/etc/{file}").stdout for file in files)
    root: Any = parse(settings.encode(), Path("joined.yaml")).root
    (host_id,) = (value.text for key, value in root.entries if key.text == "application_id")
    thief = Thief(_Gateway(host_id, secret.strip(), Path("/etc/iampass-gateway/ca.pem")))
    thief.machine = hmac.new(machine.strip().encode(), b"pam-iampass", "sha256").hexdigest()[:32]
    return thief


def attack(fleet: Fleet, thief: Thief, inside: Executor) -> Any:
    """All that a thief would like to do; each is refused. Returns a session of his own."""
    sandbox = fleet.sandbox
    fleet.title(
        "web1.example was taken over: its credential, in the hands of a script there, does what a host does"
    )
    sandbox.auto = "ask"
    before = len(sandbox.sessions)
    indented([f"$ ssh alice@web2 '{REMOTE_COMMAND}'   (not answered yet)"], "|")
    login = fleet.hosts["web2.example"].login("alice", REMOTE_COMMAND, timeout=SECONDS)
    waiting = _waiting(sandbox, before)
    other, session = fleet.secrets_of_web2()
    path = f"/session/{session}"

    def manage(method: str, call: str, user: str = "", **value: object) -> Reply:
        target = thief.manage(call, user)
        return thief.post(target, value) if method == "POST" else thief.get(target)

    def replayed() -> Reply:
        host = thief.sandbox.application_id
        target = f"/authentication/authenticate_user/{host}/bob?machine={thief.machine}"
        headers = {**thief.application(target), "Content-Type": "application/json"}
        thief.send("POST", target, headers, b"{}")
        return thief.send("POST", target, headers, b"{}")

    link = "device_registration_link"
    tries: dict[str, tuple[str, Callable[[], Reply]]] = {
        "register a phone of his own for bob": ("NOT_FOR_HOSTS", lambda: manage("GET", link, "bob")),
        "have a registration link sent to himself": (
            "NOT_FOR_HOSTS",
            lambda: manage("POST", "send_registration_sms", "bob", phone_number="+15550100"),
        ),
        "delete bob": ("NOT_FOR_HOSTS", lambda: manage("POST", "delete_users", users=["bob"])),
        "add mallory": ("NOT_FOR_HOSTS", lambda: manage("POST", "add_users", users=["mallory"])),
        "list the users": ("NOT_FOR_HOSTS", lambda: manage("GET", "users", "all")),
        "ask about another host": ("UNKNOWN_CLIENT", lambda: thief.get(f"/fleet/host/{other}")),
        "read the status of alice's login to web2": ("UNKNOWN_CLIENT", lambda: thief.get(f"{path}/status")),
        "end alice's login to web2": ("UNKNOWN_CLIENT", lambda: thief.post(f"{path}/logout", {})),
        "ring bob, who is of another group": ("NOT_ON_THIS_HOST", lambda: thief.ring("bob")),
        "use the credential on another machine": (
            "WRONG_MACHINE",
            lambda: thief.ask("alice", machine="0" * 32),
        ),
        "send a recorded request again": ("REPLAYED_NONCE", replayed),
    }
    for what, (reason, work) in tries.items():
        reply = inside.submit(work).result()
        _refused(fleet, what, reply, reason)
    fleet.title("Meanwhile alice approves her login to web2.example")
    sandbox.approve(waiting)
    status = login.finish()
    indented([*login.lines, f"(ended with status {status})"], "|")
    fleet.judge(status == 0)
    fleet.title("The script rings alice again and again")
    before = len(sandbox.sessions)
    begun = inside.submit(thief.ring, "alice").result().authentication
    _waiting(sandbox, before)  # between two requests is a pause
    replies = [inside.submit(thief.ring, "alice").result() for _ in range(TRIES - 1)]
    refused = sum(_reason(reply) == "AT_CAPACITY" for reply in replies)
    waiting = sum(reply.status == 202 and reply.authentication["queued"] for reply in replies)
    rang = len(sandbox.sessions) - before
    _told("ring alice", paint("the phone rings", "33"))
    _told(
        f"ring alice, {TRIES - 1} times more",
        f"{waiting} wait for their turn, {refused} refused: AT_CAPACITY",
    )
    fleet.judge(rang == 1 and waiting + refused == TRIES - 1)
    return begun


def _waiting(sandbox: Sandbox, before: int) -> Any:
    until = time.monotonic() + SECONDS
    while len(sandbox.sessions) == before and time.monotonic() < until:
        time.sleep(0.05)
    return sandbox.sessions[-1]


def _reason(reply: Reply) -> str:
    """Why a call was refused; empty if it was not."""
    if not reply.headers.get("Content-Type", "").startswith("application/json"):
        return str(reply.status)
    content = reply.json
    return str(content.get("reason") or content.get("authentication_status", {}).get("reason", ""))


def _line(what: str, reply: Reply) -> None:
    _told(what, f"refused: {_reason(reply)}" if _reason(reply) else paint("the phone rings", "33"))


def _told(what: str, answer: str) -> None:
    indented([f"{what:<44} {answer}"], "|")


def _refused(fleet: Fleet, what: str, reply: Reply, reason: str) -> None:
    _line(what, reply)
    right = _reason(reply) == reason
    fleet.results.append(right)
    if not right:
        print("  " + paint(f"WRONG: expected {reason}: {reply.status} {reply.body!r}", "31"))


def shut_out(fleet: Fleet, thief: Thief, inside: Executor, begun: Any) -> None:
    """Suspend the host, and remove it."""
    calls: dict[str, Callable[[], Reply]] = {
        "ask for the status of its session": lambda: thief.session("GET", begun, "status_url"),
        "ask for alice": lambda: thief.ring("alice"),
    }
    for words in (("host", "suspend", "web1.example"), ("host", "remove", "web1.example", "--yes")):
        fleet.title(f"The administrator: host {words[1]}. Within a second, nothing more is answered")
        fleet.gateway(*words)
        done, last_answered = time.monotonic(), 0.0
        for what, work in calls.items():
            while not _reason(reply := inside.submit(work).result()) and last_answered < SECONDS:
                last_answered = time.monotonic() - done
            _line(what, reply)
        indented([f"(the last answer was {last_answered:.1f} s after the command)"], "|")
        fleet.judge(last_answered < 10.0)  # on a busy machine
        fleet.log_in("alice", "web1.example", "misconfigured", gets_in=False)


def main() -> int:
    """Set everything up, run the scenes, and print the summary."""
    phone = sys.argv[1:] == ["--phone"]
    length = "as long as you like" if phone else "about two minutes"
    print(f"This runs in a temporary copy of this machine and takes {length}.", flush=True)
    with contextlib.ExitStack() as running:
        browsers = running.enter_context(socket.create_server(("127.0.0.1", 0)))
        page = running.enter_context(socket.create_server(("127.0.0.1", 0)))
        outside = running.enter_context(ThreadPoolExecutor(1))
        outside.submit(os.getpid).result()  # it has begun
        if phone:
            _own_network()
        fleet = _set_up(running, browsers)
        set_up_people(fleet)
        join_all(fleet)
        if phone:
            play(fleet, page, outside)
            return 0
        log_in_all(fleet)
        go_on(fleet)
        use_portal(fleet)
        thief = take_over(fleet, "web1.example")
        inside = running.enter_context(fleet.hosts["web1.example"].inside())
        begun = attack(fleet, thief, inside)
        shut_out(fleet, thief, inside, begun)
        fleet.title("What the gateway has kept")
        fleet.gateway("host", "list")
        fleet.gateway("log", "-n", "24")
        left_open = _left_open(fleet.sandbox)
    good = all(fleet.results) and not left_open
    verdict = f"{sum(fleet.results)} of {len(fleet.results)} as expected"
    verdict += f"; {len(left_open)} sessions left open at IAMPASS"
    print("\n" + paint(verdict, "32" if good else "31"))
    return 0 if good else 1


def _set_up(running: contextlib.ExitStack, browsers: socket.socket) -> Fleet:
    """A gateway that serves, with a portal for the browsers of a socket, and hosts that have not joined."""
    journald = running.enter_context(Journald())
    machine = Installation()
    for user in PEOPLE:
        machine.add_user(user, PASSWORD)
        Path(f"/etc/sudoers.d/{user}").write_text(f"{user} ALL=(ALL) ALL\n")
    hosts = running.enter_context(running_hosts(HOSTS, tuple(PEOPLE), GATEWAY))
    port = browsers.getsockname()[1]
    origin = f"http://localhost:{port}"
    postgres, sandbox = running.enter_context(
        initialised(POLICY.replace("ORIGIN", origin), GATEWAY, as_installed=True)
    )
    running.enter_context(serving(subprocess.DEVNULL))
    running.enter_context(showing(browsers, origin))
    _wait_all(hosts.values())
    others = [host for name, host in hosts.items() if name != "bastion.example"]
    hosts["bastion.example"].know(others, "alice")
    print(f"A gateway serves at {URL}. Its IAMPASS is a sandbox, which no host can reach. Its people and")
    print(f"hosts are in PostgreSQL. {', '.join(HOSTS)} have a network and files of their own.")
    portal = RunningPortal(PortalSettings(origin), ACTS_SOCKET, port)  # it is not started
    return Fleet(hosts, sandbox, journald, postgres, portal, [])


def _left_open(sandbox: Sandbox) -> list[SandboxSession]:
    """The sessions that IAMPASS is not told to end. For a request that is used up, the service does so later."""

    def found() -> list[SandboxSession]:
        return [session for session in sandbox.sessions if session.ended_by is None]

    with contextlib.suppress(TimeoutError):  # the demo says how many are left, and fails
        wait_until(lambda: not found(), "sessions are left open")
    return found()


def _wait_all(hosts: Iterable[FleetHost]) -> None:
    for host in hosts:
        host.wait()


if __name__ == "__main__":
    sys.exit(main())
