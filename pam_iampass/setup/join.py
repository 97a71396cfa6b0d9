"""Makes this machine a host of a gateway, and takes that back.

What `join` replaces is kept in a folder, from which `leave` restores it. The secret is made here and kept before the
gateway gets it, so that a call whose answer was lost can be repeated: the same secret is the same host. Files are
written last, and in an order in which the machine can ask either IAMPASS or the gateway at any moment: while the
settings are replaced, the file of the secret has both.
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
import shutil
import ssl
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pam_iampass.client import Deadline, Gateways, IampassError, ManagementAPI, NotFound
from pam_iampass.client.call import Call, JsonObject, http_time
from pam_iampass.client.connection import USUAL, Exchange, TlsSocket, open_tcp
from pam_iampass.client.errors import clock_difference
from pam_iampass.client.origin import InvalidOrigin, Origin
from pam_iampass.config import settings
from pam_iampass.config.yaml_document import REMOVED, MappingNode, ScalarNode, SequenceNode, edited, parse
from pam_iampass.errors import ConfigurationError, Problem, SetupError, SetupRefused
from pam_iampass.setup import files, sandbox_use
from pam_iampass.setup.files import Snapshot, content_of, take, text_of
from pam_iampass.setup.manifest import ManifestStore
from pam_iampass.system import paths
from pam_iampass.system.boot import machine_digest
from pam_iampass.system.service_user import config_readers, service_group
from pam_iampass.text import clean

SETTINGS = Path(paths.SETTINGS)
CA_FILE = SETTINGS.with_name("gateway-ca.pem")
FOLDER = Path(paths.BEFORE_JOIN)
JOINED = FOLDER / "joined.json"
"""Exists once it has joined."""
_JOINING = FOLDER / "joining.json"
"""The secret that a gateway may have by now."""
_REPLACED = ("application_id", "server", "gateways", "ca_file", "proxy")

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


class Membership(NamedTuple):
    """What has come of joining. `status` is active or waiting."""

    url: str
    name: str
    group: str
    status: str
    secret_kept: bool
    """Whether the secret of an application is among what is kept."""


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

    Raises SetupError, ConfigurationError, UntrustedFile, IampassError and OSError. The machine works then as before,
    or as after, and the same call may be repeated.
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
    before = take(SETTINGS)
    joined = _top(before.content, "gateways")
    if joined and not _JOINING.exists():
        raise SetupRefused(f"this machine has joined {joined[0]} already", "first: pam-iampass leave")
    secret_file = _secret_file(before.content)
    authority = _authority(origin, word[3])
    secret = _pending(origin.url, secret_file)
    files.write(FOLDER / "ca.pem", authority, 0o644)
    files.write(FOLDER / "next-secret", content_of(f"{secret}\n"), 0o640, 0, group)
    next_secret = {"application_secret_file": str(FOLDER / "next-secret")}
    errors = _errors_in(_joined(before, "h-", origin.url, FOLDER / "ca.pem", **next_secret), group)
    if errors:
        raise ConfigurationError(errors)
    gateways = Gateways([origin.url], FOLDER / "ca.pem")
    try:
        body = {"name": name, "machine": machine, "secret": secret}
        host_id = gateways.call(_call(origin, word[1], word[2], body), Deadline.after(_SECONDS))
        host = ManagementAPI(host_id, secret, transport=gateways).host(deadline=Deadline.after(_SECONDS))
    finally:
        gateways.close()
    kept_secret = _keep(before, secret_file, secret)
    files.write(CA_FILE, authority, 0o644)
    _switch(secret_file, secret, kept_secret, before, _joined(before, host_id, origin.url, CA_FILE), group)
    files.write(secret_file, content_of(f"{secret}\n"), 0o640, 0, group)
    files.write(JOINED, _json({"url": origin.url, "name": host[0], "host_id": host_id}))
    for file in ("joining.json", "ca.pem", "next.yaml", "next-secret"):
        (FOLDER / file).unlink(missing_ok=True)
    return Membership(origin.url, *host, kept_secret.content is not None)


def leave(*, force: bool) -> str:
    """Restore what `join` has replaced, and tell the gateway; returns its URL. For root.

    Raises SetupError, UntrustedFile and OSError; with `force` also goes on if the gateway cannot be told, or if all
    logins will be denied. As in `join`, the machine works then, and the same call may be repeated.
    """
    _require_no_sandbox()
    if not JOINED.exists():
        what = "this machine has not joined a gateway by pam-iampass join"
        raise SetupRefused(what, "if iampass.yaml names one, edit it")
    joined = json.loads(JOINED.read_bytes())
    now, kept = take(SETTINGS), take(FOLDER / "iampass.yaml")
    kept_secret, group = take(FOLDER / "application-secret"), service_group() or 0
    content = _without_gateway(now, kept, joined)
    if not force:
        _require_usable(content, group)
    secret_file = _secret_file(content)
    secret = _first_line(take(secret_file))
    gateways = Gateways(_top(now.content, "gateways") or [joined["url"]], CA_FILE)
    try:
        known = _is_known(gateways, joined["host_id"], secret)
        _switch(secret_file, secret, kept_secret, now, content, group)
        if known:
            _tell(gateways, joined["host_id"], secret)
    except IampassError as error:
        if not force:
            then = f"pam-iampass-gateway host remove {joined['name']}"
            what = f"the gateway {joined['url']} was not told: {error}"
            raise SetupError(what, f"try again; or --force, and then at the gateway: {then}") from None
        _switch(secret_file, secret, kept_secret, now, content, group)
    finally:
        gateways.close()
    _put(secret_file, kept_secret)
    CA_FILE.unlink(missing_ok=True)
    JOINED.unlink()
    shutil.rmtree(FOLDER)
    return str(joined["url"])


# What is there


def _require_no_sandbox() -> None:
    if sandbox_use.is_in_use():
        raise SetupRefused("a sandbox is in use on this machine", "first: pam-iampass sandbox leave")


def _secret_file(content: bytes | None) -> Path:
    """The file of the secret that these settings name."""
    path = _top(content, "application_secret_file")
    return Path(path) if isinstance(path, str) else SETTINGS.with_name("application-secret")


def _top(content: bytes | None, key: str, missing: object = None) -> Any:
    """The value of a key in the settings: a text, a list of texts, or None; `missing` without the key."""
    root = parse(content or b"", SETTINGS).root
    for name, node in root.entries if isinstance(root, MappingNode) else ():
        if name.text == key and isinstance(node, ScalarNode):
            return None if node.is_null else node.text
        if name.text == key and isinstance(node, SequenceNode):
            return [item.text for item in node.items if isinstance(item, ScalarNode)]
    return missing


def _pending(url: str, secret_file: Path) -> str:
    """The secret for this gateway, which is kept before it is sent: a new one, or that of a call that may have
    arrived."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        found = json.loads(_JOINING.read_bytes())
        if found["url"] == url:
            return str(found["secret"])
        if found["secret"] in text_of(take(secret_file).content).split("\n"):
            raise SetupRefused(f"joining {found['url']} was interrupted", "join it once more, then leave")
    secret = secrets.token_urlsafe(32)
    files.write(_JOINING, _json({"url": url, "secret": secret}))
    return secret


def _json(value: dict[str, str]) -> bytes:
    return (json.dumps(value) + "\n").encode()


# The gateway


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


def _is_known(gateways: Gateways, host_id: str, secret: str) -> bool:
    """Whether the gateway knows this host. Raises IampassError."""
    try:
        ManagementAPI(host_id, secret, transport=gateways).host(deadline=Deadline.after(_SECONDS))
    except NotFound:
        return False
    return True


def _tell(gateways: Gateways, host_id: str, secret: str) -> None:
    """Leave. Raises IampassError."""
    url = f"{gateways.origin.url}/fleet/leave/{host_id}"
    call = Call("leave", "POST", url, host_id, secret, lambda _: None, b"{}")
    gateways.call(call, Deadline.after(_SECONDS))


# The files


def _joined(before: Snapshot, host_id: str, url: str, ca_file: Path, **more: str) -> bytes:
    """The settings of a host of the gateway."""
    wanted = {
        "application_id": host_id,
        "gateways": [url],
        "ca_file": str(ca_file),
        "server": REMOVED,
        **more,
    }
    if _top(before.content, "proxy") is not None:
        wanted["proxy"] = REMOVED  # gateways are asked without one
    try:
        return content_of(edited(text_of(before.content), wanted))
    except ValueError as error:
        raise SetupRefused(f"{SETTINGS}: {error}", "run pam-iampass check") from None


def _without_gateway(now: Snapshot, kept: Snapshot, joined: dict[str, str]) -> bytes:
    """The settings from before; what else was changed in them since then stays."""
    if now.content == _joined(kept, joined["host_id"], joined["url"], CA_FILE):
        return kept.content or b""
    if not _top(now.content, "gateways"):
        return now.content or b""
    before = {key: _top(kept.content, key, REMOVED) for key in _REPLACED}
    return content_of(edited(text_of(now.content), before))


def _require_usable(content: bytes, group: int) -> None:
    """Refuse to restore settings with which every login of a service that asks the phone would be denied."""
    names = ManifestStore(Path(paths.SETUP_STATE)).load().services
    kept_secret = {"application_secret_file": str(FOLDER / "application-secret")}
    if names and _errors_in(content_of(edited(text_of(content), kept_secret)), group):
        what = f"{', '.join(names)}: would deny every login, because the settings from before are incomplete"
        raise SetupRefused(what, "run pam-iampass setup undo first; --force leaves nevertheless")


def _errors_in(content: bytes, group: int) -> list[Problem]:
    """What would be wrong with these settings, without line numbers."""
    files.write(FOLDER / "next.yaml", content, 0o640, 0, group)
    report = settings.check(FOLDER / "next.yaml", readers=config_readers())
    return [replace(each, file=SETTINGS, line=None) for each in report.problems if each.is_error]


def _keep(before: Snapshot, secret_file: Path, secret: str) -> Snapshot:
    """Keep what will be replaced, unless an earlier call has done it; returns the file of the secret as it was."""
    now = take(secret_file)
    if secret not in text_of(now.content).split("\n"):
        _put(FOLDER / "application-secret", now)
    if not _top(before.content, "gateways"):
        _put(FOLDER / "iampass.yaml", before)
    return take(FOLDER / "application-secret")


def _put(path: Path, what: Snapshot) -> None:
    """Make a file as it was."""
    if what.content is None:
        path.unlink(missing_ok=True)
    else:
        files.write(path, what.content, what.mode, what.uid, what.gid)


def _switch(
    secret_file: Path, secret: str, kept: Snapshot, before: Snapshot, content: bytes, group: int
) -> None:
    """Replace the settings. Meanwhile the secret is there that they need before, and the one that they need after."""
    both = dict.fromkeys(line for line in (secret, _first_line(kept)) if line)
    files.write(secret_file, content_of("".join(f"{line}\n" for line in both)), 0o640, 0, group)
    before = Snapshot(b"", 0o640, 0, group) if before.content is None else before
    files.write(SETTINGS, content, before.mode, before.uid, before.gid)


def _first_line(file: Snapshot) -> str:
    return text_of(file.content).partition("\n")[0]
