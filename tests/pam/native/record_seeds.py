"""Records the fuzzer's seeds: what the module's side sent in real logins through the native door.

Run as root: make -C doors/native seeds
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.scripted_module import (
    DoorConnection,
    Script,
    ScriptedModule,
    ask,
    deadline,
    keep,
    result,
    say,
    say_error,
)

NATIVE = Path(__file__).resolve().parents[3] / "doors" / "native"


def approved(door: DoorConnection) -> None:
    """With a prompt, as in sshd."""
    door.hello()
    door.send(ask("IAMPASS: press Enter and approve the login on your phone, or type a recovery code: "))
    door.receive()
    door.send(deadline(60000))
    door.send(say("Approve this on your phone within 60 seconds."))
    door.send(say("Approved."))
    door.send(result(0))


def approved_at_once(door: DoorConnection) -> None:
    """Without a prompt, as in sudo."""
    door.hello()
    door.send(deadline(60000), say("Approve this on your phone …"), say("Zatwierdzono ✓"), result(0))


def denied(door: DoorConnection) -> None:
    """Denied on the phone."""
    door.hello()
    door.send(
        deadline(30000), say("Approve this on your phone."), say_error("Denied on the phone."), result(11)
    )


def ignored(door: DoorConnection) -> None:
    """Exempt: nothing but a result."""
    door.hello()
    door.send(result(25))


def kept(door: DoorConnection) -> None:
    """Approved, and the session is kept."""
    door.hello()
    door.send(deadline(60000), keep("0123456789abcdef" * 2), result(0))


def secret_asked(door: DoorConnection) -> None:
    """A code that is not shown, and a long text."""
    door.hello()
    door.send(ask("Recovery code: ", echo=False))
    door.receive()
    door.send(say("x" * 2000), say_error(""), result(26))


def garbled(door: DoorConnection) -> None:
    """What no module should send."""
    door.hello()
    with contextlib.suppress(ConnectionError):
        door.send_bytes(say("a").wire + b"Q\0\0\0\x02\2xR\0\0\0\4\0\0\0\7X\xff\xff\xff\xff")


SCRIPTS: tuple[Script, ...] = (approved, approved_at_once, denied, ignored, kept, secret_asked, garbled)


def main() -> None:
    """Play each script to a door, and keep what was sent."""
    seeds = NATIVE / "fuzz" / "seeds"
    seeds.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="seeds-", dir="/tmp"))
    try:
        make = ["make", "-s", "-C", str(NATIVE), f"BUILD={folder}/build"]
        subprocess.run([*make, f"DEFINES=-DIAMPASS_AGENT_FOLDER='\"{folder}\"'"], check=True)
        (folder / "pam.d").mkdir()
        (folder / "pam.d" / "login").write_text(f"auth required {folder}/build/pam_iampass.so\n")
        wrapper = {
            "LD_PRELOAD": "libpam_wrapper.so",
            "PAM_WRAPPER": "1",
            "PAM_WRAPPER_SERVICE_DIR": f"{folder}/pam.d",
        }
        for script in SCRIPTS:
            with ScriptedModule.as_agent(folder / "pam.sock", script) as module:
                login = ["pamtester", "login", "alice", "authenticate"]
                subprocess.run(
                    login, input=b"\n", env={**os.environ, **wrapper}, capture_output=True, check=False
                )
            (seeds / script.__name__).write_bytes(module.connection.sent)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
