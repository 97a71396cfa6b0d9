"""Keys and certificates, made by ssh-keygen."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support import needs


def make_key(file: Path, kind: str = "ed25519") -> str:
    """Make a key pair; returns `TYPE BASE64 COMMENT`. Each key says of itself that it is mallory's."""
    _ssh_keygen("-q", "-t", kind, "-N", "", "-C", "mallory", "-f", str(file))
    return file.with_name(file.name + ".pub").read_text().strip()


def sign(ca: Path, key: Path, key_id: str, principals: str = "", *options: str) -> str:
    """Make a certificate of a key; returns `TYPE BASE64 COMMENT`."""
    names = ["-n", principals] if principals else []
    public = key.with_name(key.name + ".pub")
    _ssh_keygen("-q", "-s", str(ca), "-I", key_id, *names, *options, str(public))
    return key.with_name(key.name + "-cert.pub").read_text().strip()


def listed(public: str, folder: Path) -> str:
    """The fingerprint of a public key, as `ssh-keygen -l` prints it."""
    file = folder / "listed.pub"
    file.write_text(public + "\n")
    return _ssh_keygen("-l", "-f", str(file)).split()[1]


def accepted(*public: str) -> str:
    """SSH_AUTH_INFO_0 after sshd has accepted these keys."""
    return "".join("publickey " + " ".join(line.split()[:2]) + "\n" for line in public)


def _ssh_keygen(*arguments: str) -> str:
    program = needs.program("ssh-keygen")
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout
