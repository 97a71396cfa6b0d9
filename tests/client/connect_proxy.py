"""A CONNECT proxy in a thread, which passes bytes on or gives an answer of the test's choice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ConnectProxy:
    """`heads` are the requests that reached it. `target` is where a tunnel leads, whatever was asked for."""

    def __init__(self, target: tuple[str, int], answer: bytes, hang: bool, port: int) -> None:
        self.heads: list[str] = []
        self._target, self._answer, self._hang = target, answer, hang
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def close(self) -> None:
        self._closing.set()
        for sock in [self._listener, *self._sockets]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60.0)
        for sock in [self._listener, *self._sockets]:
            sock.close()

    def _spawn(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._sockets.append(sock)
                self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        # The client may be gone at any point.
        with suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = sock.recv(4096)
                if not data:
                    return
                head += data
            self.heads.append(head.decode())
            sock.sendall(self._answer)
            if self._answer == ESTABLISHED:
                onward = socket.create_connection(self._target)
                self._sockets.append(onward)
                self._spawn(_pass_on, onward, sock)
                _pass_on(sock, onward)
                return
            if not self._hang:
                sock.shutdown(socket.SHUT_WR)
            self._closing.wait()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def connect_proxy(
    target: tuple[str, int] = ("127.0.0.1", 9),
    answer: bytes = ESTABLISHED,
    *,
    hang: bool = False,
    port: int = 0,
) -> Iterator[ConnectProxy]:
    proxy = ConnectProxy(target, answer, hang, port)
    try:
        yield proxy
    finally:
        proxy.close()
