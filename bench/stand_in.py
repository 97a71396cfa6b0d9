"""A local server for Debian's pam_duo, which answers every request with `allow`."""

from __future__ import annotations

import http.server
import json
import ssl
import struct
import threading
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


class _Allow(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def do_GET(self) -> None:
        answer = bson(ALLOW) if ".bson" in self.path else json.dumps(ALLOW).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def duo_service(folder: Path) -> Iterator[Path]:
    """Serve on loopback; yields a configuration file for pam_duo."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Allow)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    certificate = folder / "duo-ca.pem"
    authority.cert_pem.write_to_path(str(certificate))
    configuration = folder / "pam_duo.conf"
    configuration.write_text(
        f"[duo]\nikey=DI{'X' * 18}\nskey={'s' * 40}\nhost=localhost:{server.server_address[1]}\n"
        f"cafile={certificate}\nfailmode=secure\npushinfo=no\n"
    )
    configuration.chmod(0o600)
    try:
        yield configuration
    finally:
        server.shutdown()
        server.server_close()
