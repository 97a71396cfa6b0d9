"""`pam-iampass join` and `leave` on a host, with a real gateway."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import psycopg
import pytest
import trustme

from pam_iampass.client import Gateways, ManagementAPI, Unavailable
from pam_iampass.client.origin import Origin
from pam_iampass.config import settings
from pam_iampass.config.settings import Settings
from pam_iampass.config.value_types import Network
from pam_iampass.errors import SetupError, SetupRefused
from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.calls import joining
from pam_iampass.gateway.cli import with_gateway
from pam_iampass.setup import files, join, sandbox_use
from pam_iampass.setup.manifest import ManifestStore
from pam_iampass.system.service_user import config_readers
from tests.support.command import COMMAND, run_command
from tests.support.gateway_machine import ETC as GATEWAY_ETC
from tests.support.gateway_machine import GROUPS, initialised, run_gateway, serving
from tests.support.installation import ETC, ROOT, install, write
from tests.support.postgres import Postgres

URL = "https://localhost:8443"
OF_JOIN = (join.JOINED, join.LEAVING, join.SECRET_FILE, join.CA_FILE)
BEFORE = """\
# Ours.
application_id: demo   # at IAMPASS
application_secret_file: /etc/iampass/application-secret
server: https://iam-api.com
timeout: 45s  # people are slow
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Postgres]:
    """A gateway that serves, and its PostgreSQL."""
    install()
    with (
        initialised(GROUPS) as (
            server,
            _,
        ),
        serving(),
    ):
        yield server
    asks_iampass_itself()


def asks_iampass_itself() -> None:
    """Have this machine be no host of a gateway."""
    for file in OF_JOIN:
        file.unlink(missing_ok=True)


@pytest.fixture
def server(gateway: Postgres) -> Postgres:
    """The same, with no hosts, and this machine as one that asks IAMPASS itself."""
    with psycopg.connect(gateway.conninfo("iampass")) as connection:
        for table in ("host", "invite", "record", "nonce"):
            connection.execute(f"DELETE FROM {table}".encode())
    asks_iampass_itself()
    write(ETC / "iampass.yaml", BEFORE)
    write(ETC / "application-secret", "s3cret\n")
    return gateway


def invited(
    *,
    group: str = "default",
    uses: int = 1,
    seconds: float = 60.0,
    name: str | None = None,
    network: Network | None = None,
) -> str:
    """The word of a new invite."""

    async def make(gateway: Gateway) -> str:
        async with gateway.database.transaction() as connection:
            _, word = await joining.invite(gateway, connection, group, uses, seconds, name, network)
            return word

    return with_gateway(GATEWAY_ETC / "gateway.yaml", make)


def succeeds(*arguments: str, typed: str = "") -> str:
    done = run_command(*arguments, typed=typed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def fails(*arguments: str) -> str:
    done = run_command(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    return done.stderr


def contents() -> dict[str, bytes]:
    """Everything in /etc/iampass."""
    return {str(file.relative_to(ETC)): file.read_bytes() for file in ETC.rglob("*") if file.is_file()}


def load() -> Settings:
    return settings.load(ETC / "iampass.yaml", readers=config_readers())


def status() -> tuple[str, str, str]:
    """Name, group and status of this host, as the gateway says to its own credential."""
    read = load()
    gateways = Gateways(read.gateways, read.gateway_ca)
    host = ManagementAPI(read.application_id, read.application_secret, transport=gateways).host()
    return host.name, host.group, host.status


def hosts_at(server: Postgres) -> list[str]:
    with psycopg.connect(server.conninfo("iampass")) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM host ORDER BY name").fetchall()]


def test_a_host_joins_and_its_settings_stay_as_they_are(server: Postgres) -> None:
    before = contents()
    shown = succeeds("join", URL, invited(), "--name", "web.example.com")
    assert "web.example.com, group default" in shown
    read = load()
    assert set(contents()) - set(before) == {"joined.yaml", "gateway-secret", "gateway-ca.pem"}
    assert {name: text for name, text in contents().items() if name in before} == before
    assert "the host web.example.com of a gateway" in join.JOINED.read_text()
    assert (read.gateways, read.service.timeout) == ((URL,), 45.0)
    assert re.fullmatch("h-[a-z2-7]{12}", read.application_id)
    assert status() == ("web.example.com", "default", "active")
    secret = join.SECRET_FILE.read_text()
    assert re.fullmatch("[A-Za-z0-9_-]{43}\n", secret)
    assert secret.strip() not in shown
    for file in (join.SECRET_FILE, join.JOINED):
        found = file.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 0, *config_readers())
    assert succeeds("check", "--settings")
    findings = json.loads(run_command("check", "--json").stdout)["findings"]
    (left,) = [each for each in findings if each["id"] == "gateway-secret-left"]
    assert "/etc/iampass/application-secret" in str(left)


def test_leave_takes_everything_back(server: Postgres) -> None:
    before = contents()
    succeeds("join", URL, invited(), "--name", "web")
    succeeds("leave")
    assert contents() == before
    assert hosts_at(server) == []
    assert "has not joined" in fails("leave")


def test_a_machine_that_was_never_configured_joins(server: Postgres) -> None:
    shutil.copy(ROOT / "config/iampass.yaml", ETC / "iampass.yaml")
    (ETC / "application-secret").unlink()
    before = contents()
    shown = succeeds("join", URL, "-", "--name", "web", typed=invited() + "\n")
    assert "setup sshd" in shown
    assert status()[0] == "web"
    succeeds("leave")
    assert contents() == before


def test_a_proxy_is_for_iampass_only(server: Postgres) -> None:
    write(ETC / "iampass.yaml", BEFORE + "proxy: http://proxy.example.com:3128\n")
    before = contents()
    succeeds("join", URL, invited(), "--name", "web")
    assert succeeds("check", "--settings")
    assert status()[0] == "web"
    succeeds("leave")
    assert contents() == before


@pytest.mark.parametrize("file", ["null", "/etc/iampass/other.yaml"])
def test_a_machine_whose_settings_name_another_file_does_not_join(server: Postgres, file: str) -> None:
    """It would ask as before, and the other file may be of a gateway, with the same secret."""
    write(join.SECRET_FILE, "of-the-other-one")
    write(ETC / "iampass.yaml", f"{BEFORE}joined_file: {file}\n")
    before = contents()
    try:
        assert "delete joined_file there" in fails("join", URL, invited(), "--name", "web")
        assert contents() == before
        assert hosts_at(server) == []
    finally:
        join.SECRET_FILE.unlink()


def _is_as(before: dict[str, bytes]) -> None:
    """Nothing has changed but what `join` keeps for the next time."""
    own = {join.SECRET_FILE.name, join.CA_FILE.name}
    now = contents()
    for name in {*before, *now} - own:
        assert now.get(name) == before.get(name), name


def test_an_invite_that_was_used_up_or_revoked_is_refused(server: Postgres) -> None:
    word = invited()
    succeeds("join", URL, word, "--name", "web")
    succeeds("leave")
    before = contents()
    assert "INVITE_USED" in fails("join", URL, word, "--name", "web")
    revoked = invited()
    run_gateway("host", "revoke", revoked)
    assert "host invite" in fails("join", URL, revoked, "--name", "web")
    id, _, fingerprint = word.split(".")
    assert "host invite" in fails("join", URL, f"{id}.{'x' * 43}.{fingerprint}", "--name", "web")
    _is_as(before)


def test_joining_twice_is_refused(server: Postgres) -> None:
    succeeds("join", URL, invited(), "--name", "web")
    before = contents()
    assert "has joined a gateway already" in fails("join", URL, invited(), "--name", "web2")
    assert contents() == before


def test_another_gateway_is_not_trusted(server: Postgres, tmp_path: Path) -> None:
    before = contents()
    id, secret, _ = invited().split(".")
    other = trustme.CA()
    shown = fails("join", URL, f"{id}.{secret}.{'A' * 43}", "--name", "web")
    assert "another certificate authority" in shown
    # An attacker in between who shows the right certificate of the CA, which is public, but has no certificate from it.
    asked: list[bytes] = []
    genuine = json.dumps({"certificate": Path("/etc/iampass-gateway/ca.pem").read_text()}).encode()
    with _impostor(other, genuine, asked) as port:
        fingerprint = invited().rpartition(".")[2]
        shown = fails("join", f"https://localhost:{port}", f"{id}.{secret}.{fingerprint}", "--name", "web")
    assert "certificate" in shown
    assert len(asked) == 1
    assert secret.encode() not in b"".join(asked)
    _is_as(before)
    assert hosts_at(server) == []


class _impostor:
    """A server with a certificate of another CA, which answers each request with a certificate."""

    def __init__(self, authority: trustme.CA, answer: bytes, asked: list[bytes]) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n"
        self._answer = head.encode() + answer
        self._asked = asked
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        port: int = self._listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as secured:
                    self._asked.append(secured.recv(65536))
                    self._send(secured)
            except OSError:
                continue

    def _send(self, secured: ssl.SSLSocket) -> None:
        secured.sendall(self._answer)


class _drip(_impostor):
    """One that answers byte by byte."""

    def _send(self, secured: ssl.SSLSocket) -> None:
        for byte in self._answer:
            secured.sendall(bytes([byte]))
            time.sleep(0.1)


def test_a_server_that_answers_byte_by_byte_is_not_waited_for() -> None:
    with (
        _drip(trustme.CA(), b"x" * 200, []) as port,
        pytest.raises(Unavailable, match="did not respond in time"),
    ):
        join._authority(Origin.of(f"https://localhost:{port}"), "", seconds=1.0)


def test_a_machine_joins_under_a_name_that_its_root_has_given_it(server: Postgres) -> None:
    host, names = socket.gethostname(), Path("/etc/hosts")
    before = names.read_text()
    names.write_text(f"127.0.1.1 another.example.com {host}\n{before}")  # as a name service may answer
    try:
        assert socket.getfqdn() == "another.example.com"
        succeeds("join", URL, invited())
        assert status()[0] == host.lower()
    finally:
        names.write_text(before)


@pytest.mark.parametrize("answer", [b"hello", b""])
def test_what_is_no_gateway_is_refused(server: Postgres, answer: bytes) -> None:
    before = contents()
    with _impostor(trustme.CA(), answer, []) as port:
        assert "is no gateway" in fails("join", f"https://localhost:{port}", invited(), "--name", "web")
    assert contents() == before


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://localhost:1", "connecting to localhost:1"),
        ("https://no-such-host.example.com:8443", "looking up no-such-host.example.com"),
        ("https://127.0.0.1:8443", "no gateway of this name"),
        ("http://localhost:8443", "is not an https URL"),
        ("https://localhost:8443/iampass", "has a path"),
    ],
)
def test_an_address_that_leads_to_no_gateway_is_refused(server: Postgres, url: str, says: str) -> None:
    before = contents()
    assert says in fails("join", url, invited(), "--name", "web")
    assert contents() == before


@pytest.mark.parametrize("word", ["", "i-aaaaaaaaaaaa", "x.y.z"])
def test_what_is_no_invite_is_refused(server: Postgres, word: str) -> None:
    assert "this is not an invite" in fails("join", URL, word, "--name", "web")


def test_settings_with_errors_are_named_before_the_invite_is_used(server: Postgres) -> None:
    write(ETC / "iampass.yaml", BEFORE.replace("45s", "never"))
    before, word = contents(), invited()
    assert "is not a duration" in fails("join", URL, word, "--name", "web")
    assert contents() == before
    assert hosts_at(server) == []
    write(ETC / "iampass.yaml", BEFORE)
    succeeds("join", URL, word, "--name", "web")


def test_a_machine_that_uses_a_sandbox_does_not_join(server: Postgres) -> None:
    sandbox_use.ASIDE.write_text("")
    try:
        assert "sandbox leave" in fails("join", URL, invited(), "--name", "web")
    finally:
        sandbox_use.ASIDE.unlink()


def test_a_machine_leaves_while_it_uses_a_sandbox_which_it_goes_on_to_ask(server: Postgres) -> None:
    before = contents()
    succeeds("join", URL, invited(), "--name", "web")
    certificate = trustme.CA().cert_pem.bytes().decode()
    access = sandbox_use.SandboxAccess("root", "sandbox", "https://127.0.0.1:9", "s3cret", certificate, ())
    sandbox_use.use(access, force=True)
    try:
        succeeds("leave")
        assert (load().application_id, load().gateways) == ("sandbox", ())
        assert hosts_at(server) == []
    finally:
        sandbox_use.leave(force=True)
    assert contents() == before
    assert _works() == "IAMPASS"


def test_only_root_joins_and_leaves(server: Postgres) -> None:
    as_daemon = ["runuser", "-u", "daemon", "--", COMMAND]
    for arguments in (["join", URL, "x"], ["leave"]):
        done = subprocess.run([*as_daemon, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, "run it as root" in done.stderr) == (1, True)


# What a crash leaves behind


class Crash(BaseException):
    """The process ends."""


def _crashes(number: int, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Does the work, and has the change of a file with this number crash, before it or, for an odd one, after it.
    Whether there was such a change."""
    changed: list[Path] = []

    def crashing(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(path: Path, *arguments: Any, **options: Any) -> Any:
            if len(changed) == number // 2 and number % 2 == 0:
                raise Crash
            real(path, *arguments, **options)
            changed.append(path)
            if len(changed) == number // 2 + 1 and number % 2:
                raise Crash

        return change

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", crashing(files.write))
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, crashing(getattr(Path, name)))
        try:
            work()
        except Crash:
            return True
    return False


def _works() -> str:
    """Whom the machine asks: its credential there is right."""
    read = load()
    if read.gateways:
        assert status()[0] == "web"
        return "gateway"
    assert (read.application_id, read.application_secret) == ("demo", "s3cret")
    return "IAMPASS"


def test_wherever_joining_ends_the_machine_works_and_can_go_on(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents()
    seen = []
    word = invited(uses=100)
    for number in range(40):
        crashed = _crashes(number, lambda: join.join(URL, word, "web"), monkeypatch)
        seen.append(_works())
        if crashed and not join.JOINED.exists():
            join.join(URL, word, "web")
        assert _works() == "gateway"
        assert hosts_at(server) == ["web"]
        join.leave(force=False)
        assert contents() == before
        if not crashed:
            break
    assert seen[0] == "IAMPASS"
    assert seen == sorted(seen, key="IAMPASS gateway".index)  # one change from one to the other
    assert 6 <= len(seen) < 40


def test_wherever_leaving_ends_the_machine_works_and_can_go_on(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents()
    seen = []
    word = invited(uses=100)
    for number in range(20):
        join.join(URL, word, "web")
        crashed = _crashes(number, lambda: join.leave(force=False), monkeypatch)
        seen.append(_works())
        if crashed and (join.JOINED.exists() or join.LEAVING.exists()):
            join.leave(force=False)
        assert contents() == before
        assert hosts_at(server) == []
        if not crashed:
            break
    assert (seen[0], seen[-1]) == ("gateway", "IAMPASS")
    assert seen == sorted(seen, key="gateway IAMPASS".index)
    assert 5 < len(seen) < 20


def test_a_leave_whose_answer_was_lost_is_repeated(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents()
    join.join(URL, invited(), "web")
    real = Gateways.call

    def lost(gateways: Gateways, call: Any, *arguments: Any, **options: Any) -> Any:
        answer = real(gateways, call, *arguments, **options)
        if call.name == "leave":
            raise Unavailable("lost", may_have_started=True)
        return answer

    def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("away", may_have_started=False)

    for call in (lost, away):  # and the gateway may have forgotten this host since the first one
        with monkeypatch.context() as patch:
            patch.setattr(Gateways, "call", call)
            with pytest.raises(SetupError, match="was not told"):
                join.leave(force=False)
        assert _works() == "IAMPASS"
    join.leave(force=False)
    assert contents() == before


def test_a_join_whose_answer_was_lost_is_repeated(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    word = invited()
    before = contents()
    with monkeypatch.context() as patch:

        def crash(*_: object, **__: object) -> None:
            raise Crash

        patch.setattr(ManagementAPI, "host", crash)
        with pytest.raises(Crash):
            join.join(URL, word, "web")
    _is_as(before)
    assert hosts_at(server) == ["web"]
    succeeds("join", URL, word, "--name", "web")
    assert hosts_at(server) == ["web"]


def test_a_secret_that_another_gateway_may_have_is_not_used(server: Postgres) -> None:
    write(join.SECRET_FILE, "x" * 43 + "\n")
    write(join.CA_FILE, trustme.CA().cert_pem.bytes().decode())
    succeeds("join", URL, invited(), "--name", "web")
    assert "x" * 43 not in join.SECRET_FILE.read_text()
    assert status()[0] == "web"


# Leaving when something is wrong


def test_a_host_does_not_leave_unless_the_gateway_was_told_or_by_force(server: Postgres) -> None:
    before = contents()
    succeeds("join", URL, invited(), "--name", "web")
    write(join.JOINED, join.JOINED.read_text().replace(URL, "https://localhost:1"))
    now = contents()
    shown = fails("leave")
    assert "the gateway https://localhost:1 was not told" in shown
    assert "host remove" in shown
    _is_as(now)
    assert "host remove" in succeeds("leave", "--force")
    assert load().application_id == "demo"
    assert set(contents()) == set(before)
    assert hosts_at(server) == ["web"]


def test_a_host_whose_settings_are_wrong_leaves_only_by_force(server: Postgres) -> None:
    succeeds("join", URL, invited(), "--name", "web")
    write(ETC / "iampass.yaml", BEFORE.replace("45s", "never"))
    now = contents()
    assert "is not a duration" in fails("leave")
    assert contents() == now
    shown = succeeds("leave", "--force")
    assert "may still list this host" in shown
    assert "host remove" in shown
    assert not join.JOINED.exists()
    assert hosts_at(server) == ["web"]


def test_a_host_that_was_removed_at_the_gateway_leaves(server: Postgres) -> None:
    before = contents()
    succeeds("join", URL, invited(), "--name", "web")
    run_gateway("host", "remove", "web", "--yes")
    assert "host remove" not in succeeds("leave")
    assert contents() == before


def test_a_host_whose_services_would_deny_everybody_does_not_leave(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    join.join(URL, invited(), "web")
    (ETC / "application-secret").unlink()
    monkeypatch.setattr(ManifestStore, "load", lambda _self: SimpleNamespace(services={"sshd": None}))
    with pytest.raises(SetupRefused, match="would deny every login"):
        join.leave(force=False)
    assert hosts_at(server) == ["web"]
    assert _works() == "gateway"
    join.leave(force=True)
    assert sandbox_use.services_denied_by(join.SETTINGS) == ("sshd",)
    assert hosts_at(server) == []


# Several gateways

OTHER_URL = "https://localhost:9443"


@contextlib.contextmanager
def another_gateway() -> Iterator[None]:
    """A second gateway of the fleet, whose settings name both."""
    file = GATEWAY_ETC / "gateway.yaml"
    before = file.read_text()
    others = f"listen: 127.0.0.1:9443\nmonitoring: null\ngateways: [{URL}, {OTHER_URL}]\n"
    kept = [line for line in before.splitlines() if not line.startswith(("listen:", "monitoring:"))]
    file.write_text("\n".join(kept) + f"\n{others}")
    try:
        with serving():
            yield
    finally:
        file.write_text(before)


def problems() -> dict[str, str]:
    """What check finds about the gateways of this host, by its id."""
    found = json.loads(run_command("check", "--json").stdout)["findings"]
    return {each["id"]: each["title"] for each in found if each["id"] in ("gateway-away", "gateways-differ")}


def test_a_host_knows_all_gateways_from_the_one_that_it_joins(server: Postgres) -> None:
    with another_gateway():
        succeeds("join", OTHER_URL, invited())
        read = load()
        in_order = joining.gateways_for(
            read.application_id, gateway_settings.load(GATEWAY_ETC / "gateway.yaml")
        )
        assert list(read.gateways) == in_order
        assert sorted(read.gateways) == [URL, OTHER_URL]
        assert problems() == {}
    assert list(problems()) == ["gateway-away"]
    assert status()[2] == "active"


def test_a_host_learns_of_another_gateway_when_it_is_told_to(server: Postgres) -> None:
    succeeds("join", URL, invited())
    assert load().gateways == (URL,)
    assert succeeds("join", "--update") == f"Nothing has changed: the gateways of this machine are {URL}.\n"
    with another_gateway():
        join.JOINED.write_text(join.JOINED.read_text().replace(URL, OTHER_URL))
        assert list(problems()) == ["gateways-differ"]
        before = load()
        assert succeeds("join", "--update").startswith("Changed: ")
        assert succeeds("join", "--update").startswith("Nothing has changed: ")
        assert sorted(load().gateways) == [URL, OTHER_URL]
        assert load().application_id == before.application_id
        assert problems() == {}
        found = join.JOINED.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 0, *config_readers())
    with psycopg.connect(server.conninfo("iampass")) as connection:
        connection.execute("DELETE FROM host")
    before_text = join.JOINED.read_text()
    assert "gateway" in fails("join", "--update")
    assert join.JOINED.read_text() == before_text


def test_only_a_host_that_has_joined_can_be_told_to(server: Postgres) -> None:
    assert "has not joined" in fails("join", "--update")
    for words in ((), (URL,), (URL, "--update"), (URL, "i-", "--update")):
        done = run_command("join", *words)
        assert done.returncode == 2
        assert "--update alone" in done.stderr


def test_hosts_are_spread_over_the_gateways_and_stay_where_they_are_if_one_is_added(
    gateway: Postgres,
) -> None:
    read = gateway_settings.load(GATEWAY_ETC / "gateway.yaml")
    two = replace(read, gateways=("https://a", "https://b"))
    three = replace(read, gateways=("https://a", "https://b", "https://c"))
    hosts = [f"h-{number}" for number in range(300)]
    firsts = [joining.gateways_for(host, two)[0] for host in hosts]
    assert 100 < firsts.count("https://a") < 200
    for host, first in zip(hosts, firsts):
        assert joining.gateways_for(host, three)[0] in (first, "https://c")
