"""Root makes the machine use a sandbox, whose folder belongs to a user who may not be trusted."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pam_iampass.config import settings, user_table
from pam_iampass.setup.manifest import Manifest, ManifestStore, ServiceRecord
from pam_iampass.system.service_user import config_readers, service_group
from tests.support.command import run_command
from tests.support.deadline import PATIENCE
from tests.support.installation import ETC, ROOT, Installation
from tests.support.sandbox import Sandbox

FOLDER = Path("/home/alice/sandbox")
OURS = ETC / "sandbox"
ASIDE = ETC / "iampass.yaml.before-sandbox"
SETUP = Path("/var/lib/pam-iampass/setup")


@pytest.fixture
def etc(machine: Installation) -> Iterator[Path]:
    """What the packages leave in /etc/iampass, and nothing else."""
    kept = ETC.with_name("iampass.kept")
    ETC.rename(kept)
    ETC.mkdir()
    for name in ("iampass.yaml", "users.yaml"):
        shutil.copy(ROOT / "config" / name, ETC)
        shutil.chown(ETC / name, "root", "_iampass")
        (ETC / name).chmod(0o640)
    yield ETC
    shutil.rmtree(ETC)
    kept.rename(ETC)


@pytest.fixture
def folder(etc: Path) -> Iterator[Path]:
    """The folder of a sandbox of alice's, which knows alice and a user without an account."""
    made = Path("/var/lib/sandbox-of-alice")
    with Sandbox(state=made) as sandbox:
        for user in ("alice", "nobody-here", "no/name"):
            sandbox.add_user(user)
    shutil.move(made, FOLDER)
    for path in (FOLDER, *FOLDER.iterdir()):
        shutil.chown(path, "alice", "alice")
    yield FOLDER
    FOLDER.unlink() if FOLDER.is_symlink() else shutil.rmtree(FOLDER)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return run_command("sandbox", *words, timeout=PATIENCE)


def everything() -> dict[str, tuple[bytes, int, int, int]]:
    """Content, mode and owners of all that is in /etc/iampass."""
    found = {}
    for path in sorted(ETC.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (content, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    return found


def rewrite(folder: Path, **members: str) -> None:
    """Exchange what the sandbox says of itself."""
    service = json.loads((folder / "service.json").read_text())
    (folder / "service.json").write_text(json.dumps({**service, **members}))


def refused(folder: Path, *because: str) -> None:
    """`use` refuses the folder, and changes nothing."""
    before = everything()
    result = run("use", str(folder))
    assert result.returncode == 1, result.stdout
    assert all(text in result.stderr for text in because), result.stderr
    assert everything() == before
    assert not OURS.exists()


def test_a_sandbox_is_used_and_left_byte_for_byte(folder: Path) -> None:
    before = everything()
    assert run("use", str(folder)).returncode == 0
    used = settings.load(ETC / "iampass.yaml", readers=config_readers())
    service = json.loads((folder / "service.json").read_text())
    assert (used.application_id, used.server) == (service["application_id"], service["url"])
    assert used.application_secret == service["secret"]
    assert user_table.read(used.users, 0).entries["alice"].token == "alice"
    assert set(user_table.read(used.users, 0).entries) == {"alice"}
    group = service_group()
    modes = {path.name: (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) for path in OURS.iterdir()}
    assert modes == {
        "application-secret": (0o640, group),
        "ca.pem": (0o644, 0),
        "iampass.yaml": (0o640, group),
        "users.yaml": (0o640, group),
    }
    assert everything()[str(ETC / "users.yaml")] == before[str(ETC / "users.yaml")]
    assert run("leave").returncode == 0
    assert everything() == before
    again = run("leave")
    assert (again.returncode, again.stdout) == (0, "No sandbox is in use: nothing to undo.\n")


def test_settings_that_have_nothing_to_do_with_it_stay(folder: Path) -> None:
    text = "timeout: 33s\nproxy: http://127.0.0.1:3128\nexempt: {users: [bob]}\n"
    (ETC / "iampass.yaml").write_text(text)
    assert run("use", str(folder)).returncode == 0
    used = settings.load(ETC / "iampass.yaml", readers=config_readers())
    assert (used.service.timeout, used.service.exempt.users, used.proxy) == (33.0, frozenset({"bob"}), None)
    assert run("leave").returncode == 0
    assert (ETC / "iampass.yaml").read_text() == text


def test_on_a_host_of_a_gateway_the_sandbox_is_asked_only_with_force_and_until_it_is_left(
    folder: Path,
) -> None:
    (ETC / "joined.yaml").write_text("application_id: h-abcdefghijkl\n")
    assert "has joined a gateway" in run("use", str(folder)).stderr
    assert run("use", str(folder), "--force").returncode == 0
    used = settings.load(ETC / "iampass.yaml", readers=config_readers())
    assert (used.application_id, used.gateways) == ("sandbox", ())
    assert run("leave").returncode == 0
    (problem, *_) = settings.check(ETC / "iampass.yaml", readers=config_readers()).problems
    assert problem.file == ETC / "joined.yaml"
    (ETC / "joined.yaml").unlink()


def test_a_dry_run_shows_the_change_and_makes_none(folder: Path) -> None:
    before = everything()
    result = run("use", str(folder), "--dry-run")
    assert result.returncode == 0
    assert '+application_id: "sandbox"' in result.stdout
    assert everything() == before


def test_settings_that_are_in_use_are_replaced_only_with_force(folder: Path) -> None:
    real = "application_id: real\nserver: https://iam-api.com\n"
    (ETC / "iampass.yaml").write_text(real)
    (ETC / "application-secret").write_text("the real secret\n")
    refused(folder, "names an application", "--force")
    assert run("use", str(folder), "--force").returncode == 0
    assert settings.load(ETC / "iampass.yaml", readers=config_readers()).application_id == "sandbox"
    assert (ETC / "application-secret").read_text() == "the real secret\n"
    assert run("leave").returncode == 0
    assert (ETC / "iampass.yaml").read_text() == real


def test_settings_that_are_invalid_otherwise_are_left_alone(folder: Path) -> None:
    (ETC / "iampass.yaml").write_text("timeout: soon\n")
    refused(folder, "is invalid together with the sandbox's settings", "soon")
    (ETC / "iampass.yaml").write_text('{"application_id": }\n')
    refused(folder)


def test_edits_since_are_not_lost(folder: Path) -> None:
    before = everything()
    assert run("use", str(folder)).returncode == 0
    with (ETC / "iampass.yaml").open("a") as file:
        file.write("timeout: 20s\n")
    for words in (("leave",), ("use", str(folder))):
        result = run(*words)
        assert result.returncode == 1
        assert "was changed since the sandbox is in use" in result.stderr
    assert run("leave", "--force").returncode == 0
    edited = ETC / "iampass.yaml.edited"
    assert edited.read_text().endswith("timeout: 20s\n")
    edited.unlink()
    assert everything() == before


@pytest.mark.parametrize("leaves", [True, False], ids=["leave", "use"])
def test_a_use_that_was_interrupted_loses_no_settings(folder: Path, leaves: bool) -> None:
    before = everything()
    os.link(ETC / "iampass.yaml", ASIDE)  # it ended just before it replaced the file
    if not leaves:
        assert run("use", str(folder)).returncode == 0
        assert settings.load(ETC / "iampass.yaml", readers=config_readers()).application_id == "sandbox"
    assert run("leave").returncode == 0
    assert everything() == before


@pytest.mark.parametrize("leaves", [True, False], ids=["leave", "use"])
def test_a_leave_that_was_interrupted_loses_no_settings(folder: Path, leaves: bool) -> None:
    before = everything()
    assert run("use", str(folder)).returncode == 0
    ASIDE.rename(ETC / "iampass.yaml")  # it ended just after it had brought the file back
    if not leaves:
        assert run("use", str(folder)).returncode == 0
    assert run("leave").returncode == 0
    assert everything() == before


def test_a_sandbox_that_is_gone_can_be_left(folder: Path) -> None:
    before = everything()
    assert run("use", str(folder)).returncode == 0
    shutil.rmtree(folder)
    shutil.rmtree(OURS)
    folder.mkdir()  # for the end of the test
    assert run("leave", "--force").returncode == 0
    (ETC / "iampass.yaml.edited").unlink()  # whether it was edited cannot be told any more
    assert everything() == before


def test_leaving_does_not_lock_out_users_who_are_still_asked_on_the_phone(folder: Path) -> None:
    assert run("use", str(folder)).returncode == 0
    record = ServiceRecord(choice="", since=0.0, complete=True, files=())
    ManifestStore(SETUP).save(Manifest({"sudo": record}))
    try:
        result = run("leave")
        assert result.returncode == 1
        assert "sudo: would deny every login" in result.stderr
        assert "run pam-iampass setup undo first" in result.stderr
        assert run("leave", "--force").returncode == 0
    finally:
        shutil.rmtree(SETUP)


def test_only_root_does_it(folder: Path) -> None:
    for words in (["use", str(folder)], ["leave"]):
        command = [
            "setpriv",
            "--reuid=alice",
            "--regid=alice",
            "--init-groups",
            "pam-iampass",
            "sandbox",
            *words,
        ]
        result = subprocess.run(command, capture_output=True, text=True, cwd="/")
        assert result.returncode == 1
        assert "run it as root" in result.stderr


# What the owner of the folder can try.


def a_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/shadow")


def of_another_user(file: Path) -> None:
    shutil.chown(file, "bob")


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)
    shutil.chown(file, "alice")


def endless(file: Path) -> None:
    os.truncate(file, 2**40)


UNREADABLE: dict[Callable[[Path], None], str] = {
    a_link: "Too many levels of symbolic links",
    of_another_user: "is not a regular file of the folder's owner",
    a_pipe: "is not a regular file",
    endless: "is larger than 65536 bytes",
}


@pytest.mark.parametrize("name", ["service.json", "accounts.json"])
@pytest.mark.parametrize("made", UNREADABLE, ids=lambda made: made.__name__)
def test_what_is_no_file_of_the_owners_is_not_read(
    folder: Path, name: str, made: Callable[[Path], None]
) -> None:
    made(folder / name)
    refused(folder, f"{folder / name}: ", UNREADABLE[made])


def test_a_secret_of_roots_behind_a_hard_link_is_not_read(folder: Path) -> None:
    secret = folder.parent / "roots-secret"
    secret.write_text("a-secret-of-roots\n")
    secret.chmod(0o600)
    (folder / "service.json").unlink()
    os.link(secret, folder / "service.json")
    try:
        refused(folder, "is not a regular file of the folder's owner")
    finally:
        secret.unlink()


def test_a_link_to_a_folder_is_not_followed(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    try:
        folder.symlink_to(folder.with_name("elsewhere"))
        refused(folder, "Not a directory")
    finally:
        folder.unlink()
        folder.with_name("elsewhere").rename(folder)


def test_a_folder_that_others_can_write_is_not_used(folder: Path) -> None:
    folder.chmod(0o770)
    refused(folder, "other users can access it", "chmod 700")


def test_a_folder_without_an_owner_is_not_used(folder: Path) -> None:
    os.chown(folder, 54321, -1)
    refused(folder, "is not")


@pytest.mark.parametrize(
    ("name", "value", "because"),
    [
        ("url", "https://evil.example:443", "the url"),
        ("url", "https://127.0.0.1:1@evil.example:1", "the url"),
        ("url", "http://127.0.0.1:8443", "the url"),
        ("application_id", "x\nusers: /tmp/u", "is not a valid application id"),
        ("secret", "one two", "is not one word"),
        ("secret", "", "is empty"),
        ("secret", "\ud800", "is not the folder of a sandbox"),
        ("application_id", "\udcff", "is not the folder of a sandbox"),
        ("certificate", "root:$y$j9T$", "is not the folder of a sandbox"),
        (
            "certificate",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "is not the folder",
        ),
    ],
)
def test_nothing_but_what_a_sandbox_writes_gets_through(
    folder: Path, name: str, value: str, because: str
) -> None:
    rewrite(folder, **{name: value})
    refused(folder, because)


@pytest.mark.parametrize("name", ["service.json", "accounts.json"])
@pytest.mark.parametrize("content", ["[]", "{}", "\xff", pytest.param("[" * 60_000, id="nested")])
def test_a_file_of_another_form_is_refused(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    refused(folder)


# What others can try where root runs the sandbox.


def state_of_roots(path: Path) -> str:
    """Why root cannot run a sandbox with this state folder; empty if it can."""
    script = "import sys; from pam_iampass.sandbox.sandbox import Sandbox; Sandbox(state=sys.argv[1]).stop()"
    command = ["/usr/bin/python3", "-c", script, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return result.stderr.splitlines()[-1] if result.returncode else ""


def test_root_follows_no_link_of_another_user(machine: Installation, folder: Path) -> None:
    link, target = Path("/tmp/link-of-alice"), Path("/root/a-folder")
    target.mkdir(mode=0o700)
    link.symlink_to(target)
    os.chown(link, pwd.getpwnam("alice").pw_uid, -1, follow_symlinks=False)
    try:
        assert "is a symbolic link that belongs to user" in state_of_roots(link / "state")
        assert "Not a directory" in state_of_roots(link)
        assert list(target.iterdir()) == []
    finally:
        link.unlink()
        shutil.rmtree(target)


def test_root_writes_nothing_below_a_folder_that_others_can_write(machine: Installation) -> None:
    parent = Path("/var/lib/for-everybody")
    parent.mkdir()
    parent.chmod(0o777)
    try:
        assert "is a folder that users other than root can write" in state_of_roots(parent / "state")
        parent.chmod(0o1777)  # as /tmp: nobody else can exchange what root makes in it
        assert state_of_roots(parent / "state") == ""
    finally:
        shutil.rmtree(parent)


def test_a_state_folder_that_is_exchanged_while_the_sandbox_runs_gets_nothing(
    machine: Installation, tmp_path: Path
) -> None:
    with Sandbox(state=tmp_path / "state") as sandbox:
        (tmp_path / "state").rename(tmp_path / "moved")
        (tmp_path / "other").mkdir(mode=0o700)
        (tmp_path / "state").symlink_to(tmp_path / "other")
        sandbox.add_user("alice")
    assert list((tmp_path / "other").iterdir()) == []
    assert "alice" in (tmp_path / "moved/accounts.json").read_text()
