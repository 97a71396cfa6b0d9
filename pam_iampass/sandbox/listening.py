"""Where the sandbox listens: on loopback, unless somebody said otherwise in so many words."""

from __future__ import annotations

import ipaddress
import socket

from pam_iampass.sandbox.errors import SandboxError

LOOPBACK_NAMES = ("127.0.0.1", "::1", "localhost")


def open_listener(host: str, port: int, allow_remote: bool = False) -> socket.socket:
    """A listening TCP socket. Raises SandboxError with what to do about it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise SandboxError(f"cannot look up {host}: {error.strerror}") from error
    family, _, _, _, address = found[0]
    if not allow_remote and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise SandboxError(
            f"{host} is not a loopback address: whoever reaches the sandbox from there could approve logins."
            " Listen on 127.0.0.1, or say --allow-remote if that is what you want"
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
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_unspecified(host: str) -> bool:
    """Whether this stands for every address of the machine, and so is nobody's name."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host
