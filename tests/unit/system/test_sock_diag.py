"""Whether the client of a connection has hung up, and whose its socket is: real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.system.sock_diag import TcpClient, UnixClient, is_served_by, owner_of_client

LOCAL = {"IPv4": "127.0.0.1", "IPv6": "::1", "IPv4 on a socket of IPv6": "127.0.0.1"}
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: to close means to reset


class Pair:
    """A connection: the client, and the server's end of it, as sshd names it."""

    def __init__(self, kind: str) -> None:
        self.listener = socket.socket(socket.AF_INET if kind == "IPv4" else socket.AF_INET6)
        self.listener.bind(("127.0.0.1" if kind == "IPv4" else "::", 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        self.address = LOCAL[kind]
        self.holder = self.bound(0)  # so that no other process takes the client's port
        self.client = self.bound(self.holder.getsockname()[1])
        self.client.connect((self.address, self.port))
        self.server = self.listener.accept()[0]
        host, port = self.client.getsockname()[:2]
        self.name = f"{host} {port} {host} {self.port}"

    def bound(self, port: int) -> socket.socket:
        """A client's socket that may share its port."""
        made = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((self.address, port))
        return made

    def hang_up(self, *, reset: bool = False) -> None:
        """The client ends the connection; returns once the server's end knows."""
        if reset:
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.client.close()
        with contextlib.suppress(ConnectionResetError):
            self.server.recv(1)

    def close(self) -> None:
        for one in (self.client, self.server, self.listener, self.holder):
            one.close()


@pytest.fixture(params=LOCAL)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with contextlib.closing(Pair(request.param)) as made:
        yield made


def test_a_client_that_is_there_has_not_hung_up(pair: Pair) -> None:
    watch = TcpClient(pair.name)
    assert [watch.has_hung_up() for _ in range(3)] == [False] * 3


@pytest.mark.parametrize("looked_before", [True, False])
def test_a_client_that_closes_has_hung_up(pair: Pair, looked_before: bool) -> None:
    watch = TcpClient(pair.name)
    assert not (looked_before and watch.has_hung_up())
    pair.hang_up()
    assert watch.has_hung_up()


def test_a_client_that_resets_the_connection_has_hung_up(pair: Pair) -> None:
    """The kernel has no such connection any more, and would name the listener in its place."""
    watch = TcpClient(pair.name)
    assert not watch.has_hung_up()
    pair.hang_up(reset=True)
    assert watch.has_hung_up()


def test_a_connection_that_was_never_seen_open_does_not_count(pair: Pair) -> None:
    """sshd may run in another network namespace, where this one sees nothing, or only the listener."""
    pair.hang_up(reset=True)
    watch = TcpClient(pair.name)
    assert not watch.has_hung_up()
    pair.listener.close()
    assert not watch.has_hung_up()


def test_only_the_connection_itself_counts_and_no_other_of_the_same_client(pair: Pair) -> None:
    watch = TcpClient(pair.name)
    family = pair.client.family
    with socket.socket(family) as other:
        other.connect((pair.client.getpeername()[0], pair.port))
        assert not watch.has_hung_up()
    assert not watch.has_hung_up()


def test_a_later_connection_with_the_same_addresses_is_another_one(pair: Pair) -> None:
    watch = TcpClient(pair.name)
    assert not watch.has_hung_up()
    address, peer = pair.client.getsockname(), pair.client.getpeername()
    for one in (pair.client, pair.server):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        one.close()
    with pair.bound(address[1]) as again:
        again.connect(peer)
        assert watch.has_hung_up()
        assert not TcpClient(pair.name).has_hung_up()


NO_CONNECTION = pytest.mark.parametrize(
    "text",
    [
        "",
        "UNKNOWN 65535 UNKNOWN 65535",
        "127.0.0.1 1 127.0.0.1",
        "127.0.0.1 1 ::1 2",
        "127.0.0.1 65536 127.0.0.1 2",
        "127.0.0.1\0 1 127.0.0.1 2",
        "fe80::1%no-such-interface 1 fe80::2 2",
        "127.0.0.1 " + "1" * 5000 + " 127.0.0.1 2",
    ],
)


@NO_CONNECTION
def test_a_text_that_names_no_connection_watches_nothing(text: str) -> None:
    assert not TcpClient(text).has_hung_up()


def test_where_the_kernel_cannot_be_asked_nobody_has_hung_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = TcpClient(pair.name)
    assert not watch.has_hung_up()
    pair.hang_up()
    monkeypatch.setattr(socket, "AF_NETLINK", 45)  # no such family
    assert not watch.has_hung_up()


# Whose socket it is


def test_the_clients_end_belongs_to_who_made_it(pair: Pair) -> None:
    os.fchown(pair.server.fileno(), 61184, -1)  # as if another user had made the other end
    found = owner_of_client(pair.name)
    assert found is not None
    assert (found.uid, found.control_group > 0) == (os.getuid(), True)


@pytest.mark.parametrize("kind", ["IPv4", "IPv6"])
def test_an_ipv4_connection_of_an_ipv6_socket_is_found_by_its_ipv4_addresses(kind: str) -> None:
    """A client may connect to ::ffff:192.0.2.7: its sshd, and the kernel there, see IPv4."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_INET6) as client:
        port = listener.getsockname()[1]
        client.connect(("::ffff:127.0.0.1", port))
        host = "127.0.0.1" if kind == "IPv4" else "::ffff:127.0.0.1"
        assert owner_of_client(f"{host} {client.getsockname()[1]} {host} {port}") is not None


def test_a_socket_that_listens_at_the_clients_port_is_no_connection(pair: Pair) -> None:
    """The kernel names it where there is no connection."""
    host, port = pair.client.getpeername()[:2]
    assert owner_of_client(f"{host} {port} {host} 9") is None


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_its_client_has_closed_is_nobodys(pair: Pair, reset: bool) -> None:
    pair.hang_up(reset=reset)
    assert owner_of_client(pair.name) is None


@NO_CONNECTION
def test_a_text_that_names_no_connection_names_nobody(text: str) -> None:
    assert owner_of_client(text) is None


def test_an_interface_of_another_machine_says_nothing(pair: Pair) -> None:
    host, port, *server = pair.name.split(" ")
    assert owner_of_client(" ".join([f"{host}%lo", port, *server])) is None


@pytest.mark.needs_root
def test_the_owner_is_asked_for_without_capabilities(pair: Pair) -> None:
    """As the agent does."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setresuid(61184, 61184, 61184)
        os.write(writer, b"yes" if owner_of_client(pair.name) else b"no")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 9) == b"yes"
    os.close(reader)
    os.close(writer)


# Over AF_UNIX


# Who serves a connection


def test_a_connection_is_served_by_the_socket_that_has_accepted_it(pair: Pair) -> None:
    assert is_served_by(pair.name, inodes(pair.listener, pair.server))


def test_no_connection_is_served_by_the_sockets_of_a_process_that_serves_another_one(pair: Pair) -> None:
    """What the PAM environment names could be another login's connection to the same sshd."""
    assert not is_served_by(pair.name, inodes(pair.listener, pair.client, pair.holder))
    assert not is_served_by(pair.name, [])


@pytest.mark.parametrize("reset", [False, True])
def test_nothing_serves_a_connection_whose_client_has_hung_up(pair: Pair, reset: bool) -> None:
    pair.hang_up(reset=reset)
    assert not is_served_by(pair.name, inodes(pair.server))


@pytest.mark.parametrize(
    "text", ["", "UNKNOWN 65535 UNKNOWN 65535", "fe80::1%lo 1 fe80::2%lo 22", "192.0.2.7 1 22"]
)
def test_a_text_that_names_no_connection_is_served_by_nothing(text: str) -> None:
    assert not is_served_by(text, [0])


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client, and the server's end of its connection."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "ssh.socket"))
        listener.listen()
        client.connect(str(tmp_path / "ssh.socket"))
        with listener.accept()[0] as server:
            yield client, server


def inodes(*sockets: socket.socket) -> list[int]:
    return [os.fstat(each.fileno()).st_ino for each in sockets]


def test_a_client_over_a_unix_socket_is_there_until_it_closes(
    unix: tuple[socket.socket, socket.socket],
) -> None:
    """The process has other sockets: those between its parts, those that it has connected, and of other families."""
    client, server = unix
    ours, its = socket.socketpair()
    with ours, its, socket.socket() as tcp, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        watch = UnixClient([*inodes(ours, its, client, tcp, log, server, server), 0, 2**32])
        its.close()
        assert [watch.has_hung_up() for _ in range(3)] == [False] * 3
        client.close()
        assert watch.has_hung_up()
        server.close()
        assert watch.has_hung_up()


def test_a_client_that_has_hung_up_before_is_seen(unix: tuple[socket.socket, socket.socket]) -> None:
    client, server = unix
    client.shutdown(socket.SHUT_WR)
    assert UnixClient(inodes(server)).has_hung_up()


def test_where_it_is_not_clear_which_connection_is_the_clients_nobody_has_hung_up(
    unix: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    client, server = unix
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as another:
        listener.bind(str(tmp_path / "another.socket"))
        listener.listen()
        another.connect(str(tmp_path / "another.socket"))
        with listener.accept()[0] as accepted:
            unclear = UnixClient(inodes(server, accepted))
            client.close()
            assert not unclear.has_hung_up()
    assert not UnixClient([]).has_hung_up()
