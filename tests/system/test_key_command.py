"""`pam-iampass key`, as an administrator types it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.installation import ETC, Installation
from tests.support.sandbox import Sandbox
from tests.support.ssh_keys import listed, make_key, sign


def key(*arguments: str, status: int = 0, typed: str = "") -> str:
    """What `pam-iampass key` says."""
    done = run_command("key", *arguments, typed=typed)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def known() -> dict[str, str]:
    """The people by what names them."""
    found = json.loads(key("list", "--json"))
    assert found["ok"]
    return {
        one["fingerprint"] + "".join(f" {one[kind]}" for kind in ("key_id", "principal") if one[kind]): one[
            "person"
        ]
        for one in found["keys"]
    }


@pytest.fixture(autouse=True)
def table(machine: Installation, sandbox: Sandbox) -> Iterator[None]:
    machine.configure(sandbox)
    machine.write_users("alice: a1\n")
    yield
    shutil.rmtree(ETC / "keys.d", ignore_errors=True)


def test_keys_are_added_from_files_by_fingerprint_and_by_ca_and_removed(tmp_path: Path) -> None:
    names = ("a", "b", "c", "ca")
    public = {name: make_key(tmp_path / name) for name in names}
    print_of = {name: listed(public[name], tmp_path) for name in names}
    both = tmp_path / "both"
    both.write_text(f"# of alice\n{public['a']}\n\n{public['b']}\n")
    assert f'{print_of["a"]} names "alice".' in key("add", "alice", str(both))
    assert '"carol" has no token' in key("add", "carol", "-", typed=public["c"] + "\n")
    key("add", "alice", "--ca", str(tmp_path / "ca.pub"), "--key-id", "alice 1")
    key("add", "carol", "--ca", print_of["ca"], "--principal", "carol")
    assert known() == {
        print_of["a"]: "alice",
        print_of["b"]: "alice",
        print_of["c"]: "carol",
        f"{print_of['ca']} alice 1": "alice",
        f"{print_of['ca']} carol": "carol",
    }
    assert "has these already" in key("add", "alice", print_of["a"])
    assert 'already that of "alice"' in key("add", "carol", print_of["a"], status=1)
    key("remove", "alice", str(tmp_path / "a.pub"))
    key("remove", "carol", "--ca", print_of["ca"], "--principal", "carol")
    assert known() == {
        print_of["b"]: "alice",
        print_of["c"]: "carol",
        f"{print_of['ca']} alice 1": "alice",
    }
    key("remove", "alice")
    assert "carol" in key("list")
    assert "has no key" in key("list", "alice")
    assert list(known().values()) == ["carol"]


def test_what_is_no_public_key_is_refused(tmp_path: Path) -> None:
    make_key(tmp_path / "a")
    make_key(tmp_path / "ca")
    certificate = sign(tmp_path / "ca", tmp_path / "a", "alice")
    assert "a:1: is not in base64" in key("add", "alice", str(tmp_path / "a"), status=1)
    assert "name its CA instead" in key("add", "alice", "-", typed=certificate, status=1)
    assert "No such file" in key("add", "alice", str(tmp_path / "none"), status=1)
    assert "need --ca" in key("add", "alice", "--key-id", "x", status=2)
    assert "Give --ca together" in key("add", "alice", "--ca", str(tmp_path / "ca.pub"), status=2)
    assert "Give a file" in key("add", "alice", status=2)
    assert not (ETC / "keys.d").exists()


@pytest.mark.timeout(60)
def test_a_pipe_or_a_device_in_a_folder_of_a_user_is_not_opened_and_no_name_controls_the_terminal(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    os.mkfifo(folder / "alice.pub")
    (folder / "bob.pub").symlink_to(folder / "alice.pub")
    (folder / "carol.pub").symlink_to("/dev/zero")
    (folder / "dave\x9b31m.pub").touch()
    said = key("import", str(folder), status=1)
    for name, kind in (("alice", "a named pipe"), ("bob", "a named pipe"), ("carol", "a device")):
        assert f"{folder}/{name}.pub: is {kind}: name a regular file, or - for standard input" in said
    assert f"{folder}/dave\\x9b31m.pub: is no file with public keys" in said
    assert "is a named pipe" in key("add", "alice", str(folder / "alice.pub"), status=1)
    assert "is a named pipe" in key(
        "add", "alice", "--ca", str(folder / "bob.pub"), "--key-id", "a", status=1
    )
    assert known() == {}


def test_a_folder_is_imported_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    prints = {name: listed(make_key(folder / name), tmp_path) for name in ("alice", "bob")}
    (folder / "README").write_text("not a key\n")
    (folder / "broken.pub").write_text("ssh-ed25519 AAAA\n")
    said = key("import", str(folder), status=1)
    assert "broken.pub:1" in said
    assert "Nothing was added" in said
    assert not (ETC / "keys.d").exists()
    (folder / "broken.pub").unlink()
    assert "2 keys to add" in key("import", str(folder), "--dry-run")
    assert not (ETC / "keys.d").exists()
    assert "2 keys added" in key("import", str(folder))
    assert known() == {fingerprint: name for name, fingerprint in prints.items()}
    shutil.copy(folder / "alice.pub", folder / "carol.pub")
    assert 'already that of "alice"' in key("import", str(folder), status=1)
    assert known() == {fingerprint: name for name, fingerprint in prints.items()}


def test_whoever_is_removed_has_keys_that_are_named(agent: RunningAgent) -> None:
    key("add", "alice", f"SHA256:{'A' * 43}")
    (ETC / "users.yaml").write_text("")
    assert run_command("user", "add", "alice", "--token", "t").returncode == 0
    done = run_command("user", "remove", "alice", "--keep-at-iampass")
    assert done.returncode == 0, done.stderr
    assert "keys of alice: pam-iampass key remove alice" in done.stderr
