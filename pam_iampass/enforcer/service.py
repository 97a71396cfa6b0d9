"""pam-iampass-enforcer: serves one request of the agent, as root, and ends.

It acts on login sessions that are registered, and writes one sentence on terminals of a person. systemd starts one
process for each connection to `/run/iampass/enforcer.sock`. Where there is no systemd, `pam-iampass-enforcer --socket`
makes the socket, and a child process for each connection.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from pam_iampass.enforcer import processes
from pam_iampass.enforcer.logins import LogindFailed, RegisteredLogin, Registrations, logind_session
from pam_iampass.enforcer.processes import Members, Strays
from pam_iampass.enforcer.protocol import (
    LINE_LIMIT,
    ApproverNotice,
    EnforcerReply,
    EnforcerRequest,
    EnforcerResult,
    InvalidRequest,
    Reason,
    Verb,
    decode,
    receive_line,
)
from pam_iampass.errors import MissingFile, PamIampassError, StateError, UntrustedFile
from pam_iampass.system import paths, trusted_file
from pam_iampass.system.service_user import SERVICE_USER
from pam_iampass.system.trusted_folder import trusted_folder
from pam_iampass.system.unix_sockets import peer_credentials
from pam_iampass.text import in_quotes

REQUEST_TIMEOUT = 2.0
"""How long the peer may take to send its line. Seconds."""
REPLY_TIMEOUT = 2.0
"""How long it may take to read the answer. Seconds."""
BACKLOG = 128
TIMESTAMPS = ("/run/sudo/ts", "/run/sudo-rs/ts", "/run/doas")
"""Where sudo (sudoers_timestamp(5)), sudo-rs and doas keep who has typed the password: files named by user or user id;
doas names them by the process and terminal that it was called from, and the user id."""
NOTICE_SECONDS = 5.0
"""How long a login session lasts after the line on its terminals."""
OTHERS_SECONDS = 3.0
"""How long one without a terminal lasts if logins on other hosts begin in it: their hosts end them meanwhile."""
SIGNAL_SECONDS = 3.0
"""How long the processes of a login session may take after each of two signals before they are killed."""
KILL_SECONDS = 10.0
"""How long that may take."""
_PTS, _VIRTUAL_CONSOLE = 136, 4  # major device numbers: Linux, Documentation/admin-guide/devices.txt
_MOST_CONSOLES = 63
_FLAGS = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_OF_DOAS = re.compile(r"(?:-?[0-9]+-){4}([0-9]+)", re.ASCII)
#: su ends its shell on SIGTERM; sudo passes both on, and shells heed SIGHUP; sshd and login heed both.
SIGNALS = (signal.SIGTERM, signal.SIGHUP)

_WHY = {
    Reason.CLOSED: "The IAMPASS session of this login was ended on the phone.",
    Reason.GATEWAY: "The IAMPASS session of this login was ended on the phone or at the gateway.",
    Reason.AWAY: "The phone that approved this login is no longer near.",
    Reason.NO_PHONE: "The phone that approved this login is registered no longer.",
    Reason.BACK: "The phone that approved this login is near again.",
    Reason.ADMINISTRATOR: "An administrator has ended the IAMPASS session of this login.",
    Reason.KILLED: "The process that held this login was killed.",
    Reason.LONGEST: "This login has lasted as long as the settings of this machine allow.",
}


def main(arguments: list[str]) -> int:
    """Serve the connection on standard input, or with `--socket` all connections; returns the exit status."""
    parser = argparse.ArgumentParser("pam-iampass-enforcer", description="Ends and locks login sessions.")
    what = "make the socket (default: %(const)s); without this option systemd passes a connection"
    parser.add_argument("--socket", nargs="?", const=paths.ENFORCER_SOCKET, metavar="PATH", help=what)
    path = parser.parse_args(arguments).socket
    try:
        allowed = frozenset({0, _service_uid()})
        if path:
            _serve_all(listen(path), allowed)
        with socket.socket(fileno=os.dup(0)) as connection:
            serve(connection, Enforcer(), allowed)
    except PamIampassError as error:
        print(f"Error: {error.diagnostics()}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Error: {error.strerror}; systemctl start pam-iampass-enforcer.socket", file=sys.stderr)
        return 1
    return 0


def listen(path: str) -> socket.socket:
    """Make the socket at `path`, for the agent's user alone. Raises PamIampassError and OSError."""
    if os.geteuid() != 0:
        raise StateError("pam-iampass-enforcer --socket must start as root", "it ends login sessions")
    os.umask(0o022)  # the agent's user passes these folders, whatever root's umask is
    os.makedirs(paths.LOGINS, mode=0o755, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    with trusted_folder(os.path.dirname(path), 0):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.umask(0o177)
        listener.bind(path)
        os.chown(path, _service_uid(), -1)
        listener.listen(BACKLOG)
    return listener


def _serve_all(listener: socket.socket, allowed_uids: frozenset[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no child is waited for
    while True:
        connection, _address = listener.accept()
        with connection:
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # it waits for loginctl
                listener.close()
                serve(connection, Enforcer(), allowed_uids)
                os._exit(0)


def _service_uid() -> int:
    try:
        return pwd.getpwnam(SERVICE_USER).pw_uid
    except KeyError:
        raise StateError(f"there is no user {SERVICE_USER}", "systemd-sysusers") from None


def serve(
    connection: socket.socket, enforcer: Enforcer, allowed_uids: frozenset[int]
) -> EnforcerReply | None:
    """Serve one request; returns the answer, None if the peer may not ask or has hung up."""
    if peer_credentials(connection)[1] not in allowed_uids:
        print("refused a connection of another user", file=sys.stderr)
        return None
    try:
        request = decode(receive_line(connection, time.monotonic() + REQUEST_TIMEOUT))
    except (InvalidRequest, OSError):
        reply = EnforcerReply(EnforcerResult.FAILED, "invalid request")
    else:
        reply = notify(request) if isinstance(request, ApproverNotice) else enforcer.carry_out(request)
    if reply.problem:
        print(reply.problem, file=sys.stderr)
    connection.settimeout(REPLY_TIMEOUT)
    with contextlib.suppress(OSError):
        connection.sendall(reply.encode())
    return reply


class _Failed(Exception):
    """An action did not succeed; says what failed."""


@dataclass(frozen=True)
class Enforcer:
    """Carries out requests."""

    registrations: Registrations = field(default_factory=Registrations)
    timestamps: Sequence[str] = TIMESTAMPS
    notice_seconds: float = NOTICE_SECONDS
    others_seconds: float = OTHERS_SECONDS
    signal_seconds: float = SIGNAL_SECONDS

    def carry_out(self, request: EnforcerRequest) -> EnforcerReply:
        """Do what is asked to every registered login session of the kept session.

        An end also takes what logins whose process has ended have left in the audit session that they have begun.
        """
        try:
            with self.registrations.of(request.session) as (logins, problems):
                acted = [each for each in logins if not each.has_ended()]
                if request.verb is Verb.END:
                    acted += [each for each in logins if each not in acted and self._members(each).send(0)]
                problems = [*problems, *self._act(request, acted)]
                if request.verb is Verb.END and not problems:
                    for login in logins:
                        self.registrations.forget(login)
        except UntrustedFile as error:
            return EnforcerReply(EnforcerResult.FAILED, str(error))
        if problems:
            return EnforcerReply(EnforcerResult.FAILED, "; ".join(problems))
        return EnforcerReply(EnforcerResult.DONE if acted else EnforcerResult.NOTHING)

    def _act(self, request: EnforcerRequest, logins: Sequence[RegisteredLogin]) -> list[str]:
        """Returns what is wrong."""
        problems: list[str] = []
        if request.verb is Verb.END:
            # sudo would give the terminal of the login that is ended root again at once, without a password.
            problems += self._tried((login, partial(self._revoke, login)) for login in logins)
            endings = [_Ending(login, self._members(login)) for login in logins]
            self._give_notice(request, endings)
            self._ask_to_end(endings)
            problems += self._tried((ending.login, ending.finish) for ending in endings)
        else:
            act = {Verb.LOCK: self._lock, Verb.UNLOCK: self._unlock, Verb.REVOKE: self._revoke}[request.verb]
            problems += self._tried((login, partial(act, login)) for login in logins)
        return problems

    def _tried(self, steps: Iterable[tuple[RegisteredLogin, Callable[[], None]]]) -> list[str]:
        """Take each step, whatever becomes of the others; returns what is wrong."""
        problems = []
        for login, step in steps:
            try:
                step()
            except (_Failed, LogindFailed, UntrustedFile, OSError) as error:
                problems.append(f"process {login.pid}: {error}")
        return problems

    def _give_notice(self, request: EnforcerRequest, endings: Sequence[_Ending]) -> None:
        """Write the line to the terminals, and wait as long as any of the logins lasts.

        A login with which connections to other hosts would break is waited for without a terminal, too: what runs there
        goes on if its host sees the connection break before it has begun to end it.
        """
        text = f"{_WHY[request.reason]} The login ends in {self.notice_seconds:g} seconds."
        told = [each.login for each in endings if not each.login.has_ended() and tell(each.login, text)]
        lasting = [each.login for each in endings] if request.others_first else told
        until = time.monotonic() + (self.notice_seconds if told else self.others_seconds)
        while time.monotonic() < until and not all(login.has_ended() for login in lasting):
            for ending in endings:
                ending.look()
            time.sleep(processes.LOOK_INTERVAL)

    def _ask_to_end(self, endings: Sequence[_Ending]) -> None:
        """Ask all at the same time, twice: none goes on for longer because others heed nothing."""
        for number in SIGNALS:
            for ending in endings:
                ending.ask(number)
            until = time.monotonic() + self.signal_seconds
            while time.monotonic() < until and not all(ending.has_ended() for ending in endings):
                time.sleep(processes.LOOK_INTERVAL)

    def _lock(self, login: RegisteredLogin) -> None:
        session = logind_session(login)
        if session is not None and session.graphical:
            if not session.locked:
                self.registrations.mark_locked(login)
            session.lock()
        else:
            self._revoke(login)

    def _unlock(self, login: RegisteredLogin) -> None:
        """Unlock what was locked here, and not what the person has locked."""
        session = logind_session(login)
        if session is not None and session.graphical and self.registrations.take_mark(login):
            session.unlock()

    def _members(self, login: RegisteredLogin) -> Members:
        strays = None
        if login.inside is not None:
            registered = self.registrations.processes() - {(login.pid, login.started)}
            strays = Strays(login.uid, login.inside, login.started, _device(login.tty), registered)
        return Members(login.pid, login.started, login.uid, login.audit_session, strays)

    def _revoke(self, login: RegisteredLogin) -> None:
        forget_passwords(_timestamp_owners(login), self.timestamps)


class _Ending:
    """A login that is to end, with what is found of it before and during the notice: its user can log out then, and
    leave processes behind."""

    def __init__(self, login: RegisteredLogin, members: Members) -> None:
        self.login = login
        self._session = None if login.has_ended() else logind_session(login)
        self._members = members

    def look(self) -> None:
        """Find what its user has started meanwhile. What can be found later by logind or the audit session can wait."""
        if self._session is None and self.login.audit_session is None:
            self._members.find()

    def ask(self, number: int) -> None:
        """Have logind end the session or, without one, send a signal to its processes."""
        if self._session is not None and number == SIGNALS[0]:
            try:
                self._session.terminate()
            except LogindFailed:
                self._session = self._session if self._session.group else None
        if self._session is None and not self.has_ended():
            self._members.send(number)
            self._members.send(signal.SIGCONT)  # su's caller can stop it, and it would not end its shell

    def has_ended(self) -> bool:
        """Whether none of its processes is left."""
        return self._members.have_ended() if self._session is None else not self._session.has_processes()

    def finish(self) -> None:
        """Kill what is left. Raises _Failed."""
        if self._session is not None:
            if self._session.has_processes():
                with contextlib.suppress(LogindFailed):  # then without logind
                    self._session.kill()
            if self.login.has_ended(KILL_SECONDS):
                return
        if not self._members.have_ended() and not self._members.kill(KILL_SECONDS):
            raise _Failed("does not end")


def forget_passwords(owners: Collection[str], folders: Sequence[str] = TIMESTAMPS) -> None:
    """Have sudo, sudo-rs and doas ask for the password again. `owners` are names and ids of users.

    Raises UntrustedFile and OSError.
    """
    for folder in folders:
        with contextlib.suppress(MissingFile), trusted_folder(folder, 0) as descriptor:
            for name in trusted_file.names(folder):
                of_doas = _OF_DOAS.fullmatch(name)
                if (of_doas[1] if of_doas else name) in owners:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=descriptor)  # a link would go itself, not what it points to


def _timestamp_owners(login: RegisteredLogin) -> set[str]:
    """Names and ids of the user who logged in, and of the user who ran su, sudo or doas for that."""
    owners = {login.user, str(login.uid)}
    if login.ruser:
        owners.add(login.ruser)
        with contextlib.suppress(KeyError, ValueError):
            owners.add(str(pwd.getpwnam(login.ruser).pw_uid))
    return owners


def tell(login: RegisteredLogin, text: str) -> int:
    """Write `text` to the terminals of the registered process and its descendants; returns their number.

    A terminal that is stopped does not get it.
    """
    seen: set[int] = set()
    for process in processes.with_descendants([login.pid], processes.everything(), login.pid):
        path = _path(process.terminal)
        if path and process.terminal not in seen and _write(path, process, login, text):
            seen.add(process.terminal)
    return len(seen)


def notify(notice: ApproverNotice, folder: str = "/dev/pts", host: str = "") -> EnforcerReply:
    """Write a line on every terminal of a person that takes messages of others (mesg(1)).

    The sentence is from here, so that the agent's user chooses no more than the names in it. What it quotes stands
    last, where it can hide nothing.
    """
    what = in_quotes(notice.what, LINE_LIMIT * 2)
    host = host or socket.gethostname()
    text = f"{notice.account} on {host} asks you to approve this on your phone: {what}"
    told = [
        name
        for name in os.listdir(folder)
        if name.isdigit() and _notify(f"{folder}/{name}", notice.uid, text)
    ]
    return EnforcerReply(EnforcerResult.DONE if told else EnforcerResult.NOTHING)


def _notify(path: str, uid: int, text: str) -> bool:
    with contextlib.suppress(OSError), open(os.open(path, _FLAGS), "wb", buffering=0) as terminal:
        found = os.fstat(terminal.fileno())
        is_theirs = stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) == _PTS and found.st_uid == uid
        if is_theirs and found.st_mode & stat.S_IWGRP:
            return bool(terminal.write(f"\r\n{text}\r\n".encode("ascii")))
    return False


def _device(terminal: str | None) -> int:
    """The device number of a terminal as PAM_TTY names it, such as pts/3 or /dev/pts/3; 0 if it is none."""
    found = re.fullmatch(r"(?:/dev/)?((?:pts/|tty)[0-9]{1,9})", terminal or "", re.ASCII)
    with contextlib.suppress(OSError):
        return os.stat(f"/dev/{found[1]}").st_rdev if found else 0
    return 0


def _path(device: int) -> str | None:
    major, minor = os.major(device), os.minor(device)
    if major == _PTS:
        return f"/dev/pts/{minor}"
    if major == _VIRTUAL_CONSOLE and 1 <= minor <= _MOST_CONSOLES:
        return f"/dev/tty{minor}"
    return None


def _write(path: str, process: processes.Process, login: RegisteredLogin, text: str) -> bool:
    """Write to the terminal if it belongs to the login.

    A process can have a terminal of another devpts, in a mount namespace of its own, with the number of a terminal of
    another person: so the terminal's owner counts too, or that root has registered it.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(path, _FLAGS)
        with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as terminal:
            found = os.fstat(descriptor)
            owners = (login.uid, *processes.user_ids(process.pid)[:1])
            is_its_own = found.st_uid in owners or path in (login.tty, f"/dev/{login.tty}")
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == process.terminal and is_its_own:
                return bool(terminal.write(f"\r\n{text}\r\n".encode("ascii")))
    return False
