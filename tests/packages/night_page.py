"""The commands of docs/operations.md, taken from the page itself, so that what a test types is what is printed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.packages.booted import Booted

PAGE = Path(__file__).parents[2] / "docs/operations.md"
START = "Operations"
_PROGRAMS = (
    "pam-iampass pam-iampass-agent(?=.--) pam-auth-update systemctl journalctl timedatectl ss dpkg apt"
)
_INLINE = re.compile(f"`((?:{'|'.join(_PROGRAMS.split())}) [^`]+)`")


class NightPage:
    """The page by sections, and which of its commands were typed."""

    def __init__(self, text: str) -> None:
        self.sections: dict[str, list[str]] = {}
        for section in re.split("^#+ ", text, flags=re.M)[1:]:
            title, _, body = section.partition("\n")
            blocks = re.findall("^ {4,}(?! )(.*)$", body, re.M)
            flowing = re.sub("^ {4,}.*$", "", body, flags=re.M).replace("\n", " ")
            commands = [re.split(" {2,}#", line)[0].rstrip() for line in blocks]
            self.sections[title] = [
                *filter(_is_command, commands),
                *_INLINE.findall(re.sub(" +", " ", flowing)),
            ]
        self.typed: set[str] = set()

    def command(self, section: str, start: str, user: str = "alice") -> str:
        """The command of a section that begins so, for a user in place of alice. It counts as typed."""
        commands = dict.fromkeys(self.sections[section])
        found = [start] if start in commands else [each for each in commands if each.startswith(start)]
        assert len(found) == 1, f"{start!r} is not one command of {section!r}: {self.sections[section]}"
        self.typed.add(found[0])
        return found[0].replace("alice", user)

    def type(
        self, machine: Booted, section: str, start: str, user: str = "alice", *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Type that command at a root shell of the machine."""
        machine.run("journalctl", "--sync")  # the command may show what has just been recorded
        return machine.run("sh", "-c", self.command(section, start, user), check=check)

    def not_typed(self) -> list[str]:
        """Commands that were not typed."""
        return sorted({each for commands in self.sections.values() for each in commands} - self.typed)


def _is_command(line: str) -> bool:
    return not line.startswith(("#", "PerSourcePenalty"))
