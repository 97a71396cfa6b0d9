"""Login sessions as the enforcer sees them: a process with a terminal, and what a door registers of it."""

from __future__ import annotations

import pwd
import shutil
from pathlib import Path

from tests.support.terminal import Terminal

LOGINS = Path("/run/iampass/logins")
READY = "The login has begun."


class LoginSession(Terminal):
    """A shell of `user` in a terminal of their own."""

    def __init__(self, user: str, script: str = "", *, audited: bool = False) -> None:
        """`audited`: it begins an audit session, as with pam_loginuid."""
        self.user = user
        number = pwd.getpwnam(user).pw_uid
        begins = ["sh", "-c", f'echo {number} > /proc/self/loginuid && exec "$@"', "sh"] if audited else []
        # A child of the shell has the terminal too, as a program has that a user works with.
        script = script or f"echo {READY}; sleep 1000; exit"
        super().__init__(
            [*begins, "setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "sh", "-c", script]
        )
        shutil.chown(self.device, user)
        self.expect_exact(READY)

    @property
    def device(self) -> Path:
        """The terminal."""
        return Path(f"/proc/{self.process.pid}/fd/0").readlink()

    def registration(self, **changes: str) -> str:
        """What the door writes; `changes` are further lines, or others."""
        lines = {
            "user": self.user,
            "uid": str(pwd.getpwnam(self.user).pw_uid),
            "service": "sshd",
            "pid": str(self.process.pid),
            "started": started(self.process.pid),
            **changes,
        }
        return "".join(f"{key}={value}\n" for key, value in lines.items())

    def register(self, session: str, **changes: str) -> Path:
        """Register it for a kept session, as root."""
        return write(session, self.process.pid, self.registration(**changes))

    def runs(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None


def started(pid: int) -> str:
    """Field 22 of /proc/PID/stat (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]


def write(session: str, pid: int, text: str) -> Path:
    """A file of registrations with this text."""
    file = LOGINS / f"{session}.{pid}"
    file.write_text(text)
    file.chmod(0o644)
    return file
