"""A `sendmail` of a copy of the machine, which keeps what it is given and then does as a test says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

PROGRAM = Path("/usr/sbin/sendmail")
_SCRIPT = """\
#!/bin/sh
cd {folder} || exit 70
printf '%s\\n' "$@" > now.arguments
env > environment
cat > now.mail
number=$(ls | grep -c '^[0-9]*\\.mail$')
mv now.arguments "$number.arguments"
mv now.mail "$number.mail"
. ./then
"""


@contextmanager
def no_sendmail() -> Iterator[None]:
    """The machine has none meanwhile, but for what a test puts there."""
    aside, had = PROGRAM.with_name("sendmail.aside"), os.path.lexists(PROGRAM)
    if had:
        PROGRAM.rename(aside)
    try:
        yield
    finally:
        PROGRAM.unlink(missing_ok=True)
        if had:
            aside.rename(PROGRAM)


@dataclass(frozen=True)
class FakeSendmail:
    """What it was given is in a folder."""

    folder: Path

    def install(self) -> None:
        """Put the program where mail servers have it."""
        PROGRAM.write_text(_SCRIPT.format(folder=self.folder))
        PROGRAM.chmod(0o755)
        self.then("exit 0")

    def then(self, script: str) -> None:
        """What it does, once it has the mail."""
        (self.folder / "then").write_text(script)

    @property
    def arguments(self) -> list[list[str]]:
        """Those of each call."""
        files = sorted(self.folder.glob("*.arguments"))
        return [file.read_text().splitlines() for file in files]

    @property
    def mails(self) -> list[EmailMessage]:
        """All that it was given, in this order."""
        read = BytesParser(EmailMessage, policy=policy.default).parsebytes
        return [read(file.read_bytes()) for file in sorted(self.folder.glob("*.mail"))]

    @property
    def recipients(self) -> list[str]:
        """To whom it was to send, one for each mail."""
        return [arguments[-1] for arguments in self.arguments]
