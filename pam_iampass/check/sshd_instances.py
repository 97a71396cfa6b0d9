"""The other sshd of a machine: units and running processes with options of their own.

The command line of a process is its caller's word, also where the program is set-uid root. So a process counts only if
root has started it and it runs sshd, and nothing executes a program that a command line or a unit names.
"""

from __future__ import annotations

import getopt
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.check.sshd_match import CONFIGURATION, KEYWORDS
from pam_iampass.errors import MissingFile, UntrustedFile
from pam_iampass.system import trusted_file
from pam_iampass.system.programs import find
from pam_iampass.system.sshd import SSHD

_OPTIONS = "C:E:b:c:f:g:h:k:o:p:u:46DGQRTVdeiqrt"
"""sshd(8)."""
_KEPT = ("logingracetime", *KEYWORDS)
"""The keywords in an option -o that change who is asked."""
_UNIT_FOLDERS = (
    *("/etc/systemd/system", "/run/systemd/system", "/run/systemd/generator.early", "/run/systemd/generator"),
    *("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"),
    "/run/systemd/generator.late",
)
"""Where systemd looks for units, the first one first (systemd.unit(5))."""
_NAMES_SSHD = re.compile(r"(?:^|[\s/'\"=])sshd(?=$|[\s'\";])")
_TITLE = re.compile(r"sshd: (/\S*sshd(?: .*?)?)( \[listener\].*)?")
"""The command line that a listening sshd shows."""


@dataclass(frozen=True)
class SshdInstance:
    """An sshd, as far as it may decide otherwise than `sshd` without options."""

    name: str
    """A unit, or a running process."""
    options: tuple[str, ...] = ()
    """The options for `sshd -T`: -f, -g, and each -o that changes who is asked."""
    local: bool = False
    """Whether its connections have no address: systemd-ssh-generator(8) listens on AF_UNIX and AF_VSOCK."""
    unclear: str = ""
    """The command line, or what is wrong with a file, if its options cannot be told."""

    @property
    def is_usual(self) -> bool:
        """Whether it is `sshd` without options."""
        return not (self.options or self.local)

    @property
    def configuration(self) -> Path:
        """The file of its configuration."""
        return next(
            (Path(after) for word, after in zip(self.options, self.options[1:]) if word == "-f"),
            CONFIGURATION,
        )


def others(folders: tuple[str, ...] = _UNIT_FOLDERS, proc: Path = Path("/proc")) -> list[SshdInstance]:
    """The instances that differ from `sshd` without options, and from each other."""
    found: dict[SshdInstance, SshdInstance] = {}
    for instance in (*_of_units([Path(folder) for folder in folders]), *_running(proc)):
        same = SshdInstance("", instance.options, instance.local, instance.unclear)
        if same != SshdInstance(""):
            found.setdefault(same, instance)
    return list(found.values())


def _of_units(folders: list[Path]) -> Iterator[SshdInstance]:
    """The services that run sshd, enabled or not."""
    units: dict[str, Path] = {}
    for folder in folders:
        for unit in sorted(folder.glob("*.service")):
            units.setdefault(unit.name, unit)
    for name, unit in units.items():
        if unit.is_symlink() and Path(os.readlink(unit)).suffix == ".service":
            continue  # another name of a unit
        drop_ins = {
            file.name: file for folder in reversed(folders) for file in folder.glob(f"{name}.d/*.conf")
        }
        commands: list[str] = []
        environment: dict[str, str] = {}
        untrusted: list[str] = []
        for file in (unit, *(drop_ins[drop_in] for drop_in in sorted(drop_ins))):
            untrusted += _read_unit(file, commands, environment)
        local = unit.parent.name.startswith("generator") and name.startswith("sshd-")
        for command in commands:
            words = _expanded(command.lstrip("-@:+!|"), environment)
            if _NAMES_SSHD.search(command) or any(_NAMES_SSHD.search(word) for word in words):
                yield SshdInstance(name, unclear=untrusted[0]) if untrusted else _instance(name, words, local)


def _read_unit(file: Path, commands: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Add what a unit file, or a drop-in, says (systemd.service(5), systemd.exec(5)). Raises OSError.

    Yields what is wrong with files of variables that others than root can write.
    """
    text = re.sub(r"\\\n\s*", " ", file.read_text("utf-8", "replace"))
    for key, value in re.findall(
        r"^[ \t]*(ExecStart|Environment|EnvironmentFile)[ \t]*=[ \t]*(.*)$", text, re.M
    ):
        if key == "ExecStart":
            commands[:] = [*commands, value.strip()] if value.strip() else []
        elif key == "Environment":
            for word in _split(value):
                name, _, setting = word.partition("=")
                environment[name] = setting
        else:
            try:
                source = trusted_file.read(os.path.realpath(value.strip().lstrip("-")))
            except MissingFile:
                continue
            except UntrustedFile as error:
                yield str(error)
                continue
            for line in source.decode("utf-8", "replace").splitlines():
                name, separator, setting = line.strip().partition("=")
                if separator and not name.startswith(("#", ";")):
                    environment[name] = " ".join(_split(setting)) if setting[:1] in "'\"" else setting


def _expanded(command: str, environment: dict[str, str]) -> list[str]:
    """The words of a command. `$NAME` as a word of its own becomes several; what is not set becomes none."""
    words: list[str] = []
    for word in _split(command):
        if re.fullmatch(r"\$\w+", word):
            words += _split(environment.get(word[1:], ""))
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], found[0]), word))
    return words


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _running(proc: Path) -> Iterator[SshdInstance]:
    """The listening sshd of root in this machine's own tree of files, not those in containers."""
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            line, program = of_root(process)
        except OSError:  # it has ended
            continue
        words = line.rstrip("\0").split("\0")
        title = _TITLE.fullmatch(line.rstrip("\0 "))
        if Path(program).name != "sshd" or (title is None and Path(words[0]).name != "sshd"):
            continue
        name = f"sshd, process {process.name}"
        if program != _installed():
            yield SshdInstance(name, unclear=program)
        elif title is not None and title[2] is None:  # the title was cut off
            yield SshdInstance(name, unclear=title[0])
        else:
            yield _instance(name, words if title is None else title[1].split(), local=False)


def of_root(process: Path) -> tuple[str, str]:
    """The command line of a process that is root's in each of its user ids, and its program; else two empty texts.

    Raises OSError.
    """
    descriptor = os.open(process, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # below it is this process only, and not the next one with its id
        folder = Path(f"/proc/self/fd/{descriptor}")
        status = (folder / "status").read_text("utf-8", "replace")
        if re.search(r"^Uid:\t0\t0\t0\t0$", status, re.M) is None:
            return "", ""
        if not os.path.samestat((folder / "root").stat(), os.stat("/")):
            return "", ""
        line = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
        return line, re.sub(r" \(deleted\)$", "", os.readlink(folder / "exe"))  # an upgrade deletes it
    finally:
        os.close(descriptor)


def _instance(name: str, words: list[str], local: bool) -> SshdInstance:
    unclear = SshdInstance(name, unclear=" ".join(words))
    if not words or (words[0] != "sshd" and os.path.realpath(words[0]) != _installed()):
        return unclear
    try:
        found, rest = getopt.getopt(words[1:], _OPTIONS)
    except getopt.GetoptError:
        return unclear
    kept: list[str] = []
    for option, value in found:
        keyword = re.split(r"[=\s]", value.strip(), maxsplit=1)[0].lower()
        of_file = option == "-f" and os.path.realpath(value) != os.path.realpath(CONFIGURATION)
        if of_file or option == "-g" or (option == "-o" and keyword in _KEPT):
            kept += [option, value]
    if rest or any(set("%$") & set(word) for word in kept):
        return unclear
    return SshdInstance(name, tuple(kept), local)


def _installed() -> str:
    return os.path.realpath(find(SSHD) or "/usr/sbin/sshd")
