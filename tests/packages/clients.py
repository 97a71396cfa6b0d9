"""What ssh clients can do in each way into sshd: the table of docs/clients.md, and the runs that show it."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


class Way(enum.Enum):
    """How sshd asks the phone."""

    QUIET = "quiet"
    PROMPT = "prompt"


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
    """How many requests the user approves; 0 where nobody gets in."""
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
            return f"cannot work: {self.reason}"
        words = f"works with {self.setting}; otherwise not: {self.reason}" if self.setting else "works"
        return f"{words}; {self.note}" if self.note else words


@dataclass(frozen=True)
class Client:
    """A row of the table."""

    name: str
    quiet: Result
    prompt: Result
    user: str = ""
    """The user of its runs, if they need a special one."""

    def result(self, way: Way) -> Result:
        """What it can do in this way."""
        return self.quiet if way is Way.QUIET else self.prompt

    @property
    def account(self) -> str:
        """The user of its runs."""
        return self.user or "by-" + re.sub("[^a-z]+", "-", self.name.lower()).strip("-")[:24].strip("-")


HOST = "127.0.0.1"
BEHIND = "127.0.0.2"
BASTION = "10.0.0.5"
"""An address of the machine from which nobody is asked."""
EXEMPT = "exempt"

_GOT = "&& cat got"
_OPEN = f"ssh -fNM -o ControlPath=$PWD/open USER@{HOST} &&"
_CLOSE = f"&& ssh -q -O exit -o ControlPath=$PWD/open USER@{HOST}"
_SHARED = "-o ControlPath=$PWD/open"
_PUTTY = '-hostkey "$(cat ~/fingerprint)" -i ~/key.ppk'
_NO_METHOD = r"Permission denied \(keyboard-interactive\)"
_BATCH = "BatchMode answers no prompt"
_OPENED = "a connection that is open (below)"


def _anywhere(name: str, command: str, note: str = "", copies: int = 1, requests: int = 1) -> Client:
    """Gets in in both ways; the prompt is answered at a terminal."""
    quiet, prompt = (Run(command, terminal, copies, requests) for terminal in (False, True))
    return Client(name, Result(quiet, note=note), Result(prompt, note=note))


def _python(program: str) -> str:
    return f"python3 ~/{program}.py USER"


def _shared(name: str, command: str, shared: str) -> Client:
    """Answers no prompt, but can use a connection that its user has opened."""
    opened = Run(f"{_OPEN} {shared} {_CLOSE}", terminal=True)
    refused = Run(command, requests=0, shows=_NO_METHOD)
    return Client(name, Result(Run(command)), Result(opened, _OPENED, refused, _BATCH))


_SSH = f"ssh USER@{HOST} cat precious"
_LFTP = f"""lftp -c 'set net:max-retries 1; set net:timeout 8; %s open sftp://USER:@{HOST}; cat precious'"""
_LFTP_QUIET = _LFTP % ""
_PLINK = f"plink %s {_PUTTY} USER@{HOST} cat precious"

#: In the order of the page.
CLIENTS = (
    Client(
        "`ssh` at a terminal",
        Result(Run(_SSH, terminal=True)),
        Result(Run(_SSH, terminal=True)),
    ),
    Client(
        "`ssh` without a terminal (cron, a program that starts it)",
        Result(Run(_SSH)),
        Result(Run(_SSH), note="it answers the prompt with Enter"),
    ),
    _shared(
        "`ssh -o BatchMode=yes`",
        f"ssh -o BatchMode=yes USER@{HOST} cat precious",
        f"ssh -o BatchMode=yes {_SHARED} USER@{HOST} cat precious",
    ),
    _shared(
        "`scp -B`",
        f"scp -B USER@{HOST}:precious got {_GOT}",
        f"scp -B {_SHARED} USER@{HOST}:precious got {_GOT}",
    ),
    _shared(
        "`sftp -b`",
        f"echo get precious got | sftp -b - USER@{HOST} {_GOT}",
        f"echo get precious got | sftp -b - {_SHARED} USER@{HOST} {_GOT}",
    ),
    _anywhere(
        "`ssh` with `ControlMaster`",
        f"{_OPEN} for number in 1 2; do ssh {_SHARED} USER@{HOST} cat precious; done {_CLOSE}",
        "one request for all connections",
        copies=2,
    ),
    _anywhere(
        "`ssh -J`, both machines ask",
        f"ssh -J USER@{HOST} USER@{BEHIND} cat precious",
        "one request for each machine",
        requests=2,
    ),
    _anywhere(
        "`ssh -J`, the target exempts the bastion's address",
        f"ssh -J USER@{HOST} USER@{BASTION} cat precious",
        "one request, of the bastion",
    ),
    _anywhere(
        "three connections at once, 0.4 s apart",
        f"for wait in 0 0.4 0.8; do sleep $wait; setsid ssh USER@{HOST} cat precious & done; wait",
        "one request after the other, three in all",
        copies=3,
        requests=3,
    ),
    _anywhere("`scp`", f"scp -q USER@{HOST}:precious got {_GOT}"),
    _anywhere("`sftp`", f"sftp -q USER@{HOST}:precious got {_GOT}"),
    _anywhere("`rsync`", f"rsync USER@{HOST}:precious got {_GOT}"),
    _anywhere("`git`", f"git clone -q USER@{HOST}:repository got && cat got/precious"),
    _anywhere("`sshfs`", f"mkdir far && sshfs USER@{HOST}: far && cat far/precious && fusermount3 -u far"),
    Client(
        "`mosh`",
        Result(Run(f"mosh USER@{HOST} -- cat precious", terminal=True)),
        Result(Run(f"mosh USER@{HOST} -- cat precious", terminal=True)),
    ),
    Client(
        "`lftp` (sftp)",
        Result(Run(_LFTP_QUIET)),
        Result(
            Run(f"export SSH_ASKPASS_REQUIRE=force SSH_ASKPASS=/bin/true; {_LFTP_QUIET}", terminal=True),
            "`SSH_ASKPASS` (below)",
            Run(_LFTP_QUIET, terminal=True, requests=0, shows="max-retries|timeout"),
            "it hides ssh's prompt",
        ),
    ),
    _anywhere("`plink`", _PLINK % "-no-antispoof"),
    _anywhere("`pscp`", f"pscp -q {_PUTTY} USER@{HOST}:precious got {_GOT}"),
    Client(
        "`plink -batch`",
        Result(Run(_PLINK % "-batch")),
        Result(
            None,
            fails=Run(_PLINK % "-batch", requests=0, shows="Cannot answer interactive prompts in batch mode"),
            reason="it answers no prompt",
        ),
    ),
    _anywhere("`dbclient`", f"dbclient -y -y -i ~/key.dropbear USER@{HOST} cat precious"),
    Client(
        "paramiko, `SSHClient.connect`",
        Result(Run(_python("by-paramiko"))),
        Result(
            Run(_python("by-paramiko") + " ''"),
            '`password=""`',
            Run(_python("by-paramiko"), requests=0, shows="AuthenticationException"),
            "it asks at the terminal, if it has one",
        ),
    ),
    Client(
        "asyncssh, `connect`",
        Result(Run(_python("by-asyncssh"))),
        Result(
            Run(_python("by-asyncssh") + " handler"),
            "a handler for prompts (below)",
            Run(_python("by-asyncssh"), requests=0, shows="Permission denied for user"),
            "without one it does not offer the method",
        ),
    ),
    Client(
        "an exempt account, `BatchMode=yes`",
        Result(Run(f"ssh -o BatchMode=yes USER@{HOST} cat precious", requests=0)),
        Result(
            Run(f"ssh -o BatchMode=yes USER@{HOST} cat precious", requests=0),
            note="`setup` writes a `Match` block",
        ),
        user=EXEMPT,
    ),
)

ENTER = """\
class Enter(asyncssh.SSHClient):
    def kbdint_auth_requested(self):
        return ""

    def kbdint_challenge_received(self, name, instructions, lang, prompts):
        return [""] * len(prompts)
"""
"""A handler that answers prompts with Enter."""

PROGRAMS = {
    "by-paramiko": f"""\
import sys

import paramiko

answer = {{"password": sys.argv[2]}} if len(sys.argv) > 2 else {{}}
client = paramiko.SSHClient()
client.load_host_keys("/root/known-hosts")
client.connect("{HOST}", username=sys.argv[1], key_filename="/root/key", **answer)
print(client.exec_command("cat precious")[1].read().decode())
""",
    "by-asyncssh": f"""\
import asyncio
import sys

import asyncssh


{ENTER}

async def main():
    factory = {{"client_factory": Enter}} if "handler" in sys.argv else {{}}
    options = {{"client_keys": ["/root/key"], "known_hosts": "/root/known-hosts", **factory}}
    async with asyncssh.connect("{HOST}", username=sys.argv[1], **options) as connection:
        print((await connection.run("cat precious")).stdout)


asyncio.run(main())
""",
}
