"""Recovery codes through a real sshd: what is read of them, and a real disk that is full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command import COMMAND
from tests.support.recovery import new_codes
from tests.support.sshd import PROMPT, Login
from tests.support.world import World, uid_of

CODES = Path("/var/lib/iampass/recovery")


@contextmanager
def small_disk() -> Iterator[None]:
    """The folder of the codes is a disk with room for one file and nothing more."""
    options = f"size=4k,mode=0700,uid={uid_of('iampass')},gid={CODES.stat().st_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "codes", str(CODES)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(CODES)], check=True)


def types(world: World, text: str) -> Login:
    login = world.login("alice")
    login.expect(PROMPT)
    login.sendline(text)
    login.finish()
    return login


def test_who_gets_a_shell_by_a_code_reads_how_many_are_left(world: World) -> None:
    login = world.sshd.login("olivia")
    code = new_codes("olivia")[0]
    login.expect(PROMPT)
    login.sendline(code)
    login.expect("[$] ")
    login.sendline("exit")
    assert login.finish() == 0
    assert "The recovery code was accepted: 9 recovery codes are left." in login.shown
    assert world.outcome("olivia") == ("recovered", "success")


def test_on_a_full_disk_no_code_is_accepted_and_the_phone_is_asked_as_ever(world: World) -> None:
    with small_disk():
        code = new_codes("alice")[0]
        refused = types(world, code)
        assert "In as" not in refused.shown
        assert "The phone check is misconfigured on this machine." in refused.shown
        record = world.record("alice")
        assert record["IAMPASS_OUTCOME"] == "misconfigured"
        assert "cannot be written: No space left on device; look at the disk" in record["IAMPASS_REASON"]
        assert code not in world.everything_logged()
        world.mark()
        world.sandbox.auto = "approve"
        assert "In as alice." in types(world, "").shown
        assert world.outcome("alice") == ("approved", "success")


def test_on_a_full_disk_new_codes_are_refused_and_the_old_ones_stay(world: World) -> None:
    with small_disk():
        new_codes("alice")
        [file] = CODES.glob("*.json")
        before = file.read_bytes()
        done = subprocess.run(
            [COMMAND, "recovery", "new", "--yes", "alice"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "No space left on device" in done.stderr
        assert file.read_bytes() == before
