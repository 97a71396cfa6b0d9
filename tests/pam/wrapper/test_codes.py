"""The code that PAM gets for every outcome: the installed door and module under pam_wrapper."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.deadline import PLENTY, TIMEOUT
from tests.support.installation import install
from tests.support.sandbox import Sandbox
from tests.support.world import PATIENCE

DOOR = "pam_iampass.so"
USER = "nobody"
SSHD = "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA"

#: What pamtester makes of a code, with the words of pam_strerror(3).
SUCCESS = "pamtester: successfully authenticated"
MAXTRIES = "pamtester: Have exhausted maximum number of retries for service"
ABORT = "pamtester: Critical error - immediate abort"
#: What Linux-PAM makes of a stack in which every module ignores.
IGNORE = "pamtester: Permission denied"


@dataclass(frozen=True)
class Case:
    """One login in sshd and one elsewhere, and the code of both."""

    outcome: str
    code: str = "denied"
    """`denied` is MAXTRIES in sshd, ABORT elsewhere."""
    settings: dict[str, str] = field(default_factory=dict, compare=False)
    phone: Callable[[Sandbox, str], object] = lambda sandbox, token: None
    device: bool = True
    arguments: str = ""
    listed: bool = True


def approve(sandbox: Sandbox, token: str) -> None:
    sandbox.approve(sandbox.wait_for_request(token, PATIENCE))


def deny(sandbox: Sandbox, token: str) -> None:
    sandbox.deny(sandbox.wait_for_request(token, PATIENCE))


AWAY = {"server": "https://127.0.0.1:1"}
CASES = (
    Case("approved", SUCCESS, phone=approve),
    Case(
        "approved with the key that is demanded", SUCCESS, phone=approve, arguments="first_factor=publickey"
    ),
    Case("denied", phone=deny),
    Case("timed out"),
    Case("no device", device=False),
    Case("exempt", IGNORE, {"exempt": "{groups: [nogroup]}"}),
    Case("unlisted", listed=False),
    Case("unlisted, ignored", IGNORE, {"unlisted_users": "ignore"}, listed=False),
    Case("unavailable", settings=AWAY),
    Case("unavailable, to be ignored in sshd and login only", settings={**AWAY, "unavailable": "ignore"}),
    Case("misconfigured", settings={"methods": "[telepathy]"}),
    Case("misconfigured: an unknown argument", arguments="no_such_argument"),
)
#: Each case in sshd and elsewhere; a key can have been accepted in sshd only.
PLAYS = [
    (case, place)
    for case in CASES
    for place in ("sshd", "elsewhere")
    if place == "sshd" or "first_factor" not in case.arguments
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder below which everything is root's alone."""
    install()
    made = Path("/var/lib/pam-iampass-test")
    made.mkdir(mode=0o755)
    # Each of the cases, which are played at the same time, has a person of its own.
    with Path("/etc/passwd").open("a") as passwd:
        passwd.writelines(
            f"{person(number)}:x:{3000 + number}:65534::/nonexistent:/usr/sbin/nologin\n"
            for number in range(len(PLAYS))
        )
    with RunningAgent() as agent:
        agent.wake()
        yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """IAMPASS."""
    with Sandbox(application_id="demo") as running:
        yield running


def person(number: int) -> str:
    """The user of a case."""
    return f"person{number}"


def configure(folder: Path, sandbox: Sandbox, case: Case, token: str, user: str = USER) -> Path:
    """Write the settings and the table of one login; returns the settings' file."""
    folder.mkdir(mode=0o755)
    settings = {
        "application_id": sandbox.application_id,
        "application_secret_file": str(folder / "application-secret"),
        "server": sandbox.url,
        "ca_file": str(folder / "ca.pem"),
        "users": str(folder / "users.yaml"),
        "timeout": TIMEOUT if case.outcome == "timed out" else f"{PLENTY}s",
        **case.settings,
    }
    texts = {
        "application-secret": sandbox.application_secret,
        "ca.pem": sandbox.ca_file.read_text(),
        "users.yaml": f"{user if case.listed else 'another-user'}: {token}\n",
        "iampass.yaml": "".join(f"{key}: {value}\n" for key, value in settings.items()),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o640)
        shutil.chown(folder / name, "root", "iampass")
    return folder / "iampass.yaml"


def pamtester(folder: Path, service: str, *stack: str, environment: str = "", user: str = USER) -> str:
    """Run pamtester with a stack under pam_wrapper, with Enter at every question; returns what it says."""
    services = folder / "pam.d"
    services.mkdir(exist_ok=True)
    (services / "other").write_text("auth required pam_deny.so\n")
    (services / service).write_text("".join(f"auth {line}\n" for line in stack))
    command = ["pamtester", *(["-E", environment] if environment else []), service, user, "authenticate"]
    done = subprocess.run(
        command, env=wrapped(folder), input="\n\n", capture_output=True, text=True, timeout=60, check=False
    )
    said = re.search("pamtester: .*", done.stdout + done.stderr)
    assert said, done
    return said[0]


def wrapped(folder: Path) -> dict[str, str]:
    """The environment for a program under pam_wrapper."""
    services = str(folder / "pam.d")
    wrapper = {
        "LD_PRELOAD": "libpam_wrapper.so",
        "PAM_WRAPPER": "1",
        "PAM_WRAPPER_SERVICE_DIR": services,
    }
    return {**os.environ, **wrapper}


@pytest.fixture(scope="module")
def codes(folder: Path, sandbox: Sandbox) -> dict[tuple[str, str], str]:
    """What pamtester said of each case, in sshd and elsewhere. All are played at the same time."""

    def play(number: int) -> str:
        case, place = PLAYS[number]
        user = person(number)
        token = f"{case.outcome} {place}".replace(" ", "-").replace(",", "").replace(":", "")
        sandbox.add_user(token, device=case.device)
        settings = configure(folder / token, sandbox, case, token, user)
        line = f"required {DOOR} config={settings} {case.arguments}"
        with ThreadPoolExecutor(1) as phone:
            answered = phone.submit(case.phone, sandbox, token)
            environment = SSHD if place == "sshd" else ""
            said = pamtester(folder, token, line, environment=environment, user=user)
            answered.result()
        return said

    with ThreadPoolExecutor(6) as pool:
        said = pool.map(play, range(len(PLAYS)))
    return {(case.outcome, place): text for (case, place), text in zip(PLAYS, said)}


@pytest.mark.parametrize(("case", "place"), PLAYS, ids=[f"{case.outcome}-{place}" for case, place in PLAYS])
def test_pam_gets_the_code_of_the_outcome(codes: dict[tuple[str, str], str], case: Case, place: str) -> None:
    denied = MAXTRIES if place == "sshd" else ABORT
    assert codes[case.outcome, place] == (denied if case.code == "denied" else case.code)


def test_without_the_key_that_is_demanded_an_exempt_user_does_not_pass(
    folder: Path, sandbox: Sandbox
) -> None:
    case = Case("no key", settings={"exempt": "{groups: [nogroup]}"})
    settings = configure(folder / "no-key", sandbox, case, "no-key")
    stack = (f"required {DOOR} config={settings} first_factor=publickey", "required pam_permit.so")
    for environment, code in {"": ABORT, "SSH_AUTH_INFO_0=": MAXTRIES, SSHD: SUCCESS}.items():
        assert pamtester(folder, "no-key", *stack, environment=environment) == code


PYPAMTEST = """
import pypamtest, sys
service, code = sys.argv[1], int(sys.argv[2])
pypamtest.run_pamtest("nobody", service, [pypamtest.TestCase(pypamtest.PAMTEST_AUTHENTICATE, code)], [""])
"""


def test_a_python_program_that_uses_pam_is_served_too(folder: Path, sandbox: Sandbox) -> None:
    sandbox.add_user("python", device=False)
    settings = configure(folder / "python", sandbox, Case("python"), "python")
    pamtester(folder, "python", f"required {DOOR} config={settings}")
    program = ["/usr/bin/python3", "-c", PYPAMTEST, "python", "26"]
    done = subprocess.run(
        program, env=wrapped(folder), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
