"""The settings of sessions that last as long as the login (`session:`), and the rules between its keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pam_iampass.config.value_types import Enforcement
from pam_iampass.errors import Problem, Severity

Values = Mapping[str, Any]


@dataclass(frozen=True)
class CoverSettings:
    """Which logins need no approval of their own within a kept login."""

    services: frozenset[str] = frozenset()
    within: float = 900.0
    """Seconds after the approval."""


@dataclass(frozen=True)
class SessionSettings:
    """Whether the session of a login through one service is kept, and what follows from it."""

    keep: bool = False
    longest: float = 43200.0
    """Seconds."""
    check: float = 30.0
    """Seconds between two questions to IAMPASS."""
    when_closed: Enforcement = Enforcement.END
    when_away: Enforcement = Enforcement.REVOKE
    unlock_on_return: bool = False
    covers_connections: bool = False
    covers: CoverSettings = field(default_factory=CoverSettings)


def merged(general: Values, own: Values) -> Values:
    """The values of a service: its own, and the general ones of the keys that it does not set."""
    covers = {**general["covers"], **(own.get("covers") or {})}
    return {**general, **own, "covers": covers}


def read(values: Values) -> SessionSettings:
    """The settings in complete and valid values."""
    covers = values["covers"]
    cover = CoverSettings(frozenset(covers["services"]), covers["for"])
    return SessionSettings(**{**values, "covers": cover})


def problems(
    file: Path, general: Values, services: Mapping[str, Values], written: Mapping[str, int]
) -> Iterator[Problem]:
    """What contradicts itself in `file`, in the general values and in those of each service.

    `written` has the dotted keys that are in the file, and their lines. A value that is None is invalid, and was
    reported.
    """
    sections = {"session": general}
    sections.update((f"services.{name}.session", merged(general, own)) for name, own in services.items())
    for section, values in sections.items():
        within, longest = values["covers"]["for"], values["longest"]
        # A section that sets neither of the two is not at fault.
        key = next((key for key in (f"{section}.covers.for", f"{section}.longest") if key in written), None)
        if key is not None and within is not None and longest is not None and within > longest:
            what = f"covers.for ({within:g}s) is longer than session.longest ({longest:g}s)"
            yield Problem(file, written[key], key, what, f"write covers: {{for: {longest:g}s}} or less")
    if any(values["keep"] for values in sections.values()):
        return
    covering = {
        "session.covers.services": any(values["covers"]["services"] for values in sections.values()),
        "session.covers_connections": any(values["covers_connections"] for values in sections.values()),
    }
    for key in (key for key, used in covering.items() if used):
        what, remedy = "has no effect, because no service has session.keep", "write keep: true in session"
        yield Problem(file, written.get(key), key, what, remedy, Severity.WARNING)
