"""A command that runs in this container itself, which afterwards has the files and processes that it had before.

For a container to throw away (throw-away.sh) that may not make a copy of itself (isolated-root.sh). If this program is
killed (SIGKILL), what the command changed stays. Usage, as root: container.py COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

SUPPORT = Path(__file__).parent
FOLDERS = ("/etc", "/home", "/run", "/tmp", "/var/lib", "/var/log", "/var/mail", "/var/spool")
"""What the command can change, and the files of `make install`. Installed Debian packages stay."""
OTHERS = ("/var/lib/apt", "/var/lib/dpkg")
DEV_LOG = Path("/dev/log")
_PR_SET_CHILD_SUBREAPER = 36


class Files:
    """The files as they are now."""

    def __init__(self, folder: Path, installed: Path) -> None:
        """`folder` is for copies, `installed` is a folder with the files that the command installs."""
        self._folder = folder
        self._copy = folder / "before"
        self._copy.mkdir()
        paths = [path.relative_to(installed) for path in sorted(installed.rglob("*"))]
        self._new = [Path("/", path) for path in paths if not os.path.lexists(Path("/", path))]
        names = [os.fsencode(path) + b"\0" for path in paths if os.path.lexists(Path("/", path))]
        (folder / "replaced").write_bytes(b"".join(names))
        self._replaced = (f"--files-from={folder / 'replaced'}", "--from0")
        self._whole = ("--relative", "--one-file-system", *map("--exclude={}".format, _excluded()))
        self._folders = [each for each in FOLDERS if Path(each).is_dir() and not Path(each).is_symlink()]
        _rsync(*self._whole, *self._folders, f"{self._copy}/")
        _rsync(*self._replaced, "/", f"{self._copy}/")

    def put_back(self) -> None:
        """Make them what they were, and remove the folder."""
        for path in reversed(self._new):  # what is in a folder before the folder
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        _rsync(*self._replaced, "--checksum", f"{self._copy}/", "/")
        whole = [f"{self._copy}/.{each}" for each in self._folders]
        _rsync(*self._whole, "--checksum", "--delete", *whole, "/")
        shutil.rmtree(self._folder)


def _excluded() -> list[str]:
    """Patterns of rsync for what is left alone: packages, and the clone."""
    return [re.sub(r"([*?\[\\])", r"\\\1", each) for each in (*OTHERS, os.getcwd())]


def _rsync(*words: str) -> None:
    # In a session of its own: Ctrl-C does not interrupt it.
    subprocess.run(["rsync", "-aHA", "--numeric-ids", *words], check=True, start_new_session=True)


def run(command: list[str], folder: Path) -> int:
    """Run it; returns its exit status. No process that it started is left then."""
    # Processes whose parent has ended become children of this one.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    variables = {
        "MACHINE_COPY": "container",
        "MACHINE_SCRATCH": folder / "scratch",
        "PAM_IAMPASS_STAGED": folder / "staged",
        "PYTHONPYCACHEPREFIX": folder / "bytecode",
    }
    process = subprocess.Popen(_clean(command, **variables))
    try:
        return process.wait()
    finally:
        while children := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            for child in children:
                os.kill(int(child), signal.SIGKILL)
            os.waitpid(-1, 0)


def _clean(command: list[str], **variables: object) -> list[str]:
    """A command that runs without this program's environment variables."""
    return [
        str(SUPPORT / "clean-environment.sh"),
        *(f"{key}={value}" for key, value in variables.items()),
        *command,
    ]


def _handle_signals() -> None:
    """SIGTERM and SIGHUP end this program once what has changed is put back. Ctrl-C only ends the command."""

    def end(number: int, _frame: object) -> None:
        _ignore_signals()
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    signal.signal(signal.SIGINT, lambda _number, _frame: None)  # the terminal sends it to the command, too


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _stage(folder: Path) -> Path:
    """Install from source into a folder; returns it."""
    staged = folder / "staged"
    make = ["make", "-s", "install", f"DESTDIR={staged}", f"BUILD={folder / 'build'}"]
    command = _clean(make, PYTHONPYCACHEPREFIX=folder / "bytecode")
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return staged


def main() -> int:
    """Run a command, and put back what it has changed."""
    refusal = subprocess.run([SUPPORT / "throw-away.sh"], stdout=subprocess.PIPE, text=True, check=False)
    if refusal.returncode != 0:
        print(f"container.py: this machine is not changed, because {refusal.stdout.strip()}", file=sys.stderr)
        return 1
    alone = os.open("/var/tmp", os.O_RDONLY)
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("container.py: this already runs in this container; wait until it has ended", file=sys.stderr)
        return 1
    _handle_signals()
    folder = Path(tempfile.mkdtemp(prefix="pam-iampass-", dir="/var/tmp"))
    folder.chmod(0o755)
    scratch = folder / "scratch"
    scratch.mkdir()
    try:
        files = Files(folder, _stage(folder))
    except BaseException:
        shutil.rmtree(folder)
        raise
    with ExitStack() as after:
        after.callback(files.put_back)
        after.callback(_ignore_signals)
        plain = [str(SUPPORT / "plain-machine.sh"), str(scratch)]
        subprocess.run(plain, env={**os.environ, "MACHINE_COPY": "container"}, check=True)
        for each in ("sshd", "systemd/journal", "user", "lock"):
            Path("/run", each).mkdir(parents=True, exist_ok=True)
        if not DEV_LOG.is_symlink():
            DEV_LOG.symlink_to("/run/systemd/journal/dev-log")
            after.callback(DEV_LOG.unlink)
        status = run(sys.argv[1:], folder)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
