"""Processes that stop while they change the state, and folders in which nothing can be written."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Callable

from pam_iampass.system.state_dir import HeldLock, file_stem

#: The steps of a change, in order: under the lock, with the new file written, before and after it has its name.
STEPS = (
    "pam_iampass.system.state_dir:OpenStateDir.read",
    "pam_iampass.system.atomic_write:write_new",
    "pam_iampass.system.state_dir:OpenStateDir._is_current",
    "pam_iampass.system.atomic_write:rename",
)


def _run(step: str, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    module, path = step.split(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    original, stops = getattr(owner, name), [signal.SIGSTOP]

    def stopping(*args: object, **kwargs: object) -> object:
        if stops:
            os.kill(os.getpid(), stops.pop())
        return original(*args, **kwargs)

    setattr(owner, name, stopping)
    work(*arguments)


@contextlib.contextmanager
def stopped_before(step: str, work: Callable[..., object], *arguments: object) -> Iterator[BaseProcess]:
    """A process that does `work`, and is stopped just before a step. `resume` lets it go on."""
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(step, work, arguments))
    process.start()
    try:
        assert process.pid is not None
        _pid, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield process
    finally:
        process.kill()
        process.join()


def resume(process: BaseProcess) -> int | None:
    """Let a stopped process go on, and wait until it has ended; returns its exit status."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    process.join(60)
    return process.exitcode


@contextlib.contextmanager
def unwritable(folder: Path, user: str) -> Iterator[None]:
    """Nothing about the user can be written in a folder of state."""
    lock = folder / f"{file_stem(user)}.lock"
    lock.touch(0o600)
    blocked = folder / HeldLock(lock.name, lock.stat().st_ino).temporary
    blocked.mkdir()
    try:
        yield
    finally:
        blocked.rmdir()
