"""Opens the socket: on loopback, unless remote clients are allowed."""

from __future__ import annotations

import ipaddress
import socket

from pam_iampass.sandbox.errors import SandboxError

LOOPBACK_NAMES = ("127.0.0.1", "::1", "localhost")


def open_listener(host: str, port: int, allow_remote: bool = False) -> socket.socket:
    """A listening TCP socket. Raises SandboxError."""
    try:
        results = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise SandboxError(f"cannot look up {host}: {error.strerror}") from error
    family, _, _, _, address = results[0]
    if not allow_remote and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise SandboxError(
            f"{host} is not a loopback address: everybody who can reach the sandbox could approve logins."
            " Listen on 127.0.0.1, or use --allow-remote"
        )
    return _bound(family, address)


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        what = f"cannot listen on {address[0]} port {address[1]}: {error.strerror}"
        raise SandboxError(f"{what}; choose another with --listen") from error
    return listener


def authority(host: str, port: int) -> str:
    """Host and port for a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_unspecified(host: str) -> bool:
    """Whether this means every address of the machine, and is not a name for clients."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host
