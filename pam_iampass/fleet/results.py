"""The parts of acts' results that the portal receives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated


@dataclass(frozen=True)
class Result:
    """Nothing. A subclass says more."""


@dataclass(frozen=True)
class Ended(Result):
    ended: Annotated[int, "how many sessions or requests on phones have ended"]
    errors: Annotated[int, "how many IAMPASS has not ended yet; a gateway tries again"]


@dataclass(frozen=True)
class LostPhone(Ended):
    bypasses: Annotated[int, "how many bypasses have ended"]
    codes_left: Annotated[int, "how many recovery codes are left"]
    disabled: Annotated[bool, "whether IAMPASS has disabled the phone; if not, a gateway tries again"]


@dataclass(frozen=True)
class Link(Result):
    url: Annotated[str | None, "the link; null if it was sent"] = field(repr=False)
    ends_at: Annotated[datetime | None, "until when it is valid; null if only IAMPASS knows"] = None


@dataclass(frozen=True)
class Verified(Result):
    answer: Annotated[str, "`approved` (by the holder of the phone), `denied` or `over`"]
    reason: Annotated[str, "why no phone was asked; empty if the phone was asked"]


@dataclass(frozen=True)
class Until(Result):
    ends_at: Annotated[datetime, "until when"]


@dataclass(frozen=True)
class Codes(Result):
    codes: Annotated[Sequence[str], "the codes; the gateway shows them once"] = field(repr=False)


@dataclass(frozen=True)
class Number(Result):
    number: Annotated[int, "how many were ended or revoked; all recovery codes of a person count as one"]


@dataclass(frozen=True)
class HostState(Result):
    status: Annotated[str, "the new status of the host"]


def number_of(number: int, one: str, more: str) -> str:
    """A number, with the words for one or for more of it."""
    return f"1 {one}" if number == 1 else f"{number} {more}"
