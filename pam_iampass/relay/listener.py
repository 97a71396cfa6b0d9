"""The sockets on which the agent listens: passed by systemd, or made by the agent itself where there is no systemd."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import socket
import stat
from dataclasses import dataclass

from pam_iampass.errors import StateError
from pam_iampass.system import passed_descriptors, paths
from pam_iampass.system.service_user import SERVICE_USER, become
from pam_iampass.system.trusted_folder import trusted_folder

#: Connections that may wait to be accepted: `Backlog=` of pam-iampass-agent.socket.
BACKLOG = 1024
_FILES_LIMIT = 16384  # LimitNOFILE= of pam-iampass-agent.service


@dataclass(frozen=True)
class Listeners:
    """The sockets of the agent."""

    doors: socket.socket
    control: socket.socket | None
    """None where systemd still has an older socket unit: logins go on."""


def passed() -> Listeners:
    """The sockets that systemd has passed (sd_listen_fds(3)), apart from what it has stored. Raises StateError."""
    doors, control = None, None
    for _name, descriptor in passed_descriptors.passed():
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


def make(path: str) -> Listeners:
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
            control = os.path.join(folder, os.path.basename(paths.CONTROL_SOCKET))
            listeners = Listeners(_listen(path), _listen(control))
        _become_service_user()
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}", "systemctl status pam-iampass-agent.socket") from None
    return listeners


def _listen(path: str) -> socket.socket:
    """A socket that listens at `path`. Raises OSError and StateError."""
    _remove_dead_socket(path)
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


def _remove_dead_socket(path: str) -> None:
    """Remove the socket of an agent that has ended. Raises StateError where anything else is there."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise StateError(f"{path} is not a socket", f"remove it: rm {path}")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        with contextlib.suppress(ConnectionRefusedError):
            with contextlib.suppress(BlockingIOError):  # a process listens, and accepts no connection now
                probe.connect(path)
            raise StateError(f"another agent listens on {path}", "stop it first")
    os.unlink(path)


def _become_service_user() -> None:
    """What systemd does for the unit: the user, limits, the folder."""
    os.chdir("/")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the application's secret
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _FILES_LIMIT if hard == resource.RLIM_INFINITY else min(_FILES_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    become(SERVICE_USER)
    os.umask(0o077)
