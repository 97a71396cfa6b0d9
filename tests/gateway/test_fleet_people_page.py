"""The parts of docs/fleet/fleet-people.md about people who leave and names that change, typed on a gateway and its
host."""

from __future__ import annotations

import json
import pwd
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from pam_iampass.setup import join
from pam_iampass.system.boot import machine_digest
from tests.packages.typed_page import TypedPage
from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.gateway_machine import initialised, log_in_as, run_gateway, serving
from tests.support.installation import ETC, install, write
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox
from tests.support.terminal import ENVIRONMENT
from tests.support.world import PATIENCE

LEAVES, RENAMED, MOVED = "Somebody leaves", "A person gets another name", "A host gets another name"
SETTINGS = """\
groups:
  web: {people: [staff]}
operators: {admin: [it]}
portal: {origin: https://iampass.example.com}
"""
OF_A_PERSON = ("person", "recovery", "bypass", "link", "passkey", "sign_in")


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[Postgres, Sandbox]]:
    """A gateway, and this machine as its host web1.example.com."""
    install()
    write(ETC / "iampass.yaml", "application_id: demo\nexempt: {users: [root, alice]}\n")
    with initialised(SETTINGS) as both, serving(), RunningAgent() as agent:
        agent.wake()
        host(
            "pam-iampass join https://localhost:8443 - --name web1.example.com",
            typed=invite("web1.example.com"),
        )
        both[1].auto, both[1].delay = "approve", 0.05
        yield both
    for file in (join.JOINED, join.LEAVING, join.SECRET_FILE, join.CA_FILE):
        file.unlink(missing_ok=True)


@pytest.fixture
def alice(fleet: tuple[Postgres, Sandbox]) -> Iterator[Sandbox]:
    """alice, of staff, with a phone and an account on the host."""
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", "alice"], check=True)
    enroll("pam-iampass-gateway enroll alice --group staff", fleet[1])
    yield fleet[1]
    for name in ("alice", "alicia"):
        run_gateway("user", "remove", "--yes", "--if-exists", name)
        subprocess.run(["userdel", "--remove", name], check=False, capture_output=True)


@pytest.fixture(scope="module")
def page() -> TypedPage:
    return TypedPage("docs/fleet/fleet-people.md")


def invite(name: str) -> str:
    return str(
        json.loads(run_gateway("host", "invite", "--group", "web", "--name", name, "--json"))["invite"]
    )


def gateway(command: str, *more: str, status: int = 0) -> str:
    """What the gateway says to a command of the page."""
    return run_gateway(*shlex.split(command)[1:], *more, status=status)


def host(command: str, typed: str = "") -> str:
    """What a command of the page says on the host, as root."""
    if command.startswith("pam-iampass "):
        done = run_command(*shlex.split(command)[1:], typed=typed, environment=ENVIRONMENT)
    else:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    return f"{done.stdout}{done.stderr}[{done.returncode}]"


def enroll(command: str, sandbox: Sandbox) -> None:
    """Type `enroll`, and open the link with the phone."""
    (link,) = re.findall(r"https://\S+/register/\S+", gateway(command, "--no-wait"))
    sandbox.open_link(link)


def log_in(person: str) -> str:
    """A login on the host."""
    joined = yaml.safe_load(join.JOINED.read_text())
    secret = join.SECRET_FILE.read_text().strip()
    return log_in_as(person, joined["application_id"], secret, machine=machine_digest())


def rows_of(server: Postgres, name: str) -> dict[str, int]:
    """How many rows each table has of a person."""
    found = {}
    with psycopg.connect(server.conninfo("iampass")) as connection:
        for table in OF_A_PERSON:
            column = "name" if table == "person" else "person"
            row = connection.execute(f"SELECT count(*) FROM {table} WHERE {column} = %s", (name,)).fetchone()
            found[table] = row[0] if row else 0
    return found


def test_what_the_page_says_for_somebody_who_leaves_leaves_nothing_of_them(
    fleet: tuple[Postgres, Sandbox], alice: Sandbox, page: TypedPage
) -> None:
    server, _ = fleet
    assert log_in("alice") == "active"
    run_gateway("recovery", "new", "alice")
    run_gateway("bypass", "alice", "--for", "1h")
    run_gateway("user", "add", "alice", "--group", "it")
    run_gateway("operator", "link", "alice")
    for made in ("recovery new alice", "bypass alice --for 1h"):
        host(f"pam-iampass {made}")
    assert rows_of(server, "alice") == {
        **dict.fromkeys(OF_A_PERSON, 0),
        "person": 1,
        "recovery": 1,
        "bypass": 1,
        "link": 1,
    }
    with subprocess.Popen(["sleep", "1000"], user="alice") as left:
        for command in page.sections[LEAVES]:
            page.command(LEAVES, command)
            if command.startswith("pam-iampass-gateway"):
                said = gateway(command, *(["--yes"] if "remove" in command else []))
            else:
                said = host(command)
                assert said.endswith("[0]") or command.startswith("loginctl"), said  # there is no logind here
            if command.startswith("grep"):
                assert "iampass.yaml:exempt: {users: [root, alice]}" in said
        assert left.wait(PATIENCE) == -signal.SIGKILL
    assert "user remove" in said, "the log goes on to have her"
    assert set(rows_of(server, "alice").values()) == {0}
    assert log_in("alice") == "NOT_ON_THIS_HOST"
    assert "alice" not in run_gateway("user", "may", "--all")
    assert " 1970" in host("LC_ALL=C chage -l alice"), "the account has expired"
    assert "has no recovery codes" in host("pam-iampass recovery list alice")
    assert "alice" not in host("pam-iampass bypass list")


def test_what_the_page_says_for_another_name_of_a_person(
    fleet: tuple[Postgres, Sandbox], alice: Sandbox, page: TypedPage
) -> None:
    shows, enrolls, renames, renames_group, looks, removes = (
        page.command(RENAMED, each) for each in page.sections[RENAMED]
    )
    uid = pwd.getpwnam("alice").pw_uid
    assert "staff" in gateway(shows)
    enroll(enrolls, alice)
    assert [log_in(name) for name in ("alice", "alicia")] == ["active"] * 2
    assert host(renames) + host(renames_group) == "[0][0]"
    found = pwd.getpwnam("alicia")
    assert (found.pw_uid, found.pw_dir, Path(found.pw_dir).owner()) == (uid, "/home/alicia", "alicia")
    assert Path(found.pw_dir).group() == "alicia"
    assert "iampass.yaml:exempt: {users: [root, alice]}" in host(looks)
    gateway(removes, "--yes")
    assert [log_in(name) for name in ("alice", "alicia")] == ["NOT_ON_THIS_HOST", "active"]


def test_what_the_page_says_for_another_name_of_a_host(
    fleet: tuple[Postgres, Sandbox], alice: Sandbox, page: TypedPage
) -> None:
    before = yaml.safe_load(join.JOINED.read_text())["application_id"]
    assert "now ask the phone" in host("pam-iampass setup sshd sudo")
    assert "would deny every login" in host("pam-iampass leave"), "so the page undoes it first"
    for command in page.sections[MOVED]:
        page.command(MOVED, command)
        if command.startswith("pam-iampass-gateway host invite"):
            word = re.findall(r"join \S+ (\S+)", gateway(command))[0]
        elif command.startswith("pam-iampass-gateway"):
            said = gateway(command)
        else:
            command = command.replace("gateway.example.com", "localhost").replace("INVITE", word)
            said = host(command)
            assert said.endswith("[0]"), said
        if "status" in command:
            assert re.search("sshd +on.*\nsudo +on", said)
        if "host list" in command:
            assert "web9.example.com" in said
            assert "web1.example.com" not in said
    assert "web9.example.com is active" in said
    assert yaml.safe_load(join.JOINED.read_text())["application_id"] != before
    assert log_in("alice") == "active"
    assert re.search("sshd +on.*\nsudo +on", host("pam-iampass setup status"))
    host("pam-iampass setup undo")
