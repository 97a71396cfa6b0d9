"""`pam-iampass user add-key`, `import-keys` and `remove-key`, as an administrator types them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.installation import ETC, Installation, write
from tests.support.sandbox import Sandbox
from tests.support.ssh_keys import listed, make_key, sign


def user(verb: str, *arguments: str, status: int = 0, typed: str = "") -> str:
    """What the verb of `pam-iampass user` says."""
    done = run_command("user", verb, *arguments, typed=typed)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def known() -> dict[str, str]:
    """The people by what names them."""
    found = {}
    for name in ("alice", "bob", "carol"):
        shown = run_command("user", "show", name, "--json")
        for one in json.loads(shown.stdout)["ssh_keys"] if shown.returncode == 0 else ():
            certificate = [one[kind] for kind in ("key_id", "principal") if one[kind]]
            found[" ".join([one["fingerprint"], *certificate])] = name
    return found


@pytest.fixture(autouse=True)
def table(machine: Installation, sandbox: Sandbox) -> Iterator[None]:
    machine.configure(sandbox)
    machine.write_users("")
    (ETC / "users.d").mkdir(exist_ok=True)
    write(ETC / "users.d/alice.yaml", "alice: a1\n")
    yield
    shutil.rmtree(ETC / "users.d", ignore_errors=True)


def test_keys_are_added_from_files_by_fingerprint_and_by_ca_and_removed(tmp_path: Path) -> None:
    names = ("a", "b", "c", "ca")
    public = {name: make_key(tmp_path / name) for name in names}
    print_of = {name: listed(public[name], tmp_path) for name in names}
    both = tmp_path / "both"
    both.write_text(f"# of alice\n{public['a']}\n\n{public['b']}\n")
    assert f'{print_of["a"]} names "alice".' in user("add-key", "alice", str(both))
    assert '"carol" has no token' in user("add-key", "carol", "-", typed=public["c"] + "\n")
    user("add-key", "alice", "--ca", str(tmp_path / "ca.pub"), "--key-id", "alice 1")
    user("add-key", "carol", "--ca", print_of["ca"], "--principal", "carol")
    assert known() == {
        print_of["a"]: "alice",
        print_of["b"]: "alice",
        print_of["c"]: "carol",
        f"{print_of['ca']} alice 1": "alice",
        f"{print_of['ca']} carol": "carol",
    }
    assert "already has these keys" in user("add-key", "alice", print_of["a"])
    assert 'already that of "alice"' in user("add-key", "carol", print_of["a"], status=1)
    user("remove-key", "alice", str(tmp_path / "a.pub"))
    user("remove-key", "carol", "--ca", print_of["ca"], "--principal", "carol")
    assert known() == {
        print_of["b"]: "alice",
        print_of["c"]: "carol",
        f"{print_of['ca']} alice 1": "alice",
    }
    user("remove-key", "alice")
    assert list(known().values()) == ["carol"]
    assert json.loads(user("show", "alice", "--json"))["token"] == "a1"
    user("remove-key", "carol")
    assert not (ETC / "users.d/carol.yaml").exists()


def test_what_is_no_public_key_is_refused(tmp_path: Path) -> None:
    make_key(tmp_path / "a")
    make_key(tmp_path / "ca")
    certificate = sign(tmp_path / "ca", tmp_path / "a", "alice")
    assert "a:1: is not in base64" in user("add-key", "alice", str(tmp_path / "a"), status=1)
    assert "name its CA instead" in user("add-key", "alice", "-", typed=certificate, status=1)
    assert "No such file" in user("add-key", "alice", str(tmp_path / "none"), status=1)
    assert "need --ca" in user("add-key", "alice", "--key-id", "x", status=2)
    assert "Give --ca together" in user("add-key", "alice", "--ca", str(tmp_path / "ca.pub"), status=2)
    assert "Give a file" in user("add-key", "alice", status=2)
    assert known() == {}


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
    said = user("import-keys", str(folder), status=1)
    for name, kind in (("alice", "a named pipe"), ("bob", "a named pipe"), ("carol", "a device")):
        assert f"{folder}/{name}.pub: is {kind}: name a regular file, or - for standard input" in said
    assert f"{folder}/dave\\x9b31m.pub: is not a file with public keys" in said
    assert "is a named pipe" in user("add-key", "alice", str(folder / "alice.pub"), status=1)
    assert "is a named pipe" in user(
        "add-key", "alice", "--ca", str(folder / "bob.pub"), "--key-id", "a", status=1
    )
    assert known() == {}


def test_a_folder_is_imported_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    prints = {name: listed(make_key(folder / name), tmp_path) for name in ("alice", "bob")}
    (folder / "README").write_text("not a key\n")
    (folder / "broken.pub").write_text("ssh-ed25519 AAAA\n")
    said = user("import-keys", str(folder), status=1)
    assert "broken.pub:1" in said
    assert "Nothing was added" in said
    assert known() == {}
    (folder / "broken.pub").unlink()
    assert "2 keys to add" in user("import-keys", str(folder), "--dry-run")
    assert known() == {}
    assert "2 keys added" in user("import-keys", str(folder))
    assert known() == {fingerprint: name for name, fingerprint in prints.items()}
    shutil.copy(folder / "alice.pub", folder / "carol.pub")
    assert 'already that of "alice"' in user("import-keys", str(folder), status=1)
    assert known() == {fingerprint: name for name, fingerprint in prints.items()}


def test_whoever_is_removed_has_no_keys_either(agent: RunningAgent) -> None:
    user("add-key", "alice", f"SHA256:{'A' * 43}")
    user("remove", "alice", "--keep-at-iampass")
    assert known() == {}
    user("add-key", "carol", f"SHA256:{'A' * 43}")
    assert "carol is no longer in the user table" in user("remove", "carol", "--keep-at-iampass")
    assert known() == {}
