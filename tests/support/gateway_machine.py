"""The command of the gateway on a machine with PostgreSQL, as `apt install` leaves both: nothing is set up."""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pam_iampass.client import AuthenticationAPI, Deadline, Gateways, IampassError
from pam_iampass.client.status import AuthenticationMethod
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.places import ACCOUNT, PORTAL_ACCOUNT
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.cli import with_gateway
from pam_iampass.gateway.hosts.hosts import Host, HostStatus, add
from tests.support.command import PACKAGES, run_imported
from tests.support.deadline import PATIENCE
from tests.support.gateway import HOST, HOST_SECRET
from tests.support.postgres import Postgres
from tests.support.processes import with_socket
from tests.support.sandbox import Sandbox

ETC = Path("/etc/iampass-gateway")
PORTAL_ETC = Path("/etc/iampass-portal")
ACTS_FOLDER = Path("/run/iampass-gateway")
ACTS_SOCKET = ACTS_FOLDER / "acts.sock"
SOCKETS = Path("/run/postgresql")
GROUPS = "groups:\n  default: {everybody: true}\n  bastion: {everybody: true, admit: true}\n"
"""For `initialised`."""


@functools.cache
def package() -> Path:
    """A folder with a copy of the package, which the service's account can read wherever the sources are."""
    folder = Path("/opt/pam-iampass")
    sources = Path(__file__).parents[2] / "pam_iampass"
    shutil.copytree(
        sources, folder / "pam_iampass", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    return folder


def add_account(account: str = ACCOUNT) -> None:
    """The account of a service, as the package makes it."""
    if subprocess.run(["id", account], capture_output=True, check=False).returncode != 0:
        home = "/var/lib/iampass-gateway"
        subprocess.run(["useradd", "--system", "--home-dir", home, "--no-create-home", account], check=True)


@contextlib.contextmanager
def local_postgres() -> Iterator[Postgres]:
    """The PostgreSQL of this machine: its socket is where libpq looks, and accounts have the roles of their names."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    server = Postgres(folder / "postgres")
    server.port = 5432
    SOCKETS.mkdir(exist_ok=True)
    shutil.chown(SOCKETS, "postgres", "postgres")
    try:
        server.start("-c", f"unix_socket_directories={SOCKETS}")
        yield server
    finally:
        server.remove()
        shutil.rmtree(folder)


@contextlib.contextmanager
def initialised(
    settings: str = "", name: str = "localhost", *, as_installed: bool = False
) -> Iterator[tuple[Postgres, Sandbox]]:
    """A gateway of this machine at port 8443 of `name`, with its PostgreSQL, and a sandbox as IAMPASS.

    `settings` are further lines of gateway.yaml. If they begin with groups of hosts, these take the place of the one
    that `init` writes. `as_installed` is as for `run_gateway`.
    """
    add_account()
    with local_postgres() as server, Sandbox(application_id="demo", application_secret="s3cret") as sandbox:
        ca = Path("/etc/sandbox-ca.pem")
        shutil.copy(sandbox.ca_file, ca)
        ca.chmod(0o644)
        given = ["--name", name, "--application-id", "demo", "--secret-file", "-"]
        trust = ["--server", sandbox.url, "--server-ca-file", str(ca)]
        run_gateway("init", *given, *trust, typed="s3cret\n", as_installed=as_installed)
        file = ETC / "gateway.yaml"
        written = file.read_text()
        if settings.startswith("groups:"):
            written = written.replace("groups:\n  default: {everybody: true}\n", "")
        file.write_text(written + settings)
        try:
            yield server, sandbox
        finally:
            shutil.rmtree(ETC)


@contextlib.contextmanager
def with_people(settings: str, *people: str) -> Iterator[tuple[Postgres, Sandbox]]:
    """As `initialised`, with a host that has joined, and people whose phones approve."""

    async def add_host(gateway: Gateway) -> None:
        async with gateway.database.transaction() as connection:
            at = await now(connection)
            host = Host(HOST, "web", "default", HOST_SECRET, None, HostStatus.ACTIVE, at, "i-test")
            await add(gateway, connection, host)

    with initialised(settings) as (server, sandbox):
        with_gateway(ETC / "gateway.yaml", add_host)
        for person in people:
            (link,) = re.findall(r"https://\S+", run_gateway("enroll", person, "--no-wait"))
            sandbox.open_link(link)
        sandbox.auto, sandbox.delay = "approve", 0.05
        yield server, sandbox


def by(seconds: str) -> tuple[str, ...]:
    """A command that runs another one at another time, such as `+600` seconds from now, in the same process."""
    return ("env", f"LD_PRELOAD={_other_time()}", f"SECONDS_AHEAD={seconds}")


@functools.cache
def _other_time() -> Path:
    library = Path("/opt/other_time.so")
    source = Path(__file__).with_name("other_time.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


def run_gateway(*arguments: str, typed: str = "", status: int | None = 0, as_installed: bool = False) -> str:
    """Run `pam-iampass-gateway`; returns what it printed. Its status must be `status`, unless that is None.

    Python starts anew for it if `as_installed`; otherwise it runs in a process that has imported its modules.
    """
    if as_installed:
        done = subprocess.run(
            [sys.executable, "-m", "pam_iampass.gateway.cli", *arguments],
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            cwd=package(),
            timeout=PATIENCE,
        )
    else:
        folders = (str(package()), PACKAGES)
        argv = ("/usr/bin/pam-iampass-gateway", *arguments)
        done = run_imported("pam_iampass.gateway.cli", folders, argv, dict(os.environ), typed, 120.0)
    assert status in (None, done.returncode), done.stdout + done.stderr
    return done.stdout + done.stderr


def log_in_as(person: str, host: str, secret: str, **parameters: str) -> str:
    """A login as a host makes it, with its credential: the status of the session, or why there is none."""
    deadline, gateways = Deadline.after(PATIENCE), Gateways(["https://localhost:8443"], ETC / "ca.pem")
    try:
        api = AuthenticationAPI(host, secret, transport=gateways)
        more = {"request_id": secrets.token_urlsafe(16), **parameters}
        device = [AuthenticationMethod.device]
        session = api.authenticate_user(person, device, 60, parameters=more, deadline=deadline)
        if session.failure_reason is not None:
            return str(session.failure_reason)
        while session.in_progress:
            session.get_status(deadline=deadline, attempts=1)
        session.destroy(deadline=deadline)
        return str(session.session_status.name)
    except IampassError as error:
        return str(error)
    finally:
        gateways.close()


@contextlib.contextmanager
def passed_secrets(unit: str = "pam-iampass-gateway.service") -> Iterator[dict[str, str]]:
    """The environment of a service, with the secrets that systemd passes to it. Its state lasts as long, unless a test
    has set STATE_DIRECTORY."""
    credentials = Path(tempfile.mkdtemp(dir="/run"))
    text = (Path(__file__).parents[2] / "packaging/systemd/gateway" / unit).read_text()
    for name in re.findall(r"^LoadCredential=([^:]+):", text, re.MULTILINE):
        shutil.copy(ETC / name, credentials)
        shutil.chown(credentials / name, ACCOUNT, ACCOUNT)
        (credentials / name).chmod(0o400)
    shutil.chown(credentials, ACCOUNT, ACCOUNT)
    folder = str(credentials)
    try:
        yield {
            "STATE_DIRECTORY": folder,
            **os.environ,
            "CREDENTIALS_DIRECTORY": folder,
            "PYTHONUNBUFFERED": "1",
        }
    finally:
        shutil.rmtree(credentials)


@contextlib.contextmanager
def serving(errors: int | None = None) -> Iterator[int]:
    """The service, as its own account. Yields the id of its process.

    `errors` is where its standard error goes, as for Popen.
    """
    with passed_secrets() as environment:
        service = subprocess.Popen(
            [sys.executable, "-m", "pam_iampass.gateway.cli", "serve"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=package(),
            user=ACCOUNT,
            group=ACCOUNT,
            extra_groups=[],
            env=environment,
        )
        assert service.stdout is not None
        try:
            line = service.stdout.readline()
            assert line.startswith("Serving hosts"), line + service.stdout.read()
            yield service.pid
        finally:
            service.send_signal(signal.SIGTERM)
            service.communicate(timeout=PATIENCE)


@contextlib.contextmanager
def acts_socket() -> Iterator[socket.socket]:
    """The socket for the portal, as the unit makes it."""
    add_account(PORTAL_ACCOUNT)
    ACTS_FOLDER.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(ACTS_SOCKET))
        os.chown(ACTS_SOCKET, 0, grp.getgrnam(PORTAL_ACCOUNT).gr_gid)
        ACTS_SOCKET.chmod(0o660)
        made.listen(128)
        yield made
    ACTS_SOCKET.unlink()
    ACTS_FOLDER.rmdir()


@contextlib.contextmanager
def answering(listener: socket.socket) -> Iterator[subprocess.Popen[str]]:
    """The service for the portal, as its own account, with this socket."""
    with (
        passed_secrets("pam-iampass-gateway-acts.service") as environment,
        activated(listener, ACCOUNT, "pam_iampass.gateway.cli", "serve-acts", environment) as service,
    ):
        _wait_for_line(service, "Answering the portal.")
        yield service


@contextlib.contextmanager
def showing(listener: socket.socket, origin: str, settings: str = "") -> Iterator[None]:
    """The portal, as its own account, with this socket; and the gateway's service that answers it.

    `settings` are further lines of portal.yaml. `portal` must be in gateway.yaml.
    """
    PORTAL_ETC.mkdir()
    (PORTAL_ETC / "portal.yaml").write_text(f"origin: {origin}\n{settings}")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    try:
        with (
            acts_socket() as acts,
            answering(acts),
            activated(listener, PORTAL_ACCOUNT, "pam_iampass.portal.cli", "serve", environment) as service,
        ):
            _wait_for_line(service, f"The portal answers at {origin}")
            yield
    finally:
        shutil.rmtree(PORTAL_ETC)


@contextlib.contextmanager
def activated(
    listener: socket.socket, account: str, module: str, verb: str, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A service with a socket that was passed to it, as systemd does it."""
    service = subprocess.Popen(
        with_socket(listener, sys.executable, "-m", module, verb),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=package(),
        user=account,
        group=account,
        extra_groups=[],
        pass_fds=[listener.fileno()],
        env=environment,
    )
    try:
        yield service
    finally:
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=PATIENCE)


def _wait_for_line(service: subprocess.Popen[str], line: str) -> None:
    assert service.stdout is not None
    found = []
    for each in iter(service.stdout.readline, ""):
        found.append(each)
        if each.strip() == line:
            return
    raise AssertionError("it has ended: " + "".join(found))
