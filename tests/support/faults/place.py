"""The environment in which one case of the fault table runs: its own files, users and PAM service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable

from tests.support.faults.case import NONE, Case, Option, Play, Requests
from tests.support.installation import ETC, write
from tests.support.sandbox import Sandbox
from tests.support.world import wait_until

CASES = ETC / "cases"
PAM = Path("/etc/pam.d")
#: No PAM call of a test may take longer. Seconds.
PATIENCE = 60.0


@dataclass
class Ended:
    """The result of one login."""

    code: int = -1
    """The PAM code, or the negative number of the signal that ended the application."""
    shown: list[str] = field(default_factory=list)
    """The messages that the user read."""
    elapsed: float = 0.0
    """Seconds that PAM took."""


class Place:
    """See the module's docstring. `program` is the compiled application."""

    def __init__(self, case: Case, service: str, users: list[str], program: Path) -> None:
        self.case = case
        self.service = service
        self.users = users
        self.program = program
        self.folder = CASES / service
        self.secret = "a-secret"
        self.sandbox: Sandbox | None = None
        self.count: Callable[[], Requests] = lambda: NONE
        self.settings = {
            "application_id": "demo",
            "application_secret_file": str(self.folder / "secret" / "application-secret"),
            "ca_file": str(self.folder / "ca.pem"),
            "users": str(self.folder / "table" / "users.yaml"),
            "timeout": "20s",
            "throttle": "{spacing: 0s}",
        }
        for folder in (self.folder, *(self.folder / name for name in ("settings", "table", "secret"))):
            folder.mkdir(parents=True)
            shutil.chown(folder, "root", "_iampass")
            folder.chmod(0o750)

    # The files

    @property
    def settings_file(self) -> Path:
        """The settings file named in the PAM line."""
        return self.folder / "settings" / "iampass.yaml"

    @property
    def table_file(self) -> Path:
        """The user table."""
        return Path(self.settings["users"])

    @property
    def secret_file(self) -> Path:
        """The application's secret."""
        return Path(self.settings["application_secret_file"])

    @staticmethod
    def token(user: str) -> str:
        """The user's IAMPASS token."""
        return f"token-of-{user}"

    def trust(self, ca_file: str) -> None:
        """Trust the certificates of this authority."""
        shutil.copy(ca_file, self.folder / "ca.pem")
        (self.folder / "ca.pem").chmod(0o644)

    def furnish(self) -> None:
        """Write valid files, then apply the change of the case."""
        settings = {**self.settings, **self.case.settings}
        text = "".join(f"{key}: {value}\n" for key, value in settings.items())
        write(self.settings_file, text.replace("{user}", self.users[0]))
        write(self.table_file, "".join(f"{user}: {self.token(user)}\n" for user in self.users))
        write(self.secret_file, self.secret + "\n")
        self._write_stack()
        self.case.prepare(self)

    def _write_stack(self) -> None:
        module = f"pam_iampass.so config={self.settings_file}"
        for name, lines in ((self.service, self.case.stack), (f"{self.service}-other", self.case.included)):
            words = {"module": module, "other": f"{self.service}-other"}
            (PAM / name).write_text("".join(line.format(**words) + "\n" for line in lines))

    def pending(self) -> int:
        """How many logins of the user ask the phone or wait for their turn."""
        settings = ("--config", str(self.settings_file))
        command = ["pam-iampass", "throttle", "show", "--json", *settings, self.users[0]]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return int(found["pending"]) + int(found["waiting"])

    def new_recovery_codes(self) -> list[str]:
        """Make ten."""
        command = ["pam-iampass", "recovery", "new", "--yes", "--json", self.users[0]]
        made = subprocess.run(command, check=True, capture_output=True)
        codes: list[str] = json.loads(made.stdout)["codes"]
        return codes

    def bypass(self) -> None:
        """Let the user in without the phone."""
        command = ["pam-iampass", "bypass", self.users[0], "--for", "1h"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    # The logins

    def play(self) -> list[Ended]:
        """Log in."""
        return (self.case.play or one)(self)

    def login(
        self,
        user: str,
        options: Mapping[str, Option],
        meanwhile: Callable[[subprocess.Popen[bytes]], object] = lambda application: None,
    ) -> Ended:
        """One login by the application; `meanwhile` is called once it runs."""
        words: list[str | bytes] = ["--service", self.service]
        for name, value in {"user": user, "typed": "", **options}.items():
            if value is False:
                continue
            words.append("--" + name.replace("_", "-"))
            words += [] if value is True else [value if isinstance(value, bytes) else str(value)]
        with subprocess.Popen(
            [str(self.program), *words, "authenticate"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        ) as application:
            try:
                meanwhile(application)
                output, errors = application.communicate(timeout=PATIENCE)
            except BaseException:
                application.kill()
                raise
        assert application.returncode <= 0, (application.returncode, output, errors.decode())
        ended = _understood(output.decode())
        return ended if application.returncode == 0 else replace(ended, code=application.returncode)


def one(place: Place) -> list[Ended]:
    """One login."""
    return [place.login(place.users[0], place.case.application)]


def at_once(place: Place) -> list[Ended]:
    """All users of the place log in at the same time."""
    with ThreadPoolExecutor(len(place.users)) as pool:
        return list(pool.map(lambda user: place.login(user, place.case.application), place.users))


def killed_meanwhile(place: Place) -> list[Ended]:
    """The application is killed while the request is pending."""

    def kill(application: subprocess.Popen[bytes]) -> None:
        assert place.sandbox is not None
        place.sandbox.wait_for_request(place.token(place.users[0]), PATIENCE)
        application.kill()

    return [place.login(place.users[0], place.case.application, kill)]


def both_approved(place: Place) -> list[Ended]:
    """The same user logs in twice from the same origin, and approves both."""
    [user], sandbox = place.users, place.sandbox
    assert sandbox is not None
    with ThreadPoolExecutor(2) as pool:
        logins = [pool.submit(place.login, user, {})]
        request = sandbox.wait_for_request(place.token(user), PATIENCE)
        logins.append(pool.submit(place.login, user, {}))
        wait_until(lambda: place.pending() == 2, "the second waits")
        sandbox.approve(request)
        sandbox.approve(sandbox.wait_for_request(place.token(user), PATIENCE, after=request))
        return [login.result() for login in logins]


def in_turn(*options: Mapping[str, Option]) -> Play:
    """One login after the other, with these options of the application."""
    return lambda place: [place.login(place.users[0], {**place.case.application, **one}) for one in options]


def with_code(*options: Mapping[str, Option]) -> Play:
    """The same with `CODE` replaced by a recovery code."""

    def play(place: Place) -> list[Ended]:
        code = place.new_recovery_codes()[0]
        filled = [
            {name: code if value == "CODE" else value for name, value in one.items()} for one in options
        ]
        return [place.login(place.users[0], one) for one in filled]

    return play


def _understood(output: str) -> Ended:
    ended = Ended()
    for name, *values in (line.split(" ") for line in output.splitlines()):
        if name == "message":
            ended.shown.append(bytes.fromhex(values[1]).decode("utf-8", "surrogateescape"))
        elif name == "elapsed":
            ended.elapsed = int(values[0]) / 1000
        elif name == "result":
            ended.code = int(values[0])
    return ended
