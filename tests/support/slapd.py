"""An LDAP server of a test's own: a real slapd with TLS, which knows members of groups both ways."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import ldap
import ldap.modlist
import trustme

SUFFIX = "dc=example,dc=com"
PEOPLE = f"ou=people,{SUFFIX}"
GROUPS = f"ou=groups,{SUFFIX}"
READER = f"cn=reader,{SUFFIX}"
READERS_PASSWORD = "a reader's password"
_ROOT = f"cn=root,{SUFFIX}"
_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload sssvlv
pidfile {folder}/slapd.pid
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.pem
TLSVerifyClient never
{limits}
database mdb
suffix {suffix}
rootdn {root}
rootpw secret
directory {folder}/data
overlay memberof
{more}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by * none
"""


class Slapd:
    """A server with the people and groups that a test adds. Only `READER` can read."""

    def __init__(self, folder: Path, name: str = "127.0.0.1") -> None:
        """`name` is that in its certificate."""
        self.folder = folder
        self.ports = _free_ports()
        (folder / "data").mkdir()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        os.chmod(folder / "ca.pem", 0o644)
        self._server: subprocess.Popen[bytes] | None = None
        self.start()
        self._add(SUFFIX, objectClass=["dcObject", "organization"], o="Example", dc="example")
        for base in (PEOPLE, GROUPS):
            self._add(base, objectClass="organizationalUnit")
        self._add(
            READER,
            objectClass=["organizationalRole", "simpleSecurityObject"],
            userPassword=READERS_PASSWORD,
        )

    @property
    def url(self) -> str:
        """With TLS from the beginning."""
        return f"ldaps://127.0.0.1:{self.ports[1]}"

    @property
    def plain_url(self) -> str:
        """Without, or with StartTLS."""
        return f"ldap://127.0.0.1:{self.ports[0]}"

    def start(self, *limits: str, more: str = "") -> None:
        """Start it, with such lines as `sizelimit 2` in its configuration; `more` are lines for the database."""
        configuration = _CONFIGURATION.format(
            folder=self.folder, suffix=SUFFIX, root=_ROOT, reader=READER, limits="\n".join(limits), more=more
        )
        (self.folder / "slapd.conf").write_text(configuration)
        addresses = f"ldap://127.0.0.1:{self.ports[0]} ldaps://127.0.0.1:{self.ports[1]}"
        command = ["/usr/sbin/slapd", "-f", str(self.folder / "slapd.conf"), "-h", addresses, "-d", "none"]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.ports[1])).close()
            except OSError:
                if self._server.poll() is not None:
                    break
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """Stop it. What was added stays."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait()
            self._server = None

    def send(self, what: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP."""
        assert self._server is not None
        self._server.send_signal(what)

    def add_person(
        self, name: str, *, under: str = PEOPLE, rdn: str = "", **attributes: str | list[str]
    ) -> str:
        """Add a person; returns the DN."""
        dn = f"{rdn or f'uid={name}'},{under}"
        given = {"uid": name, "cn": name.title(), "sn": "x", **attributes}
        self._add(dn, objectClass=["inetOrgPerson"], **given)
        return dn

    def add_group(self, name: str, *members: str, under: str = GROUPS) -> str:
        """Add a group with people, by their names or DNs; returns the DN."""
        dn = f"cn={name},{under}"
        self._add(dn, objectClass="groupOfNames", member=[_dn(member) for member in members] or [READER])
        return dn

    def add_posix_group(self, name: str, *members: str) -> None:
        """Add a group with the names of people."""
        self._add(f"cn={name},{GROUPS}", objectClass="posixGroup", gidNumber="1", memberUid=list(members))

    def add_folder(self, dn: str) -> None:
        """Add an entry below which others can be."""
        self._add(dn, objectClass="organizationalUnit")

    def add_referral(self, to: str) -> None:
        """Have a part of the people be on another server."""
        self._add(f"ou=far,{PEOPLE}", objectClass=["referral", "extensibleObject"], ref=to)

    def change(self, name: str, attribute: str, *values: str) -> None:
        """Replace the values of an attribute of a person, or of the entry with this DN."""
        encoded = [value.encode() for value in values] or None
        self._do("modify_s", _dn(name), [(ldap.MOD_REPLACE, attribute, encoded)])

    def rename(self, name: str, new: str) -> None:
        """Give a person another name; the entry stays the same one."""
        self._do("rename_s", _dn(name), f"uid={new}")

    def delete(self, *names: str) -> None:
        """Delete people, or entries by their DN."""
        for name in names:
            self._do("delete_s", _dn(name))

    def _add(self, dn: str, **attributes: str | list[str]) -> None:
        entry = {
            name: [each.encode() for each in ([values] if isinstance(values, str) else values)]
            for name, values in attributes.items()
        }
        self._do("add_s", dn, ldap.modlist.addModlist(entry))

    def _do(self, operation: str, *arguments: object) -> None:
        connection = ldap.initialize(self.plain_url)
        connection.set_option(ldap.OPT_REFERRALS, 0)
        connection.simple_bind_s(_ROOT, "secret")
        try:
            getattr(connection, operation)(*arguments)
        finally:
            connection.unbind_s()

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _dn(name: str) -> str:
    return name if "=" in name else f"uid={name},{PEOPLE}"


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
