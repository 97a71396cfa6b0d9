"""Nothing in the environment changes whom the client talks to or trusts, or what it gives away."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deadline import PATIENCE
from tests.support.scripted_server import ScriptedServer, answer, authority, scripted_server

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from pam_iampass.client import AuthenticationAPI, Deadline, IampassError
url, ca_file = sys.argv[1:]
try:
    api = AuthenticationAPI("app", "secret", url, ca_file or None)
    session = api.authenticate_user("user", deadline=Deadline.after(10.0))
    print(session.failure_reason)
except IampassError as error:
    print(type(error).__name__)
api.close()
"""


def run(server: ScriptedServer, ca_file: str, folder: Path) -> str:
    """What the program prints in an environment that a hostile user chose."""
    (folder / ".netrc").write_text("machine localhost login eve password eve\n")
    (folder / ".netrc").chmod(0o600)
    trusted = str(authority().ca_file)
    nowhere = "http://127.0.0.1:9"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "NETRC": str(folder / ".netrc"),
        "SSLKEYLOGFILE": str(folder / "keys"),
        "SSL_CERT_FILE": trusted,
        "SSL_CERT_DIR": str(Path(trusted).parent),
        "REQUESTS_CA_BUNDLE": trusted,
        "CURL_CA_BUNDLE": trusted,
        "IAMPASS_SERVER": "https://127.0.0.1:9",
        **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY"), nowhere),
    }
    command = [sys.executable, "-W", "error", "-c", PROGRAM, server.url, ca_file]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.stderr == ""
    assert not (folder / "keys").exists()
    return done.stdout.strip()


def test_a_hostile_environment_changes_nothing(tmp_path: Path) -> None:
    document = {"authentication_status": {"authenticated": False, "reason": "reached"}}
    with scripted_server(answer(200, document)) as server:
        assert run(server, server.ca_file, tmp_path) == "reached"
        (request,) = server.requests
        assert request.header("Authorization") is None


def test_the_environment_cannot_add_an_authority(tmp_path: Path) -> None:
    with scripted_server(answer(200, {})) as server:
        assert run(server, "", tmp_path) == "TLSFailure"
        assert server.requests == []


def test_the_import_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    program = "import os, pam_iampass.client.http; print(os.environ['SSLKEYLOGFILE'])"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "SSLKEYLOGFILE": str(tmp_path / "keys"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == environment["SSLKEYLOGFILE"]
    assert not (tmp_path / "keys").exists()


PURE = {"call", "session", "application", "origin", "status", "errors"}


@pytest.mark.parametrize("name", sorted(PURE))
def test_requests_are_built_and_responses_read_without_io(name: str) -> None:
    """A program with another way to send uses these modules alone."""
    tree = ast.parse((ROOT / f"pam_iampass/client/{name}.py").read_text())
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    own = {node.module for node in imports if isinstance(node, ast.ImportFrom) and node.level}
    others = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    assert own <= PURE
    assert not others & {"os", "socket", "ssl", "select", "threading", "queue", "asyncio", "http.client"}
