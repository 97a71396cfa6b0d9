"""The settings of sshd, according to `sshd -T`."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.system.accounts import Account
from pam_iampass.system.programs import CommandResult, CommandUnavailable, find, run
from pam_iampass.system.service_user import reading_as

SSHD = "sshd"
_MOST_KEYS = 1024 * 1024  # bytes

_MISSING_FOLDER = re.compile(r"Missing privilege separation directory: (/run/\S+)")
_NOT_READ = ("hostkeys", "ermission denied", "privilege separation", "loading shared libraries")
"""Errors that end sshd before it has read its configuration."""
SWITCHES = {
    "publickey": "pubkeyauthentication",
    "keyboard-interactive": "kbdinteractiveauthentication",
    "password": "passwordauthentication",
    "hostbased": "hostbasedauthentication",
    "gssapi-with-mic": "gssapiauthentication",
}
"""The methods, and the keyword by which each is on."""


class SshdConfigRejected(Exception):
    """sshd rejects its configuration; `lines` are its messages."""

    def __init__(self, result: CommandResult) -> None:
        super().__init__(result.complaint)
        self.lines = result.lines


@dataclass(frozen=True)
class Connection:
    """A connection, for the Match blocks of sshd (`sshd -T -C`)."""

    user: str
    address: str = "127.0.0.1"
    host: str = ""
    """Empty: the address."""
    local_address: str = "127.0.0.1"
    local_port: str = "22"
    routing_domain: str = ""

    def __str__(self) -> str:
        words = {
            "user": self.user,
            "host": self.host or self.address,
            "addr": self.address,
            "laddr": self.local_address,
            "lport": self.local_port,
            **({"rdomain": self.routing_domain} if self.routing_domain else {}),
        }
        return ",".join(f"{name}={word}" for name, word in words.items())


NO_ADDRESS = Connection("", "UNKNOWN", local_address="UNKNOWN", local_port="65535")
"""The connection that sshd takes one by AF_UNIX or AF_VSOCK for."""


@dataclass(frozen=True)
class SshdSettings:
    """The settings that hold for everybody or for one connection."""

    values: Mapping[str, str]
    """The values by the keyword in lower case."""

    def is_on(self, keyword: str) -> bool:
        return self.values.get(keyword, "no").lower() == "yes"

    @property
    def service(self) -> str:
        """The PAM service (`PAMServiceName`, since OpenSSH 9.8)."""
        return self.values.get("pamservicename", "sshd")

    @property
    def method_lists(self) -> list[list[str]]:
        """The lists of methods that each let a user in; without AuthenticationMethods, one for each method."""
        methods = self.values.get("authenticationmethods", "any").strip()
        if methods.lower() == "any":
            return [[method] for method in self.offered]
        return [[one.partition(":")[0] for one in part.split(",")] for part in methods.split()]

    @property
    def offered(self) -> list[str]:
        """The methods that are on."""
        return [method for method, keyword in SWITCHES.items() if self.is_on(keyword)]

    @property
    def grace_time(self) -> int:
        """LoginGraceTime in seconds; 0: no limit."""
        text = self.values.get("logingracetime", "120")
        return int(text) if text.isdigit() else 120

    @property
    def root_login(self) -> str:
        """PermitRootLogin."""
        value = self.values.get("permitrootlogin", "prohibit-password").lower()
        return "prohibit-password" if value == "without-password" else value


def authorized_keys(account: Account, found: SshdSettings) -> Iterator[tuple[Path, str]]:
    """The lines with keys that sshd, which reads them as the account, finds for it, and their files."""
    home = os.path.expanduser(f"~{account.name}")
    for name in found.values.get("authorizedkeysfile", "").split():
        for token, meaning in (("%h", home), ("%u", account.name), ("%U", str(account.uid)), ("%%", "%")):
            name = name.replace(token, meaning)
        file = Path(home) / name
        for line in lines_as(file, account.name):
            yield file, line


def lines_as(file: Path, user: str) -> list[str]:
    """The lines of a file that the user can read, without comments; none of what is no regular file.

    The user controls the file: a FIFO or a device must not block, and no link leads to what is not the user's.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        with reading_as(user), open(os.open(file, flags), "rb") as opened:
            regular = stat.S_ISREG(os.fstat(opened.fileno()).st_mode)
            text = opened.read(_MOST_KEYS) if regular else b""
    except OSError:
        return []
    lines = (line.strip() for line in text.decode("utf-8", "replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def with_code(user: str) -> str:
    """The command by which a user logs in with a recovery code before their key."""
    return f"ssh -o PreferredAuthentications=keyboard-interactive,publickey {user}@{socket.gethostname()}"


def is_installed() -> bool:
    """Whether sshd is installed."""
    return find(SSHD) is not None


def settings(
    connection: Connection | None = None,
    *,
    options: Sequence[str] = (),
    program: str = SSHD,
    create_folder: bool = False,
) -> SshdSettings:
    """The settings of sshd with these options (such as -f FILE), for everybody or for a connection.

    `create_folder`: create sshd's missing privilege separation directory, without which sshd does nothing. Raises
    SshdConfigRejected, and CommandUnavailable if sshd has not read its configuration.
    """
    words = [*options]
    if connection is not None:
        if not connection.user or any(character in connection.user for character in ",="):
            raise CommandUnavailable(
                f"sshd -T -C takes no user of the name {connection.user}", "rename the user"
            )
        words += ["-C", str(connection)]
    result = _run(words, program, create_folder)
    if not result.ok:
        if any(error in result.errors for error in _NOT_READ):
            raise CommandUnavailable(f"sshd -T: {result.complaint}", "run sshd -t as root")
        raise SshdConfigRejected(result)
    return SshdSettings(keywords(result.output))


def keywords(text: str) -> dict[str, str]:
    """The values in the lines of an sshd_config, by the keyword in lower case; the first one of each holds."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        values.setdefault(keyword.lower(), value.strip())
    return values


def _run(options: Sequence[str], program: str, create_folder: bool) -> CommandResult:
    command = [program, "-T", *options]
    result = run(command)
    missing = _MISSING_FOLDER.search(result.errors) if create_folder else None
    if missing is None:
        return result
    # It is not removed: an sshd that was started meanwhile would let nobody in.
    Path(missing.group(1)).mkdir(mode=0o755, exist_ok=True)
    return run(command)
