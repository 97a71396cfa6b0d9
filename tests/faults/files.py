"""The configuration files, and everything that can be wrong with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from tests.support.faults.case import ABORT, NONE, Case, Expected, Requests
from tests.support.faults.expected import (
    APPROVED,
    MISCONFIGURED,
    STARTED,
    UNLISTED,
)
from tests.support.faults.place import Place
from tests.support.faults.server import ACTIVE, ENDED, PENDING, sandbox, scripted
from tests.support.installation import write

MEBIBYTE = 1024 * 1024
Damage = Callable[[Path], object]
Which = Callable[[Place], Path]

FILES: dict[str, Which] = {
    "the settings file": lambda place: place.settings_file,
    "the user table": lambda place: place.table_file,
    "the secret file": lambda place: place.secret_file,
}


def _half(file: Path) -> None:
    """Keep only the first half, as after a power cut."""
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def _link(file: Path) -> None:
    file.rename(file.with_name("real"))
    file.symlink_to("real")


def _fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def _device(file: Path) -> None:
    file.unlink()
    os.mknod(file, 0o020644, os.makedev(1, 5))  # /dev/zero, which never ends


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir(0o750)


def _socket(file: Path) -> None:
    file.unlink()
    os.mknod(file, 0o140600)


def _grown(file: Path) -> None:
    os.truncate(file, 64 * MEBIBYTE + 1)


DAMAGE: dict[str, Damage] = {
    "is missing": Path.unlink,
    "is empty": lambda file: file.write_bytes(b""),
    "is binary": lambda file: file.write_bytes(bytes(range(256)) * 16),
    "is truncated": _half,
    "is owned by another user": lambda file: shutil.chown(file, "nobody"),
    "is world-writable": lambda file: file.chmod(0o666),
    "is in a world-writable directory": lambda file: file.parent.chmod(0o777),
    "is in a directory owned by another user": lambda file: shutil.chown(file.parent, "nobody"),
    "is a symbolic link": _link,
    "is a FIFO": _fifo,
    "is a device": _device,
    "is a directory": _folder,
    "is a socket": _socket,
    "is larger than 64 MiB": _grown,
    "is not readable by the service user": lambda file: shutil.chown(file, "root", "root"),
}

#: The exceptions: all others deny the login before a request is sent.
OTHERWISE: dict[tuple[str, str], Expected] = {
    ("the secret file", "is truncated"): MISCONFIGURED.but(requests=STARTED),
    ("the user table", "is empty"): UNLISTED,
}


def table() -> Iterator[Case]:
    """All rows."""
    for name, which in FILES.items():
        for what, damage in DAMAGE.items():
            if (name, what) == ("the user table", "is truncated"):
                continue  # it may still be valid YAML; see below
            expected = OTHERWISE.get((name, what), MISCONFIGURED)
            yield Case(f"{name} {what}", expected, sandbox(), prepare=_done(damage, which), stage=name)
    yield from _secrets()
    yield from _tables()
    yield from _settings()


def _done(damage: Damage, which: Which) -> Callable[[Place], object]:
    return lambda place: damage(which(place))


def _secrets() -> Iterator[Case]:
    def row(what: str, damage: Damage, requests: Requests = NONE) -> Case:
        expected = MISCONFIGURED.but(requests=requests)
        return Case(
            f"the secret file {what}", expected, sandbox(), prepare=_done(damage, FILES["the secret file"])
        )

    yield row("is world-readable", lambda file: file.chmod(0o644))
    yield row("is readable by another group", lambda file: shutil.chown(file, "root", "nogroup"))
    yield row("has a wrong secret", lambda file: write(file, "another\n"), STARTED)
    yield row("has two wrong secrets", lambda file: write(file, "one\ntwo\n"), Requests(2))
    yield row("has three lines", lambda file: write(file, "one\ntwo\nthree\n"))


def _tables() -> Iterator[Case]:
    def row(what: str, expected: Expected, text: Callable[[Place], str], **settings: str) -> Case:
        def prepare(place: Place) -> None:
            write(place.table_file, text(place))

        return Case(what, expected, scripted(PENDING, ACTIVE, ENDED), settings, prepare=prepare)

    yield row(
        "the user table ends in the middle of an entry",
        MISCONFIGURED,
        lambda place: f"{place.users[0]}: {{token: x, me",
    )
    yield row("the user is not in the user table", UNLISTED, lambda place: "stranger: x\n")
    yield row(
        "the user is in the user table twice", MISCONFIGURED, lambda place: f"{place.users[0]}: a\n" * 2
    )
    yield row("the user's token is `..`", MISCONFIGURED, lambda place: f'{place.users[0]}: ".."\n')
    yield row(
        "the user's token has a control character",
        MISCONFIGURED,
        lambda place: f'{place.users[0]}: "a\\u001bb"\n',
    )
    yield row("the user's method is unknown", MISCONFIGURED, _unknown_method)
    yield Case(
        "the user's file in users.d is invalid",
        MISCONFIGURED,
        scripted(PENDING, ACTIVE, ENDED),
        prepare=lambda place: _own_file(place, place.users[0]),
    )
    yield Case(
        "another user's file in users.d is invalid",
        APPROVED,
        scripted(PENDING, ACTIVE, ENDED),
        prepare=lambda place: _own_file(place, "stranger"),
    )


def _unknown_method(place: Place) -> str:
    return f"{place.users[0]}: {{token: x, methods: [telepathy]}}\n"


def _own_file(place: Place, user: str) -> None:
    folder = place.table_file.parent / "users.d"
    folder.mkdir(0o750)
    shutil.chown(folder, "root", "iampass")
    write(folder / f"{user}.yaml", "]")


def _settings() -> Iterator[Case]:
    wrong = {
        "an unknown key": {"colour": "red"},
        "a server URL without TLS": {"server": "http://localhost"},
        "a server URL with a path": {"server": "https://localhost/x"},
        "an unknown method": {"methods": "[telepathy]"},
        "a timeout of zero": {"timeout": "0s"},
        "a timeout of an hour": {"timeout": "3600s"},
        "a list as an exempt user": {"exempt": "{users: [[a]]}"},
        "an invalid exempt network": {"exempt": "{networks: [everywhere]}"},
        "a CA file that does not exist": {"ca_file": "/etc/iampass/no-such-file.pem"},
        "a CA file without certificates": {"ca_file": "/etc/hostname"},
    }
    for what, settings in wrong.items():
        yield Case(
            f"the settings have {what}",
            MISCONFIGURED,
            scripted(PENDING, ACTIVE, ENDED),
            {"unavailable": "ignore", **settings},
        )
    yield Case(
        "the PAM line has an unknown argument",
        Expected(
            ABORT,
            "misconfigured",
            "denied",
            "The phone check is misconfigured on this machine. Please ask your administrator.",
        ),
        scripted(PENDING, ACTIVE, ENDED),
        stack=("auth required {module} nullok",),
    )
