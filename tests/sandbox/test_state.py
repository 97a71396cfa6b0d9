"""What the sandbox leaves on the disk, and where it listens."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pam_iampass.sandbox.state_folder import SandboxError, StateFolder
from tests.sandbox.signer import Caller
from tests.support.sandbox import Sandbox


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Sandbox(state=tmp_path / "state") as sandbox:
            sandbox.add_user("alice")
    finally:
        os.umask(before)
    assert mode(tmp_path / "state") == 0o700
    files = {path.name: mode(path) for path in (tmp_path / "state").iterdir()}
    names = ["ca.pem", "ca-key.pem", "application-secret", "control-token", "phone-address", "accounts.json"]
    names.append("service.json")
    assert files == dict.fromkeys(names, 0o600)


def test_a_restart_keeps_authority_and_secrets(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        with Sandbox(state=tmp_path / "state") as sandbox:
            token = sandbox.control_token_file.read_bytes()
            found.append((sandbox.ca_file.read_bytes(), sandbox.application_secret, token))
    assert found[0] == found[1]
    with Sandbox(state=tmp_path / "state", application_secret="mine") as sandbox:
        assert sandbox.application_secret == "mine"
        assert sandbox.secret_file.read_text() == "mine\n"


def test_a_restart_keeps_users_devices_and_unused_links(tmp_path: Path) -> None:
    with Sandbox(state=tmp_path / "state") as sandbox:
        caller = Caller(sandbox)
        caller.post(caller.manage("add_users"), {"users": ["bob", "carol", "dora"]})
        used, unused = (link_of(caller, user) for user in ("bob", "carol"))
        assert caller.send("POST", used, {}).status == 200
        sandbox.delete_user("dora")
    with Sandbox(state=tmp_path / "state") as sandbox:
        caller = Caller(sandbox)
        assert sandbox.users == {"bob": True, "carol": False}
        assert [caller.send("POST", link, {}).status for link in (used, unused)] == [410, 200]
        assert caller.get(caller.manage("has_registered_mobile_device", "carol")).json == {
            "device_registered": True
        }


def link_of(caller: Caller, user: str) -> str:
    link: str = caller.get(caller.manage("device_registration_link", user)).json["register_url"]
    return urlsplit(link).path


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"devices": {"a": "yes"}, "links": {}}', '{"devices": {}, "links": {"t": 1}}', "\xff"],
)
def test_broken_users_are_reported_and_left_alone(tmp_path: Path, content: str) -> None:
    with Sandbox(state=tmp_path / "state"):
        pass
    file = tmp_path / "state" / "accounts.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(SandboxError, match="remove it to begin without users"):
        Sandbox(state=tmp_path / "state")
    assert file.read_text(encoding="latin-1") == content


def test_a_folder_that_others_can_look_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    with pytest.raises(SandboxError, match="chmod 700"):
        Sandbox(state=tmp_path / "state")


def test_a_broken_authority_is_reported(tmp_path: Path) -> None:
    with Sandbox(state=tmp_path / "state") as sandbox:
        pass
    sandbox.ca_file.write_text("junk")
    with pytest.raises(SandboxError, match="remove both"):
        Sandbox(state=tmp_path / "state")


def test_a_file_is_replaced_whole_whatever_lay_there(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    (tmp_path / "elsewhere").write_text("untouched")
    (state.path / "secret").symlink_to(tmp_path / "elsewhere")
    state.write("secret", b"new")
    assert (tmp_path / "elsewhere").read_text() == "untouched"
    assert mode(state.path / "secret") == 0o600
    assert [path.name for path in state.path.iterdir()] == ["secret"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(SandboxError, match="--allow-remote"), Sandbox(listen=(host, 0)):
        pass


def test_other_addresses_are_for_those_who_ask_for_them() -> None:
    with Sandbox(listen=("0.0.0.0", 0), allow_remote=True) as sandbox:
        assert sandbox.url == f"https://127.0.0.1:{sandbox.port}"
        sandbox.add_user("alice")
        assert Caller(sandbox).start("alice").status == 202


def test_ipv6_and_names_can_be_listened_on() -> None:
    with Sandbox(listen=("::1", 0)) as sandbox:
        assert sandbox.url == f"https://[::1]:{sandbox.port}"
    with Sandbox(listen=("localhost", 0)) as sandbox:
        assert sandbox.url == f"https://localhost:{sandbox.port}"


def test_one_more_name_is_in_the_certificate_and_may_be_called() -> None:
    with Sandbox(names=["iam-api.example"]) as sandbox:
        wrap = Caller(sandbox).context.wrap_socket
        plain = socket.create_connection(("127.0.0.1", sandbox.port))
        with wrap(plain, server_hostname="iam-api.example") as secured:
            assert secured.version() in ("TLSv1.2", "TLSv1.3")
        reply = Caller(sandbox).send("GET", "/sandbox/requests", {"Host": "IAM-API.example:443"})
        assert reply.reason == "BAD_TOKEN"


@pytest.mark.parametrize("application_id", ["", "a:b", "a/b", "a b", "ä"])
def test_an_application_id_that_cannot_stand_in_a_path_is_refused(application_id: str) -> None:
    with pytest.raises(SandboxError, match="application id"):
        Sandbox(application_id)


def test_a_client_that_never_speaks_tls_does_not_keep_the_sandbox_from_stopping() -> None:
    with Sandbox() as sandbox:
        silent = socket.create_connection(("127.0.0.1", sandbox.port))
        Caller(sandbox).start("alice")
    silent.close()
