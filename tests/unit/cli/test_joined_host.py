"""The command on a host that has joined a gateway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from pam_iampass.cli.parameters import person
from tests.support.installation import ROOT
from tests.support.scripted_server import authority
from tests.support.shipped_settings import Installed


@pytest.fixture
def joined(for_root: Installed) -> Installed:
    """As `join` leaves the shipped files."""
    for_root.set("application_id", "")
    (for_root.folder / "application-secret").rename(for_root.folder / "gateway-secret")
    for_root.write("joined.yaml", "application_id: h-abcdefghijkl\ngateways: [https://gw.example.com]\n")
    for_root.write("gateway-ca.pem", Path(authority().ca_file).read_text())
    return for_root


def run(installed: Installed, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pam_iampass.cli", *words, "--config", str(installed.file)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def test_the_settings_of_a_joined_host_are_well(joined: Installed) -> None:
    finished = run(joined, "check")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert (
        "\nThis host has joined a gateway, which knows people by name: https://gw.example.com.\n"
        in finished.stdout
    )
    assert "The table lists" not in finished.stdout
    assert finished.stdout.endswith("\nAll is well.\n")
    assert "denied" not in finished.stdout


def test_whoever_is_in_no_table_is_asked_if_the_gateway_knows_them(joined: Installed) -> None:
    finished = run(joined, "user", "show", "root")
    assert finished.returncode == 0
    assert "needs the phone: if the gateway knows this name" in finished.stdout


def test_a_joined_host_needs_no_user_table(joined: Installed) -> None:
    (joined.folder / "users.yaml").unlink()
    assert run(joined, "check").stdout.endswith("\nAll is well.\n")
    assert "needs the phone" in run(joined, "user", "show", "root").stdout
    assert run(joined, "user", "list").returncode == 0


def test_a_person_of_the_gateway_needs_no_account_here(joined: Installed) -> None:
    assert person("carol-of-the-gateway", joined.file) == "carol-of-the-gateway"
    with pytest.raises(click.ClickException, match="is not an account"):
        person("no name\n", joined.file)
    (joined.folder / "joined.yaml").unlink()
    with pytest.raises(click.ClickException, match="is not an account"):
        person("carol-of-the-gateway", joined.file)


@pytest.mark.parametrize(
    "words",
    [
        ("user", "add", "root", "--token", "t"),
        ("user", "remove", "root"),
        ("user", "remove", "root", "--keep-at-iampass"),
        ("user", "list", "--check-phones"),
        ("enroll", "root"),
        ("phone", "show", "root"),
        ("phone", "lost", "root", "--yes"),
    ],
    ids=" ".join,
)
def test_people_and_phones_are_the_gateways(joined: Installed, words: tuple[str, ...]) -> None:
    before = sorted(file.name for file in joined.folder.rglob("*"))
    finished = run(joined, *words)
    verb = " ".join(word for word in words[:2] if word != "root")
    assert finished.returncode == 1
    assert "this host has joined a gateway" in finished.stderr
    assert f"on the gateway, run: pam-iampass-gateway {verb}" in finished.stderr
    assert sorted(file.name for file in joined.folder.rglob("*")) == before
