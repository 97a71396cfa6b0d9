"""The table of docs/one-server/clients.md: ssh clients, and what each can do in each way into sshd."""

from __future__ import annotations

from tests.packages.client_programs import HOST
from tests.packages.clients import Client, Result, Run

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
_NO_ANSWER = "it answers no prompt"
_MATCH = "`setup` writes a `Match` block"
_OPENED = "[an open connection](#if-sshd-asks-with-a-prompt)"


def _anywhere(name: str, command: str, note: str = "", copies: int = 1, requests: int = 1) -> Client:
    """Gets in in both ways; the prompt is answered at a terminal."""
    quiet, prompt = (Run(command, terminal, copies, requests) for terminal in (False, True))
    return Client(name, Result(quiet, note=note), Result(prompt, note=note))


def _python(program: str) -> str:
    return f"python3 ~/{program}.py USER"


def _shared(name: str, command: str, shared: str) -> Client:
    """Answers no prompt, but can use a connection that its user has opened."""
    opened = Run(f"{_OPEN} {shared} {_CLOSE}", terminal=True)
    refused = Run(command, shows=_NO_METHOD)
    return Client(name, Result(Run(command)), Result(opened, _OPENED, refused, _NO_ANSWER))


_SSH = f"ssh USER@{HOST} cat precious"
_LFTP = f"""lftp -c 'set net:max-retries 1; set net:timeout %d; open sftp://USER:@{HOST}; cat precious'"""
_LFTP_PATIENT, _LFTP_STUCK = _LFTP % 50, _LFTP % 8
_PLINK = f"plink %s {_PUTTY} USER@{HOST} cat precious"

LOCAL = (
    Client(
        "`ssh` at a terminal",
        Result(Run(_SSH, terminal=True)),
        Result(Run(_SSH, terminal=True)),
    ),
    Client(
        "`ssh` without a terminal (cron, a program that starts it)",
        Result(Run(_SSH)),
        Result(Run(_SSH), note="it answers the prompt with Enter"),
        Result(Run(_SSH)),
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
    _anywhere(
        "`git`, three fetches at once",
        f"for one in 1 2 3; do setsid git clone -q USER@{HOST}:repository $one & done; wait; cat [123]/precious",
        "one request after the other, three in all",
        copies=3,
        requests=3,
    ),
    _anywhere("`sshfs`", f"mkdir far && sshfs USER@{HOST}: far && cat far/precious && fusermount3 -u far"),
    Client(
        "`mosh`",
        Result(Run(f"mosh USER@{HOST} -- cat precious", terminal=True)),
        Result(Run(f"mosh USER@{HOST} -- cat precious", terminal=True)),
    ),
    Client(
        "`lftp` (sftp)",
        Result(Run(_LFTP_PATIENT)),
        Result(
            Run(f"export SSH_ASKPASS_REQUIRE=force SSH_ASKPASS=/bin/true; {_LFTP_PATIENT}", terminal=True),
            "[`SSH_ASKPASS`](#if-sshd-asks-with-a-prompt)",
            Run(_LFTP_STUCK, terminal=True, shows="max-retries|timeout|Not connected"),
            "it hides ssh's prompt",
        ),
        Result(Run(_LFTP_PATIENT, terminal=True)),
    ),
    _anywhere("`plink`", _PLINK % "-no-antispoof"),
    _anywhere("`pscp`", f"pscp -q {_PUTTY} USER@{HOST}:precious got {_GOT}"),
    Client(
        "`plink -batch`",
        Result(Run(_PLINK % "-batch")),
        Result(
            None,
            fails=Run(_PLINK % "-batch", shows="Cannot answer interactive prompts in batch mode"),
            reason=_NO_ANSWER,
        ),
        Result(Run(_PLINK % "-batch")),
    ),
    _anywhere("`dbclient`", f"dbclient -y -y -i ~/key.dropbear USER@{HOST} cat precious"),
    Client(
        "paramiko, `SSHClient.connect`",
        Result(Run(_python("by-paramiko"))),
        Result(
            Run(_python("by-paramiko") + " ''"),
            '`password=""`',
            Run(_python("by-paramiko"), shows="AuthenticationException"),
            "it asks at the terminal, if it has one",
        ),
        Result(Run(_python("by-paramiko"))),
    ),
    Client(
        "asyncssh, `connect`",
        Result(Run(_python("by-asyncssh"))),
        Result(
            Run(_python("by-asyncssh") + " handler"),
            "[a handler for prompts](#if-sshd-asks-with-a-prompt)",
            Run(_python("by-asyncssh"), shows="PermissionDenied"),
            "without one it does not offer the method",
        ),
    ),
    Client(
        "an exempt account, `BatchMode=yes`",
        Result(Run(f"ssh -o BatchMode=yes USER@{HOST} cat precious", requests=0)),
        Result(Run(f"ssh -o BatchMode=yes USER@{HOST} cat precious", requests=0), note=_MATCH),
        user=EXEMPT,
    ),
)

_ANSIBLE = f"export ANSIBLE_SSH_CONTROL_PATH_DIR=$PWD; ansible all -i {HOST}, -u USER -a 'cat precious' %s"
_BY_OPEN = """--ssh-common-args="-o ControlPath=$PWD/open" """
_TWICE = "{0} && {0}"
_UNREACHABLE = f"UNREACHABLE(.|\n)*{_NO_METHOD}"

ANSIBLE = (
    Client(
        "Ansible, an exempt account",
        Result(Run(_TWICE.format(_ANSIBLE % ""), copies=2, requests=0)),
        Result(Run(_ANSIBLE % "", requests=0), note=_MATCH),
        user="deploy",
    ),
    Client(
        "Ansible, a user",
        Result(Run(_TWICE.format(_ANSIBLE % ""), copies=2), note="one request for all tasks"),
        Result(
            Run(f"{_OPEN} {_ANSIBLE % _BY_OPEN} {_CLOSE}", terminal=True),
            _OPENED,
            Run(_ANSIBLE % "", shows=_UNREACHABLE),
            _NO_ANSWER,
        ),
        user="alice",
    ),
)
"""Played by test_deploy.py, where Ansible is installed."""

CLIENTS = (*LOCAL, *ANSIBLE)
"""In the order of the page."""
