"""A machine with pam-iampass on it, IAMPASS (the sandbox), a journal, an sshd, and users with phones."""

from __future__ import annotations

import json
import pwd
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pam_iampass.audit.journal import ADMINISTRATION, BYPASS_OVER
from pam_iampass.sandbox.sessions import SandboxSession
from tests.support import processes
from tests.support.agent import AT_REST, RunningAgent
from tests.support.deadline import PATIENCE as PATIENCE
from tests.support.deadline import PLENTY
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.sshd import Login, Sshd

PEOPLE = (
    *("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"),
    *("ivan", "judy", "mallory", "niaj", "olivia", "peggy"),
)
PASSWORD = "correct horse"
#: The command that users run after the login.
REMOTE = "echo In as $(id -un)."


def token_of(user: str) -> str:
    """The user's IAMPASS token."""
    return f"token-of-{user}"


class World:
    """All parts together, reset for each test: every user has a phone, and a login has `timeout` seconds."""

    def __init__(
        self,
        machine: Installation,
        sandbox: Sandbox,
        journald: Journald,
        sshd: Sshd,
        timeout: str = f"{PLENTY}s",
        agent: RunningAgent | None = None,
    ) -> None:
        self._agent = agent
        self.machine = machine
        self.sandbox = sandbox
        self.journald = journald
        self.sshd = sshd
        self._leave_the_last_test_behind()
        sandbox.behave()
        sandbox.auto, sandbox.delay, sandbox.request_timeout, sandbox.clock_skew = "ask", 0.0, 60.0, 0.0
        for user in PEOPLE:
            sandbox.add_user(token_of(user), device=True)
        machine.configure(sandbox, timeout=timeout)
        machine.write_users("".join(f"{user}: {token_of(user)}\n" for user in PEOPLE))
        self.mark()

    def _leave_the_last_test_behind(self) -> None:
        """Wait until the logins of the last test have ended, and delete their state."""
        processes.wait_for_end(processes.running("sshd-session: "), PATIENCE)
        self.settle()
        self.machine.forget()

    def mark(self) -> None:
        """Set the mark: records and calls count from here on."""
        self._cursor = self.journald.cursor()
        earlier = self.sandbox.sessions
        self._first_session = len(earlier)
        self._last_before = earlier[-1] if earlier else None
        self._first_call = len(self.sandbox.calls)
        self._log_start = self.sshd.log.stat().st_size

    # Users

    def login(self, user: str, *options: str, remote: str = REMOTE) -> Login:
        """A user starts a login."""
        return self.sshd.login(user, remote, options=options)

    def request(self, user: str) -> SandboxSession:
        """Wait for the request on the user's phone."""
        return self.sandbox.wait_for_request(token_of(user), PATIENCE, after=self._last_before)

    def approve(self, user: str) -> SandboxSession:
        """Wait for the request and approve it."""
        return self.sandbox.approve(self.request(user))

    def deny(self, user: str) -> SandboxSession:
        """Wait for the request and deny it."""
        return self.sandbox.deny(self.request(user))

    # Results

    def settle(self) -> None:
        """Wait until the login's thread in the agent has ended."""
        if self._agent is not None:
            tasks = Path(f"/proc/{self._agent.pid()}/task")
            wait_until(lambda: len(list(tasks.iterdir())) == AT_REST, "the agent is still at work")

    def records(self, user: str | None = None) -> list[dict[str, Any]]:
        """All audit records (of this user) since the mark, but those of what an administrator did."""
        self.settle()
        found = self.journald.records(self._cursor, **({"IAMPASS_USER": user} if user else {}))
        return [record for record in found if record.get("MESSAGE_ID") not in (ADMINISTRATION, BYPASS_OVER)]

    def acts(self) -> list[dict[str, Any]]:
        """The records of what an administrator did since the mark."""
        return self.journald.records(self._cursor, MESSAGE_ID=ADMINISTRATION)

    def record(self, user: str | None = None) -> dict[str, Any]:
        """The only audit record."""
        found = self.records(user)
        assert len(found) == 1, found
        return found[0]

    def outcome(self, user: str | None = None) -> tuple[str, str]:
        """Outcome and result of the only record."""
        record = self.record(user)
        return record["IAMPASS_OUTCOME"], record["IAMPASS_RESULT"]

    def explained(self) -> str:
        """The output of `journalctl -x` for the records since the mark."""
        return self.journald.explained(self._cursor)

    def everything_logged(self) -> str:
        """The whole journal since the mark, all fields of all records, as JSON."""
        return json.dumps(self.journald.everything(self._cursor))

    def sessions(self, user: str | None = None) -> list[SandboxSession]:
        """The sessions (of this user) that began since the mark."""
        begun = self.sandbox.sessions[self._first_session :]
        return [session for session in begun if user is None or session.user == token_of(user)]

    def starts(self, user: str | None = None) -> int:
        """The number of start requests (for this user) since the mark, successful or not."""
        calls = self.sandbox.calls[self._first_call :]
        return sum(
            call.kind == "start" and (user is None or call.path.endswith("/" + token_of(user)))
            for call in calls
        )

    def calls(self) -> list[str]:
        """The kinds of the calls to IAMPASS since the mark."""
        return [call.kind for call in self.sandbox.calls[self._first_call :]]

    def left_open(self) -> list[SandboxSession]:
        """The sessions since the mark that have not ended."""
        self.settle()
        return [session for session in self.sessions() if session.ended_by is None]

    def sshd_log(self, part: str = "") -> list[str]:
        """The lines of sshd's log since the mark that contain this text."""
        text = self.sshd.log.read_bytes()[self._log_start :].decode("utf-8", "replace")
        return [line for line in text.splitlines() if part in line]


def wait_until(happened: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Poll until `happened` returns something true, and return that. Raises TimeoutError."""
    until = time.monotonic() + timeout
    while not (found := happened()):
        if time.monotonic() > until:
            raise TimeoutError(what)
        time.sleep(0.02)
    return found


def uid_of(user: str) -> int:
    """The user's id."""
    return pwd.getpwnam(user).pw_uid
