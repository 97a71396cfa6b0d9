"""Only a trusted, matching, valid certificate over TLS 1.2 or newer will do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from pam_iampass.client import AuthenticationAPI, TLSFailure, Unavailable
from pam_iampass.client.connection import Network, system_certificates, tls_context
from tests.client.talk import CONFIDENTIAL, USER, api_to, make_transport, polled, seconds, session_on
from tests.support.deadline import PATIENCE
from tests.support.in_time import BUSY
from tests.support.scripted_server import (
    ACCEPT,
    ANSWER,
    HANDSHAKE,
    REQUEST,
    authority,
    garble,
    scripted_server,
)


@pytest.mark.parametrize("kind", ["wrong_name", "expired", "untrusted"])
def test_a_bad_certificate_is_refused_before_anything_is_sent(kind: str) -> None:
    with scripted_server(certificate=kind) as server, api_to(server) as api:
        with pytest.raises(TLSFailure, match="certificate") as caught:
            api.authenticate_user(USER, deadline=seconds(20.0))
        assert caught.value.may_have_started is False
        assert (len(server.requests), server.connections) == (0, 1)
        assert not any(secret in caught.value.diagnostics() for secret in CONFIDENTIAL)


def test_an_old_protocol_version_is_refused() -> None:
    with scripted_server(tls_1_0=True) as server, api_to(server) as api:
        with pytest.raises(TLSFailure, match=r"TLS 1\.2") as caught:
            api.authenticate_user(USER, deadline=seconds(20.0))
        assert caught.value.may_have_started is False
        assert server.requests == []


def test_the_systems_certificates_do_not_vouch_for_the_tests_authority() -> None:
    with scripted_server() as server, api_to(server, ca_file=None) as api:
        with pytest.raises(TLSFailure, match="certificate"):
            api.authenticate_user(USER, deadline=seconds(20.0))
        assert server.requests == []


def test_only_ca_file_is_trusted_where_it_is_given() -> None:
    context = tls_context(authority().ca_file)
    assert [
        dict(cast(Any, pair[0]) for pair in ca["subject"])["organizationName"][:7]
        for ca in context.get_ca_certs()
    ] == ["trustme"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_the_system_trusts_what_its_openssl_was_built_to_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    before = system_certificates()
    assert before
    monkeypatch.setenv("SSL_CERT_FILE", str(authority().ca_file))
    monkeypatch.setenv("SSL_CERT_DIR", str(Path(authority().ca_file).parent))
    assert system_certificates() == before


def test_a_ca_file_that_is_missing_or_holds_no_certificate_is_named(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for path in (junk, tmp_path / "missing.pem", tmp_path):
        with pytest.raises(TLSFailure) as caught:
            AuthenticationAPI("a", "b", "https://localhost", path)
        assert str(path) in str(caught.value)
        assert "ca_file" in caught.value.diagnostics()


def test_an_ipv6_server_is_reached_by_its_address() -> None:
    with scripted_server(polled("active"), host="::1") as server:
        server_url = f"https://[::1]:{server.port}"
        with session_on(server, url=server_url) as session:
            session.status_url = f"{server_url}/s"
            assert session.get_status().name == "active"
        assert server.requests[0].header("Host") == f"[::1]:{server.port}"


@pytest.mark.parametrize("stage", [ACCEPT, HANDSHAKE, REQUEST, ANSWER])
def test_an_encryption_that_breaks_is_no_outage_and_is_not_tried_again(stage: str) -> None:
    with scripted_server(garble(stage)) as server, session_on(server) as session:
        with pytest.raises(TLSFailure) as caught:
            session.get_status(seconds(20.0))
        assert caught.value.may_have_started is (stage in (REQUEST, ANSWER))
        assert server.connections == 1


#: A TLS record of HelloRequests: they are not encrypted, and a client passes over them in its handshake (RFC 5246,
#: 7.4.1.1).
HELLO_REQUESTS = bytes.fromhex("16 03 03 40 00") + bytes(0x4000)


@contextmanager
def flooding_server(seconds: float) -> Iterator[str]:
    """The address of a server that answers a client's first bytes with HelloRequests, for this time at most."""

    def flood() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(1)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                connection.sendall(
                    HELLO_REQUESTS * 2048
                )  # which the kernel sends, however busy this process is

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=flood)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_messages_without_end_hold_no_handshake_beyond_the_deadline() -> None:
    with (
        flooding_server(PATIENCE) as url,
        contextlib.closing(make_transport(url, authority().ca_file)) as transport,
    ):
        before = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            AuthenticationAPI("a", "b", transport=transport).authenticate_user(
                USER, deadline=seconds(1.0), attempts=1
            )
        assert 0.9 < time.monotonic() - before < 1.0 + BUSY
    assert caught.value.timed_out
    assert not caught.value.outage


def test_a_further_connection_goes_on_with_the_tls_session_for_an_hour_after_the_certificate_was_verified() -> (
    None
):
    now = [100.0]
    with (
        scripted_server(*[polled("pending")] * 5) as server,
        session_on(server, idle_seconds=0.0, clock=lambda: now[0]) as session,
    ):
        for later in (0.0, 1800.0, 1799.0, 1.0, 0.0):
            now[0] += later
            session.get_status()
        assert server.resumed == [False, True, True, False, True]


def test_a_server_with_another_certificate_is_refused_although_a_session_is_offered() -> None:
    ports: list[int] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        return socket.create_connection(("127.0.0.1", ports[-1]), timeout)

    network = Network(create_connection=connect)
    with (
        scripted_server(polled("pending"), polled("pending")) as server,
        scripted_server(polled("active"), certificate="untrusted") as other,
        session_on(server, idle_seconds=0.0, network=network) as session,
    ):
        ports.append(server.port)
        session.get_status()
        ports.append(other.port)
        with pytest.raises(TLSFailure):
            session.get_status()
        assert other.requests == []
        ports.append(server.port)
        session.get_status()
        assert server.resumed == [False, False]
