"""Recovery codes through a real sshd: what is read of them, and a real disk that is full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.agent import RunningAgent
from tests.support.installation import STATE
from tests.support.recovery import new_codes
from tests.support.sshd import PROMPT, Login
from tests.support.world import World, uid_of


@contextmanager
def full_disk(agent: RunningAgent, users: list[str]) -> Iterator[list[str]]:
    """The agent's file is on a disk that is full once new codes of the users are made; the codes of the first."""
    folder = STATE.parent
    agent.stop()
    options = f"size=10m,mode=0700,uid={uid_of('_iampass')},gid={folder.stat().st_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "state", str(folder)], check=True)
    try:
        agent.__enter__()
        codes = [new_codes(user) for user in users]
        with suppress(OSError), (folder / "full").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield codes[0]
    finally:
        agent.stop()
        subprocess.run(["umount", str(folder)], check=True)
        agent.__enter__()
        agent.wake()


def types(world: World, text: str) -> Login:
    login = world.login("alice")
    login.expect(PROMPT)
    login.sendline(text)
    login.finish()
    return login


def test_a_user_who_gets_a_shell_by_a_code_reads_how_many_are_left(world: World) -> None:
    login = world.sshd.login("olivia")
    code = new_codes("olivia")[0]
    login.expect(PROMPT)
    login.sendline(code)
    login.expect("[$] ")
    login.sendline("exit")
    assert login.finish() == 0
    assert "The recovery code was accepted: 9 recovery codes are left." in login.shown
    assert world.outcome("olivia") == ("recovered", "success")


def test_on_a_full_disk_codes_are_good_once_the_phone_is_asked_and_new_codes_are_made(
    world: World, agent: RunningAgent
) -> None:
    with full_disk(agent, ["alice"]) as codes:
        assert "In as alice." in types(world, codes[0]).shown
        assert world.outcome("alice") == ("recovered", "success")
        world.mark()
        assert "In as" not in types(world, codes[0]).shown
        assert codes[0] not in world.everything_logged()
        world.mark()
        world.sandbox.auto = "approve"
        assert "In as alice." in types(world, "").shown
        assert world.outcome("alice") == ("approved", "success")
        assert len(new_codes("alice")) == 10
