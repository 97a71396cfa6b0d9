"""pam-iampass-agent(8) as a process: its options, its sockets, its signals, and what it says to systemd."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import types
from typing import Callable

from pam_iampass.audit.journal import ERROR, Journal
from pam_iampass.audit.sinks import send_datagram
from pam_iampass.client.connection import Network
from pam_iampass.client.lookups import Lookups
from pam_iampass.errors import PamIampassError
from pam_iampass.login.agent_state import AgentState
from pam_iampass.login.context import ContextFactory
from pam_iampass.relay import listener as listening
from pam_iampass.relay.administration import Administration
from pam_iampass.relay.agent import Agent, LoginModule
from pam_iampass.relay.agent_context import OwnPorts, SharedContext
from pam_iampass.relay.control_server import ControlServer
from pam_iampass.session.descriptors import stored
from pam_iampass.session.keeper import KeptSessions
from pam_iampass.session.kept_session import Attachments
from pam_iampass.session.registry import Registry, SessionStore
from pam_iampass.system import paths

#: Size of a thread's stack in bytes: 1,000 threads with the default of 8 MiB would not fit.
STACK_SIZE = 512 * 1024
#: How often what is over is removed from the agent's file, and what a slow disk held up is written. Seconds.
HOUSEKEEPING = 5.0
#: As `options` of resolv.conf(5), whose defaults let a lookup last up to 30 s: 4 s with one name server, 10 with three.
RESOLVER_OPTIONS = "timeout:2 attempts:2"


def main(
    make_module: Callable[[Journal, ContextFactory, Attachments], LoginModule], arguments: list[str]
) -> int:
    """Serve on the sockets that systemd passes, or with `--socket` on those of its own.

    Returns the exit status: 0 after SIGTERM or, on sockets of systemd, SIGHUP; 1 without sockets.
    """
    options = _options(arguments)
    try:
        listeners = listening.make(options.socket) if options.socket else listening.passed()
    except PamIampassError as error:
        print(f"Error: {error.diagnostics()}", file=sys.stderr)
        return 1
    os.environ["RES_OPTIONS"] = RESOLVER_OPTIONS
    threading.stack_size(STACK_SIZE)
    journal = Journal()
    state = AgentState(journal)
    network = Network(Lookups(when_exhausted=lambda: lookups_hang(agent, journal, options.socket is None)))
    context = SharedContext(lambda: agent.pending, state, network, OwnPorts(network).network)
    sessions = KeptSessions(Registry(SessionStore(state.database), journal), context.connect, context.manage)
    context.kept_sessions = sessions
    state.keep(sessions)
    agent = Agent(listeners.doors, journal, make_module(journal, context, sessions))

    administration = Administration(state, journal, lambda: agent.pending)
    control = listeners.control and ControlServer(listeners.control, administration.handlers, journal)

    def stop(number: int, _frame: types.FrameType | None) -> None:
        agent.leave() if number == signal.SIGHUP else agent.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # Without systemd nobody would start the next agent, and a terminal that closes sends it too.
    signal.signal(signal.SIGHUP, signal.SIG_IGN if options.socket else stop)
    state.database.open()
    state.resume(stored())
    if control:
        control.start()

    def keep_house() -> None:
        while not over.wait(HOUSEKEEPING):
            administration.record_ended_bypasses()
            state.rate_limits.write()

    over = threading.Event()
    threading.Thread(target=keep_house, daemon=True).start()

    def alive() -> bool:
        # Waits for nothing: a slow disk must neither hold up the next login nor have systemd take the agent for dead.
        # READY=1 each time: systemd would end an agent whose first one found no room.
        counts = f"{agent.pending} logins pending, {sessions.count} sessions kept"
        return notify(f"READY=1\nWATCHDOG=1\nSTATUS={counts}")

    agent.run(alive, watchdog_interval())
    notify("STOPPING=1")
    if control:
        control.stop()
    sessions.stop()
    over.set()
    state.rate_limits.write()
    state.database.close()
    return 0


def lookups_hang(agent: Agent, journal: Journal, by_systemd: bool) -> None:
    """Have another agent take over, whose lookups are fresh, if systemd starts one: `by_systemd`.

    Without systemd this one goes on: nobody would start the next one, and then exempt accounts could not log in either.
    """
    what = "name lookups hang, and this agent can begin no more of them"
    if by_systemd:
        journal.note(f"{what}: another one takes over as soon as no login is pending", ERROR)
        agent.leave()
    else:
        journal.note(f"{what} until they end: check the name servers, then start another one", ERROR)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("pam-iampass-agent", description="Decides the logins of this machine.")
    what = "make the socket (default: %(const)s), and control.sock beside it; without this option systemd passes both"
    parser.add_argument("--socket", nargs="?", const=paths.AGENT_SOCKET, metavar="PATH", help=what)
    return parser.parse_args(arguments)


def notify(state: str) -> bool:
    """Tell systemd the state of the service, if it asked for it, as sd_notify(3).

    Any user can fill that socket. sd_notify(3) then blocks, and systemd.daemon.notify with it, while it holds the
    interpreter's lock: no thread of the agent would go on (seen with systemd-python 235, 2026-11-27).
    Returns False where its socket has no room.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return True
    path = address.replace("@", "\0", 1) if address[0] == "@" else address
    try:
        send_datagram(path, state.encode(), patience=0.0)
    except BlockingIOError:
        return False
    except OSError:
        pass  # nobody listens: nothing to wait for
    return True


def watchdog_interval() -> float:
    """Half of the watchdog time-out of systemd (sd_watchdog_enabled(3)), in seconds."""
    return int(os.environ.get("WATCHDOG_USEC", "20000000")) / 2e6
