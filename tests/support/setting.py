"""Everything that a login of the module needs, for tests in one process."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path
from typing import Callable

from pam_iampass.agent.context import Configurations, LoginContexts
from pam_iampass.audit.journal import MESSAGE_IDS, Journal
from pam_iampass.login.agent_state import AgentState
from pam_iampass.login.application import PamApplication
from pam_iampass.login.context import ApprovalRequired, ContextFactory
from pam_iampass.login.typed_codes import TypedCodes
from pam_iampass.module import Module
from pam_iampass.outcome import Decision, Login, Outcome
from pam_iampass.system import sshd_session
from tests.support.deadline import TIMEOUT
from tests.support.door import Answer, Door, Told
from tests.support.sandbox import Sandbox

#: Seconds until IAMPASS is asked first: nobody waits for a person here.
FIRST_POLL = 0.15
#: The user of a login is the one who runs the tests: the processes of its session are theirs. Packages are built by
#: users without a name, who run no test that logs in.
ME = next((entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == os.geteuid()), "nobody")


class Records:
    """A journal that keeps its records in a list."""

    def __init__(self) -> None:
        self.fields: list[dict[str, str]] = []

    def write(self, fields: dict[str, str], patience: float = 0.0) -> None:
        self.fields.append(fields)


def state_in(folder: Path, records: Records | None = None) -> AgentState:
    """An agent's state, in a folder with the required owner and mode."""
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    return AgentState(Journal(records or Records()), str(folder / "state" / "state.db"))


class Setting:
    """Settings and user table in a directory that only root can write, a sandbox, and the audit records."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.records = Records()
        self.state = state_in(folder, self.records)
        self.report: Callable[[str, Login, Decision], None] = lambda _config, _login, _decision: None
        self.tell_approver: Callable[[ApprovalRequired], None] = lambda _required: None
        self.typed_codes = TypedCodes()
        self.sshd_programs: tuple[str, ...] = ()
        self._first_session = len(sandbox.sessions)
        self._first_call = len(sandbox.calls)
        self.write("application-secret", sandbox.application_secret)
        self.write("ca.pem", sandbox.ca_file.read_text())
        self.configure()
        self.write("users.yaml", f"{ME}: {self.token}\n")

    token = f"7f3c-{ME}"
    pending = 1
    """Logins that the agent has beside it, and it."""
    door_class: type[Door] = Door

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o640)

    def configure(self, **settings: str) -> None:
        values = {
            "application_id": self.sandbox.application_id,
            "application_secret_file": str(self.folder / "application-secret"),
            "server": self.sandbox.url,
            "ca_file": str(self.folder / "ca.pem"),
            "users": str(self.folder / "users.yaml"),
            "timeout": TIMEOUT,
            "throttle": "{spacing: 0s}",
            **settings,
        }
        values["joined_file"] = str(self.folder / "joined.yaml")
        gateways = values.pop("gateways", None)
        (self.folder / "joined.yaml").unlink(missing_ok=True)
        if gateways is not None:
            self.write("joined.yaml", f"application_id: {values['application_id']}\ngateways: {gateways}\n")
            for key, name in (("application_secret_file", "gateway-secret"), ("ca_file", "gateway-ca.pem")):
                self.write(name, Path(values[key]).read_text())
        self.write("iampass.yaml", "".join(f"{key}: {value}\n" for key, value in values.items()))

    def authenticate(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        module = Module(Journal(self.records), self.contexts(), None, self.report, self.shows_text)
        return module.pam_sm_authenticate(pamh, flags, argv)

    def shows_text(self, executable: str) -> bool:
        return sshd_session.shows_text(executable, self.sshd_programs)

    def contexts(self) -> ContextFactory:
        """The contexts of the logins of an agent."""
        made = LoginContexts(
            Configurations(owner=os.geteuid()), self.state, lambda: self.pending, self.tell_approver
        )
        return lambda config, left_open: replace(
            made(config, left_open), first_poll=FIRST_POLL, typed_codes=self.typed_codes
        )

    def door(self, *arguments: str, answers: tuple[Answer, ...] = ("",) * 3, **items: str) -> Door:
        settings = f"config={self.folder / 'iampass.yaml'}"
        return self.door_class(
            self.authenticate,
            settings,
            *arguments,
            answers=answers,
            **{"user": ME, "service": "test", **items},
        )

    def login(self, *arguments: str, answers: tuple[Answer, ...] = ("",) * 3, **items: str) -> Told:
        return self.door(*arguments, answers=answers, **items).finish()

    @property
    def calls(self) -> list[str]:
        return [call.kind for call in self.sandbox.calls[self._first_call :]]

    @property
    def open_sessions(self) -> int:
        return sum(session.ended_by is None for session in self.sandbox.sessions[self._first_session :])

    def wait_for_ends(self) -> None:
        """Wait until the module has ended every session; fails otherwise."""
        for session in self.sandbox.sessions[self._first_session :]:
            self.sandbox.wait_for_end(session)

    def only_record(self) -> dict[str, str]:
        assert len(self.records.fields) == 1, self.records.fields
        return self.records.fields[0]

    def outcome(self) -> tuple[str, str]:
        record = self.only_record()
        assert record["MESSAGE_ID"] == MESSAGE_IDS[Outcome(record["IAMPASS_OUTCOME"])]
        return record["IAMPASS_OUTCOME"], record["IAMPASS_RESULT"]
