"""`make bench`: runs all measurements, and writes the results into this directory."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from bench import (
    always,
    applications,
    exempt,
    fleet,
    floods,
    latency,
    logins,
    pending,
    polls,
    report,
    sessions,
    tables,
    upstream,
    whole_login,
)
from bench.at_once import first_poll_at_once
from bench.measure import Application, Section
from bench.stand_in import duo_service
from bench.whole_login import DUO, GATEWAY, OURS
from tests.support.agent import RunningAgent
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.pam_files import write
from tests.support.sandbox import Sandbox
from tests.support.sshd import Sshd

PEOPLE = 1000
SESSIONS = 5000


def main() -> None:
    """Set up a machine with a thousand users, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="few rounds: to see that it works, not for figures"
    )
    quick = parser.parse_args().quick
    folder = Path(tempfile.mkdtemp(dir="/var/lib"))
    with Sandbox(application_id="bench") as sandbox, Journald(), duo_service(folder) as duo:
        machine = Installation()
        table = _people(machine, sandbox)
        machine.configure(sandbox, timeout="60s")
        machine.write_users(table)
        application = Application(folder)
        sandbox.auto = "approve"
        with first_poll_at_once():
            sections = applications.measure(
                application, folder, duo.configuration("pam_duo.conf"), 5 if quick else 40
            )
            sections.append(always.measure(application, sandbox, machine, 5 if quick else 40))
            sections.append(tables.measure(machine, 5 if quick else 40))
            machine.write_users(table)
            sections.append(_ssh_logins(folder, 8 if quick else 60))
        sections.append(whole_login.measure(application, sandbox, machine, duo, 2 if quick else 30))
        sections.append(exempt.measure(sandbox, machine, 5 if quick else 60))
        sections.append(_agent_cpu(sandbox, machine, 5 if quick else 20))
        machine.change(timeout="60s")
        sections.append(latency.measure(sandbox, machine, 10 if quick else 60))
        machine.change(timeout="30s")
        sections.append(pending.measure(sandbox, 50 if quick else PEOPLE, 30.0))
        sections.append(polls.measure(5 if quick else 50))
        kept, seconds, rounds = (100, 5.0, 1) if quick else (SESSIONS, 60.0, 2)
        sections.append(sessions.measure(sandbox, kept, 50 if quick else PEOPLE, seconds, rounds))
        sections.append(upstream.measure(*((2.0, 1) if quick else (3.0, 3))))
        sections += fleet.measure(*((3.0, (10,), 100, 200) if quick else (20.0, (50, 100), 1000, 10_000)))
        sections.append(floods.measure(*((3.0, 10, 100, 200) if quick else (30.0, 20, 1000, 10_000))))
    if quick:
        print("Nothing was written: a quick run gives no reliable numbers.")
    else:
        report.write(sections, bounds(sections))


def _people(machine: Installation, sandbox: Sandbox) -> str:
    for name in ("alice", *logins.PEOPLE):
        machine.add_user(name)
        sandbox.add_user(f"t-{name}")
    with open("/etc/passwd", "a", encoding="utf-8") as accounts:
        for number in range(PEOPLE):
            accounts.write(f"bench{number}:x:{30000 + number}:65534::/nonexistent:/bin/sh\n")
            sandbox.add_user(f"t-bench{number}")
    names = ("alice", *logins.PEOPLE, *(f"bench{number}" for number in range(PEOPLE)))
    return "".join(f"{name}: t-{name}\n" for name in names)


def _ssh_logins(folder: Path, count: int) -> Section:
    write("sshd", "key")
    shutil.copy("config/sshd_config.d/10-iampass.conf", "/etc/ssh/sshd_config.d/")
    askpass = folder / "askpass"
    askpass.write_text(logins.SCRIPT)
    askpass.chmod(0o755)
    with (
        Sshd(folder, "MaxStartups=100") as prompting,
        Sshd(folder / "quiet", "MaxStartups=100", way="quiet", keys=folder) as silent,
    ):
        for name in logins.PEOPLE:
            prompting.admit(name)
        sshds = {"Enter, auth phase": prompting, "no prompt, account phase": silent}
        return logins.measure(sshds, str(askpass), count)


def _agent_cpu(sandbox: Sandbox, machine: Installation, count: int) -> Section:
    """The agent's cost of one login with six polls, from the first frame to the end of the session."""
    from bench.doors import play
    from bench.pending import cpu_seconds

    section = Section("The agent's CPU for one login", ["CPU ms", "polls"])
    print(section.title)
    sandbox.auto, sandbox.delay = "approve", 3.7
    with RunningAgent() as agent:
        play(["bench0"], 20.0)
        before, sessions = cpu_seconds(agent.pid()), len(sandbox.sessions)
        play([f"bench{number}" for number in range(count)], 20.0)
        spent = cpu_seconds(agent.pid()) - before
        polls = sum(session.polls for session in sandbox.sessions[sessions:]) / count
    section.add("agent", **{"CPU ms": 1000 * spent / count, "polls": polls})
    sandbox.auto = "ask"
    return section


def bounds(sections: list[Section]) -> list[tuple[str, float, float]]:
    """The bounds: (what, found, at most)."""
    (
        authenticate,
        account,
        setcred,
        opening,
        closing,
        each_command,
        table,
        _ssh,
        whole,
        without_phone,
        agent,
        waits,
        many,
        poll,
        keeping,
        calls,
        *gateways,
        flooded,
    ) = sections

    def value(section: Section, row: str, column: str) -> float:
        return next(found.values[column] for found in section.rows if found.name == row)

    def against_duo(column: str, way: str = OURS, seconds: int = 0) -> float:
        ours, duo = (value(whole, f"{name}, answered after {seconds} s", column) for name in (way, DUO))
        return ours / duo

    native = value(authenticate, "native door", "CPU ms")
    duo = value(authenticate, "pam_duo, one request", "CPU ms")
    empty = value(setcred, "pam_python, empty module", "CPU ms")
    largest = "largest above smallest ms"
    spared, alone = (value(without_phone, name, exempt.WALL) for name in (exempt.AT_GATEWAY, exempt.ALONE))
    return [
        ("authenticate, native door with agent: CPU against pam_duo, ratio", native / duo, 0.5),
        ("a login that needs no phone, at a gateway: wall above a lone host, ms", spared - alone, 1.0),
        (
            "one approved login, application and agent: CPU against a push of pam_duo, ratio",
            against_duo("CPU ms"),
            0.6,
        ),
        (
            "one approved login, door, agent and kernel: CPU above pam_permit against a push of pam_duo, ratio",
            against_duo("above pam_permit ms"),
            0.6,
        ),
        (
            "one login on a host of a gateway, answered after 5 s: CPU of the host against a push of pam_duo, ratio",
            against_duo("CPU ms", GATEWAY, 5),
            0.8,
        ),
        (
            "approval to result, a gateway that holds the poll against the best direct polls, median, ratio",
            value(waits, latency.GATEWAY, "median s")
            / value(waits, latency.DIRECT.format(latency.EARLY), "median s"),
            1.2,
        ),
        (
            "authenticate, native door with agent: CPU above pam_permit, ms",
            value(authenticate, "native door", "above pam_permit ms"),
            1.5,
        ),
        (
            "account phase, native door with agent: CPU above pam_permit, ms",
            value(account, "native door", "above pam_permit ms"),
            1.5,
        ),
        *(
            (
                f"{phase}, native door: CPU above pam_permit, ms",
                value(section, "native door", "above pam_permit ms"),
                0.3,
            )
            for phase, section in (
                ("setcred", setcred),
                ("open_session", opening),
                ("close_session", closing),
            )
        ),
        (
            "setcred, pam_python door: CPU against an empty pam_python module, ratio",
            value(setcred, "pam_python door", "CPU ms") / empty,
            1.2,
        ),
        (
            "memory added to the application, native door with agent, MiB",
            value(authenticate, "native door", "memory above pam_permit KiB") / 1024,
            0.5,
        ),
        ("agent: CPU for one login with six polls, ms", value(agent, "agent", "CPU ms"), 15),
        ("one poll on a kept-alive connection: CPU, ms", value(poll, "pam_iampass.client", "CPU ms"), 0.6),
        (f"agent with {PEOPLE:,} pending logins: memory, MiB", value(many, "agent", "agent memory MiB"), 200),
        (f"agent with {PEOPLE:,} pending logins: wrong outcomes", value(many, "agent", "wrong outcomes"), 0),
        (
            f"agent with {PEOPLE:,} pending logins: latest answer after its deadline, s",
            value(many, "agent", "latest after its deadline s"),
            1,
        ),
        (
            f"agent with {SESSIONS:,} kept sessions: CPU, % of one core",
            value(keeping, sessions.ALONE, "agent CPU of one core %"),
            25,
        ),
        (
            f"agent with {SESSIONS:,} kept sessions: most polls in one second, ratio to the mean",
            value(keeping, sessions.ALONE, "most polls in 1 s")
            / value(keeping, sessions.ALONE, "polls per s"),
            2,
        ),
        *(
            (
                f"{PEOPLE:,} pending logins beside {SESSIONS:,} kept sessions: {column}, ratio to that without them",
                value(keeping, sessions.BESIDE, column) / value(keeping, sessions.WITHOUT, column),
                1.2,
            )
            for column in (sessions.MEDIAN, sessions.PERCENTILE)
        ),
        (
            f"agent with {SESSIONS:,} kept sessions and {PEOPLE:,} pending logins: memory, MiB",
            value(keeping, sessions.BESIDE, "agent memory MiB"),
            200,
        ),
        (
            f"agent with {SESSIONS:,} kept sessions and {PEOPLE:,} pending logins: wrong outcomes",
            value(keeping, sessions.BESIDE, "wrong outcomes"),
            0,
        ),
        (
            "calls of a gateway: CPU with aiohttp against http.client in threads of the event loop, ratio",
            value(calls, upstream.ROW.format(way=upstream.AIOHTTP, **upstream.FASTEST), "CPU ms")
            / value(calls, upstream.ROW.format(way=upstream.EXECUTOR, **upstream.FASTEST), "CPU ms"),
            0.7,
        ),
        *always.bounds(each_command),
        *fleet.bounds(*gateways),
        *floods.bounds(flooded),
        ("100,000 users over 10: one file, ms", value(table, "users.yaml", largest), 5),
        ("100,000 users over 10: users.d/, ms", value(table, "users.d/", largest), 5),
    ]


if __name__ == "__main__":
    main()
