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
import http.client
import json
import re
import secrets
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pam_iampass.client import Deadline, Gateways, IampassError, ManagementAPI, NotFound
from pam_iampass.client.call import Call, JsonObject, http_time
from pam_iampass.client.connection import USUAL, Exchange, TlsSocket, open_tcp
from pam_iampass.client.errors import clock_difference
from pam_iampass.client.origin import InvalidOrigin, Origin
from pam_iampass.errors import SetupError, SetupRefused
from pam_iampass.setup import files, sandbox_use
from pam_iampass.setup.files import content_of, take, text_of
from pam_iampass.system import paths
from pam_iampass.system.boot import machine_digest
from pam_iampass.system.service_user import service_group
from pam_iampass.text import clean

SETTINGS = Path(paths.SETTINGS)
JOINED = SETTINGS.with_name("joined.yaml")
LEAVING = SETTINGS.with_name("joined.yaml.leaving")
"""The same file, if leaving has begun."""
CA_FILE = SETTINGS.with_name("gateway-ca.pem")
SECRET_FILE = SETTINGS.with_name("gateway-secret")

_INVITE = re.compile(r"(i-[a-z2-7]{12})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})")
_CLOCK_TOLERANCE = 300.0  # as in pam_iampass.server.signatures
_SECONDS = 20.0
_REMEDIES = {
    "INVITE_OTHER_NAME": "give that name: --name",
    "NAME_TAKEN": "give another --name, or remove that host at the gateway",
    "BAD_NAME": "give the name: --name",
    "CLOCK_OFF": "set the clock of this machine (timedatectl), or of the gateway",
    "RESTORED": "at the gateway: pam-iampass-gateway restored",
}
"""For any other reason, another invite is needed."""
_TEXT = """\
# Written by `pam-iampass join`: this machine is the host {name} of a gateway, to which a host is an application of its
# own. `pam-iampass leave` removes it. The gateways are asked in this order.
"""


class Membership(NamedTuple):
    """What has come of joining. `status` is active or waiting."""

    url: str
    name: str
    group: str
    status: str


@dataclass(frozen=True)
class _JoinCall(Call[str]):
    """The call that joins; a refusal has a reason."""

    def read(self, status: int, headers: Any, body: bytes, now: float, nonce: int | None = None) -> str:
        if 400 <= status < 500:
            with contextlib.suppress(IampassError):
                found = JsonObject.parse(body, self.name)
                reason, detail = found.text("reason"), clean(found.text("detail"))
                remedy = "make an invite at the gateway: pam-iampass-gateway host invite"
                raise SetupRefused(
                    f"the gateway refuses: {detail} ({clean(reason)})", _REMEDIES.get(reason, remedy)
                )
        return super().read(status, headers, body, now, nonce)


def join(url: str, invite: str, name: str) -> Membership:
    """Join the gateway at `url` under a name. For root.

    Raises SetupError, UntrustedFile, IampassError and OSError. The machine works then as before, and the same call may
    be repeated.
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
    _require_no_sandbox()
    if JOINED.exists() or LEAVING.exists():
        raise SetupRefused("this machine has joined a gateway already", "first: pam-iampass leave")
    authority = _authority(origin, word[3])
    secret = _secret_for(authority, group)
    gateways = Gateways([origin.url], CA_FILE)
    try:
        body = {"name": name, "machine": machine, "secret": secret}
        host_id = gateways.call(_call(origin, word[1], word[2], body), Deadline.after(_SECONDS))
        host = ManagementAPI(host_id, secret, transport=gateways).host(deadline=Deadline.after(_SECONDS))
    finally:
        gateways.close()
    known = () if origin.url in host.gateways else (origin.url,)
    joined = {
        "application_id": host_id,
        "application_secret_file": str(SECRET_FILE),
        "gateways": [*known, *host.gateways],
        "ca_file": str(CA_FILE),
    }
    _write(host.name, joined, group)
    return Membership(origin.url, host.name, host.group, host.status)


def update() -> tuple[tuple[str, ...], bool]:
    """Ask the gateways of this machine which gateways there are, and write that; returns them, and whether these are
    others than before. For root.

    Raises SetupError, UntrustedFile, IampassError and OSError. The machine works then as before.
    """
    group = service_group()
    if not JOINED.exists() or group is None:
        raise SetupRefused("this machine has not joined a gateway", "to join one: pam-iampass join")
    try:
        joined = yaml.safe_load(text_of(take(JOINED).content))
        gateways = Gateways(joined["gateways"], joined["ca_file"])
        secret = text_of(take(Path(joined["application_secret_file"])).content).strip()
        api = ManagementAPI(joined["application_id"], secret, transport=gateways)
    except (yaml.YAMLError, ValueError, TypeError, LookupError):
        raise SetupRefused(
            f"{JOINED}: was edited, and cannot be understood", "run pam-iampass check"
        ) from None
    try:
        host = api.host(deadline=Deadline.after(_SECONDS))
    finally:
        gateways.close()
    known = tuple(joined["gateways"])
    if host.gateways in ((), known):
        return known, False
    _write(host.name, {**joined, "gateways": list(host.gateways)}, group)
    return host.gateways, True


def _write(name: str, joined: dict[str, Any], group: int) -> None:
    text = _TEXT.format(name=clean(name)) + yaml.safe_dump(joined, sort_keys=False)
    files.write(JOINED, content_of(text), 0o640, 0, group)


def leave(*, force: bool) -> str:
    """Ask IAMPASS itself again, and tell the gateway; returns its URL, or what there was of it. For root.

    Raises SetupError, UntrustedFile and OSError; with `force` also goes on if the gateway cannot be told, or if all
    logins will be denied. As in `join`, the machine works then, and the same call may be repeated.
    """
    _require_no_sandbox()
    if not (JOINED.exists() or LEAVING.exists()):
        raise SetupRefused("this machine has not joined a gateway", "to join one: pam-iampass join")
    if JOINED.exists():
        if not force:
            sandbox_use.require_usable(SETTINGS, left=True)
        JOINED.replace(LEAVING)
    url = ""
    try:
        joined = yaml.safe_load(text_of(take(LEAVING).content))
        url, host_id = joined["gateways"][0], joined["application_id"]
        _tell(joined, host_id)
    except (IampassError, yaml.YAMLError, ValueError, TypeError, LookupError) as error:
        if not force:
            if not getattr(error, "may_have_started", False):  # the gateway still has this host
                LEAVING.replace(JOINED)
            then = "pam-iampass-gateway host remove"
            what = f"the gateway {url} was not told: {error}"
            raise SetupError(what, f"try again; or --force, and then at the gateway: {then}") from None
    for file in (SECRET_FILE, CA_FILE, LEAVING):
        file.unlink(missing_ok=True)
    return url


def _require_no_sandbox() -> None:
    if sandbox_use.is_in_use():
        raise SetupRefused("a sandbox is in use on this machine", "first: pam-iampass sandbox leave")


def _secret_for(authority: bytes, group: int) -> str:
    """The secret of this host, which is kept before it is sent: a new one, or that of a call to a gateway of the same
    CA that may have arrived."""
    secret = text_of(take(SECRET_FILE).content).strip()
    if not secret or take(CA_FILE).content != authority:
        secret = secrets.token_urlsafe(32)
        files.write(SECRET_FILE, content_of(f"{secret}\n"), 0o640, 0, group)
        files.write(CA_FILE, authority, 0o644)
    return secret


def _authority(origin: Origin, fingerprint: str, seconds: float = _SECONDS) -> bytes:
    """The certificate of the gateway's CA (PEM), which nothing but the fingerprint vouches for."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    exchange = Exchange("ca", Deadline.after(seconds), origin.authority)
    try:
        with open_tcp(exchange, origin, USUAL, seconds) as plain:
            exchange.sock = TlsSocket(plain, unverified, origin.host)
            exchange.limit_time()
            exchange.sock.do_handshake()
            response, content = exchange.ask("GET", "/fleet/ca", {"Host": origin.authority})
            date = http_time(response.getheader("Date"))
    except (OSError, http.client.HTTPException, ValueError, IampassError) as error:
        failure = error if isinstance(error, IampassError) else exchange.failed(error)
        what = f"the gateway {origin.url} does not answer: {clean(str(failure))}"
        raise SetupError(what, "check the address, and the network of this machine") from None
    if response.status != 200:
        what = f"{origin.url} is no gateway of this name: it has answered with {response.status}"
        raise SetupRefused(what, "use the address that pam-iampass-gateway host invite prints")
    offset = 0.0 if date is None else date - time.time()
    if abs(offset) > _CLOCK_TOLERANCE:
        raise SetupRefused(clock_difference(offset), _REMEDIES["CLOCK_OFF"])
    try:
        certificate = ssl.PEM_cert_to_DER_cert(content.decode("ascii").strip())
    except ValueError:
        raise SetupRefused(f"{origin.url} is no gateway", "check the address") from None
    found = base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).decode().rstrip("=")
    if not hmac.compare_digest(found, fingerprint):
        what = (
            f"{origin.url} is not the gateway that has made this invite: it has another certificate authority"
        )
        raise SetupRefused(
            what, "check the address; if it is right, another machine answers in the gateway's name"
        )
    return ssl.DER_cert_to_PEM_cert(certificate).encode()


def _call(origin: Origin, invite: str, key: str, body: dict[str, str]) -> _JoinCall:
    content = json.dumps(body).encode("ascii")
    digest = hashlib.sha256(content).hexdigest()
    url = f"{origin.url}/fleet/join/{invite}?body_sha256={digest}"
    return _JoinCall("join", "POST", url, invite, key, _host_id, content, idempotent=True)


def _host_id(answer: JsonObject) -> str:
    found = answer.text("host_id")
    if not re.fullmatch("h-[a-z2-7]{12}", found):
        raise answer.error("host_id is not the id of a host")
    return found


def _tell(joined: dict[str, Any], host_id: str) -> None:
    """Leave, unless the gateway does not know this host or was told before. Raises IampassError, and what a file can
    cause that was edited."""
    secret = text_of(take(Path(joined["application_secret_file"])).content).strip()
    if not secret:
        return
    gateways = Gateways(joined["gateways"], joined["ca_file"])
    try:
        url = f"{gateways.origin.url}/fleet/leave/{host_id}"
        with contextlib.suppress(NotFound):
            gateways.call(
                Call("leave", "POST", url, host_id, secret, lambda _: None, b"{}"), Deadline.after(_SECONDS)
            )
    finally:
        gateways.close()
