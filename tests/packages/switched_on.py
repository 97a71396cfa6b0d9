"""Services that setup has switched on, and accounts with restrictions: who gets in, and whose phone rings.

Each situation is an account of its own, which has its name; so they log in at the same time.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pexpect

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import Booted, Screen
from tests.packages.people import KEY, PROMPT, SSH
from tests.packages.phone import Phone, token_of

#: Run by those who got in.
INSIDE = "/usr/local/bin/inside"
#: What undoing everything must leave as it was.
FILES = "cd /etc/pam.d && ls -l --time-style=+ && sha256sum *"

_SSH = ("ssh", "-tt", *SSH[:-1], "PreferredAuthentications=publickey,keyboard-interactive,password")
_WITH_KEY = (*_SSH, *KEY, "USER@127.0.0.1", INSIDE)
_WITH_PASSWORD = (*_SSH, "-o", "PubkeyAuthentication=no", "USER@127.0.0.1", INSIDE)
_AS_USER = ("runuser", "-u", "USER", "--")
_IN_SESSION = ("systemd-run", "--quiet", "--pty", "--collect", "-p", "User=USER", "-p", "PAMName=in-session")
# pkexec's own text agent does not work on Debian 12, whatever the PAM file ("No session for cookie").
AGENT = "{ pkttyagent --process $$ --notify-fd 3 3>&1 >/dev/tty & } | cat;"


@dataclass(frozen=True)
class Way:
    """A program that lets people in."""

    name: str
    command: tuple[str, ...]
    """USER stands for the user; the password is always that of the user."""
    sshd: str = "--no-prompt"
    """How sshd has to be set up for it."""
    not_on: str = ""
    """The release that does not have the program."""


WAYS = (
    Way("quiet:key", _WITH_KEY),
    Way("quiet:password", _WITH_PASSWORD),
    Way("prompt:key", _WITH_KEY, "--prompt"),
    Way("prompt:password", _WITH_PASSWORD, "--password"),
    Way("sudo", (*_AS_USER, "sudo", "-k", INSIDE)),
    Way("sudo-i", (*_AS_USER, "sudo", "-k", "-i", INSIDE)),
    Way("sudo-rs", (*_AS_USER, "sudo-rs", "-k", INSIDE), not_on="bookworm"),
    Way("su", (*_AS_USER, "su", "USER", "-c", INSIDE)),
    Way("su-l", (*_AS_USER, "su", "-", "USER", "-c", INSIDE)),
    Way("doas", (*_AS_USER, "doas", INSIDE)),
    Way("pkexec", (*_AS_USER, "sh", "-c", f"{AGENT} pkexec --disable-internal-agent {INSIDE}; exit $?")),
    Way("run0", (*_IN_SESSION, "run0", INSIDE), not_on="bookworm"),
)

SITUATIONS = {
    "good": "nothing special",
    "cancels": "denies the request on the phone",
    "wrong-password": "types a wrong password",
    "exempt": "is in `exempt.users`",
    "expired-password": "has to choose a new password (`chage -d 0`)",
    "expired-cancels": "the same, and denies the request on the phone",
    "locked": "has a locked password (`usermod -L`)",
    "expired-account": "has an account that has expired (`chage -E`)",
    "pam-access": "is refused by `account required pam_access.so` in the service's file",
    "pam-faillock": "has failed too often for `auth requisite pam_faillock.so preauth` in common-auth",
    "pam-wheel": "is refused by `auth required pam_wheel.so use_uid` in the files of sudo, su and doas",
    "nologin": "logs in while there is /etc/nologin",
}
"""What each account is like."""

_RULES = f"""
printf '#!/bin/sh\\necho "Inside as $(id -un)."\\n' > {INSIDE}
chmod 755 {INSIDE}
chage -d 0 expired-password
chage -d 0 expired-cancels
usermod -L locked
chage -E 1 expired-account
groupadd wheel
gpasswd -M {",".join(each for each in SITUATIONS if each != "pam-wheel")} wheel
echo 'permit :sudo' > /etc/doas.conf
chmod 600 /etc/doas.conf

cd /etc/pam.d
echo '-:pam-access:ALL' >> /etc/security/access.conf
sed -i 's/^# *\\(account .*pam_access\\.so\\)/\\1/' sshd
sed -i 's/^# *auth .*required .*pam_wheel\\.so$/auth       required   pam_wheel.so use_uid/' su su-l
sed -i 's/^@include common-account/account    required   pam_access.so\\n&/' sudo sudo-i su su-l doas
sed -i 's/^@include common-auth/auth       required   pam_wheel.so use_uid\\n&/' sudo sudo-i doas
# On Debian 12 and 13, su-l includes su; later it is a file of its own.
for file in sshd sudo sudo-i su doas; do grep -q '^account.*pam_access' $file; done
for file in sudo sudo-i su doas; do grep -q '^auth.*pam_wheel' $file; done

printf 'account required pam_permit.so\\nsession required pam_systemd.so\\n' > in-session
printf 'deny = 3\\nunlock_time = 0\\n' >> /etc/security/faillock.conf
echo 'auth required pam_faillock.so authfail' > fails
for time in 1 2 3; do ! pamtester fails pam-faillock authenticate; done
rm fails
sed -i 's/^auth.*pam_unix\\.so/auth requisite pam_faillock.so preauth\\n&/' common-auth
grep -q pam_faillock common-auth
"""


@dataclass(frozen=True)
class Seen:
    """What a login came to."""

    cell: str
    """The word of the table."""
    shown: str
    """What the user saw."""


class Site:
    """A machine with all situations, whose phones approve everything."""

    def __init__(self, machine: Booted, release: str) -> None:
        self.machine = machine
        self.ways = [way for way in WAYS if way.not_on != release]
        self.administrator = Administrator(machine, tuple(each for each in SITUATIONS if each != "exempt"))

    def prepare(self) -> None:
        """Make the accounts and the rules, install everything, and switch the services on."""
        self.administrator.make_people()
        self.administrator.install()
        more = "pkexec opendoas pamtester" + (
            " sudo-rs" if "sudo-rs" in {way.name for way in self.ways} else ""
        )
        self.machine.shell(
            f"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {more}"
        )
        self.machine.shell(_RULES)
        self.administrator.start_iampass()
        self.administrator.configure(exempt="{users: [exempt]}", throttle="{spacing: 0s, cool_off: 0s}")
        self.files = self.machine.shell(FILES)
        self.administrator.set_up("sudo", "su", "doas", "polkit-1")

    def seen(self) -> dict[tuple[str, str], Seen]:
        """Let everybody log in in every way; situation and way of each login, and what it came to."""
        found = {}
        with self.answering():
            for sshd in dict.fromkeys(way.sshd for way in self.ways):
                self.administrator.set_up("sshd", sshd)
                ways = [way for way in self.ways if way.sshd == sshd]
                found.update(self._together([each for each in SITUATIONS if each != "nologin"], ways))
                with self._nologin():
                    found.update(self._together(["nologin"], ways))
                self.administrator.undo("sshd")
        return found

    @contextmanager
    def answering(self) -> Iterator[None]:
        """What rings is approved as soon as it does, but by those who cancel."""
        over, phone = threading.Event(), Phone(self.machine)

        def answer() -> None:
            while not over.wait(0.1):
                for request in phone.requests():
                    verb = "deny" if request["user"].endswith("cancels") else "approve"
                    phone.answer(request["id"], verb)

        with ThreadPoolExecutor(1) as pool:
            answers = pool.submit(answer)
            try:
                yield
            finally:
                over.set()
                answers.result()

    @contextmanager
    def _nologin(self) -> Iterator[None]:
        self.machine.write("/etc/nologin", "Going down.\n")
        yield
        self.machine.run("rm", "/etc/nologin")

    def _together(self, situations: Iterable[str], ways: list[Way]) -> dict[tuple[str, str], Seen]:
        """Several log in at the same time, each of them in one way after the other."""

        def in_all_ways(situation: str) -> dict[tuple[str, str], Seen]:
            return {(situation, way.name): self.log_in(situation, way) for way in ways}

        with ThreadPoolExecutor(len(SITUATIONS)) as pool:
            return {cell: seen for found in pool.map(in_all_ways, situations) for cell, seen in found.items()}

    def log_in(self, user: str, way: Way) -> Seen:
        """A login of the user, which has ended."""
        before = self._rings(user)
        terminal = self.machine.terminal(*(word.replace("USER", user) for word in way.command))
        try:
            word = answered(terminal, user, "wrong" if user == "wrong-password" else PASSWORD)
        except pexpect.TIMEOUT:
            word = "?"
        terminal.kill()
        if user == "wrong-password":
            self.machine.run("faillock", "--user", user, "--reset")
        return Seen(word + "*" * (self._rings(user) - before), terminal.shown)

    def _rings(self, user: str) -> int:
        """How often the user's phone has rung."""
        log = Path(f"/proc/{self.machine.pid}/root/run/sandbox.log").read_text()
        return len(re.findall(rf"^\S+ +requested +\W?{token_of(user)}\b(?!-)", log, re.M))


def answered(terminal: Screen, user: str, password: str) -> str:
    """Answer what a program asks: `in`, `new` where it demands a new password, `no`. Raises pexpect.TIMEOUT."""
    typed = False
    while True:
        number = terminal.expect(
            [
                PROMPT,
                r"(?i)(current|new) password",
                r"(?i)password(?!@)[^:\n]*: ",
                rf"(\d+)\. [^\n]*\b{user}\b[^:]*Choose identity[^:]*: ",
                # polkit's agent prints its prompt before it turns the echo off, and forgets what was typed until then.
                rf"^{password}\r?\n",
                r"Inside as \S+\.",
                pexpect.EOF,
            ]
        )
        if number == 0:
            terminal.sendline("")
        elif number == 1:
            return "new"
        elif number == 3:
            terminal.sendline(terminal.match.group(1))
        elif number == 4 or (number == 2 and not typed):
            terminal.sendline(password)
            typed = True
        else:
            return "in" if number == 5 else "no"
