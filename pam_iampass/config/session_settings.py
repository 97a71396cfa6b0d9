"""The settings of sessions that last as long as the login (`session:`), and the rules between its keys."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pam_iampass.config.value_types import Enforcement

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


@dataclass(frozen=True)
class SessionProblem:
    """Keys that contradict each other."""

    key: str
    """The dotted key in the file that is to be changed."""
    what: str
    remedy: str
    warning: bool = False


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
    general: Values, services: Mapping[str, Values], written: Container[str]
) -> Iterator[SessionProblem]:
    """What contradicts itself, in the general values and in those of each service.

    `written` has the dotted keys that are in the file. A value that is None is invalid, and was reported.
    """
    yield from _too_long("session", general, written)
    every = {name: merged(general, own) for name, own in services.items()}
    for name, values in every.items():
        yield from _too_long(f"services.{name}.session", values, written)
    effective = (general, *every.values())
    if not any(each["keep"] for each in effective):
        if any(each["covers"]["services"] for each in effective):
            yield _without_keep("session.covers.services")
        if any(each["covers_connections"] for each in effective):
            yield _without_keep("session.covers_connections")


def _too_long(section: str, values: Values, written: Container[str]) -> Iterator[SessionProblem]:
    """A cover that outlasts its session, if the section itself sets one of the two durations."""
    within, longest = values["covers"]["for"], values["longest"]
    key = next((key for key in (f"{section}.covers.for", f"{section}.longest") if key in written), None)
    if key is not None and within is not None and longest is not None and within > longest:
        what = f"covers.for ({within:g}s) is longer than session.longest ({longest:g}s)"
        yield SessionProblem(key, what, f"write covers: {{for: {longest:g}s}} or less")


def _without_keep(key: str) -> SessionProblem:
    what = "has no effect, because no service has session.keep"
    return SessionProblem(key, what, "write keep: true in session", warning=True)
