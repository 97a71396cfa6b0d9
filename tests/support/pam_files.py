"""The PAM files of this machine with the lines that setup writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pam_iampass.setup.files import Paths
from pam_iampass.setup.plan import wanted

NATIVE = "pam_iampass.so"
PAM = Path("/etc/pam.d")
SSHD = PAM / "sshd"
_FOLDER = Path("/var/lib/iampass-pam-of-sshd")


def edited(name: str, choice: str = "") -> dict[Path, str]:
    """The files of a service with our lines, whether or not they have them already."""
    return wanted(name, choice, Paths()).pam_texts


def write(name: str, choice: str = "") -> None:
    """Let a service ask the phone."""
    for file, text in edited(name, choice).items():
        file.write_text(text)


@contextmanager
def asking(*names: str, choice: str = "") -> Iterator[None]:
    """Services ask the phone, in this way."""
    kept: dict[Path, bytes | None] = {}
    for name in names:
        for file, text in edited(name, choice).items():
            kept.setdefault(file, file.read_bytes() if file.exists() else None)
            file.write_text(text)
    try:
        yield
    finally:
        for file, content in kept.items():
            file.unlink() if content is None else file.write_bytes(content)


def sshd_file(choice: str) -> Path:
    """The PAM file of the test's sshd that asks in this way. It takes the place of /etc/pam.d/sshd for that one."""
    file = SSHD if choice == "key" else _FOLDER / f"sshd-{choice}"
    if choice != "key" and not file.exists():
        _FOLDER.mkdir(exist_ok=True)
        write_sshd_file(choice)
    return file


def write_sshd_file(choice: str, door: str = NATIVE) -> str:
    """Write it, with one of our doors; returns its text."""
    (text,) = edited("sshd", choice).values()
    text = text.replace(NATIVE, door)
    assert door in text
    _FOLDER.mkdir(exist_ok=True)
    (SSHD if choice == "key" else _FOLDER / f"sshd-{choice}").write_text(text)
    return text
