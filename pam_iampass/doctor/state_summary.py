"""The agent's state about users: their recovery codes, and how long no request is sent to their phones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pam_iampass.relay.control import ask

_AT_A_TIME = 1000  # names in one request


@dataclass(frozen=True)
class StateSummary:
    """The state about some users."""

    codes: dict[str, int] = field(default_factory=dict)
    """The number of recovery codes that each has left."""
    waits: dict[str, float] = field(default_factory=dict)
    """The seconds for which no request is sent, from one origin at least; only those above 0."""


def summarize(names: Sequence[str], config: Path) -> StateSummary:
    """The state about these users, with the limits in the settings file `config`. Raises PamIampassError."""
    summary = StateSummary()
    for first in range(0, len(names), _AT_A_TIME):
        some = names[first : first + _AT_A_TIME]
        for name, (codes, wait) in zip(some, ask("state summary", names=some, config=str(config))):
            summary.codes[name] = codes
            if wait > 0:
                summary.waits[name] = wait
    return summary
