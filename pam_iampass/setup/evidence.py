"""Has anybody got in through a service since it was set up: what the journal says."""

from __future__ import annotations

import json
import pwd
from collections.abc import Iterable
from typing import Any

from pam_iampass.module_user import MODULE_USER
from pam_iampass.setup import programs


def records(since: float, **fields: str) -> list[dict[str, Any]]:
    """The audit records since a moment, oldest first, only those that the journal itself knows to be ours.

    Anybody can write a record; the fields that begin with `_` are the journal's own (systemd.journal-fields(7)).
    Empty where there is no journal.
    """
    if programs.path_of("journalctl") is None:
        return []
    programs.run(["journalctl", "-q", "--sync"])
    matches = [f"{name}={value}" for name, value in fields.items()]
    command = [
        "journalctl",
        "-q",
        "--no-pager",
        "-o",
        "json",
        "--all",
        f"--since=@{since:.6f}",
        "-t",
        "pam_iampass",
    ]
    told = programs.run([*command, *matches])
    found = [record for record in map(_read, told.output.splitlines()) if record]
    trusted = _trusted()
    return [record for record in found if record.get("_UID") in trusted and "IAMPASS_OUTCOME" in record]


def passed(since: float, pam_services: Iterable[str]) -> dict[str, str | None]:
    """For each PAM service, who got in through it since, or None."""
    found = records(since)
    return {name: _first(found, name) for name in pam_services}


def _first(found: list[dict[str, Any]], service: str) -> str | None:
    for record in found:
        if record.get("IAMPASS_SERVICE") == service and record.get("IAMPASS_RESULT") in (
            "success",
            "ignored",
        ):
            return str(record.get("IAMPASS_USER", "?"))
    return None


def _trusted() -> frozenset[str]:
    try:
        return frozenset({"0", str(pwd.getpwnam(MODULE_USER).pw_uid)})
    except KeyError:
        return frozenset({"0"})


def _read(line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
