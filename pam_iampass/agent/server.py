"""pam-iampass-agent(8): serves all logins of this machine from one unprivileged process, each in a thread.

It listens on `/run/iampass/pam.sock`, to which only root can connect. SIGTERM ends all pending logins and their IAMPASS
sessions. After SIGHUP, which an upgrade sends, it goes on until no login is pending.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import pwd
import resource
import select
import signal
import socket
import stat
import sys
import threading
import time
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable

from pam_iampass.agent.administration import Administration
from pam_iampass.agent.application import RemoteApplication
from pam_iampass.agent.approver_notices import ApproverNotices
from pam_iampass.agent.context import Configurations, LoginContexts
from pam_iampass.agent.control import ControlServer
from pam_iampass.agent.figures import CountingJournal, Figures, folder_beside
from pam_iampass.agent.lost_phones import LostPhoneReports
from pam_iampass.agent.own_ports import OwnPorts
from pam_iampass.agent.reports import LoginReports
from pam_iampass.agent.wire import GREETING, FrameError, receive_login, result, send
from pam_iampass.audit.journal import ERROR, WARNING, Journal
from pam_iampass.client.connection import Lookups, Network
from pam_iampass.errors import PamIampassError, StateError
from pam_iampass.login.agent_state import AgentState
from pam_iampass.login.application import ApplicationGone, PamApplication
from pam_iampass.module import Module
from pam_iampass.outcome import Phase
from pam_iampass.session.descriptors import stored
from pam_iampass.session.store import KeptSessions, SessionStore
from pam_iampass.session.watcher import SessionWatcher
from pam_iampass.system import paths
from pam_iampass.system.service_user import SERVICE_USER, become
from pam_iampass.system.trusted_folder import trusted_folder
from pam_iampass.system.unix_sockets import notify, passed, peer_credentials

#: Logins that may be pending; more are denied with a message.
MOST_PENDING = 1000
#: Denials with a message that may be pending; beyond them a connection is closed, and the door denies.
MOST_DECLINED = 100
#: How long the agent waits for the end of pending logins when it stops. Seconds: a door waits 5 s for the next agent.
STOP_TIMEOUT = 2.0
#: After how many seconds it ends without waiting any longer for a moment in which no login is pending.
MOST_LEAVING = 300.0
#: How often it looks for one. Seconds.
LOOK = 0.5
#: How soon `alive` is called again if systemd's socket had no room: any user can fill it. Seconds.
AGAIN = 0.05
#: Connections that may wait to be accepted: `Backlog=` of pam-iampass-agent.socket.
BACKLOG = 1024
_FILES_LIMIT = 16384  # LimitNOFILE= of pam-iampass-agent.service
#: Size of a thread's stack in bytes: 1,000 threads with the default of 8 MiB would not fit.
STACK_SIZE = 512 * 1024
#: How often what is over is removed from the agent's file, and what a slow disk held up is written. Seconds.
HOUSEKEEPING = 5.0
#: How often the figures for node_exporter are written, which is asked for them less often: a number of the above.
FIGURES_EVERY = 3
#: How often IAMPASS is told of a lost phone that it has not disabled yet: the same.
TELL_EVERY = 6
#: As `options` of resolv.conf(5), whose defaults let a lookup last up to 30 s: 4 s with one name server, 10 with three.
RESOLVER_OPTIONS = "timeout:2 attempts:2"


def main(arguments: list[str]) -> int:
    """Serve on the sockets that systemd passes, or with `--socket` on sockets of its own.

    Returns the exit status: 0 after SIGTERM or, on sockets of systemd, SIGHUP; 1 without sockets.
    """
    parser = argparse.ArgumentParser("pam-iampass-agent", description="Decides the logins of this machine.")
    what = "make the socket (default: %(const)s), and control.sock beside it; without this option systemd passes both"
    parser.add_argument("--socket", nargs="?", const=paths.AGENT_SOCKET, metavar="PATH", help=what)
    own_socket = parser.parse_args(arguments).socket
    try:
        listeners = make_listeners(own_socket) if own_socket else passed_listeners()
    except PamIampassError as error:
        print(f"Error: {error.diagnostics()}", file=sys.stderr)
        return 1
    os.environ["RES_OPTIONS"] = RESOLVER_OPTIONS
    threading.stack_size(STACK_SIZE)
    figures = Figures()
    journal = CountingJournal(figures)
    state = AgentState(journal)
    network = Network(Lookups(when_exhausted=lambda: lookups_hang(agent, journal, by_systemd=not own_socket)))
    configurations = Configurations(network, OwnPorts(network).network, observe=figures.called)
    sessions = KeptSessions(SessionStore(state.database), journal, configurations.sessions_api)
    watcher = SessionWatcher(sessions, configurations.manager)
    state.keep(sessions)
    approver_notices = ApproverNotices(journal)
    contexts = LoginContexts(configurations, state, lambda: agent.pending, approver_notices.send)
    login_reports = LoginReports(state.database, configurations.sessions_api)
    agent = Agent(listeners.doors, journal, Module(journal, contexts, sessions, login_reports.add))
    administration = Administration(state, journal, lambda: agent.pending, login_reports.put)
    control = listeners.control and ControlServer(listeners.control, administration.handlers, journal)
    lost_phone_reports = LostPhoneReports(state.lost_phones, configurations.manager_at_iampass, journal)
    _obey_signals(agent, by_systemd=not own_socket)
    state.database.open()
    state.resume(stored())
    login_reports.start()
    if control:
        control.start()

    def keep_house() -> None:
        for number in itertools.count():
            if over.wait(HOUSEKEEPING):
                return
            administration.record_ended_bypasses()
            state.throttle.write()
            login_reports.write()
            if number % FIGURES_EVERY == 0:
                figures.write(metrics, state, agent.pending)
            if number % TELL_EVERY == 0:
                lost_phone_reports.resume()

    over = threading.Event()
    metrics = folder_beside(own_socket or paths.AGENT_SOCKET)
    threading.Thread(target=keep_house, daemon=True).start()

    def alive() -> bool:
        # Waits for nothing: a slow disk must neither hold up the next login nor have systemd take the agent for dead.
        # READY=1 each time: systemd would end an agent whose first one found no room.
        counts = f"{agent.pending} logins pending, {sessions.count} sessions kept"
        return notify(f"READY=1\nWATCHDOG=1\nSTATUS={counts}")

    # Twice within the time that systemd waits for (sd_watchdog_enabled(3)).
    agent.run(alive, int(os.environ.get("WATCHDOG_USEC", "20000000")) / 2e6)
    notify("STOPPING=1")
    if control:
        control.stop()
    watcher.stop()
    login_reports.stop()
    over.set()
    state.throttle.write()
    login_reports.write()
    state.database.close()
    return 0


def _obey_signals(agent: Agent, by_systemd: bool) -> None:
    def stop(number: int, _frame: types.FrameType | None) -> None:
        agent.leave() if number == signal.SIGHUP else agent.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # Without systemd nobody would start the next agent, and a terminal that closes sends it too.
    signal.signal(signal.SIGHUP, stop if by_systemd else signal.SIG_IGN)


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


class Agent:
    """Accepts connections on `listener` and serves each in a thread of its own."""

    def __init__(
        self,
        listener: socket.socket,
        journal: Journal,
        module: Module,
        *,
        most_pending: int = MOST_PENDING,
        most_leaving: float = MOST_LEAVING,
        allowed_uid: int = 0,
    ) -> None:
        self._listener = listener
        self._journal = journal
        self._module = module
        self._functions: dict[Phase, PamFunction] = {
            Phase.AUTHENTICATE: module.pam_sm_authenticate,
            Phase.ACCOUNT: module.pam_sm_acct_mgmt,
            Phase.OPEN_SESSION: module.pam_sm_open_session,
            Phase.CLOSE_SESSION: module.pam_sm_close_session,
        }
        self._most_pending = most_pending
        self._most_leaving = most_leaving
        self._allowed_uid = allowed_uid
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._stopped, self._stopper = os.pipe()
        self._leaving, self._leaver = os.pipe()

    @property
    def pending(self) -> int:
        """The number of logins that are being served."""
        return len(self._threads)

    def run(self, alive: Callable[[], bool], every: float) -> None:
        """Serve until `stop` is called, then wait for the pending logins; or until none is pending after `leave`.

        `alive` is called at least every `every` seconds, and again soon if it returns False.
        """
        self._listener.setblocking(False)
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        poller.register(self._stopped, select.POLLIN)
        poller.register(self._leaving, select.POLLIN)
        leaves_by: float | None = None
        while True:
            wait = every if leaves_by is None else min(every, LOOK)
            if not alive():
                wait = min(every, AGAIN)
            ready = [descriptor for descriptor, _event in poller.poll(wait * 1000)]
            if self._stopped in ready:
                break
            if self._leaving in ready:
                poller.unregister(self._leaving)
                leaves_by = time.monotonic() + self._most_leaving
            if self._listener.fileno() in ready:
                self._accept()
            if leaves_by is not None and (not self._threads or time.monotonic() >= leaves_by):
                self.stop()
        self._listener.close()
        until = time.monotonic() + STOP_TIMEOUT
        for thread in list(self._threads):
            thread.join(max(until - time.monotonic(), 0.0))

    def stop(self) -> None:
        """End all pending logins and make `run` return. May be called from a signal handler."""
        os.write(self._stopper, b".")

    def leave(self) -> None:
        """Make `run` return as soon as no login is pending. May be called from a signal handler."""
        os.write(self._leaver, b".")

    def _accept(self) -> None:
        try:
            connection, _address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # out of descriptors or memory: the door waits, and denies at its deadline
            self._journal.note(f"a connection could not be accepted: {error.strerror}", WARNING)
            time.sleep(0.05)
            return
        if peer_credentials(connection)[1] != self._allowed_uid:
            connection.close()
            return
        with contextlib.suppress(OSError):  # the door has gone already
            connection.sendall(GREETING.encode())
        if self.pending >= self._most_pending + MOST_DECLINED:
            connection.close()
            return
        functions = self._functions
        if self.pending >= self._most_pending:
            functions = {**functions, Phase.AUTHENTICATE: self._decline, Phase.ACCOUNT: self._decline}
        thread = threading.Thread(target=self._serve, args=(connection, functions), daemon=True)
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # out of threads
            self._forget(thread)
            connection.close()

    def _serve(self, connection: socket.socket, functions: Mapping[Phase, PamFunction]) -> None:
        try:
            serve(connection, functions, self._stopped)
        except Exception as error:  # noqa: BLE001 - one login must not end the agent; its door denies
            self._journal.note(f"a login ended with {type(error).__name__}", ERROR)
        finally:
            self._forget(threading.current_thread())

    def _decline(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        return self._module.decline(pamh, f"{self._most_pending} logins are pending already")

    def _forget(self, thread: threading.Thread) -> None:
        with self._lock:
            self._threads.discard(thread)


#: A `pam_sm_*` function of `pam_iampass.module`, or a substitute.
PamFunction = Callable[[PamApplication, int, "list[str]"], int]


def serve(connection: socket.socket, functions: Mapping[Phase, PamFunction], stop: int | None = None) -> None:
    """Read HELLO and ITEMS, call the function of the phase, send the result, then run the callbacks of `after_reply`.

    `stop` is a descriptor that becomes readable when all logins must end.
    Where the door breaks the protocol or its phase has no function, no result is sent, and the door denies.
    """
    with connection, contextlib.ExitStack() as after_reply:
        try:
            hello, items = receive_login(connection)
            if hello.phase not in functions:
                return
            application = RemoteApplication(connection, items, after_reply, stop, hello.phase)
            code = functions[hello.phase](application, hello.flags, ["pam_iampass", *hello.arguments])
            send(connection, result(code))
        except (ApplicationGone, FrameError):
            return
        finally:
            # The door sees the end of the stream and does not wait for the callbacks.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)


@dataclass(frozen=True)
class Listeners:
    """The sockets of the agent."""

    doors: socket.socket
    control: socket.socket | None
    """None if systemd still has an older socket unit: logins go on."""


def passed_listeners() -> Listeners:
    """The sockets that systemd has passed (sd_listen_fds(3)), apart from what it has stored. Raises StateError."""
    doors, control = None, None
    for _name, descriptor in passed():
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            found = socket.socket(fileno=descriptor)
            if os.path.basename(found.getsockname()) == os.path.basename(paths.CONTROL_SOCKET):
                control = found
            else:
                doors = found
    if doors is None:
        what = "pam-iampass-agent was started without a socket"
        raise StateError(what, "systemctl start pam-iampass-agent.socket; without systemd: --socket")
    return Listeners(doors, control)


def make_listeners(path: str) -> Listeners:
    """Make the socket at `path` and the control socket beside it, for root alone; then become the service user.

    Listening begins as root: that is what the door checks of its peer (SO_PEERCRED, unix(7)). Raises PamIampassError.
    """
    if os.geteuid() != 0:
        raise StateError("pam-iampass-agent --socket must start as root", "it becomes the user _iampass")
    os.umask(0o177)
    folder = os.path.dirname(path)
    try:
        _make_folder(folder, "root", 0o755)
        _make_folder(os.path.dirname(paths.STATE), SERVICE_USER, 0o700)
        with trusted_folder(folder, 0):
            _make_folder(folder_beside(path), SERVICE_USER, 0o755)
            control = os.path.join(folder, os.path.basename(paths.CONTROL_SOCKET))
            listeners = Listeners(_listen(path), _listen(control))
        _become_service_user()
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}", "systemctl status pam-iampass-agent.socket") from None
    return listeners


def _listen(path: str) -> socket.socket:
    """A socket that listens at `path`, in place of one of an agent that has ended. Raises OSError and StateError."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise StateError(f"{path} is not a socket", f"remove it: rm {path}")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            with contextlib.suppress(ConnectionRefusedError):
                with contextlib.suppress(BlockingIOError):  # a process listens, and accepts no connection now
                    probe.connect(path)
                raise StateError(f"another agent listens on {path}", "stop it first")
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(BACKLOG)
    return listener


def _make_folder(path: str, owner: str, mode: int) -> None:
    """Make the folder if it does not exist, in one that only root can write. Raises PamIampassError and OSError."""
    try:
        account = pwd.getpwnam(owner)
    except KeyError:
        raise StateError(f"there is no user {owner}", "systemd-sysusers, or useradd --system") from None
    with trusted_folder(os.path.dirname(path), 0) as parent, contextlib.suppress(FileExistsError):
        name = os.path.basename(path)
        os.mkdir(name, mode, dir_fd=parent)
        os.chmod(name, mode, dir_fd=parent)  # the umask took bits away
        os.chown(name, account.pw_uid, account.pw_gid, dir_fd=parent, follow_symlinks=False)


def _become_service_user() -> None:
    """Do what systemd does for the unit: the user, limits, the folder."""
    os.chdir("/")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the application's secret
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _FILES_LIMIT if hard == resource.RLIM_INFINITY else min(_FILES_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    become(SERVICE_USER)
    os.umask(0o077)
