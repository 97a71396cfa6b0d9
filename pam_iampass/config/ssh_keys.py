"""SSH public keys and certificates, as far as they name somebody: fingerprint, CA, key id, principals.

The wire format is RFC 4251, section 5, and for certificates PROTOCOL.certkeys of OpenSSH. Nothing is verified here:
sshd has done that before it says which key it has accepted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Union

from pam_iampass.config.value_types import LONGEST_NAME
from pam_iampass.errors import shown

_CERTIFICATE = "-cert-v"
_KEY_FIELDS = {
    "ssh-rsa-cert-v01@openssh.com": 2,
    "ssh-dss-cert-v01@openssh.com": 4,
    "ssh-ed25519-cert-v01@openssh.com": 1,
    "ecdsa-sha2-nistp256-cert-v01@openssh.com": 2,
    "ecdsa-sha2-nistp384-cert-v01@openssh.com": 2,
    "ecdsa-sha2-nistp521-cert-v01@openssh.com": 2,
    "sk-ssh-ed25519-cert-v01@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com": 3,
}
"""The types of certificates, and how many strings the public key itself has in each."""
_USER_CERTIFICATE = 1
_FINGERPRINT = re.compile("SHA256:[A-Za-z0-9+/]{43}")


class MalformedKey(Exception):
    """This is no key or certificate that names anybody. The text completes a sentence about it."""


@dataclass(frozen=True)
class PlainKey:
    """A public key."""

    fingerprint: str
    """As `ssh-keygen -l` prints it: `SHA256:…`."""

    def __str__(self) -> str:
        return f"the key {self.fingerprint}"


@dataclass(frozen=True)
class Certificate:
    """A user certificate. The key in it names nobody: its holder is known by what the CA has signed."""

    ca: str
    """The fingerprint of the key of the CA."""
    key_id: str
    principals: tuple[str, ...]

    def __str__(self) -> str:
        return f"the certificate with the key id {shown(self.key_id)} of the CA {self.ca}"


AcceptedKey = Union[PlainKey, Certificate]


@dataclass(frozen=True, order=True)
class KeyEntry:
    """A key of a person, or the certificates of a CA that have a certain key id or principal."""

    fingerprint: str
    """The fingerprint of the key, or of the key of the CA."""
    key_id: str = ""
    principal: str = ""

    def __str__(self) -> str:
        if self.key_id:
            return f"key id {shown(self.key_id)} of the CA {self.fingerprint}"
        if self.principal:
            return f"principal {shown(self.principal)} of the CA {self.fingerprint}"
        return self.fingerprint

    @property
    def is_certificate(self) -> bool:
        """Whether the fingerprint is of a CA's key."""
        return bool(self.key_id or self.principal)

    def as_written(self) -> str | dict[str, str]:
        """The entry as it stands in a file."""
        named = {"key_id": self.key_id, "principal": self.principal}
        certificate = {kind: text for kind, text in named.items() if text}
        return {"ca": self.fingerprint, **certificate} if certificate else self.fingerprint


def entries_for(key: AcceptedKey) -> list[KeyEntry]:
    """The entries that would name the person of a key: a certificate counts by its CA alone, a key never by a CA."""
    if isinstance(key, PlainKey):
        return [KeyEntry(key.fingerprint)]
    by_id = [KeyEntry(key.ca, key_id=key.key_id)] if key.key_id else []
    return by_id + [KeyEntry(key.ca, principal=name) for name in key.principals if name]


def certificate_name_error(text: str) -> str | None:
    """Why `text` cannot be a key id or a principal, as the end of a sentence; None for a valid one."""
    if not text:
        return "is empty"
    if len(text) > LONGEST_NAME or not text.isprintable():
        return "is too long, or contains a control character"
    return None


def read_key(kind: str, encoded: str) -> AcceptedKey:
    """The key of a line `TYPE BASE64`, as in authorized_keys and in SSH_AUTH_INFO_0. Raises MalformedKey."""
    blob = _decoded(encoded)
    reader = _Reader(blob)
    if reader.text() != kind:
        raise MalformedKey("contains a key of another type than it says")
    if _CERTIFICATE not in kind:
        reader.string()  # each key has something behind its type
        return PlainKey(fingerprint_of(blob))
    if kind not in _KEY_FIELDS:
        raise MalformedKey(f"is a certificate of the unknown type {shown(kind)}")
    return _certificate(reader, _KEY_FIELDS[kind])


def accepted_keys(ssh_auth_info: str) -> list[AcceptedKey]:
    """The keys of the `publickey` lines of SSH_AUTH_INFO_0. Raises MalformedKey.

    sshd writes METHOD TYPE BASE64 (OpenSSH, `auth2_update_session_info`). Only the first word of a line says which
    method it is: a client chooses text in a `hostbased` line.
    """
    keys = []
    for line in ssh_auth_info.split("\n"):
        words = line.split(" ")
        if words[0] != "publickey":
            continue
        if len(words) != 3:
            raise MalformedKey("is not a type and a key")
        keys.append(read_key(words[1], words[2]))
    return keys


def fingerprint(text: str) -> str:
    """The fingerprint of a plain public key, written as such or as `TYPE BASE64` with or without a comment.

    Raises MalformedKey. A comment says nothing: anybody may write it.
    """
    words = text.split()
    if len(words) == 1 and text.startswith("SHA256:"):
        if not _FINGERPRINT.fullmatch(text) or fingerprint_text(_decoded(text[7:] + "=")) != text:
            raise MalformedKey("is not a fingerprint as ssh-keygen -l prints it")
        return text
    if len(words) < 2:
        raise MalformedKey("is neither a public key nor a fingerprint that begins with SHA256:")
    key = read_key(words[0], words[1])
    if not isinstance(key, PlainKey):
        raise MalformedKey("is a certificate")
    return key.fingerprint


def fingerprint_of(blob: bytes) -> str:
    """The fingerprint of a key in the wire format."""
    return fingerprint_text(hashlib.sha256(blob).digest())


def fingerprint_text(digest: bytes) -> str:
    """A SHA-256 digest as OpenSSH writes it."""
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise MalformedKey("is not in base64") from None


def _certificate(reader: _Reader, key_fields: int) -> Certificate:
    """The certificate whose type has been read."""
    reader.string()  # nonce
    for _ in range(key_fields):
        reader.string()
    reader.number(8)  # serial
    if reader.number(4) != _USER_CERTIFICATE:
        raise MalformedKey("is not a user certificate")
    key_id = reader.text()
    principals = _Reader(reader.string()).texts()
    reader.number(8)  # valid after
    reader.number(8)  # valid before
    for _ in ("critical options", "extensions", "reserved"):
        reader.string()
    ca = reader.string()
    if _CERTIFICATE in _Reader(ca).text():
        raise MalformedKey("is signed by a certificate")
    reader.string()  # signature
    if not reader.at_end:
        raise MalformedKey("has more behind its end")
    return Certificate(fingerprint_of(ca), key_id, principals)


class _Reader:
    """Reads values of RFC 4251 one after the other. Every method raises MalformedKey."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._data)

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def string(self) -> bytes:
        return self._take(self.number(4))

    def text(self) -> str:
        try:
            return self.string().decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedKey("contains a name that is not UTF-8") from None

    def texts(self) -> tuple[str, ...]:
        """All that is left, as texts."""
        found = []
        while not self.at_end:
            found.append(self.text())
        return tuple(found)

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise MalformedKey("ends too early")
        self._at += size
        return taken
