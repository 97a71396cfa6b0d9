"""Finds what is wrong with a gateway. Nothing is changed, and no phone rings."""

from __future__ import annotations

import asyncio
import grp
import http.client
import json
import os
import re
import socket
import ssl
import stat
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psycopg

from pam_iampass.check.catalogue import two_secrets
from pam_iampass.check.report import CheckReport, merged
from pam_iampass.client.connection import Deadline
from pam_iampass.client.errors import IampassError
from pam_iampass.config.yaml_document import MappingNode, parse
from pam_iampass.errors import Problem, UntrustedFile
from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.base.connection import DatabaseError, WrongSchema
from pam_iampass.gateway.base.database import TIMEOUTS
from pam_iampass.gateway.base.gateway import Gateway, management, opened
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.places import (
    PORTAL_ACCOUNT,
    PORTAL_CERTIFICATE,
    PORTAL_FOLDER,
    PORTAL_KEY,
    PORTAL_SOCKET,
)
from pam_iampass.gateway.base.settings import GatewaySettings, PortalSettings
from pam_iampass.gateway.base.statements import many, one
from pam_iampass.gateway.check import attention, backup, disk, monitoring, readable, restored
from pam_iampass.gateway.check.catalogue import finding
from pam_iampass.gateway.hosts import certificates, hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.portal.calls import SOCKET
from pam_iampass.system import programs, trusted_file
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.trusted_folder import shell_word
from pam_iampass.text import names

T = TypeVar("T")
_SECONDS = 15.0
_CLOCK_TOLERANCE = 10.0
_RENEWED_BEFORE = 14.0
"""Days. Programs that renew certificates by themselves have done it by then."""
_BACKUP_EVERY = 2 * 86400.0
"""Seconds. A timer makes one each night."""


class Run(Protocol):
    """Runs a coroutine, as a user who may use the database."""

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns its result."""


def examine(
    config: Path,
    progress: Callable[[str], None],
    run: Run,
    *,
    offline: bool = False,
) -> CheckReport:
    """Check one subject after the other.

    :param offline: do not call IAMPASS.
    """
    settings, problems = check_settings(config)
    found = [
        finding(
            "settings-error",
            str(problem.file or "settings"),
            f"{problem.file}" if problem.line is None else f"{problem.file}:{problem.line}",
            problem.severity,
            what=f"{problem.key}: {problem.what}" if problem.key else problem.what,
            remedy=problem.remedy,
        )
        for problem in problems
    ]
    if settings is None:
        missing = "everything else: the settings have errors"
        return CheckReport(tuple(found), (missing,), ("settings",), (missing,))
    not_checked = ["IAMPASS: --offline"] if offline else []
    checked = ["settings", "certificate", "service", "database", "groups", "hosts", "backup"]
    progress("checking the certificate")
    found += _certificate(settings)
    progress("checking service and database")
    inside, server = run(_inside(settings))
    found += [*inside, *writes(settings), *(disk.little_room(server) if server else ())]
    progress("checking the backup")
    found += backups(settings)
    if (PORTAL_FOLDER / "portal.yaml").exists():
        progress("checking the portal")
        found += portal(settings.portal)
        checked.append("portal")
    if not offline:
        progress("checking IAMPASS")
        found += _iampass(settings)
        checked.append("IAMPASS")
    return CheckReport(tuple(merged(found)), tuple(not_checked), tuple(checked))


def check_settings(config: Path) -> tuple[GatewaySettings | None, tuple[Problem, ...]]:
    """The settings, None if they have errors, and every problem of them and of the files that they name."""
    settings, problems = gateway_settings.check(config)
    if settings is not None:
        problems = (*problems, *readable.problems(config, settings))
    return None if any(problem.is_error for problem in problems) else settings, problems


def _certificate(settings: GatewaySettings) -> Iterator[Problem]:
    file = settings.certificate_file
    pem, authority = file.read_bytes(), settings.ca_file.read_bytes()
    try:
        certificates.expiry(authority)
    except ValueError:
        yield finding("authority-not-valid", str(settings.ca_file), "it is not a certificate (PEM)")
        return
    try:
        due = certificates.is_due(pem, settings.names, authority)
        until = f"valid until {certificates.expiry(pem):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        yield finding(
            "certificate-not-valid", str(file), "it is not a certificate (PEM)", what="cannot be read"
        )
        return
    if due is not None and not due.startswith("expires"):
        yield finding("certificate-not-valid", str(file), until, what=due)
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file, settings.certificate_key_file)
    except ssl.SSLError:
        key = str(settings.certificate_key_file)
        yield finding("certificate-not-valid", str(file), f"its key: {key}", what="has another key, or none")
        return
    if due is not None:
        yield finding("certificate-expires", str(file), until, what=due)


def backups(settings: GatewaySettings) -> Iterator[Problem]:
    """Whether a backup was made lately, if this is the machine that makes them."""
    if settings.backup is None:
        yield finding("backup-off", "backup", "gateway.yaml has no backup")
        return
    folder = str(settings.backup.folder)
    enable = f"systemctl enable --now {backup.UNIT}.timer"
    if trusted_file.is_missing(settings.backup.folder):
        if len(settings.gateways) > 1:
            yield finding("backup-off", "backup", f"{folder} does not exist")
            return
        make = f"install -d -m 0700 {shell_word(folder)}; pam-iampass-gateway backup; {enable}"
        yield finding("backup-fails", "backup", folder, what="the folder does not exist", remedy=make)
        return
    try:
        with backup.opened_folder(settings.backup.folder) as opened_folder:
            dumps = backup.dumps(opened_folder)
    except UntrustedFile as error:
        yield finding(
            "backup-fails", "backup", folder, what=f"{error.path} {error.what}", remedy=error.remedy
        )
        return
    remedy = f"journalctl -u {backup.UNIT}; {enable}"
    if not dumps:
        yield finding("backup-fails", "backup", folder, what="there is none", remedy=remedy)
        return
    age = time.time() - dumps[-1].at
    what = f"the last one is {age / 86400:.0f} days old" if abs(age) > _BACKUP_EVERY else ""
    with suppress(CommandUnavailable):
        ended = programs.run(["systemctl", "show", "-P", "Result", f"{backup.UNIT}.service"])
        if ended.ok and ended.output.strip() not in ("", "success"):
            what = what or f"the last attempt has failed ({ended.output.strip()})"
    if what:
        yield finding("backup-fails", "backup", f"{folder}/{dumps[-1].name}", what=what, remedy=remedy)


async def _inside(settings: GatewaySettings) -> tuple[list[Problem], disk.Server | None]:
    """The findings of those who may use the database, and its server."""
    found, server = await _service(settings), None
    async with opened(settings) as gateway:
        with suppress(DatabaseError, psycopg.Error):  # a finding of the first check
            server = await disk.find_server(gateway.database)
        for check in (_state, _server, _fleet, _rows, _people, groups, _hosts, passkeys):
            try:
                found += await check(gateway)
            except (DatabaseError, psycopg.Error) as error:
                kind = "tables-old" if isinstance(error, WrongSchema) else "database-away"
                found.append(finding(kind, "database", settings.database, what=str(error)))
                break
    return found, server


def writes(settings: GatewaySettings) -> Iterator[Problem]:
    """The problems that only the running gateway can know: it says them at `/readyz`."""
    if settings.monitoring is None:
        return
    host, port = _on_this_machine(settings.monitoring)
    try:
        connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
        with closing(connection):
            connection.request("GET", "/readyz")
            problems = list(json.loads(connection.getresponse().read())["problems"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return
    for what in (monitoring.CANNOT_WRITE, monitoring.CANNOT_RENEW):
        if what in problems:
            yield finding("writes-fail", "service", f"http://{host}:{port}/readyz", what=what)


def _on_this_machine(address: tuple[str, int]) -> tuple[str, int]:
    """The address at which this machine reaches a service that listens at `address`."""
    host, port = address
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 - compared, not used


async def _service(settings: GatewaySettings) -> list[Problem]:
    """Whether what answers on our port is this gateway: it has our certificate."""
    loopback, port = _on_this_machine(settings.listen)
    where = f"{loopback} port {port}"
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_file))
    except ssl.SSLError:
        return []  # a finding of its own
    try:
        connecting = asyncio.open_connection(loopback, port, ssl=context, server_hostname=settings.names[0])
        _, writer = await asyncio.wait_for(connecting, _SECONDS)
    except ssl.SSLError as error:
        return [finding("other-service", "service", f"{where}: {error}")]
    except (OSError, asyncio.TimeoutError) as error:
        number = getattr(error, "errno", None)
        what = os.strerror(number) if number else str(error) or "no answer in time"
        return [finding("service-down", "service", where, what=what)]
    writer.close()
    return []


def portal(settings: PortalSettings | None) -> Iterator[Problem]:
    """Whether the portal of this machine has settings that fit the gateway's, and people and gateway reach it."""
    if settings is None:
        what = "`portal` is not in gateway.yaml: nobody can sign in"
        yield finding("portal-settings", "portal", "gateway.yaml", what=what, file="gateway.yaml")
        return
    yield from acts()
    file = PORTAL_FOLDER / "portal.yaml"
    root = parse(file.read_bytes(), file).root
    written = {key.text: value for key, value in root.entries} if isinstance(root, MappingNode) else {}
    is_encrypted = settings.origin.startswith("https:") and not getattr(written.get("proxy"), "items", ())
    if is_encrypted:
        certificate, key = (
            Path(getattr(written.get(name), "text", default))
            for name, default in (
                ("certificate_file", PORTAL_CERTIFICATE),
                ("certificate_key_file", PORTAL_KEY),
            )
        )
        wrong = list(portal_files(settings, certificate, key))
        yield from wrong
        if any(each.kind == "portal-files" for each in wrong):
            return  # the portal may wait for a named pipe
    try:
        checked = programs.run(["pam-iampass-portal", "check"])
        what = "" if checked.ok else checked.complaint
        shown = programs.run(["systemctl", "show", "-P", "Listen", PORTAL_SOCKET]).output
    except CommandUnavailable as error:
        yield finding("portal-down", "portal", str(file), what=str(error))
        return
    if not what and getattr(written.get("origin"), "text", "") != settings.origin:
        what = f"origin is not {settings.origin}, as in gateway.yaml"
    if what:
        yield finding("portal-settings", "portal", str(file), what=what, file=str(file))
    listens = re.search(r"^\[?(.+?)\]?:([0-9]+) \(Stream\)$", shown, re.MULTILINE)
    if listens is None:
        yield finding("portal-down", "portal", PORTAL_SOCKET, what="it has no address")
        return
    host = "localhost" if listens[1] in ("0.0.0.0", "::") else listens[1]  # noqa: S104 - compared, not used
    yield from portal_answers(settings, host, int(listens[2]), encrypted=is_encrypted)


def portal_files(settings: PortalSettings, certificate: Path, key: Path) -> Iterator[Problem]:
    """Whether only root can exchange the portal's certificate and key, only root and its group read the key, and
    browsers would trust them for long."""
    try:
        pem = certificates.read_trusted(certificate)
        certificates.read_trusted(key)
        if key.stat().st_mode & 0o007:
            raise UntrustedFile(str(key), "is a key that others can read", f"chmod o= {shell_word(str(key))}")
    except UntrustedFile as error:
        yield finding("portal-files", "portal", str(error.path), what=error.what, remedy=error.remedy)
        return
    problem = certificates.problem_in_browsers(certificate, key, settings.rp_id)
    if problem is not None:
        yield finding("portal-certificate", "portal", str(certificate), what=problem)
        return
    yield from _expires(certificates.expiry(pem).timestamp())


def _expires(until: float) -> Iterator[Problem]:
    """Whether the portal's certificate is to be renewed, which is valid until this time."""
    days = (until - time.time()) / 86400
    if days < _RENEWED_BEFORE:
        at = time.strftime("valid until %F %R UTC", time.gmtime(until))
        yield finding("portal-certificate-expires", "portal", at, days=f"{days:.0f}")


def portal_answers(settings: PortalSettings, host: str, port: int, *, encrypted: bool) -> Iterator[Problem]:
    """Whether the portal answers at an address, and with which certificate unless that is a proxy's."""
    where = f"{host} port {port}"
    context = ssl.create_default_context()
    context.hostname_checks_common_name = False
    try:
        plain = socket.create_connection((host, port), _SECONDS)
        with context.wrap_socket(plain, server_hostname=settings.rp_id) if encrypted else plain as connection:
            if isinstance(connection, ssl.SSLSocket):
                until = str((connection.getpeercert() or {})["notAfter"])
                yield from _expires(ssl.cert_time_to_seconds(until))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: portal\r\nConnection: close\r\n\r\n")
            if not connection.recv(5).startswith(b"HTTP/"):
                yield finding("portal-down", "portal", where, what="it closes the connection")
    except ssl.SSLCertVerificationError as error:
        yield finding(
            "portal-certificate", "portal", where, what=f"is not trusted by browsers: {error.verify_message}"
        )
    except OSError as error:
        yield finding(
            "portal-down", "portal", where, what=error.strerror or str(error) or "no answer in time"
        )


def acts(path: Path = SOCKET) -> Iterator[Problem]:
    """Whether the service for the portal answers root, and only root and the portal's user can connect. The account of
    the gateway cannot."""
    try:
        its_group = grp.getgrnam(PORTAL_ACCOUNT).gr_gid
        for each, group, mode in ((path, its_group, 0o660), (path.parent, 0, 0o755)):
            has = each.stat()
            if (has.st_uid, has.st_gid, stat.S_IMODE(has.st_mode)) != (0, group, mode):
                what = f"{each} belongs to {has.st_uid}:{has.st_gid} and has the mode {stat.S_IMODE(has.st_mode):o}"
                yield finding("acts-socket", "portal", f"it should be 0:{group} and {mode:o}", what=what)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(str(path))
            connection.sendall(b"POST / HTTP/1.1\r\nHost: acts\r\nConnection: close\r\n\r\n")
            if not connection.recv(5).startswith(b"HTTP/"):
                yield finding("acts-down", "portal", str(path), what="it closes the connection")
    except KeyError:
        yield finding("acts-down", "portal", str(path), what=f"there is no user {PORTAL_ACCOUNT}")
    except OSError as error:
        what = os.strerror(error.errno) if error.errno else "no answer in time"
        yield finding("acts-down", "portal", str(path), what=what)


async def _state(gateway: Gateway) -> Iterable[Problem]:
    """The answer of `/readyz` about the database, and why PostgreSQL takes no connection."""
    await gateway.database.require_schema()
    now = await monitoring.look(gateway)
    return [finding("database-away", "database", now.commits, what=what) for what in now.problems]


async def _server(gateway: Gateway) -> Iterable[Problem]:
    async with gateway.database.transaction() as connection:
        row = await one(
            connection,
            "SELECT"  # noqa: S608 - constants
            " extract(epoch FROM clock_timestamp())::float8 AS now,"
            " coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted,"
            " has_database_privilege('public', current_database(), 'CONNECT') AS open, current_database() AS name,"
            + ",".join(f" current_setting('{name}') AS {name}" for name in TIMEOUTS),
        )
        local = connection.info.host.startswith("/") or connection.info.hostaddr in ("127.0.0.1", "::1")
    assert row is not None  # noqa: S101 - a SELECT without FROM has a row
    found = []
    for name, wanted in TIMEOUTS.items():
        if row[name] != wanted:
            words = {"name": name, "value": row[name], "wanted": wanted}
            found.append(finding("database-locks", "database", gateway.settings.database, **words))
    ahead = row["now"] - gateway.clock()
    if abs(ahead) > _CLOCK_TOLERANCE:
        what = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"
        found.append(finding("database-clock", "database", gateway.settings.database, what=what))
    if not row["encrypted"] and not local:
        found.append(finding("database-plain", "database", gateway.settings.database))
    if row["open"]:
        found.append(finding("database-open", "database", row["name"], name=row["name"]))
    return found


async def _fleet(gateway: Gateway) -> Iterable[Problem]:
    try:
        mark, _ = await restored.compare(gateway)
        what = "it is older than this gateway remembers" if mark.old_copy else ""
    except (Tampered, ValueError, OSError) as error:
        what = str(error)
    if not what:
        return []
    return [finding("database-restored", "database", str(restored.state_folder()), what=what)]


async def _rows(gateway: Gateway) -> Iterable[Problem]:
    """Rows without a valid MAC, in all tables."""
    wrong: list[str] = []
    async with gateway.database.statement() as connection:
        for table in attention.SIGNED:
            wrong += await attention.find_damaged(gateway, connection, table)
    if not wrong:
        return []
    rows = f"{len(wrong):,} rows were" if len(wrong) > 1 else "A row was"
    return [finding("rows-not-ours", "database", names(wrong), rows=rows)]


async def _people(gateway: Gateway) -> Iterable[Problem]:
    async with gateway.database.statement() as connection:
        has_people = await one(connection, "SELECT 1 FROM person LIMIT 1")
    return [] if has_people else [finding("no-people", "people", "the table person is empty")]


async def groups(gateway: Gateway) -> list[Problem]:
    """Problems between the groups in the settings and the groups of hosts and people, each with the key of the settings
    as its subject. Before anybody was added, no group can have people. Raises DatabaseError."""
    async with gateway.database.statement() as connection:
        listed, _ = await hosts.listing(gateway, connection)
        invites = await hosts.invites(gateway, connection)
        everybody, tampered = await people.listing(gateway, connection)
    found = []
    of_groups: dict[str, list[str]] = {}
    for group, name in (
        *((host.group, host.name) for host in listed),
        *((invite.group, f"invite {invite.id}") for invite in invites),
    ):
        if gateway.settings.policy_of(group) is None:
            of_groups.setdefault(group, []).append(name)
    for group, what in sorted(of_groups.items()):
        found.append(finding("group-without-settings", f"groups.{group}", names(what), group=group))
    if not (everybody or tampered):
        return found
    had = {group for person in everybody if person.active for group in person.groups}
    for key, named in gateway.settings.groups_of_people.items():
        found += [
            finding("group-of-nobody", key, "gateway.yaml", name=group) for group in sorted(named - had)
        ]
    for role, named in attention.roles_of_nobody(gateway.settings, had).items():
        found.append(finding("role-of-nobody", "operators", names(sorted(named)), role=role))
    return found


async def _hosts(gateway: Gateway) -> Iterable[Problem]:
    async with gateway.database.statement() as connection:
        listed, _ = await hosts.listing(gateway, connection)
    found = []
    for kind, statuses in (
        ("hosts-suspended", (HostStatus.STOPPED, HostStatus.SUSPENDED)),
        ("hosts-waiting", (HostStatus.WAITING,)),
    ):
        those = [host for host in listed if host.status in statuses]
        if those:
            verb = "is" if len(those) == 1 else "are"
            told = f"{_count(those)} {verb}"
            found.append(finding(kind, "hosts", names(host.name for host in those), hosts=told))
    return found


async def passkeys(gateway: Gateway) -> Iterable[Problem]:
    """Passkeys of people who cannot log in any more, or whose name somebody else has now."""
    gone = set()
    async with gateway.database.statement() as connection:
        for row in await many(connection, "SELECT * FROM passkey"):
            with suppress(Tampered):  # a finding of its own
                passkey = gateway.keys.verified("passkey", row)
                person = await people.find(gateway, connection, passkey["person"])
                is_same = person is not None and passkey["owner"] == gateway.keys.owner(person.token)
                if person is None or not person.active or not is_same:
                    gone.add(str(passkey["person"]))
    return [finding("passkeys-of-nobody", name, "the table passkey", name=name) for name in sorted(gone)]


def _count(those: list[Host]) -> str:
    return those[0].name if len(those) == 1 else f"{len(those):,} hosts"


def _iampass(settings: GatewaySettings) -> Iterator[Problem]:
    client, known, problem = None, False, None
    try:
        client = management(settings)
        known = client.knows_application(deadline=Deadline.after(_SECONDS))
    except IampassError as error:
        problem = error
    offset = (client and client.transport.clock_offset) or 0.0
    if abs(offset) > _CLOCK_TOLERANCE:
        here = time.strftime("%F %T UTC", time.gmtime())
        evidence = f"time here: {here}; compared with the Date of {settings.server}"
        side = "behind" if offset > 0 else "ahead of"
        yield finding("clock-off", "IAMPASS", evidence, seconds=f"{abs(offset):.0f}", side=side)
    if problem is not None:
        # The client's `ca_file` is the fleet's here.
        remedy = problem.remedy.replace(" ca_file", " server_ca_file")
        yield finding("iampass-fails", "IAMPASS", settings.server, what=str(problem), remedy=remedy)
    elif not known:
        yield finding("application-unknown", "IAMPASS", f"{settings.server}: {settings.application_id}")
    if client is not None and problem is None and settings.previous_secret:
        file, everywhere = (
            settings.files["application_secret_file"],
            "on all gateways, and restart the service",
        )
        what, remedy = two_secrets(file, everywhere, is_second=client.used_previous_secret)
        evidence = "a signed call was accepted"
        yield finding("previous-secret-left", "IAMPASS", evidence, what=what, remedy=remedy)
