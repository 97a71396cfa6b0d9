"""What the attacks do to an interpreter inside sudo and su: why the doors are thin.

The module here is a script in pam_python, as one would write it who did not know. It asks IAMPASS with plain requests,
and lets everybody pass, so that nothing else of the login takes time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.support.installation import Installation
from tests.support.sandbox import Sandbox
from tests.support.setuid.people import AS_ROOT, GROUP, PROGRAMS, Person, Process
from tests.support.setuid.traps import FOLDER, MARKS, PYTHON, Traps, snap, write

SCRIPT = Path("/root/naive.py")
REPORT = Path("/root/report.json")

NAIVE = """\
import json, os, sys
import requests

def pam_sm_authenticate(pamh, flags, argv):
    try:
        requests.get("https://iampass:%d/", timeout=5)
    except requests.RequestException as error:
        pass
    with open("/root/report.json", "w", encoding="utf-8", errors="surrogateescape") as report:
        json.dump({"environment": dict(os.environ), "uids": os.getresuid(), "path": sys.path}, report)
    return pamh.PAM_IGNORE

def pam_sm_setcred(pamh, flags, argv):
    return pamh.PAM_IGNORE
"""

STACK = f"auth required pam_python.so {SCRIPT}\nauth required pam_permit.so\naccount required pam_permit.so\n"


@pytest.fixture(scope="module", autouse=True)
def naive(sudo_and_su: Installation, sandbox: Sandbox) -> Iterator[None]:
    """sudo and su with the naive module. sudo has no `secure_path`."""
    SCRIPT.write_text(NAIVE % sandbox.port)
    services = {
        Path("/etc/pam.d") / name: STACK + "session required pam_permit.so\n" for name in ("su", "sudo")
    }
    kept = {path: path.read_text() for path in services}
    for path, text in services.items():
        path.write_text(text)
    sudoers = Path("/etc/sudoers.d/open")
    sudoers.write_text(f"Defaults:%{GROUP} !secure_path\n")
    yield
    for path, text in kept.items():
        path.write_text(text)
    sudoers.unlink()


@pytest.fixture(scope="module")
def planted(sandbox: Sandbox) -> Iterator[Traps]:
    """What an attacker has planted."""
    with Traps(sandbox.port) as traps:
        yield traps


@pytest.fixture
def traps(planted: Traps) -> Traps:
    """The same; nothing has snapped yet."""
    REPORT.unlink(missing_ok=True)
    planted.reset()
    return planted


@pytest.fixture
def person(newcomers: Iterator[Person]) -> Person:
    """A user."""
    return next(newcomers)


def run(person: Person, program: str, process: Process) -> str:
    """Use the program; what was shown."""
    terminal = person.run(*person.to_root(program), process=process)
    terminal.finish()
    return terminal.shown


def report() -> dict[str, Any]:
    """What the module saw."""
    seen: dict[str, Any] = json.loads(REPORT.read_text())
    return seen


both = pytest.mark.parametrize("program", PROGRAMS)
PLANTED = Process({"PATH": f"{FOLDER}/prefix/bin:/usr/bin:/bin"})


@both
def test_the_callers_path_chooses_the_standard_library_that_runs_as_root(
    person: Person, traps: Traps, program: str
) -> None:
    run(person, program, PLANTED)
    assert traps.snapped() == ["prefix"]
    assert (MARKS / "prefix").stat().st_uid == 0
    assert not REPORT.exists(), "the module itself never ran"


def test_a_secure_path_saves_sudo_from_that(person: Person, traps: Traps) -> None:
    sudoers = Path("/etc/sudoers.d/open")
    kept = sudoers.read_text()
    sudoers.unlink()
    try:
        assert AS_ROOT in run(person, "sudo", PLANTED)
    finally:
        sudoers.write_text(kept)
    assert traps.snapped() == []


@both
def test_the_module_sees_the_callers_environment_and_is_root(
    person: Person, traps: Traps, program: str
) -> None:
    hostile = {
        "HTTPS_PROXY": f"http://{traps.server}",
        "SSL_CERT_FILE": str(FOLDER / "certificates.pem"),
        "X": "y",
    }
    assert AS_ROOT in run(person, program, Process(hostile))
    assert hostile.items() <= report()["environment"].items()
    assert report()["uids"] == [person.uid, 0, 0]


@both
def test_a_proxy_of_the_callers_is_used(person: Person, traps: Traps, program: str) -> None:
    run(person, program, Process({"HTTPS_PROXY": f"http://{traps.server}"}))
    assert "a connection" in traps.snapped()


@both
def test_the_keys_of_the_connection_are_written_for_the_caller_by_root(
    person: Person, traps: Traps, sandbox: Sandbox, program: str
) -> None:
    hosts = Path("/etc/hosts")
    kept = hosts.read_text()
    hosts.write_text(f"{kept}\n127.0.0.1 iampass\n")
    try:
        run(person, program, Process({"SSLKEYLOGFILE": f"{MARKS}/keys"}))
    finally:
        hosts.write_text(kept)
    assert (MARKS / "keys").stat().st_uid == 0


@both
def test_openssl_itself_ignores_the_callers_configuration_in_a_set_uid_program(
    person: Person, traps: Traps, program: str
) -> None:
    run(person, program, Process({"OPENSSL_CONF": f"{FOLDER}/openssl.cnf"}))
    assert traps.snapped() == [], "OpenSSL asks whether the program is set-uid; Python and requests do not"


@both
def test_a_pth_file_in_usr_local_runs(person: Person, traps: Traps, program: str) -> None:
    planted = Path(f"/usr/local/lib/{PYTHON}/dist-packages/planted.pth")
    write(planted, f"import sys; exec({snap('pth')!r})\n")
    try:
        run(person, program, Process())
    finally:
        planted.unlink()
    assert traps.snapped() == ["pth"]
    assert (MARKS / "pth").stat().st_uid == 0


def test_a_limit_of_the_callers_kills_it_in_su(person: Person, traps: Traps) -> None:
    terminal = person.run(*person.to_root("su"), process=Process(limits={"as": 30 << 20}))
    try:
        terminal.expect(pexpect.EOF, timeout=10)
    except pexpect.TIMEOUT:  # an interpreter without memory does not always find its end
        terminal.process.kill()
    assert AS_ROOT not in terminal.shown
    assert not REPORT.exists()
    assert AS_ROOT in run(person, "su", Process())


def test_the_descriptors_of_the_standard_streams_are_the_callers(person: Person, traps: Traps) -> None:
    chatty = SCRIPT.read_text()
    SCRIPT.write_text(
        "import os\n" + chatty.replace("import requests\n", 'import requests\nos.write(2, b"to you")\n')
    )
    try:
        assert "to you" in run(person, "su", Process())
    finally:
        SCRIPT.write_text(chatty)


def test_the_shipped_pam_python_door_refuses_a_set_uid_program(person: Person, traps: Traps) -> None:
    door = "/usr/lib/pam-iampass/pam_iampass.py"
    shutil.copy("/etc/pam.d/su", "/root/su.kept")
    Path("/etc/pam.d/su").write_text(STACK.replace(str(SCRIPT), door))
    try:
        assert AS_ROOT not in run(person, "su", Process())
    finally:
        shutil.copy("/root/su.kept", "/etc/pam.d/su")
