"""Pages of the documentation, typed on a machine: what a test types is what is printed."""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.packages.booted import PATIENCE, Booted
from tests.packages.people import KEY, People, type_password
from tests.support.terminal import Terminal

ROOT = Path(__file__).parents[2]
_PROGRAMS = (
    "pam-iampass pam-iampass-agent(?=.--) pam-auth-update systemctl journalctl apt runuser usermod"
    " sudo(?=.pam-iampass)"
)
_INLINE = re.compile(f"`((?:{'|'.join(_PROGRAMS.split())}) [^`]+)`")


class TypedPage:
    """Pages by sections: the lines of their blocks, their commands in the text, and which of them a test has typed."""

    def __init__(self, *paths: str) -> None:
        text = "".join((ROOT / path).read_text("utf-8") for path in paths)
        self.sections: dict[str, list[str]] = {}
        self._blocks: dict[str, list[str]] = {}
        for section in re.split("^#+ ", text, flags=re.M)[1:]:
            title, _, body = section.partition("\n")
            assert title not in self.sections, f"two sections are called {title!r}"
            blocks = re.findall("(?:^ {4,}.*\n(?:\n(?= {4}))?)+", body, re.M)
            flowing = re.sub("^ {4,}.*$", "", body, flags=re.MULTILINE).replace("\n", " ")
            lines = [_bare(line) for block in blocks for line in block.splitlines()]
            inline = [f"{each}" for each in _INLINE.findall(re.sub(" +", " ", flowing))]
            self.sections[title] = [*filter(None, lines), *inline]
            self._blocks[title] = [textwrap.dedent(block) for block in blocks]
        self.typed: set[str] = set()

    def command(self, section: str, start: str) -> str:
        """The command of a section that begins so. It counts as typed."""
        commands = dict.fromkeys(self.sections[section])
        found = [start] if start in commands else [each for each in commands if each.startswith(start)]
        assert len(found) == 1, f"{start!r} is not one command of {section!r}: {self.sections[section]}"
        self.typed.add(found[0])
        return found[0]

    def type(
        self, machine: Booted, section: str, start: str, *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Type that command at a root shell of the machine."""
        machine.run("journalctl", "--sync")  # the command may show what has just been recorded
        return machine.run("sh", "-c", self.command(section, start), check=check)

    def block(self, section: str, start: str) -> str:
        """The block of a section that begins so, which is a file or a part of one. It counts as typed."""
        [found] = [each for each in self._blocks[section] if each.startswith(start)]
        self.typed |= {_bare(line) for line in found.splitlines()}
        return found

    def not_typed(self) -> set[str]:
        """What was not typed."""
        return {each for lines in self.sections.values() for each in lines} - self.typed


def _bare(line: str) -> str:
    """A line without its comment."""
    return re.split("(?:^| {2,})#", line.strip())[0].rstrip()


def all_is_typed(request: pytest.FixtureRequest, page: TypedPage, elsewhere: Collection[str]) -> None:
    """Raises AssertionError unless the tests of a module have typed a whole page but for what is typed elsewhere."""
    skip_if_partly_run(request)
    assert page.not_typed() == set(elsewhere), page.not_typed() ^ set(elsewhere)


def skip_if_partly_run(request: pytest.FixtureRequest) -> None:
    """Skip this test if some tests of its module were left out."""
    here = [item for item in request.session.items if item.fspath == request.node.fspath]
    if len(here) < sum(name.startswith("test_") for name in vars(request.module)):
        pytest.skip("only some tests of the page were run")


def in_ssh(people: People, user: str, command: str) -> Terminal:
    """A command at the terminal of an ssh login of the user."""
    return people.ssh(user, f"exec {command}", options=(*KEY, "-tt"))


class Shell:
    """A root shell, as `sudo -s` gives it in the ssh login of a user. It stays open when a test ends."""

    def __init__(self, people: People, user: str) -> None:
        self.terminal: Terminal = in_ssh(people, user, "sudo -s")
        Terminal.open.discard(self.terminal)
        type_password(self.terminal)
        self.terminal.expect("# ")
        self.terminal.sendline("stty -echo")

    def send(self, command: str) -> None:
        """Type a command that asks something, or that takes its time: `ended` waits for it."""
        self.terminal.sendline(f'{command}; echo "[ended with $?]"')

    def ended(self, status: int = 0) -> str:
        """What the last command has said. Raises AssertionError if it ended with another status."""
        self.terminal.expect(r"\[ended with ([0-9]+)\]", timeout=2 * PATIENCE)
        said = re.sub(r"\x1b\[[0-9;]*m", "", self.terminal.before)
        assert int(self.terminal.match.group(1)) == status, said
        return " ".join(said.split())

    def type(self, command: str, status: int = 0) -> str:
        """Type a command; what it said, in one line."""
        self.send(command)
        return self.ended(status)
