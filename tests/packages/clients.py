"""What an ssh client can do in each way into sshd, and the runs that show it."""

from __future__ import annotations

import enum
import os
import re
from dataclasses import dataclass

#: Whether sshd of the machines shows a text at once: from OpenSSH 10.3 on. A prompt then needs no Enter.
IN_TIME = os.environ.get("PACKAGES_RELEASE", "trixie") not in ("bookworm", "trixie")


class Way(enum.Enum):
    """How sshd asks the phone."""

    QUIET = "quiet"
    CODES = "codes"
    """The same for every client; users can type a recovery code before their key."""
    PROMPT = "prompt"
    KEY = "key"
    """As with a prompt; the key says whose phone it is (docs/one-server/shared-accounts.md)."""

    @property
    def option(self) -> str:
        """That of `setup sshd`."""
        return {Way.QUIET: "--no-prompt", Way.CODES: "--codes"}.get(self, "--prompt")


@dataclass(frozen=True)
class Run:
    """One run of a client as the user of its row, by root's shell on the machine itself."""

    command: str
    """Prints the user's file `precious`, and ends with 0, if the client gets in. `USER` is the user."""
    terminal: bool = False
    """Whether it has a terminal; our prompt is answered there."""
    copies: int = 1
    """How often the file is printed."""
    requests: int = 1
    """How many requests the user approves where it gets in."""
    shows: str = ""
    """A pattern in what a client shows that does not get in."""


@dataclass(frozen=True)
class Result:
    """What a client can do in one way."""

    works: Run | None
    setting: str = ""
    """What `works` needs."""
    fails: Run | None = None
    """Without the setting, or in general."""
    reason: str = ""
    """Why it fails."""
    note: str = ""

    def __post_init__(self) -> None:
        assert (self.fails is not None) == bool(self.reason)
        assert self.fails is not None or not self.setting

    @property
    def text(self) -> str:
        """The cell of the table."""
        if self.works is None:
            return f"cannot log in: {self.reason}"
        words = f"only with {self.setting}: {self.reason}" if self.setting else "works"
        return f"{words}; {self.note}" if self.note else words


@dataclass(frozen=True)
class Client:
    """A row of the table."""

    name: str
    quiet: Result
    prompt: Result
    text: Result | None = None
    """With a prompt where sshd shows a text at once, if that is another result."""
    user: str = ""
    """The user of its runs, if they need a special one."""

    def result(self, way: Way, in_time: bool = IN_TIME) -> Result:
        """What it can do in this way, where sshd shows a text `in_time`. Those that fail at the prompt show nothing
        new, no matter who is asked."""
        prompt = self.text if in_time and self.text else self.prompt
        if way is Way.KEY:
            return Result(prompt.works)
        return prompt if way is Way.PROMPT else self.quiet

    @property
    def account(self) -> str:
        """The user of its runs."""
        return self.user or "by-" + re.sub("[^a-z]+", "-", self.name.lower()).strip("-")[:24].strip("-")
