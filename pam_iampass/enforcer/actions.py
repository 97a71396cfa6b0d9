"""What the enforcer does to registered login sessions, and to nothing else."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pam_iampass.enforcer import logind, terminals
from pam_iampass.enforcer.processes import Members
from pam_iampass.enforcer.protocol import Reason, Reply, Request, Result, Verb
from pam_iampass.enforcer.registrations import RegisteredLogin, Registration, Registrations
from pam_iampass.errors import MissingFile, UntrustedFile
from pam_iampass.system import trusted_file
from pam_iampass.system.trusted_folder import trusted_folder

TIMESTAMPS = ("/run/sudo/ts", "/run/sudo-rs/ts", "/run/doas")
"""Where sudo (sudoers_timestamp(5)), sudo-rs and doas keep who has typed the password: files named by user or user id,
those of doas by the process and terminal that it was called from, and the user id."""
NOTICE_SECONDS = 5.0
"""How long a login session lasts after the line on its terminals."""
SIGNAL_SECONDS = 3.0
"""How long the processes of a login session may take after each of two signals before they are killed."""
KILL_SECONDS = 10.0
"""How long that may take."""
_OF_DOAS = re.compile(r"(?:-?[0-9]+-){4}([0-9]+)", re.ASCII)
#: su ends its shell on SIGTERM; sudo passes both on, and shells heed SIGHUP; sshd and login heed both.
SIGNALS = (signal.SIGTERM, signal.SIGHUP)

_WHY = {
    Reason.CLOSED: "The IAMPASS session of this login was ended on the phone.",
    Reason.AWAY: "The phone that approved this login is no longer near.",
    Reason.NO_PHONE: "The phone that approved this login is registered no longer.",
    Reason.BACK: "The phone that approved this login is near again.",
    Reason.ADMINISTRATOR: "An administrator has ended the IAMPASS session of this login.",
    Reason.LONGEST: "This login has lasted as long as the settings of this machine allow.",
}


class _Failed(Exception):
    """An action did not succeed; says what failed."""


@dataclass(frozen=True)
class Enforcer:
    """Carries out requests."""

    registrations: Registrations = field(default_factory=Registrations)
    timestamps: Sequence[str] = TIMESTAMPS
    notice_seconds: float = NOTICE_SECONDS
    signal_seconds: float = SIGNAL_SECONDS

    def carry_out(self, request: Request) -> Reply:
        """Do what is asked to every registered login session of the kept session."""
        try:
            with self.registrations.running(request.session) as (logins, problems):
                problems = [*problems, *self._act(request, logins)]
        except UntrustedFile as error:
            return Reply(Result.FAILED, str(error))
        if problems:
            return Reply(Result.FAILED, "; ".join(problems))
        return Reply(Result.DONE if logins else Result.NOTHING)

    def _act(self, request: Request, logins: Sequence[RegisteredLogin]) -> list[str]:
        act: Callable[[RegisteredLogin], None]
        if request.verb is Verb.END:
            act = self._after_notice(request.reason, logins)
        else:
            act = {Verb.LOCK: self._lock, Verb.UNLOCK: self._unlock, Verb.REVOKE: self._revoke}[request.verb]
        problems = []
        for login in logins:
            try:
                act(login)
            except (_Failed, logind.LogindFailed, UntrustedFile, OSError) as error:
                problems.append(f"process {login.registration.pid}: {error}")
        return problems

    def _give_notice(self, reason: Reason, logins: Sequence[RegisteredLogin]) -> None:
        """Write the line to the terminals, and wait as long as any of the logins lasts."""
        text = f"{_WHY[reason]} The login ends in {self.notice_seconds:g} seconds."
        told = [login for login in logins if terminals.tell(login.registration, text)]
        until = time.monotonic() + self.notice_seconds
        for login in told:
            login.has_ended(max(until - time.monotonic(), 0.0))

    def _after_notice(
        self, reason: Reason, logins: Sequence[RegisteredLogin]
    ) -> Callable[[RegisteredLogin], None]:
        """Give notice; returns what then ends a login."""
        found: dict[str, tuple[logind.LogindSession | None, Members]] = {}
        for login in logins:  # before: who reads the notice can log out, and leave something behind
            of = login.registration
            members = Members(of.pid, of.started, of.uid, of.audit_session)
            found[login.name] = logind.session_of(of), members
        self._give_notice(reason, logins)
        return lambda login: self._end(login, *found[login.name])

    def _end(self, login: RegisteredLogin, session: logind.LogindSession | None, members: Members) -> None:
        if session is not None:
            with contextlib.suppress(logind.LogindFailed):  # then without logind
                session.end(self.signal_seconds * len(SIGNALS))
                if login.has_ended(KILL_SECONDS):
                    return
        for number in SIGNALS:
            members.send(number)
            members.send(signal.SIGCONT)  # su's caller can stop it, and it would not end its shell
            if members.have_ended(self.signal_seconds):
                return
        if not members.kill(KILL_SECONDS):
            raise _Failed("does not end")

    def _lock(self, login: RegisteredLogin) -> None:
        session = logind.session_of(login.registration)
        if session is not None and session.graphical:
            if not session.locked:
                self.registrations.mark_locked(login)
            session.lock()
        else:
            self._revoke(login)

    def _unlock(self, login: RegisteredLogin) -> None:
        """Unlock what was locked here, and not what the person has locked."""
        session = logind.session_of(login.registration)
        if session is not None and session.graphical and self.registrations.take_mark(login):
            session.unlock()

    def _revoke(self, login: RegisteredLogin) -> None:
        owners = _timestamp_owners(login.registration)
        for folder in self.timestamps:
            with contextlib.suppress(MissingFile), trusted_folder(folder, 0) as descriptor:
                for name in trusted_file.names(folder):
                    of_doas = _OF_DOAS.fullmatch(name)
                    if (of_doas[1] if of_doas else name) in owners:
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(
                                name, dir_fd=descriptor
                            )  # a link would go itself, not what it points to


def _timestamp_owners(registration: Registration) -> set[str]:
    """Names and ids of the user who logged in, and of the one who ran su, sudo or doas for it."""
    owners = {registration.user, str(registration.uid)}
    if registration.ruser:
        owners.add(registration.ruser)
        with contextlib.suppress(KeyError, ValueError):
            owners.add(str(pwd.getpwnam(registration.ruser).pw_uid))
    return owners
