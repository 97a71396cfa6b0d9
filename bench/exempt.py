"""A login that needs no phone costs no network: on a host of a gateway it is reported once it is answered."""

from __future__ import annotations

from bench.doors import play
from bench.joined import joined
from bench.measure import Section, median
from bench.pending import cpu_seconds
from tests.support.agent import RunningAgent
from tests.support.installation import ETC, Installation
from tests.support.sandbox import Sandbox

ALONE, AT_GATEWAY = "a lone host", "a host of a gateway, which hears of it afterwards"
WALL = "wall ms"
_IGNORE = 25
_EXEMPT = "exempt: {users: [alice]}\n"


def measure(sandbox: Sandbox, machine: Installation, rounds: int) -> Section:
    """Logins of an exempt account, one after the other."""
    section = Section("A login that needs no phone", [WALL, "agent CPU ms, with the report"])
    print(section.title)
    with joined(sandbox, machine, {}) as at_gateway:
        for name, argument in ((ALONE, "config=/etc/iampass/exempt.yaml"), (AT_GATEWAY, at_gateway)):
            settings = ETC / argument.rpartition("/")[2]
            text = "".join(f"{key}: {value}\n" for key, value in machine.settings.items())
            settings.write_text((settings.read_text() if settings.exists() else text) + _EXEMPT)
            settings.chmod(0o644)
            with RunningAgent() as agent:
                _log_in(argument)  # the first one reads the settings
                before = cpu_seconds(agent.pid())
                times = [_log_in(argument) for _ in range(rounds)]
                spent = cpu_seconds(agent.pid()) - before
            section.add(name, **dict(zip(section.columns, (median(times), 1000 * spent / rounds))))
    return section


def _log_in(argument: str) -> float:
    (login,) = play(["alice"], 10.0, lambda: None, argument)
    assert login.code == _IGNORE, login.code
    return 1000 * (login.ended - login.began)
