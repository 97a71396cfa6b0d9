"""Joining unattended: the Ansible role and cloud-init, as the role's page has them."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from pam_iampass.config import settings
from pam_iampass.setup import join
from pam_iampass.system.service_user import config_readers
from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.gateway_machine import initialised, run_gateway, serving
from tests.support.installation import ETC, ROOT, install
from tests.support.postgres import Postgres
from tests.system.test_ansible import play, searching

pytestmark = pytest.mark.long

URL = "https://localhost:8443"
GROUPS = """\
groups:
  default: {everybody: true}
  web: {everybody: true}
  db: {people: [dba], admit: true}
"""
GATEWAY = {"pam_iampass_join_url": URL, "pam_iampass_application_secret": ""}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    install()
    with initialised(GROUPS) as (server, _), serving():
        yield server


def _invited(*arguments: str) -> str:
    word: str = json.loads(run_gateway("host", "invite", "--json", *arguments))["invite"]
    return word


def test_a_machine_joins_stays_and_leaves(server: Postgres, tmp_path: Path) -> None:
    word = _invited("--name", "db.example.com", "--network", "127.0.0.0/8")
    searched, found = searching(tmp_path, word.split(".")[1])
    joining = {
        **GATEWAY,
        "pam_iampass_join_invite": word,
        "pam_iampass_join_name": "db.example.com",
    }
    first = play(tmp_path, {"joins": {**joining, **searched}})["joins"]
    assert first.failed == 0, first.shown
    assert found.read_text() == "", "the invite is in a file of Ansible"
    assert word.split(".")[1] not in first.shown
    read = settings.load(ETC / "iampass.yaml", readers=config_readers())
    assert (read.gateways, read.service.timeout) == ((URL,), 30.0)
    for variables in (joining, GATEWAY):  # the invite is used up; it is not needed any more
        again = play(tmp_path, {"stays": variables})["stays"]
        assert again.ended == (0, 0), again.shown
    with psycopg.connect(server.conninfo("iampass")) as connection:
        assert connection.execute("SELECT name FROM host").fetchall() == [("db.example.com",)]
    left = play(tmp_path, {"leaves": {}})["leaves"]
    assert left.failed == 0, left.shown
    read = settings.load(ETC / "iampass.yaml", readers=config_readers())
    assert (read.gateways, read.application_id, read.application_secret) == (
        (),
        "demo",
        "kept-to-ourselves",
    )
    assert not join.JOINED.exists()
    with psycopg.connect(server.conninfo("iampass")) as connection:
        assert connection.execute("SELECT name FROM host").fetchall() == []


def test_a_machine_that_cannot_join_says_why_and_works_as_before(server: Postgres, tmp_path: Path) -> None:
    before = (ETC / "iampass.yaml").read_text()
    word = _invited("--name", "another")
    joining = {**GATEWAY, "pam_iampass_join_invite": word}
    played = play(tmp_path, {"fails": joining})["fails"]
    assert played.failed == 1
    assert "INVITE_OTHER_NAME" in played.shown
    assert word.split(".")[1] not in played.shown
    assert (ETC / "iampass.yaml").read_text() == before


def test_the_role_says_who_would_be_locked_out_and_switches_nothing_on_where_all_would_be(
    server: Postgres, tmp_path: Path
) -> None:
    subprocess.run(["useradd", "--shell", "/bin/sh", "dave"], check=True)
    joining = {
        **GATEWAY,
        "pam_iampass_join_invite": _invited("--name", "db2", "--group", "db"),
        "pam_iampass_join_name": "db2",
        "pam_iampass_services": ["sudo"],
    }
    try:
        with RunningAgent() as agent:
            agent.wake()
            waits = play(tmp_path, {"waits": joining})["waits"]
            assert waits.failed == 1
            assert "the gateway: db2 waits to be admitted" in waits.shown
            assert "pam-iampass-gateway host admit db2" in waits.shown
            assert "pam_iampass" not in Path("/etc/pam.d/sudo").read_text()
            run_gateway("host", "admit", "db2")
            admitted = play(tmp_path, {"admitted": joining})["admitted"]
            assert admitted.failed == 0, admitted.shown
            (told,) = re.findall(
                "warning .*may not log in here, and they would be locked out: .*", admitted.shown
            )
            assert "dave" in told
            assert "pam_iampass" in Path("/etc/pam.d/sudo").read_text()
            again = play(tmp_path, {"again": joining})["again"]
            assert again.ended == (0, 0), again.shown
    finally:
        run_command("setup", "undo")
        join.leave(force=True)
        subprocess.run(["userdel", "dave"], check=True)


def test_the_page_says_how_cloud_init_joins_and_which_invites_to_make(server: Postgres) -> None:
    page = (ROOT / "packaging/ansible/README.md").read_text()
    section = page.partition("## Hosts of a gateway")[2].partition("\n## ")[0]
    many, one = re.findall(r"^    pam-iampass-gateway (host invite .*)$", section, re.MULTILINE)
    assert "40 hosts in 192.0.2.0/24, group web" in run_gateway(*many.split())
    invite = _invited(*one.replace("192.0.2.0/24", "127.0.0.0/8").split()[2:])
    (block,) = re.findall(r"^    (#cloud-config\n(?:    .*\n)*)", section, re.MULTILINE)
    data = yaml.safe_load(textwrap.dedent("    " + block))
    (written,) = data["write_files"]
    Path(written["path"]).write_text(invite)
    for command in data["runcmd"]:
        subprocess.run(["sh", "-c", command.replace("gateway.example.com", "localhost")], check=True)
    assert not Path(written["path"]).exists()
    assert "the host web7.example.com of a gateway" in join.JOINED.read_text()
    join.leave(force=False)
