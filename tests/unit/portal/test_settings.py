"""The settings of the portal: what is taken, and errors that name file, line and key."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("jinja2")
import trustme
from click.testing import CliRunner

from pam_iampass.errors import ConfigurationError
from pam_iampass.portal import cli
from pam_iampass.portal.settings import PortalSettings, load

ORIGIN = "https://iampass.example.com"


@pytest.fixture
def folder(trusted_folder: Path) -> Path:
    """Has a certificate with its key, and the key of another one."""
    for name, leaf in (
        ("", trustme.CA().issue_cert("iampass.example.com")),
        ("other-", trustme.CA().issue_cert("x")),
    ):
        leaf.private_key_pem.write_to_path(str(trusted_folder / f"{name}key.pem"))
        leaf.cert_chain_pems[0].write_to_path(str(trusted_folder / f"{name}certificate.pem"))
    return trusted_folder


def written(folder: Path, text: str) -> Path:
    file = folder / "portal.yaml"
    file.write_text(text)
    return file


def files(folder: Path, key: str = "key.pem") -> str:
    return f"certificate_file: {folder}/certificate.pem\ncertificate_key_file: {folder}/{key}\n"


def read(folder: Path, text: str) -> PortalSettings:
    return load(written(folder, text), owner=os.geteuid())


def test_all_of_it(folder: Path) -> None:
    text = f'origin: {ORIGIN}\nlisten: "[::]:443"\n{files(folder)}'
    settings = read(folder, text)
    assert (settings.origin, settings.listen, settings.proxies) == (ORIGIN, ("::", 443), ())
    context = settings.context()
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_behind_a_proxy_and_on_this_machine_only_no_certificate_is_needed(folder: Path) -> None:
    behind = read(folder, f"origin: {ORIGIN}\nproxy: [127.0.0.1, '2001:db8::/32']\n")
    assert ([str(each) for each in behind.proxies], behind.context()) == (
        ["127.0.0.1/32", "2001:db8::/32"],
        None,
    )
    assert read(folder, "origin: http://localhost:8080\n").context() is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        ("origins: x\n", ":1: origins: is not a known key"),
        ("listen: 0.0.0.0:443\n", "origin: origin is not set"),
        (f"origin: {ORIGIN}/\n", ":1: origin: "),
        ("origin: http://iampass.example.com\n", ":1: origin: "),
        (f"origin: {ORIGIN}\norigin: {ORIGIN}\n", ":2: origin: the key is duplicate"),
        (f"origin: {ORIGIN}\nproxy: 127.0.0.1\n", ":2: proxy: is a text, not a list"),
        (f"origin: {ORIGIN}\nproxy: [proxy.example.com]\n", ":2: proxy: "),
        (f"origin: {ORIGIN}\ncertificate_file: /nonexistent/c.pem\n", ":2: certificate_file: "),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text)
    assert f"portal.yaml{problem}" in str(caught.value) or f"portal.yaml: {problem}" in str(caught.value)


def test_the_key_of_another_certificate(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="KEY_VALUES_MISMATCH"):
        read(folder, f"origin: {ORIGIN}\n{files(folder, 'other-key.pem')}")


def test_what_systemd_passes_to_the_service_comes_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = folder / "credentials"
    passed.mkdir()
    for name in ("certificate.pem", "key.pem"):
        (folder / name).rename(passed / name)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(passed))
    assert read(folder, f"origin: {ORIGIN}\n{files(folder)}").context() is not None


def test_without_a_socket_and_an_address_nothing_is_served(folder: Path) -> None:
    file = written(folder, "origin: http://localhost:8080\n")
    done = CliRunner().invoke(cli.group, ["serve", "--config", str(file)])
    assert done.exit_code != 0
    assert "there is no socket from systemd" in done.output


def test_check_says_where_the_portal_is(folder: Path) -> None:
    file = written(folder, f"origin: {ORIGIN}\n{files(folder)}")
    assert ORIGIN in CliRunner().invoke(cli.group, ["check", "--config", str(file)]).output
