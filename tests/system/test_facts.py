"""What the design takes for granted of pam_python, sshd, su, sudo and Linux-PAM, asked of the real programs.

If one of these fails after an upgrade, the program has changed, and what leans on it must be thought over.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.pam.native.conftest import build_native
from tests.support import processes
from tests.support.scripted_module import DoorConnection, Frame, ScriptedModule, ask, result
from tests.support.sshd import Login, Sshd
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD, PATIENCE

SERVICE = "fact"
CODES = {
    "success": "successfully authenticated",
    "service error": "Error in service module",
    "symbol": "Symbol not found",
    "open": "Failed to load module",
    "permission": "Permission denied",
}

#: A module that writes down each call, and asks what a test wants.
WITNESS = """
import json, posix
def note(pamh, phase, **more):
    with open({notes!r}, "a") as notes:
        info = pamh.env["SSH_AUTH_INFO_0"] if "SSH_AUTH_INFO_0" in pamh.env else None
        print(json.dumps(dict(phase=phase, pid=posix.getpid(), info=info, **more)), file=notes)
def pam_sm_authenticate(pamh, flags, argv):
    outcome = None
    {body}
    note(pamh, "authenticate", outcome=outcome)
    return {code}
def pam_sm_setcred(pamh, flags, argv):
    note(pamh, "setcred")
    return pamh.PAM_IGNORE
pam_sm_acct_mgmt = pam_sm_open_session = pam_sm_close_session = pam_sm_chauthtok = pam_sm_setcred
"""

HANDLERS = "\n".join(
    f"def pam_sm_{phase}(pamh, flags, argv): return 25"
    for phase in ("setcred", "acct_mgmt", "open_session", "close_session", "chauthtok")
)


def stack(*lines: str, service: str = SERVICE) -> None:
    """Write a PAM file."""
    rest = ["account required pam_permit.so", "session required pam_permit.so"]
    Path(f"/etc/pam.d/{service}").write_text("\n".join([*lines, *rest]) + "\n")


def authenticate(user: str = "alice") -> str:
    """What pamtester says."""
    command = ["pamtester", SERVICE, user, "authenticate"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return done.stdout + done.stderr


# pam_python


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("def pam_sm_authenticate(pamh, flags, argv): return 0", "success"),
        ("def pam_sm_authenticate(pamh, flags, argv): return False", "success"),
        ("def pam_sm_authenticate(pamh, flags, argv): return 2**32", "success"),
        ("def pam_sm_authenticate(pamh, flags, argv): return None", "service error"),
        ("def pam_sm_authenticate(pamh, flags, argv): raise ValueError", "service error"),
        ("def pam_sm_authenticate(pamh, flags, argv): raise SystemExit(0)", "service error"),
        ("def pam_sm_authenticate(pamh, flags, argv): import neighbour; return 0", "service error"),
        ("", "symbol"),
        ("def", "service error"),
        (None, "open"),
    ],
    ids=[
        *("0", "False", "2**32", "None", "an exception", "SystemExit", "a module in the script's own folder"),
        *("no handler", "a syntax error", "no script"),
    ],
)
def test_what_pam_python_makes_of_a_script(
    machine: None, folder: Path, script: str | None, said: str
) -> None:
    file = folder / "script.py"
    file.unlink(missing_ok=True)
    (folder / "neighbour.py").touch()
    if script is not None:
        file.write_text(f"{script}\n{HANDLERS if script != 'def' else ''}\n")
    stack(f"auth required pam_python.so {file}")
    assert CODES[said] in authenticate()


def test_a_stack_in_which_every_module_ignores_fails(machine: None, folder: Path) -> None:
    script = folder / "script.py"
    script.write_text(f"def pam_sm_authenticate(pamh, flags, argv): return 25\n{HANDLERS}\n")
    ours = f"auth required pam_python.so {script}"
    stack(ours)
    assert CODES["permission"] in authenticate()
    stack(ours, "auth required pam_permit.so")
    assert CODES["success"] in authenticate()


def test_python_pam_answers_with_the_password_or_with_nothing(
    machine: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    build = tmp_path_factory.mktemp("native")
    agent = build / "agent"
    agent.mkdir(mode=0o755)
    door = build_native(build / "door", IAMPASS_AGENT_FOLDER=str(agent))
    stack(f"auth required {door}", "auth required pam_permit.so")

    def asks(connection: DoorConnection) -> None:
        connection.hello()
        for echo in (True, False):
            connection.send(ask("Question: ", echo=echo))
            connection.receive()
        connection.send(result(0))

    program = f"import pam; print(pam.pam().authenticate('alice', 'secret', service={SERVICE!r}))"
    with ScriptedModule.as_agent(agent / "pam.sock", asks) as module:
        command = ["/usr/bin/python3", "-c", program]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"
    assert module.connection.received[2:] == [Frame(b"A", b""), Frame(b"A", b"secret")]


# sshd, su, sudo


class Witness:
    """A stack with a module that writes down what happens to it, and an sshd that uses it."""

    def __init__(self, folder: Path, sshd: Sshd) -> None:
        self._notes = folder / "notes"
        self._script = folder / "witness.py"
        self.folder = folder
        self.sshd = sshd

    def does(self, body: str, code: str, *, before: tuple[str, ...] = (), service: str = SERVICE) -> None:
        """Write the module."""
        self._notes.write_text("")
        self._notes.chmod(0o666)
        self._script.write_text(WITNESS.format(notes=str(self._notes), body=body, code=code))
        stack(
            *before,
            f"auth required pam_python.so {self._script}",
            "auth required pam_permit.so",
            service=service,
        )

    def calls(self, phase: str = "authenticate") -> list[dict[str, Any]]:
        """What it has written down, once sshd is done."""
        processes.wait_for_end(processes.running("sshd-session: "), PATIENCE)
        notes = [json.loads(line) for line in self._notes.read_text().splitlines()]
        return [note for note in notes if note["phase"] == phase]

    def login(self, *options: str) -> Login:
        """An ssh login of alice."""
        return self.sshd.login("alice", "true", options=options)


WITHOUT_KEY = ("PubkeyAuthentication=no", "PreferredAuthentications=keyboard-interactive")
BY_PASSWORD = ("PubkeyAuthentication=no", "PreferredAuthentications=password", "NumberOfPasswordPrompts=1")
ASKS = "pamh.conversation(pamh.Message(pamh.PAM_PROMPT_ECHO_ON, 'Question: '))"


@pytest.fixture(scope="module")
def plain_sshd(sshd: Sshd, folder: Path) -> Iterator[Sshd]:
    """sshd with the witness's PAM file, which lets everything through that PAM does."""
    options = (f"PAMServiceName={SERVICE}", "AuthenticationMethods=any", "PasswordAuthentication=yes")
    with Sshd(folder / "plain", *options, keys=folder / "key-and-phone") as running:
        yield running


@pytest.fixture
def witness(folder: Path, plain_sshd: Sshd) -> Witness:
    """The witness."""
    return Witness(folder, plain_sshd)


def test_what_sshd_has_accepted_is_listed_one_method_a_line(witness: Witness, folder: Path) -> None:
    witness.does("pass", "0")
    with Sshd(
        folder / "key-first",
        f"PAMServiceName={SERVICE}",
        "AuthenticationMethods=publickey,keyboard-interactive",
        keys=folder / "key-and-phone",
    ) as key_first:
        assert key_first.login("alice", "true").finish() == 0
    key = key_first.client_key.with_name("client-key.pub").read_text().split()[1]
    assert [call["info"] for call in witness.calls()] == [f"publickey ssh-ed25519 {key}\n"]


def test_where_sshd_has_accepted_nothing_it_says_so_with_an_empty_text(witness: Witness) -> None:
    witness.does("pass", "0")
    assert witness.login(*WITHOUT_KEY).finish() == 0
    assert [call["info"] for call in witness.calls()] == [""]


def test_su_and_sudo_say_nothing_of_the_kind(machine: None, witness: Witness) -> None:
    kept = {name: Path(f"/etc/pam.d/{name}").read_text() for name in ("su", "sudo")}
    Path("/etc/sudoers.d/alice").write_text("alice ALL = (ALL) ALL\n")
    try:
        witness.does("pass", "0", service="sudo")
        witness.does("pass", "0", service="su")
        subprocess.run(["su", "alice", "-c", "sudo -k true"], check=True, stdin=subprocess.DEVNULL)
    finally:
        Path("/etc/sudoers.d/alice").unlink()
        for name, text in kept.items():
            Path(f"/etc/pam.d/{name}").write_text(text)
    assert [call["info"] for call in witness.calls()] == [None, None]


def test_after_max_tries_ssh_does_not_come_again_and_after_an_error_it_does(witness: Witness) -> None:
    counts = []
    for code in ("pamh.PAM_AUTH_ERR", "pamh.PAM_MAXTRIES"):
        witness.does(ASKS, code)
        login = witness.login(*WITHOUT_KEY, "NumberOfPasswordPrompts=3")
        while login.expect(["Question: ", pexpect.EOF]) == 0:
            login.sendline("")
        assert login.finish() == 255
        counts.append(len(witness.calls()))
    assert counts == [3, 1]


def test_in_the_password_method_nothing_can_be_asked_and_pam_runs_in_sshds_own_process(
    witness: Witness,
) -> None:
    body = f"""
    try:
        {ASKS}
    except pamh.exception as error:
        outcome = error.pam_result"""
    witness.does(body, "0", before=("auth requisite pam_unix.so",))
    login = witness.login(*BY_PASSWORD)
    login.expect("password: ")
    login.sendline(PASSWORD)
    assert login.finish() == 0
    [call] = witness.calls()
    assert call["outcome"] == 19  # PAM_CONV_ERR
    assert call["pid"] in {later["pid"] for later in witness.calls("setcred")}


def test_in_keyboard_interactive_pam_runs_in_a_process_of_its_own(witness: Witness) -> None:
    witness.does(ASKS, "0")
    login = witness.login(*WITHOUT_KEY)
    login.expect("Question: ")
    login.sendline("")
    assert login.finish() == 0
    [call] = witness.calls()
    assert call["pid"] not in {later["pid"] for later in witness.calls("setcred")}


@pytest.mark.parametrize(
    ("typed", "answer"), [("", ""), ("yes", "\b\n\r"), ("y" * 14, "\b\n\r\x7fINCORRECT\b")]
)
def test_sshd_answers_in_the_place_of_a_refused_root_as_long_as_what_was_typed(
    witness: Witness, typed: str, answer: str
) -> None:
    witness.does(f"outcome = {ASKS}.resp", "pamh.PAM_MAXTRIES")
    login = witness.sshd.login("root", "true", options=WITHOUT_KEY)
    login.expect("Question: ")
    login.sendline(typed)
    assert login.finish() == 255
    assert [call["outcome"] for call in witness.calls()] == [answer]


def test_text_is_held_back_until_the_next_prompt(witness: Witness) -> None:
    said, go_on = witness.folder / "said", witness.folder / "go-on"
    for pipe in (said, go_on):
        subprocess.run(["mkfifo", str(pipe)], check=True)
    body = f"""
    pamh.conversation(pamh.Message(pamh.PAM_TEXT_INFO, 'Look at your phone.'))
    open({str(said)!r}, 'w').close()
    open({str(go_on)!r}).close()
    {ASKS}"""
    witness.does(body, "0")
    login = witness.login(*WITHOUT_KEY)
    said.read_text()
    assert login.expect(["phone", pexpect.TIMEOUT], timeout=0.5) == 1
    go_on.write_text("")
    login.expect("Look at your phone.")
    login.expect("Question: ")
    login.sendline("")
    assert login.finish() == 0


def test_sudo_calls_again_after_an_error_but_not_after_an_abort(machine: None, witness: Witness) -> None:
    kept = Path("/etc/pam.d/sudo").read_text()
    Path("/etc/sudoers.d/alice").write_text("alice ALL = (ALL) ALL\n")
    counts = []
    try:
        for code in ("pamh.PAM_MAXTRIES", "pamh.PAM_ABORT"):
            witness.does("pass", code, service="sudo")
            Terminal(["runuser", "-u", "alice", "--", "sudo", "-k", "true"]).finish()
            counts.append(len(witness.calls()))
    finally:
        Path("/etc/sudoers.d/alice").unlink()
        Path("/etc/pam.d/sudo").write_text(kept)
    assert counts == [3, 1]
