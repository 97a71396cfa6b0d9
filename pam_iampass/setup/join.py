"""Makes this machine a host of a gateway, and takes that back.

The settings stay as they are: `join` writes a file beside them that takes precedence, in one step and last, and `leave`
removes it first. So the machine asks either IAMPASS or the gateway at any moment. The secret is made here and kept
before the gateway gets it, so that a call whose answer was lost can be repeated: the same secret is the same host.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import re
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pam_iampass.client import (
    Deadline,
    Gateways,
    IampassError,
    ManagementAPI,
    NotFound,
    ProtocolError,
    Refused,
    Transport,
)
from pam_iampass.client.application import HostAtGateway
from pam_iampass.client.call import Call, JsonObject
from pam_iampass.client.origin import InvalidOrigin, Origin
from pam_iampass.config import settings
from pam_iampass.config.settings import GATEWAY_CA, GATEWAY_SECRET, OF_IAMPASS
from pam_iampass.errors import ConfigurationError, SetupError, SetupRefused, Severity
from pam_iampass.login.context import connect, transport_of
from pam_iampass.setup import files, sandbox_use
from pam_iampass.setup.files import content_of, take, text_of
from pam_iampass.system import paths
from pam_iampass.system.boot import machine_digest
from pam_iampass.system.service_user import config_readers, service_group
from pam_iampass.text import clean

SETTINGS = Path(paths.SETTINGS)
JOINED = SETTINGS.with_name("joined.yaml")
LEAVING = SETTINGS.with_name("joined.yaml.leaving")
"""The same file, if leaving has begun."""
CA_FILE = JOINED.with_name(GATEWAY_CA)
SECRET_FILE = JOINED.with_name(GATEWAY_SECRET)

_INVITE = re.compile(r"(i-[a-z2-7]{12})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})")
_SECONDS = 20.0
_NOT_JOINED = "this machine has not joined a gateway", "to join one: pam-iampass join URL INVITE"
_TEXT = """\
# Written by `pam-iampass join`: this machine is the host {name} of a gateway, to which a host is an application of its
# own. `pam-iampass leave` removes it. The gateways are asked in this order.
"""


@dataclass(frozen=True)
class _JoinCall(Call[str]):
    """The call that joins, and returns the host's id; a refusal has a reason."""

    def read(self, status: int, headers: Any, body: bytes, now: float, nonce: int | None = None) -> str:
        if 400 <= status < 500:
            with contextlib.suppress(IampassError):
                found = JsonObject.parse(body, self.name)
                what = f"the gateway refuses: {clean(found.text('detail'))} ({clean(found.text('reason'))})"
                raise SetupRefused(what, "for another invite, there: pam-iampass-gateway host invite")
        return super().read(status, headers, body, now, nonce)


def join(url: str, invite: str, name: str) -> tuple[str, HostAtGateway]:
    """Join the gateway at `url` under a name; returns the id of this host there, and what it says of it. For root.

    Raises SetupError, ConfigurationError, UntrustedFile, IampassError and OSError. The machine works then as before,
    and the same call may be repeated.
    """
    try:
        origin = Origin.of(url)
    except InvalidOrigin as error:
        raise SetupRefused(f"{url}: {error.problem}", error.remedy) from None
    word = _INVITE.fullmatch(invite)
    if word is None:
        raise SetupRefused(
            "this is not an invite", "copy the whole word that pam-iampass-gateway host invite prints"
        )
    machine, group = machine_digest(), service_group()
    if not machine or group is None:
        raise SetupRefused(
            "this machine has no machine-id, or no group _iampass", "install the package again"
        )
    if sandbox_use.is_in_use():
        raise SetupRefused("a sandbox is in use on this machine", "first: pam-iampass sandbox leave")
    if JOINED.exists() or LEAVING.exists():
        raise SetupRefused("this machine has joined a gateway already", "first: pam-iampass leave")
    read = settings.check(SETTINGS, readers=config_readers())
    wrong = [each for each in read.problems if each.severity is Severity.ERROR and each.key not in OF_IAMPASS]
    if wrong:
        raise ConfigurationError(wrong)
    if read.settings is not None and read.settings.joined_file != JOINED:
        raise SetupRefused(
            f"{JOINED} has no effect: {SETTINGS} has another joined_file", "delete joined_file there"
        )
    authority = _authority(origin, word[3])
    secret = _secret_for(authority, group)
    gateways = Gateways([origin.url], CA_FILE)
    content = json.dumps({"name": name, "machine": machine, "secret": secret}).encode("ascii")
    to = f"{origin.url}/fleet/join/{word[1]}?body_sha256={hashlib.sha256(content).hexdigest()}"
    call = _JoinCall(
        "join", "POST", to, word[1], word[2], lambda answer: answer.text("host_id"), content, idempotent=True
    )
    host_id = gateways.call(call, Deadline.after(_SECONDS))
    host = ManagementAPI(host_id, secret, transport=gateways).host(deadline=Deadline.after(_SECONDS))
    known = () if origin.url in host.gateways else (origin.url,)
    _write(host, host_id, (*known, *host.gateways), group)
    return host_id, host


def update() -> tuple[tuple[str, ...], bool]:
    """Ask the gateways of this machine which gateways there are, and write that; returns them, and whether these are
    others than before. For root.

    Raises SetupError, ConfigurationError, UntrustedFile, IampassError and OSError. The machine works then as before.
    """
    group = service_group()
    if not JOINED.exists() or group is None:
        raise SetupRefused(*_NOT_JOINED)
    read = settings.load(SETTINGS, readers=config_readers(), joined=JOINED)
    host = connect(ManagementAPI, read).host(deadline=Deadline.after(_SECONDS))
    if host.gateways in ((), read.gateways):
        return read.gateways, False
    _write(host, read.application_id, host.gateways, group)
    return host.gateways, True


def leave(*, force: bool) -> tuple[str, str]:
    """Ask IAMPASS itself again, and tell the gateway. Returns its URL, or what there was of it, and why it was not
    told, which may have this host still then; empty if it was. For root.

    Raises SetupError, UntrustedFile and OSError; with `force` also goes on if the gateway cannot be told, or if all
    logins will be denied. As in `join`, the machine works then, and the same call may be repeated.
    """
    told = LEAVING.exists() and not SECRET_FILE.exists()  # by an earlier call, which has ended since then
    begins = JOINED.exists()
    if begins:
        if not force:
            sandbox_use.require_usable(SETTINGS, joined=LEAVING)
        JOINED.replace(LEAVING)
    if not LEAVING.exists():
        raise SetupRefused(*_NOT_JOINED)
    url, untold = "of this machine", ""
    try:
        read = settings.load(SETTINGS, readers=config_readers(), joined=LEAVING)
        url, host_id, secret = read.gateways[0], read.application_id, read.application_secret
        call = Call("leave", "POST", f"{url}/fleet/leave/{host_id}", host_id, secret, lambda _: None, b"{}")
        with contextlib.suppress(NotFound):  # it does not know this host, or not any more
            transport_of(read).call(call, Deadline.after(_SECONDS))
    except (IampassError, ConfigurationError) as error:
        if not (force or told):
            # The gateway still has this host, unless an earlier call may have told it.
            if begins and not getattr(error, "may_have_started", False):
                LEAVING.replace(JOINED)
            then = "pam-iampass-gateway host remove"
            what = f"the gateway {url} was not told: {error}"
            raise SetupError(what, f"try again; or --force, and then at the gateway: {then}") from None
        untold = "" if told else str(error)
    for file in (SECRET_FILE, CA_FILE, LEAVING):
        file.unlink(missing_ok=True)
    return url, untold


def _write(host: HostAtGateway, host_id: str, gateways: tuple[str, ...], group: int) -> None:
    joined = {"application_id": host_id, "gateways": [*gateways]}
    text = _TEXT.format(name=clean(host.name)) + yaml.safe_dump(joined, sort_keys=False)
    files.write(JOINED, content_of(text), 0o640, 0, group)


def _secret_for(authority: bytes, group: int) -> str:
    """The secret of this host, which is kept before it is sent: a new one, or the one of a call to a gateway of the
    same CA that may have arrived."""
    secret = text_of(take(SECRET_FILE).content).strip()
    if not secret or take(CA_FILE).content != authority:
        secret = secrets.token_urlsafe(32)
        files.write(SECRET_FILE, content_of(f"{secret}\n"), 0o640, 0, group)
        files.write(CA_FILE, authority, 0o644)
    return secret


def _authority(origin: Origin, fingerprint: str, seconds: float = _SECONDS) -> bytes:
    """The certificate of the gateway's CA (PEM), which nothing but the fingerprint vouches for. Raises IampassError."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    url, certificate = f"{origin.url}/fleet/ca", b""
    call = Call("ca", "GET", url, "join", "none", lambda answer: answer.text("certificate"))
    with contextlib.suppress(NotFound, Refused, ProtocolError, ValueError):  # it is no gateway of this name
        transport = Transport(origin.url, context=unverified)
        content = transport.call(call, Deadline.after(seconds), attempts=1)
        certificate = ssl.PEM_cert_to_DER_cert(content.strip())
    found = base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).decode().rstrip("=")
    if not hmac.compare_digest(found, fingerprint):
        what = f"{origin.url} is no gateway of this name, or has another certificate authority than that of the invite"
        remedy = (
            "use the address that host invite prints; if it is right, another machine answers in its name"
        )
        raise SetupRefused(what, remedy)
    return ssl.DER_cert_to_PEM_cert(certificate).encode()
