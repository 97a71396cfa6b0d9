"""A local server for Debian's pam_duo: it lets everybody in at once, or after a push."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme


def bson(document: dict[str, object]) -> bytes:
    """Encode strings and documents as BSON (bsonspec.org), which pam_duo 1.x uses."""
    body = b""
    for name, value in document.items():
        if isinstance(value, dict):
            body += b"\x03" + name.encode() + b"\0" + bson(value)
        else:
            text = str(value).encode() + b"\0"
            body += b"\x02" + name.encode() + b"\0" + struct.pack("<i", len(text)) + text
    return struct.pack("<i", len(body) + 5) + body + b"\0"


ALLOW = {"stat": "OK", "response": {"result": "allow", "status": "Success."}}


PUSH = {
    "stat": "OK",
    "response": {"result": "auth", "prompt": "1. Duo Push: ", "factors": {"default": "push1", "1": "push1"}},
}
#: Users of these keys are let in without a push.
KEY, KEY_OF_PUSHES = "DI" + "X" * 18, "DI" + "P" * 18


class DuoService(http.server.ThreadingHTTPServer):
    """The server."""

    delay = 0.0
    """How long a person takes to answer a push, in seconds."""
    requests = 0
    shown = False
    """Whether the user has read that the push is on the phone. One user at a time."""
    folder: Path

    @property
    def push(self) -> Path:
        """The configuration of a pam_duo that does a whole push."""
        return self.configuration("push.conf", KEY_OF_PUSHES, "autopush=yes\nprompts=1\n")

    def configuration(self, name: str, key: str = KEY, more: str = "") -> Path:
        """Write a configuration file for pam_duo."""
        file = self.folder / name
        file.write_text(
            f"[duo]\nikey={key}\nskey={'s' * 40}\nhost=localhost:{self.server_address[1]}\n"
            f"cafile={self.folder / 'duo-ca.pem'}\nfailmode=secure\npushinfo=no\n{more}"
        )
        file.chmod(0o600)
        return file


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: DuoService

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.requests += 1
        pushes = KEY_OF_PUSHES in base64.b64decode(self.headers["Authorization"].split()[1]).decode()
        self._answer(self._pushed() if pushes else ALLOW)

    do_GET = do_POST

    def _pushed(self) -> dict[str, object]:
        server = self.server
        if "/preauth" in self.path:
            return PUSH
        if "/auth" in self.path:
            server.shown = False
            return {"stat": "OK", "response": {"txid": "1"}}
        if not server.shown:
            server.shown = True
            return {"stat": "OK", "response": {"status": "Pushed a login request to your phone..."}}
        time.sleep(server.delay)
        return ALLOW

    def _answer(self, document: dict[str, object]) -> None:
        answer = bson(document) if ".bson" in self.path else json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def duo_service(folder: Path) -> Iterator[DuoService]:
    """Serve on loopback."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "duo-ca.pem"))
    with DuoService(("127.0.0.1", 0), _Answers) as server:
        server.folder = folder
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
