"""The user that the module runs as: acting as that user for a while, or for good."""

from __future__ import annotations

import grp
import json
import os
import pwd
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from pam_iampass.errors import PamIampassError, StateError

SERVICE_USER = "iampass"
"""The user, and the group, that the module runs as."""


class CannotSwitchUser(PamIampassError):
    """This process cannot become the user that the module runs as."""


@contextmanager
def reading_as_service_user(name: str = SERVICE_USER) -> Iterator[frozenset[int]]:
    """Give this process only the user's permissions, if it runs as root and the user exists.

    Yields the ids of the groups that may read secrets: the `readers` of `config.settings`. For reading only, and only
    in a process with one thread: the ids are those of the whole process.
    """
    readers = config_readers(name)
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        user = None
    if user is None or os.geteuid() != 0:
        yield readers
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield readers
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def service_group(name: str = SERVICE_USER) -> int | None:
    """The id of the group that may read the configuration: the user's, else the group `name`, else None."""
    try:
        return pwd.getpwnam(name).pw_gid
    except KeyError:
        pass
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def config_readers(name: str = SERVICE_USER) -> frozenset[int]:
    """The ids of the groups that may read the secrets of the configuration."""
    group = service_group(name)
    return frozenset() if group is None else frozenset({group})


def become(name: str) -> None:
    """Become the user `name`, for good: groups, group, user. Raises KeyError if there is no such user."""
    account = pwd.getpwnam(name)
    os.setgroups([account.pw_gid])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)


def as_service_user(
    work: Callable[[], Any], name: str = SERVICE_USER, *, patience: float | None = None
) -> Any:
    """Run `work` in a child process that becomes the user `name`; returns its result, which JSON can hold.

    The user owns the module's state and can put links into it: root must not follow them, but as that user they lead
    to nothing more than the user can reach anyway. After `patience` seconds, if given, the child is killed: the user
    may have stopped it. Raises the StateError of `work`, and CannotSwitchUser.
    """
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise CannotSwitchUser(f"there is no user {name}", "run systemd-sysusers") from None
    if os.geteuid() == account.pw_uid:
        return work()
    if os.geteuid() != 0:
        raise CannotSwitchUser(f"only root and the user {name} can do this", "run it as root")
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _work_as(name, work, sending)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        data = _read(pipe.fileno(), patience)
    if data is None:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return _result(data)


def _read(pipe: int, patience: float | None) -> bytes | None:
    """All that comes through the pipe; None if that takes more than `patience` seconds."""
    until = None if patience is None else time.monotonic() + patience
    data = b""
    while select.select([pipe], [], [], None if until is None else max(0.0, until - time.monotonic()))[0]:
        chunk = os.read(pipe, 65536)
        if not chunk:
            return data
        data += chunk
    return None


def _work_as(name: str, work: Callable[[], Any], sending: int) -> NoReturn:
    """All that the child does."""
    try:
        os.chdir("/")
        os.umask(0o077)
        become(name)
        reply: dict[str, Any] = {"result": work()}
    except PamIampassError as error:
        reply = {"what": error.what, "remedy": error.remedy or "run: pam-iampass check"}
    except BaseException as error:  # noqa: BLE001 - the child ends here, whatever failed
        reply = {"what": f"failed with {type(error).__name__}", "remedy": "run: pam-iampass check"}
    try:
        with os.fdopen(sending, "wb") as pipe:
            pipe.write(json.dumps(reply).encode())
    finally:
        os._exit(0)


def _result(data: bytes | None) -> Any:
    try:
        reply = json.loads(data or b"")
    except ValueError:
        raise StateError("the child process was killed", "try again") from None
    if "result" not in reply:
        raise StateError(reply["what"], reply["remedy"])
    return reply["result"]
