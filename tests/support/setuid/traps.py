"""Traps of an attacker: programs, modules and files that leave a mark when they are used, and servers that log
connections."""

from __future__ import annotations

import selectors
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/home/traps")
MARKS = FOLDER / "marks"
"""A directory for the marks."""

ELSEWHERE = "127.0.0.66"
"""The address of the attacker's servers; the name server returns it for every name that ends in `evil`."""

NAME_SERVER = "127.0.0.77"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"

#: Module names of the standard library, of dependencies, and of the package itself.
MODULES = (
    *(
        "os",
        "posixpath",
        "encodings",
        "codecs",
        "io",
        "abc",
        "site",
        "sitecustomize",
        "usercustomize",
        "json",
    ),
    *(
        "socket",
        "ssl",
        "select",
        "struct",
        "enum",
        "dataclasses",
        "typing",
        "contextlib",
        "threading",
        "signal",
    ),
    *(
        "resource",
        "pwd",
        "grp",
        "time",
        "http",
        "urllib",
        "email",
        "logging",
        "random",
        "hashlib",
        "hmac",
        "trap",
    ),
    *("requests", "urllib3", "certifi", "idna", "charset_normalizer", "yaml", "systemd", "pam_iampass"),
)

#: A library that leaves a mark when it is loaded by the loader, OpenSSL or iconv.
LIBRARY = """\
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void snap(void) { close(open("%s/library", O_CREAT | O_WRONLY, 0666)); }
unsigned int la_version(unsigned int version) { return version; }
int gconv_init(void *step) { return 1; }
"""


def snap(name: str) -> str:
    """Python that leaves a mark. It needs only built-in modules."""
    return f"import posix\nposix.close(posix.open({str(MARKS / name)!r}, posix.O_CREAT | posix.O_WRONLY, 0o666))\n"


class Traps:
    """Sets all traps. The servers use the port of the real one at another address."""

    def __init__(self, port: int) -> None:
        self.server = f"{ELSEWHERE}:{port}"
        self._visits: list[str] = []
        self._watched = selectors.DefaultSelector()
        self._stop, stopped = socket.socketpair()
        self._watched.register(stopped, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Traps:
        MARKS.mkdir(parents=True)
        for name in ("tmp", "cache", "run"):
            (MARKS / name).mkdir()
        for folder in (MARKS, *MARKS.iterdir()):
            folder.chmod(0o1777)
        self._plant()
        host, _, port = self.server.partition(":")
        self._listen(socket.SOCK_STREAM, (host, int(port)), self._greet).listen(64)
        self._listen(socket.SOCK_DGRAM, (NAME_SERVER, 53), self._resolve)
        self._listen(socket.SOCK_DGRAM, str(FOLDER / "notify"), self._note)
        (FOLDER / "notify").chmod(0o777)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.send(b".")
        self._thread.join()
        for key in list(self._watched.get_map().values()):
            self._watched.unregister(key.fileobj)
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._watched.close()
        self._stop.close()
        shutil.rmtree(FOLDER)

    def snapped(self) -> list[str]:
        """All marks, and all connections to a server."""
        marks = [str(path.relative_to(MARKS)) for path in MARKS.rglob("*") if not path.is_dir()]
        return sorted(marks + self._visits)

    def reset(self) -> None:
        """Remove all marks and recorded connections."""
        self._visits.clear()
        for path in list(MARKS.rglob("*")):
            if not path.is_dir():
                path.unlink()

    def _plant(self) -> None:
        for name in MODULES:
            write(f"modules/{name}.py", snap(f"module-{name}"))
        # A prefix as CPython looks for it: the landmark, and an `encodings` that runs before anything else.
        write("prefix/bin/python3", "", 0o755)
        write(f"prefix/lib/{PYTHON}/os.py", snap("prefix"))
        write(f"prefix/lib/{PYTHON}/encodings/__init__.py", snap("prefix"))
        (FOLDER / f"prefix/lib/{PYTHON}/lib-dynload").mkdir()
        write(f"user/lib/{PYTHON}/site-packages/usercustomize.py", snap("user"))
        write(f"user/lib/{PYTHON}/site-packages/user.pth", f"import sys; exec({snap('user-pth')!r})\n")
        write("startup.py", snap("startup"))
        source = write("library.c", LIBRARY % MARKS)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", FOLDER / "library.so", source], check=True)
        for name in ("libcrypto.so.3", "libssl.so.3", "libpam.so.0", "libcap.so.2", "libaudit.so.1"):
            shutil.copy(FOLDER / "library.so", FOLDER / name)
        write(
            "gconv-modules",
            f"module TRAP// INTERNAL {FOLDER}/library 1\nmodule INTERNAL TRAP// {FOLDER}/library 1\n",
        )
        write(
            "openssl.cnf",
            "openssl_conf = all\n[all]\nproviders = some\n[some]\ntrap = one\n"
            f"[one]\nmodule = {FOLDER}/library.so\nactivate = 1\n",
        )
        write("netrc", "default login mallory password of-mallory\n")
        write("host-aliases", "iampass iampass.evil\n")
        write("certificates.pem", "")

    def _listen(
        self, kind: socket.SocketKind, address: tuple[str, int] | str, serve: Callable[[socket.socket], None]
    ) -> socket.socket:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        self._watched.register(listening, selectors.EVENT_READ, serve)
        return listening

    def _serve(self) -> None:
        while True:
            for key, _ in self._watched.select():
                if key.data is None:
                    return
                with suppress(OSError):
                    key.data(key.fileobj)

    def _greet(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        self._visits.append("a connection")
        connection.close()

    def _note(self, listening: socket.socket) -> None:
        listening.recv(1 << 16)
        self._visits.append("a notification")

    def _resolve(self, listening: socket.socket) -> None:
        question, asker = listening.recvfrom(1 << 12)
        listening.sendto(self._answer(question), asker)

    def _answer(self, question: bytes) -> bytes:
        """RFC 1035, for one question: an address for `iampass` and names that end in `evil`, and for no other name."""
        end = question.index(b"\0", 12) + 5
        name, kind = question[12 : end - 5].lower(), question[end - 4 : end - 2]
        evil = name.endswith(b"\x04evil")
        if evil:
            self._visits.append("a question for an evil name")
        known = evil or name == b"\x07iampass"
        address = ELSEWHERE if evil else "127.0.0.1"
        answers = [b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04" + socket.inet_aton(address)] * (
            known and kind == b"\0\x01"
        )
        flags = b"\x81\x80" if known else b"\x81\x83"
        header = question[:2] + flags + b"\0\x01" + bytes([0, len(answers)]) + b"\0\0\0\0"
        return header + question[12:end] + b"".join(answers)


def write(name: str | Path, text: str, mode: int = 0o644) -> Path:
    """Plant a file, by default in the directory of traps."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path
