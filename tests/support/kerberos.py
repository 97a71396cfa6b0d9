"""A Kerberos realm on loopback: a real KDC, with a host's key and users' tickets."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REALM = "TEST.EXAMPLE"
HOST = "gate.test.example"
_CONFIGURATION = Path("/etc/krb5.conf")
_HOSTS = Path("/etc/hosts")
_KEYTAB = Path("/etc/krb5.keytab")
_PORT = 88
_PASSWORD = "a-password-of-the-realm"


@dataclass(frozen=True)
class Realm:
    """The realm, and where users keep their tickets."""

    folder: Path

    def ticket(self, user: str) -> str:
        """Add a user, and get a ticket; returns the cache for KRB5CCNAME."""
        cache = f"FILE:{self.folder / user}"
        _admin(f"addprinc -pw {_PASSWORD} {user}")
        subprocess.run(["kinit", "-c", cache, user], input=f"{_PASSWORD}\n", text=True, check=True)
        return cache


@contextmanager
def realm(folder: Path) -> Iterator[Realm]:
    """Start the KDC; this machine is HOST."""
    folder.mkdir()
    kept = _CONFIGURATION.read_bytes(), _HOSTS.read_bytes()
    profile = folder / "kdc.conf"
    profile.write_text(
        f"[realms]\n{REALM} = {{\n database_name = {folder}/principal\n key_stash_file = {folder}/stash\n"
        f" kdc_listen = 127.0.0.1:{_PORT}\n kdc_tcp_listen = 127.0.0.1:{_PORT}\n}}\n"
    )
    _CONFIGURATION.write_text(
        f"[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\ndns_lookup_realm = false\nrdns = false\n"
        f"dns_canonicalize_hostname = false\n[realms]\n{REALM} = {{\n kdc = 127.0.0.1:{_PORT}\n}}\n"
        f"[domain_realm]\n{HOST} = {REALM}\n"
        + profile.read_text().replace("[realms]", "[kdcdefaults]\n[realms]")
    )
    _HOSTS.write_bytes(kept[1] + f"127.0.0.1 {HOST}\n".encode())
    subprocess.run(
        ["kdb5_util", "-r", REALM, "create", "-s", "-P", "a master key"], check=True, capture_output=True
    )
    _admin(f"addprinc -randkey host/{HOST}")
    _admin(f"ktadd -k {_KEYTAB} host/{HOST}")
    server = subprocess.Popen(["krb5kdc", "-n", "-r", REALM])
    try:
        _wait_for(_PORT)
        yield Realm(folder)
    finally:
        server.terminate()
        server.wait(60)
        _KEYTAB.unlink()
        _CONFIGURATION.write_bytes(kept[0])
        _HOSTS.write_bytes(kept[1])


def _admin(query: str) -> None:
    subprocess.run(["kadmin.local", "-r", REALM, "-q", query], check=True, capture_output=True)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the KDC did not start")
