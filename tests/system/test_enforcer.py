"""The enforcer as root runs it: what the agent's user can make it do, and what not, on real processes."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pam_iampass.enforcer.processes import look
from pam_iampass.enforcer.protocol import (
    ApproverNotice,
    EnforcerReply,
    EnforcerRequest,
    EnforcerResult,
    Reason,
    Verb,
    receive_line,
)
from tests.support.agent import listeners
from tests.support.in_time import BUSY
from tests.support.installation import ROOT, Installation
from tests.support.processes import status
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD, PATIENCE, wait_until

LOGINS = Path("/run/iampass/logins")
READY = "The login has begun."


class LoginSession(Terminal):
    """A shell of `user` in a terminal of their own."""

    def __init__(self, user: str, script: str = "", *, audited: bool = False) -> None:
        """`audited`: it begins an audit session, as with pam_loginuid."""
        self.user = user
        number = pwd.getpwnam(user).pw_uid
        begins = ["sh", "-c", f'echo {number} > /proc/self/loginuid && exec "$@"', "sh"] if audited else []
        # A child of the shell has the terminal too, as a program has that a user works with.
        script = script or f"echo {READY}; sleep 1000; exit"
        super().__init__(
            [*begins, "setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "sh", "-c", script]
        )
        shutil.chown(self.device, user)
        self.expect_exact(READY)

    @property
    def device(self) -> Path:
        """The terminal."""
        return Path(f"/proc/{self.process.pid}/fd/0").readlink()

    def registration(self, **changes: str) -> str:
        """What the door writes; `changes` are further lines, or others."""
        lines = {
            "user": self.user,
            "uid": str(pwd.getpwnam(self.user).pw_uid),
            "service": "sshd",
            "pid": str(self.process.pid),
            "started": started(self.process.pid),
            **changes,
        }
        return "".join(f"{key}={value}\n" for key, value in lines.items())

    def register(self, session: str, **changes: str) -> Path:
        """Register it for a kept session, as root."""
        return write(session, self.process.pid, self.registration(**changes))

    def runs(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None


def started(pid: int) -> str:
    """Field 22 of /proc/PID/stat (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]


def write(session: str, pid: int, text: str) -> Path:
    """A file of registrations with this text."""
    file = LOGINS / f"{session}.{pid}"
    file.write_text(text)
    file.chmod(0o644)
    return file


SOCKET = Path("/run/iampass/enforcer.sock")
ENFORCER = ["/usr/sbin/pam-iampass-enforcer", "--socket"]
SUDO = Path("/run/sudo/ts")
DOAS = Path("/run/doas")
DONE, NOTHING = EnforcerReply(EnforcerResult.DONE), EnforcerReply(EnforcerResult.NOTHING)
INVALID = EnforcerReply(EnforcerResult.FAILED, "invalid request")


@pytest.fixture(scope="module", autouse=True)
def enforcer(machine: Installation) -> Iterator[subprocess.Popen[bytes]]:
    """The service, and the folders of sudo, sudo-rs and doas."""
    for folder in (SUDO, Path("/run/sudo-rs/ts"), DOAS):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with subprocess.Popen(ENFORCER) as process:
        wait_until(lambda: listeners(SOCKET), "the enforcer listens")
        yield process
        process.terminate()
    SOCKET.unlink()
    for file in LOGINS.iterdir():  # of logins that have ended since the last request
        file.unlink()


@pytest.fixture
def session() -> str:
    """The id of a kept session."""
    return secrets.token_hex(16)


def asked(line: bytes, user: str = "_iampass") -> EnforcerReply | None:
    """What the enforcer answers a user who sends `line`; None if it hangs up."""
    account = pwd.getpwnam(user)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE * 2)
        os.seteuid(account.pw_uid)  # the ids of connect(2) are what the other end sees
        try:
            connection.connect(str(SOCKET))
        finally:
            os.seteuid(0)
        with contextlib.suppress(ConnectionError):
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = receive_line(connection, time.monotonic() + PATIENCE * 2)
    return EnforcerReply.decode(answer) if answer else None


def ask(
    verb: Verb, session: str, reason: Reason = Reason.CLOSED, user: str = "_iampass"
) -> EnforcerReply | None:
    return asked(EnforcerRequest(verb, session, reason).encode(), user)


# What it does


def test_end_says_why_on_the_terminal_then_ends_that_login_and_no_other(session: str) -> None:
    login, other, elsewhere = LoginSession("alice"), LoginSession("alice"), LoginSession("bob")
    login.register(session)
    other.register(secrets.token_hex(16))
    began = time.monotonic()
    assert ask(Verb.END, session) == DONE
    assert time.monotonic() - began >= 5
    login.finish()
    # The shell may say besides that what it ran was terminated.
    assert [line for line in login.lines if "IAMPASS" in line] == [
        "The IAMPASS session of this login was ended on the phone. The login ends in 5 seconds.\r"
    ]
    assert (other.runs(), elsewhere.runs()) == (True, True)
    for left in (other, elsewhere):
        left.kill()
        assert "IAMPASS" not in left.shown


def test_a_login_without_a_terminal_ends_once_other_hosts_could_end_those_that_begin_in_it(
    session: str,
) -> None:
    """Their connections break with it, and what runs there without a terminal would go on."""
    alice = pwd.getpwnam("alice").pw_uid
    with subprocess.Popen(["setsid", "sleep", "1000"], stdin=subprocess.DEVNULL, user=alice) as process:
        lines = f"user=alice\nuid={alice}\nservice=sshd\npid={process.pid}\nstarted={started(process.pid)}\n"
        write(session, process.pid, lines)
        began = time.monotonic()
        assert asked(EnforcerRequest(Verb.END, session, Reason.AWAY, others_first=True).encode()) == DONE
        assert time.monotonic() - began >= 3
        assert process.wait(PATIENCE) == -signal.SIGTERM


#: Ends a kept session in a process that serves no other request: with its id, and what is not to be as usual.
_SCRIPT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pam_iampass.enforcer.service import Enforcer
from pam_iampass.enforcer.protocol import EnforcerRequest, Reason, Verb
session, *settings = sys.argv[1:]
enforcer = Enforcer(**{{name: float(value) for name, value in (each.split("=") for each in settings)}})
sys.stdout.write(enforcer.carry_out(EnforcerRequest(Verb.END, session, Reason.CLOSED)).encode().decode())
"""
ENDS = [sys.executable, "-c", _SCRIPT]
#: Heeds no signal.
STUBBORN = "trap '' TERM HUP; echo $$ > /run/stubborn; while :; do sleep 1; done"
#: Forks all the time, each time in a session of its own, and ends.
RUNAWAY = """
import os, signal
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
"""


@pytest.fixture
def stubborn() -> Iterator[Path]:
    """Where the process that heeds no signal writes its id."""
    Path("/run/stubborn.sh").write_text(STUBBORN)
    Path("/run/runaway.py").write_text(RUNAWAY)
    file = Path("/run/stubborn")
    file.write_text("")
    shutil.chown(file, "alice")
    yield file
    with contextlib.suppress(ProcessLookupError, ValueError):
        os.kill(int(file.read_text()), signal.SIGKILL)


def test_what_a_login_has_started_is_ended_with_it_though_it_heeds_no_signal(
    session: str, stubborn: Path
) -> None:
    login = LoginSession("alice", f"setsid sh /run/stubborn.sh & echo {READY}; sleep 1000")
    other = LoginSession("alice")
    login.register(session)
    wait_until(stubborn.read_text, "it has not begun")
    assert ask(Verb.END, session) == DONE
    login.finish()
    process = Path("/proc", stubborn.read_text().strip())
    wait_until(lambda: not process.exists(), "it has not ended, or is not reaped")
    assert other.runs()
    other.kill()


@pytest.mark.parametrize("pty", [["--pty"], []])
def test_what_waits_around_a_login_that_heeds_no_signal_ends_with_it(
    session: str, stubborn: Path, pty: list[str]
) -> None:
    """su and sudo stop themselves as soon as their child stops, and nobody would continue them."""
    around = Terminal(["su", *pty, "-c", "exec sh /run/stubborn.sh", "alice"])
    pid = int(wait_until(stubborn.read_text, "it has not begun"))
    alice = pwd.getpwnam("alice").pw_uid
    write(session, pid, f"user=alice\nuid={alice}\nservice=sudo\npid={pid}\nstarted={started(pid)}\n")
    assert ask(Verb.END, session) == DONE
    around.finish()


def test_what_has_left_a_login_without_logind_is_known_by_the_audit_session(
    session: str, stubborn: Path
) -> None:
    left = "(setsid sh /run/stubborn.sh &); (setsid python3 /run/runaway.py &)"
    login = LoginSession("alice", f"{left}; echo {READY}; sleep 1000", audited=True)
    others = LoginSession("alice", audited=True), LoginSession("bob", audited=True)
    audit_session = Path(f"/proc/{login.process.pid}/sessionid").read_text()
    login.register(session, audit_session=audit_session)
    wait_until(stubborn.read_text, "it has not begun")
    assert ask(Verb.END, session) == DONE
    login.finish()
    assert not Path("/proc", stubborn.read_text().strip()).exists()
    for _ in range(20):  # one that forks all the time can be missed
        assert not members(audit_session)
    assert [other.runs() for other in others] == [True, True]
    for other in others:
        other.kill()


def test_what_has_left_its_parent_is_known_by_the_process_that_leads_its_session(
    session: str, stubborn: Path
) -> None:
    leads = "setsid sh -c '(sh /run/stubborn.sh &); sleep 1000'"
    login = LoginSession("alice", f"{leads} & echo {READY}; sleep 1000")
    login.register(session)
    wait_until(stubborn.read_text, "it has not begun")
    assert ask(Verb.END, session) == DONE
    login.finish()
    assert look(int(stubborn.read_text())) is None


def test_what_is_in_the_session_that_the_process_of_a_login_leads_can_be_older_than_the_login(
    session: str, stubborn: Path
) -> None:
    """That is so with `exec su`."""
    script = f"(sh /run/stubborn.sh &); echo {READY}; read line; exec sh -c 'echo As root.; sleep 1000'"
    login = LoginSession("alice", script)
    wait_until(stubborn.read_text, "it has not begun")
    login.sendline("")
    login.expect_exact("As root.")
    login.register(session)
    assert ask(Verb.END, session) == DONE
    login.process.wait(PATIENCE)
    assert look(int(stubborn.read_text())) is not None


def test_what_a_user_starts_during_the_notice_before_they_log_out_is_ended(
    session: str, stubborn: Path
) -> None:
    login = LoginSession("alice", f"echo {READY}; read line; setsid sh /run/stubborn.sh & read line")
    login.register(session)
    command = [*ENDS, session, f"notice_seconds={PATIENCE}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as enforcer:
        login.expect_exact(f"The login ends in {PATIENCE:g} seconds.")
        login.sendline("")
        wait_until(stubborn.read_text, "it has not begun")
        before = waits(enforcer.pid)
        wait_until(lambda: waits(enforcer.pid) > before + 9, "there is no look between two waits")
        login.sendline("")
        assert enforcer.communicate(timeout=PATIENCE)[0] == b"done\n"
    login.finish()
    assert look(int(stubborn.read_text())) is None


def waits(pid: int) -> int:
    """How often a process has begun to wait for something."""
    return int(status(pid)["voluntary_ctxt_switches"])


def members(audit_session: str) -> list[str]:
    """The processes of an audit session."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "sessionid").read_text() == audit_session and look(int(process.name)):
                found.append(process.name)
    return found


def test_logins_that_heed_no_signal_are_ended_at_the_same_time(session: str) -> None:
    logins = [
        LoginSession("alice", f"trap '' TERM HUP; echo {READY}; while :; do sleep 1; done") for _ in range(4)
    ]
    for login in logins:
        login.register(session)
    began = time.monotonic()
    assert ask(Verb.END, session) == DONE
    assert time.monotonic() - began < 11 + BUSY  # 5 s after the notice, 6 s until they are killed
    assert [login.process.wait(PATIENCE) for login in logins] == [-signal.SIGKILL] * 4


def test_a_process_that_its_user_has_stopped_ends_what_it_has_started(session: str) -> None:
    # As su does: it ends its shell on SIGTERM, and its caller can stop it.
    script = f"sleep 1000 & trap 'kill $!; exit 3' TERM; echo {READY}; kill -STOP $$; wait"
    login = LoginSession("alice", script)
    wait_until(lambda: " T " in Path(f"/proc/{login.process.pid}/stat").read_text(), "it has not stopped")
    login.register(session)
    assert ask(Verb.END, session) == DONE
    assert login.process.wait(PATIENCE) == 3


def test_a_login_that_is_over_is_forgotten(session: str) -> None:
    login = LoginSession("alice")
    file, other = login.register(session), write(secrets.token_hex(16), login.process.pid, "")
    login.kill()
    assert ask(Verb.END, session) == NOTHING
    assert (file.exists(), other.exists()) == (False, True)
    other.unlink()


def test_what_is_left_of_a_login_whose_process_was_killed_is_ended(session: str, stubborn: Path) -> None:
    login = LoginSession("alice", f"setsid sh /run/stubborn.sh & echo {READY}; sleep 1000", audited=True)
    other = LoginSession("alice", audited=True)
    audit_session = Path(f"/proc/{login.process.pid}/sessionid").read_text()
    file = login.register(session, audit_session=audit_session)
    wait_until(stubborn.read_text, "it has not begun")
    login.process.kill()
    login.process.wait(PATIENCE)
    assert members(audit_session)
    assert ask(Verb.REVOKE, session) == NOTHING
    assert ask(Verb.END, session, Reason.KILLED) == DONE
    assert not members(audit_session)
    assert not file.exists()
    assert other.runs()
    other.kill()


@pytest.mark.parametrize("verb", [Verb.REVOKE, Verb.LOCK])
def test_sudo_asks_for_the_password_again(session: str, verb: Verb) -> None:
    login = LoginSession("alice")
    login.register(session)
    uid = str(pwd.getpwnam("alice").pw_uid)
    bob = str(pwd.getpwnam("bob").pw_uid)
    gone = [SUDO / "alice", SUDO / uid, Path("/run/sudo-rs/ts") / uid, DOAS / f"12-11-34816-4567-{uid}"]
    others = [SUDO / "bob", SUDO / bob, DOAS / f"{uid}-11-34816-4567-{bob}"]
    for file in (*gone, *others):
        file.touch(0o600)
    assert ask(verb, session, Reason.AWAY) == DONE
    assert [file for file in (*gone, *others) if file.exists()] == others
    assert login.runs()
    login.kill()


def test_a_login_that_is_ended_leaves_no_password_that_sudo_remembers(session: str) -> None:
    login = LoginSession("root")
    login.register(session, ruser="alice")
    gone, other = SUDO / str(pwd.getpwnam("alice").pw_uid), SUDO / "bob"
    for file in (gone, other):
        file.touch(0o600)
    assert ask(Verb.END, session, Reason.ADMINISTRATOR) == DONE
    assert (gone.exists(), other.exists()) == (False, True)
    login.finish()


@pytest.mark.parametrize("program", ["sudo", "sudo-rs", "doas"])
def test_a_program_that_remembers_the_password_asks_for_it_again(session: str, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip("Debian 12 has no sudo-rs")
    rules = {
        Path("/etc/doas.conf"): "permit persist alice as root\n",
        Path("/etc/sudoers.d/alice"): "alice ALL=(ALL) ALL\nDefaults:alice !lecture\n",
    }
    for file, text in rules.items():
        file.write_text(text)
    again = f"{program} -n id -u"
    script = (
        f"echo {READY}; {program} id -u; {again} && echo remembers; read line; {again} || echo asks again"
    )
    login = LoginSession("alice", script)
    login.register(session)
    login.expect("(?i)password[^:]*: ")
    login.sendline(PASSWORD)
    login.expect("remembers|asks again")
    assert login.after == "remembers"
    assert ask(Verb.REVOKE, session, Reason.AWAY) == DONE
    login.sendline("")
    login.finish()
    assert login.lines[-1] == "asks again"
    for file in rules:
        file.unlink()


def test_sudo_forgets_the_password_of_the_user_who_ran_it(session: str) -> None:
    """Of a kept `sudo -i`: PAM calls its session that of root."""
    login = LoginSession("root")
    login.register(session, ruser="alice")
    uid = str(pwd.getpwnam("alice").pw_uid)
    gone, other = [SUDO / "root", SUDO / "0", SUDO / "alice", Path("/run/sudo-rs/ts") / uid], SUDO / "bob"
    for file in (*gone, other):
        file.touch(0o600)
    assert ask(Verb.REVOKE, session, Reason.AWAY) == DONE
    assert [file for file in (*gone, other) if file.exists()] == [other]
    login.register(session, ruser="../precious")  # where the remote side chooses it
    assert ask(Verb.REVOKE, session, Reason.AWAY) == DONE
    login.kill()


def loginctl(sessions: str) -> Path:
    """A loginctl that shows these lines of each session; returns where it writes the words of its other calls."""
    calls = Path("/run/loginctl-calls")
    calls.write_text("")
    script = f"""#!/bin/sh
if [ "$1" = show-session ]; then printf '{sessions}'; else echo "$@" >> {calls}; fi
"""
    path = Path("/usr/sbin/loginctl")  # before that of systemd, which needs logind
    path.write_text(script)
    path.chmod(0o755)
    return calls


@pytest.fixture
def no_loginctl() -> Iterator[None]:
    yield
    Path("/usr/sbin/loginctl").unlink(missing_ok=True)


@pytest.mark.usefixtures("no_loginctl")
def test_a_session_of_logind_is_ended_only_by_its_leader(session: str) -> None:
    ended = ["terminate-session --no-pager -- 7", "kill-session --signal=KILL --no-pager -- 7"]
    for of_leader, expected in ((True, ended), (False, [])):
        login = LoginSession("alice")
        login.register(session, xdg_session="7")
        calls = loginctl(f"Leader={login.process.pid if of_leader else 1}\\nType=tty\\n")
        assert ask(Verb.END, session) == DONE
        assert calls.read_text().splitlines() == expected
        login.finish()
    assert not Path("/cgroup.kill").exists()  # the session has no control group that is known


@pytest.mark.usefixtures("no_loginctl")
def test_a_graphical_session_is_locked_and_unlocked(session: str) -> None:
    login = LoginSession("alice")
    login.register(session, xdg_session="c3")
    (SUDO / "alice").touch()
    for kind, expected in (
        ("wayland", ["lock-session --no-pager -- c3", "unlock-session --no-pager -- c3"]),
        ("tty", []),
    ):
        calls = loginctl(f"Leader={login.process.pid}\\nType={kind}\\n")
        assert (ask(Verb.LOCK, session), ask(Verb.UNLOCK, session)) == (DONE, DONE)
        assert calls.read_text().splitlines() == expected
        assert (SUDO / "alice").exists() == (kind == "wayland")
    login.kill()


@pytest.mark.usefixtures("no_loginctl")
def test_a_screen_that_the_person_locked_is_not_unlocked(session: str) -> None:
    login = LoginSession("alice")
    login.register(session, xdg_session="c3")
    shown = f"Leader={login.process.pid}\\nType=wayland\\nLockedHint="
    calls = loginctl(shown + "yes\\n")
    assert ask(Verb.UNLOCK, session, Reason.BACK) == DONE
    assert (ask(Verb.LOCK, session), ask(Verb.UNLOCK, session, Reason.BACK)) == (DONE, DONE)
    assert calls.read_text().splitlines() == ["lock-session --no-pager -- c3"]
    loginctl(shown + "no\\n")
    assert ask(Verb.LOCK, session) == DONE
    loginctl(shown + "yes\\n")
    for _ in range(2):  # what it has locked, it unlocks once
        assert ask(Verb.UNLOCK, session, Reason.BACK) == DONE
    assert calls.read_text().splitlines() == ["unlock-session --no-pager -- c3"]
    login.kill()


# What nobody can make it do


def test_without_a_registration_nothing_happens(session: str) -> None:
    login = LoginSession("alice")
    write(secrets.token_hex(16), login.process.pid, login.registration())
    for verb in Verb:
        assert ask(verb, session) == NOTHING
    assert login.runs()
    login.kill()
    assert "IAMPASS" not in login.shown


def test_the_agents_user_cannot_register_a_login(session: str) -> None:
    os.seteuid(pwd.getpwnam("_iampass").pw_uid)
    try:
        with pytest.raises(PermissionError):
            (LOGINS / f"{session}.1").touch()
        with pytest.raises(PermissionError):
            LOGINS.rename("/run/iampass/elsewhere")
    finally:
        os.seteuid(0)


#: What is no registration of the login.
INVALID_TEXTS: dict[str, Callable[[LoginSession], str]] = {
    "of another process": lambda login: login.registration(pid="1"),
    "two processes": lambda login: login.registration() + f"pid={login.process.pid}\n",
    "without a start": lambda login: re.sub("(?m)^started.*\n", "", login.registration()),
    "no numbers": lambda login: login.registration(uid="0x0"),
    "too long": lambda login: login.registration() + "tty=" + "x" * 5000 + "\n",
    "garbled": lambda login: "\0\n" * 20,
    "empty": lambda login: "",
}


def owned_by_iampass(file: Path, _own: Path) -> None:
    shutil.chown(file, "_iampass", "_iampass")


def writable_by_others(file: Path, _own: Path) -> None:
    file.chmod(0o666)


def a_link(file: Path, own: Path) -> None:
    file.unlink()
    file.symlink_to(own)


def a_hard_link(file: Path, own: Path) -> None:
    file.unlink()
    os.link(own, file)


def a_pipe(file: Path, _own: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o644)


NOT_BY_ROOT = (owned_by_iampass, writable_by_others, a_link, a_hard_link, a_pipe)


@pytest.mark.parametrize("forge", NOT_BY_ROOT, ids=lambda forge: forge.__name__)
def test_a_registration_that_root_has_not_written_touches_nobody(
    session: str, forge: Callable[[Path, Path], None]
) -> None:
    login = LoginSession("alice")
    file = login.register(session)
    own = Path("/run/registration")
    own.unlink(missing_ok=True)
    shutil.copy(file, own)
    shutil.chown(own, "_iampass", "_iampass")
    forge(file, own)
    touches_nobody(session, login)


@pytest.mark.parametrize("how", INVALID_TEXTS)
def test_an_invalid_registration_touches_nobody(session: str, how: str) -> None:
    login = LoginSession("alice")
    write(session, login.process.pid, INVALID_TEXTS[how](login))
    touches_nobody(session, login)


def touches_nobody(session: str, login: LoginSession) -> None:
    (SUDO / "alice").touch()
    for verb in (Verb.END, Verb.REVOKE):
        reply = ask(verb, session)
        assert reply is not None
        assert reply.result is EnforcerResult.FAILED
    assert (login.runs(), (SUDO / "alice").exists()) == (True, True)
    login.kill()
    assert "IAMPASS" not in login.shown
    (LOGINS / f"{session}.{login.process.pid}").unlink()


def test_a_folder_that_others_can_write_registers_nobody(session: str) -> None:
    login = LoginSession("alice")
    login.register(session)
    for owner, mode in (("_iampass", 0o755), ("root", 0o777)):
        shutil.chown(LOGINS, owner)
        LOGINS.chmod(mode)
        try:
            reply = ask(Verb.END, session)
        finally:
            shutil.chown(LOGINS, "root")
            LOGINS.chmod(0o755)
        assert reply is not None
        assert reply.result is EnforcerResult.FAILED
    assert login.runs()
    login.kill()


def test_a_process_id_that_was_used_again_is_another_process(session: str) -> None:
    login = LoginSession("alice")
    file = login.register(session, started="1")
    assert ask(Verb.END, session) == NOTHING
    assert login.runs()
    assert not file.exists()
    login.kill()


def test_a_login_that_proc_hides_is_not_taken_for_one_that_is_over(session: str) -> None:
    login = LoginSession("alice")
    file = login.register(session)
    group = str(pwd.getpwnam("bob").pw_gid)  # not the enforcer's, as where /proc is mounted with gid=proc
    hides = 'mount -t proc -o hidepid=2,gid="$0" proc /proc && exec setpriv "$@"'
    rights = ["--bounding-set=-all,+kill,+dac_override", "--inh-caps=-all"]  # those of the service
    command = ["unshare", "--mount", "sh", "-c", hides, group, *rights, *ENDS, session]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True).stdout
    assert told.startswith(f"failed: /proc does not show process {login.process.pid}")
    assert (login.runs(), file.exists()) == (True, True)
    login.kill()


def test_a_name_that_is_a_path_removes_no_other_file(session: str) -> None:
    login = LoginSession("alice")
    precious = SUDO.parent / "precious"
    precious.touch()
    link = SUDO / "alice"
    link.unlink(missing_ok=True)
    link.symlink_to(precious)
    login.register(session)
    login.register(session, user="../precious")
    assert ask(Verb.REVOKE, session) == DONE
    login.register(session)
    assert ask(Verb.REVOKE, session) == DONE
    assert (precious.exists(), os.path.lexists(link)) == (True, False)
    login.kill()


def test_only_the_agents_user_and_root_may_ask(session: str) -> None:
    login = LoginSession("alice")
    login.register(session)
    with pytest.raises(PermissionError):
        ask(Verb.END, session, user="alice")
    SOCKET.chmod(0o666)
    assert ask(Verb.END, session, user="alice") is None
    SOCKET.chmod(0o600)
    assert login.runs()
    assert ask(Verb.REVOKE, session, user="root") == DONE
    login.kill()


def test_a_peer_that_sends_nothing_keeps_nobody_waiting(session: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(str(SOCKET))
        assert ask(Verb.END, session) == NOTHING
        silent.settimeout(PATIENCE)
        assert receive_line(silent, time.monotonic() + PATIENCE) == INVALID.encode()


def test_the_terminal_of_another_person_with_the_same_number_gets_no_line(session: str) -> None:
    stranger = LoginSession("bob")
    number = int(stranger.device.name)
    # alice makes terminals in a namespace of her own until she has one with the number of bob's.
    script = f"""
import fcntl, os, struct, subprocess, sys, termios
for number in range({number} + 1):
    master = os.open("/mnt/ptmx", os.O_RDWR)
    fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))
    slave = os.open(f"/mnt/{{number}}", os.O_RDWR | os.O_NOCTTY)
os.setsid()
fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
os.set_inheritable(master, True)
os.setresuid({pwd.getpwnam("alice").pw_uid}, {pwd.getpwnam("alice").pw_uid}, {pwd.getpwnam("alice").pw_uid})
print("{READY}", flush=True)
os.execvp("sleep", ["sleep", "1000"])
"""
    own = 'mount -t devpts -o newinstance,ptmxmode=0666 devpts /mnt && exec python3 -c "$0"'
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", own, script], stdout=subprocess.PIPE, text=True
    ) as alice:
        assert alice.stdout is not None
        assert alice.stdout.readline().strip() == READY
        login = LoginSession("alice")
        write(session, alice.pid, login.registration(pid=str(alice.pid), started=started(alice.pid)))
        assert ask(Verb.END, session) == DONE
        alice.wait(PATIENCE)
    stranger.kill()
    login.kill()
    assert "IAMPASS" not in stranger.shown


def test_a_strict_umask_of_root_keeps_the_agent_out_of_no_folder() -> None:
    alone = (
        "mount -t tmpfs -o mode=0755 none /run && umask 077 && exec /usr/sbin/pam-iampass-enforcer --socket"
    )
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", alone]
    with subprocess.Popen(command) as process:
        run = Path(f"/proc/{process.pid}/root/run/iampass")
        wait_until((run / "enforcer.sock").exists, "the enforcer listens")
        modes = [(run / name).stat().st_mode & 0o777 for name in (".", "logins")]
        process.terminate()
    assert modes == [0o755, 0o755]


# Lines about the requests of accounts that act for a person


def notice(user: str, what: str = "sudo id (in /srv)", account: str = "claude") -> bytes:
    return ApproverNotice(pwd.getpwnam(user).pw_uid, account, what).encode()


def with_line(*sessions: LoginSession) -> list[LoginSession]:
    """The sessions on whose terminals a line about a request is. All of them are ended."""
    for each in sessions:
        each.kill()
    return [each for each in sessions if "asks you to approve" in each.shown]


def test_a_request_is_a_line_on_each_terminal_of_the_person_that_takes_messages() -> None:
    one, other, quiet, elsewhere = (LoginSession(user) for user in ("alice", "alice", "alice", "bob"))
    for session in (one, other, elsewhere):
        session.device.chmod(0o620)
    quiet.device.chmod(0o600)  # mesg n
    assert asked(notice("alice")) == DONE
    assert with_line(one, other, quiet, elsewhere) == [one, other]
    line = f'claude on {socket.gethostname()} asks you to approve this on your phone: "sudo id (in /srv)"'
    assert one.lines[-1].rstrip() == other.lines[-1].rstrip() == line
    assert asked(notice("alice")) == NOTHING


def test_only_root_and_the_agents_user_may_have_a_line_written() -> None:
    login = LoginSession("alice")
    login.device.chmod(0o620)
    SOCKET.chmod(0o666)
    assert asked(notice("alice"), user="bob") is None
    SOCKET.chmod(0o600)
    assert with_line(login) == []


#: What a process could send that was taken over and runs as the user of the agent.
HOSTILE = (
    "claude \x1b[2J",
    "claude id\rcarol asks",
    "claude a\nb",
    "claude caf\u00e9",
    "claude \x9b2J",
    "claude " + "a" * 601,
    "cla\x07ude id",
    "claude ",
)


@pytest.mark.parametrize("rest", HOSTILE, ids=repr)
def test_what_could_move_the_cursor_reaches_no_terminal(rest: str) -> None:
    login = LoginSession("alice")
    login.device.chmod(0o620)
    line = f"tell {pwd.getpwnam('alice').pw_uid} {rest}\n"
    assert asked(line.encode("latin-1")) in (INVALID, DONE)
    login.kill()
    assert all(character.isprintable() or character in "\r\n" for character in login.shown)
    assert [line for line in login.lines if "asks you" in line and not line.rstrip().endswith(': "a"')] == []


def test_a_quote_in_a_command_does_not_end_what_is_quoted() -> None:
    login = LoginSession("alice")
    login.device.chmod(0o620)
    assert asked(notice("alice", "sudo echo '\". All is well: \"' \u202e\x1b[8m")) == DONE
    assert with_line(login) == [login]
    shown = login.lines[-1].rstrip().partition("phone: ")[2]
    assert shown == '"' + r"sudo echo '\". All is well: \"' \\u202e\\x1b[8m" + '"'
