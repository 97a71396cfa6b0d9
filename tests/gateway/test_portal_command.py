"""`pam-iampass-gateway portal`: what it writes, what it refuses before it writes anything, and what `check` finds."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme

from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.base.places import PORTAL_CERTIFICATE, PORTAL_FOLDER, PORTAL_KEY, PORTAL_SOCKET
from pam_iampass.gateway.base.settings import PortalSettings
from pam_iampass.gateway.check import examination
from pam_iampass.gateway.cli import portal
from pam_iampass.gateway.cli.certificate import UNIT
from pam_iampass.setup import files as setup_files
from tests.support.command import PACKAGES
from tests.support.gateway_command import GatewayCommand

ORIGIN = "https://iampass.example.com"
NAME = "iampass.example.com"
PROGRAM = Path("/usr/bin/pam-iampass-portal")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A CA that this system trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "trusted.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    return made


@pytest.fixture
def machine() -> Iterator[None]:
    """A machine on which the portal is installed, and not set up. systemd does not run."""
    door = (ROOT / "doors/pam-iampass.in").read_text()
    door = door.replace('append("@PACKAGES@")', f"extend({[str(ROOT), PACKAGES]})")
    PROGRAM.write_text(door.replace("_iampass.cli", "_iampass.portal.cli"))
    PROGRAM.chmod(0o755)
    yield
    PROGRAM.unlink()
    shutil.rmtree(PORTAL_FOLDER, ignore_errors=True)
    shutil.rmtree(portal.ADDRESS.parent, ignore_errors=True)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    """The folder of certificate and key, which only root can change; /tmp is none."""
    folder = Path("/etc/ssl", tmp_path.name)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def given(ca: trustme.CA, machine: None, files: Path) -> list[str]:
    """The command, with the certificate and the key of the portal."""
    served = ca.issue_cert(NAME)
    certificate, key = files / "portal.pem", files / "portal.key"
    certificate.write_bytes(b"".join(each.bytes() for each in served.cert_chain_pems))
    key.write_bytes(served.private_key_pem.bytes())
    key.chmod(0o600)
    return ["portal", "setup", "--origin", ORIGIN, "--certificate", str(certificate), "--key", str(key)]


@pytest.mark.parametrize(
    "more",
    ["", "# portal:\n#   # The address.\n#   origin: null\n\n# operators:\n", "records: {keep: 90d}  # ours"],
)
def test_it_adds_the_origin_and_leaves_everything_else_in_the_settings_as_it_is(
    gateway_command: GatewayCommand, given: list[str], more: str
) -> None:
    gateway_command.configure(more)
    before = gateway_command.config.read_text()
    said = gateway_command.said(*given, status=1)
    assert "systemd does not run here" in said
    lines, had = (text.splitlines() for text in (gateway_command.config.read_text(), before))
    assert f"portal: {{origin: {ORIGIN}}}" in lines
    assert [each for each in lines if not each.startswith("portal: ")] == had
    found = gateway_settings.load(gateway_command.config)
    assert found.portal == PortalSettings(ORIGIN)
    again = gateway_command.config.read_bytes()
    assert "there" in gateway_command.said(*given, status=1)
    assert gateway_command.config.read_bytes() == again


def test_settings_to_which_it_cannot_be_added_are_left_alone(
    gateway_command: GatewayCommand, given: list[str]
) -> None:
    gateway_command.configure("portal: {origin: null}\n")
    before = gateway_command.config.read_bytes()
    assert f"add this line: portal: {{origin: {ORIGIN}}}" in gateway_command.said(*given, status=1)
    gateway_command.configure("portal: {origin: https://other.example.com}\n")
    assert "has another origin: https://other.example.com" in gateway_command.said(*given, status=1)
    gateway_command.configure("portal: {origin: null}\n")
    assert gateway_command.config.read_bytes() == before
    assert sorted(file.name for file in gateway_command.folder.iterdir() if file.name.startswith(".")) == []
    assert not PORTAL_FOLDER.exists()


def test_what_it_writes_for_the_portal_leads_to_certificate_and_key_where_they_are(
    gateway_command: GatewayCommand, given: list[str], files: Path
) -> None:
    gateway_command.said(*given, "--listen", "192.0.2.1:9443", status=1)
    assert sorted(file.name for file in PORTAL_FOLDER.iterdir()) == [
        "certificate-key.pem",
        "certificate.pem",
        "portal.yaml",
    ]
    assert PORTAL_CERTIFICATE.readlink() == files / "portal.pem"
    assert PORTAL_KEY.readlink() == files / "portal.key"
    assert "ListenStream=\nListenStream=192.0.2.1:9443\n" in portal.ADDRESS.read_text()
    gateway_command.said(*given, status=1)
    assert not portal.ADDRESS.exists()
    gateway_command.said("portal", "setup", "--origin", ORIGIN, "--proxy", "192.0.2.7", status=1)
    assert [file.name for file in PORTAL_FOLDER.iterdir()] == ["portal.yaml"]
    assert f"ListenStream={portal.BEHIND_PROXY}\n" in portal.ADDRESS.read_text()


@pytest.fixture
def systemctl(tmp_path: Path) -> Iterator[Path]:
    """Takes the place of systemctl, and writes down each line of words; the file of the one that fails."""
    fails, program = tmp_path / "fails", Path("/usr/sbin/systemctl")
    fails.touch()
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/called\n'
        f'[ "$*" != "$(cat {fails})" ] || {{ echo \'Job failed.\' >&2; exit 1; }}\n'
    )
    program.chmod(0o755)
    setup_files.SYSTEMD.mkdir(parents=True)
    yield fails
    setup_files.SYSTEMD.rmdir()
    program.unlink()


@pytest.mark.parametrize(
    "failing", [f"restart {UNIT}", f"enable --now {portal.ACTS_SOCKET}", f"restart {PORTAL_SOCKET}"]
)
def test_if_a_service_did_not_start_it_can_be_repeated_until_all_have(
    gateway_command: GatewayCommand, given: list[str], systemctl: Path, failing: str
) -> None:
    called = systemctl.with_name("called")
    systemctl.write_text(failing)
    assert f"systemctl {failing}: Job failed." in gateway_command.said(*given, status=1)
    assert called.read_text().splitlines()[-1] == failing
    systemctl.write_text("")
    called.unlink()
    assert "The portal does not answer" in gateway_command.said(*given, status=1), "nothing serves it here"
    assert [line for line in called.read_text().splitlines() if not line.startswith("show ")] == [
        "daemon-reload",
        f"restart {UNIT}",
        f"enable --now {portal.ACTS_SOCKET}",
        f"enable {PORTAL_SOCKET}",
        "stop pam-iampass-portal.service",
        f"restart {PORTAL_SOCKET}",
        "start pam-iampass-portal.service",
    ]


def test_nothing_is_written_for_a_certificate_that_browsers_would_not_trust(
    gateway_command: GatewayCommand, given: list[str], files: Path
) -> None:
    before = gateway_command.config.read_bytes()
    (files / "portal.key").chmod(0o644)
    said = gateway_command.said(*given, status=1)
    assert "is a key that others can read" in said
    assert "chmod o= " in said
    (files / "portal.key").chmod(0o600)
    other = [*given[:3], "https://other.example.com", *given[4:]]
    assert "Hostname mismatch" in gateway_command.said(*other, status=1)
    (files / "portal.key").write_bytes(trustme.CA().issue_cert(NAME).private_key_pem.bytes())
    assert "has another key" in gateway_command.said(*given, status=1)
    assert "Give --certificate and --key" in gateway_command.said(*given[:4], status=2)
    assert "only if the portal itself" in gateway_command.said(*given, "--proxy", "192.0.2.7", status=2)
    PROGRAM.unlink()
    assert "install the package pam-iampass-portal" in gateway_command.said(*given, status=1)
    PROGRAM.touch()
    assert gateway_command.config.read_bytes() == before
    assert not PORTAL_FOLDER.exists()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("folder", "users other than root can write"),
        ("file", "not to root"),
        ("link", "users other than root can write"),
        ("fifo", "is a named pipe"),
    ],
    ids=["folder", "file", "link", "fifo"],
)
def test_nothing_is_written_for_a_key_that_others_can_exchange(
    gateway_command: GatewayCommand, given: list[str], files: Path, what: str, says: str
) -> None:
    """systemd reads it as root and passes it to the portal: a link there would pass on any file of root."""
    before, key = gateway_command.config.read_bytes(), files / "portal.key"
    if what == "folder":
        files.chmod(0o777)
    elif what == "file":
        os.chown(key, 65534, -1)
    elif what == "link":
        (files / "renewed").mkdir()
        (files / "renewed").chmod(0o777)
        (files / "renewed/portal.key").symlink_to(key.rename(files / "first.key"))
        key.symlink_to("renewed/portal.key")
    else:
        key.unlink()
        os.mkfifo(key)
    assert says in gateway_command.said(*given, status=1)
    assert gateway_command.config.read_bytes() == before
    assert not PORTAL_FOLDER.exists()


def test_files_of_root_may_be_reached_by_links(
    gateway_command: GatewayCommand, given: list[str], files: Path
) -> None:
    """certbot renews a certificate by another link."""
    (files / "archive").mkdir()
    for name in ("portal.pem", "portal.key"):
        (files / name).rename(files / "archive" / name)
        (files / name).symlink_to(f"../{files.name}/archive/{name}")
    assert "systemd does not run here" in gateway_command.said(*given, status=1)


def test_a_proxy_without_an_address_changes_nothing(
    gateway_command: GatewayCommand, given: list[str]
) -> None:
    gateway_command.said(*given, status=1)
    before = portal.SETTINGS.read_bytes()
    said = gateway_command.said(
        "portal", "setup", "--origin", ORIGIN, "--proxy", "proxy.example.com", status=2
    )
    assert "'proxy.example.com' is not a network" in said
    assert PORTAL_CERTIFICATE.is_symlink()
    assert portal.SETTINGS.read_bytes() == before


def test_only_a_person_whom_the_settings_make_an_admin_is_linked(
    gateway_command: GatewayCommand, given: list[str]
) -> None:
    gateway_command.configure("operators: {admin: [it], auditor: [sec]}\n")
    before = gateway_command.config.read_bytes()
    assert '"zoe" is not known here' in gateway_command.said(*given, "--admin", "zoe", status=1)
    gateway_command.said("user", "add", "zoe", "--group", "sec")
    said = gateway_command.said(*given, "--admin", "zoe", status=1)
    assert '"zoe" has no group of `operators.admin` in gateway.yaml (has: sec)' in said
    assert gateway_command.config.read_bytes() == before
    gateway_command.said("user", "add", "zoe", "--group", "it", "--replace")
    assert "systemd does not run here" in gateway_command.said(*given, "--admin", "zoe", status=1)


def test_status_says_where_it_is_not_set_up(gateway_command: GatewayCommand, machine: None) -> None:
    said = gateway_command.said("portal", "status", status=1)
    assert "`portal` is not in gateway.yaml: set it up with pam-iampass-gateway portal setup" in said
    gateway_command.configure(f"portal: {{origin: {ORIGIN}}}\n")
    said = gateway_command.said("portal", "status", status=1)
    assert "/etc/iampass-portal/portal.yaml does not exist" in said


# What check and status find


def test_a_named_pipe_in_place_of_the_certificate_holds_nobody_up(
    gateway_command: GatewayCommand, given: list[str], files: Path
) -> None:
    gateway_command.said(*given, status=1)
    (files / "portal.pem").unlink()
    os.mkfifo(files / "portal.pem")
    said = gateway_command.said("portal", "status", status=1)
    assert "The portal's certificate and key cannot be used: is a named pipe" in said
    assert "did not end within" not in said


def _files(files: Path, name: str = NAME) -> list[tuple[str, str]]:
    found = examination.portal_files(
        PortalSettings(f"https://{name}"), files / "portal.pem", files / "portal.key"
    )
    return [(each.kind, each.what) for each in found]


def test_check_finds_files_that_others_can_exchange_or_that_browsers_will_not_trust(
    given: list[str], ca: trustme.CA, files: Path
) -> None:
    assert _files(files) == []
    [(kind, title)] = _files(files, "other.example.com")
    assert (kind, "Hostname mismatch" in title) == ("portal-certificate", True), title
    soon = ca.issue_cert(NAME, not_after=datetime.now(timezone.utc) + timedelta(days=10))
    (files / "portal.pem").write_bytes(b"".join(each.bytes() for each in soon.cert_chain_pems))
    (files / "portal.key").write_bytes(soon.private_key_pem.bytes())
    assert [kind for kind, _ in _files(files)] == ["portal-certificate-expires"]
    files.chmod(0o777)
    [(kind, title)] = _files(files)
    assert (kind, "users other than root can write" in title) == ("portal-files", True), title
    files.chmod(0o755)
    (files / "portal.key").unlink()
    (files / "portal.key").symlink_to("portal.key")
    [(kind, title)] = _files(files)
    assert (kind, "is a symbolic link" in title) == ("portal-files", True), title


@contextlib.contextmanager
def _answering(
    served: trustme.LeafCert | None, reply: bytes = b"HTTP/1.1 404 Not Found\r\n\r\n"
) -> Iterator[int]:
    """A server with a certificate that answers connections one after the other; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if served is not None:
        served.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with contextlib.suppress(OSError), connection:
                        if served is not None:
                            connection = context.wrap_socket(connection, server_side=True)
                        with connection:
                            connection.recv(4096)
                            connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _found(port: int, *, encrypted: bool = True) -> list[tuple[str, str]]:
    answers = examination.portal_answers(PortalSettings(ORIGIN), "127.0.0.1", port, encrypted=encrypted)
    return [(each.kind, each.what) for each in answers]


def test_check_finds_a_portal_that_does_not_answer(ca: trustme.CA) -> None:
    served = ca.issue_cert(NAME)
    with _answering(served) as port:
        assert _found(port) == []
    assert _found(port) == [("portal-down", "The portal does not answer: Connection refused")]
    with _answering(served, b"") as port:
        assert _found(port) == [("portal-down", "The portal does not answer: it closes the connection")]
    with _answering(None) as port:
        assert _found(port, encrypted=False) == []


def test_check_finds_a_certificate_that_browsers_do_not_trust_or_soon_not(ca: trustme.CA) -> None:
    now = datetime.now(timezone.utc)
    with _answering(ca.issue_cert(NAME, not_after=now + timedelta(days=10))) as port:
        assert [kind for kind, _ in _found(port)] == ["portal-certificate-expires"]
    for served, what in (
        (trustme.CA().issue_cert(NAME), "unable to get local issuer certificate"),
        (ca.issue_cert("example.com"), "Hostname mismatch"),
        (ca.issue_cert(NAME, not_after=now - timedelta(days=1)), "certificate has expired"),
    ):
        with _answering(served) as port:
            [(kind, title)] = _found(port)
            assert (kind, what in title) == ("portal-certificate", True), title
