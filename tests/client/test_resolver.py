"""Which name the system is asked for: an absolute one, unless only a relative one can be found."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.client import Unavailable
from pam_iampass.client.connection import absolute_name
from tests.client.connect_proxy import connect_proxy
from tests.client.talk import USER, api_to, seconds
from tests.support.scripted_server import scripted_server

HOSTS = """\
127.0.0.1 localhost
192.0.2.1\tiampass.internal.example  IAMPASS.example # other.example
#192.0.2.2 commented.example
fd00::1 six.internal.example
"""


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("iam-api.com", "iam-api.com."),
        ("localhost", "localhost"),
        ("iampass", "iampass"),
        ("iampass.internal.example", "iampass.internal.example"),
        ("iampass.example", "iampass.example"),
        ("six.internal.example", "six.internal.example"),
        ("internal.example", "internal.example."),
        ("192.0.2.1", "192.0.2.1"),
        ("fd00::1", "fd00::1"),
    ],
)
def test_a_name_is_absolute_unless_only_a_relative_one_can_be_found(
    tmp_path: Path, host: str, name: str
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    assert absolute_name(host, str(hosts)) == name


def test_a_hosts_file_that_is_missing_or_binary_lists_nothing(tmp_path: Path) -> None:
    assert absolute_name("iam-api.com", str(tmp_path / "missing")) == "iam-api.com."
    (tmp_path / "hosts").write_bytes(b"127.0.0.1 \xff\xfe iam-api.com.\x00\n")
    assert absolute_name("iam-api.com", str(tmp_path / "hosts")) == "iam-api.com."


def asked_for(names: list[str]) -> Any:
    def resolve(host: str, port: int, **options: Any) -> list[Any]:
        names.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    return resolve


def test_a_proxys_name_is_absolute_too_and_the_proxy_is_asked_for_the_plain_name() -> None:
    names: list[str] = []
    with scripted_server() as server, connect_proxy(answer=b"HTTP/1.1 502 Bad Gateway\r\n\r\n") as proxy:
        port = proxy.url.rpartition(":")[2]
        options = {"proxy": f"http://proxy.example:{port}", "url": "https://iampass.example"}
        with api_to(server, **options, resolve=asked_for(names)) as api, pytest.raises(Unavailable):
            api.authenticate_user(USER, deadline=seconds(20.0), attempts=1)
        (head,) = proxy.heads
        assert head.startswith("CONNECT iampass.example:443 HTTP/1.1\r\n")
        assert "\r\nHost: iampass.example:443\r\n" in head
    assert names == ["proxy.example."]
