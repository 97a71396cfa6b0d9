"""The rate limit's state as the content of a file."""

from __future__ import annotations

import json
import math
from dataclasses import astuple
from typing import Any

from pam_iampass.login.rate_limit_state import Attempt, Failures, Pending, RateLimitState, SentRequest


class CorruptState(Exception):
    """The content was not written by this module."""


def encoded(state: RateLimitState) -> bytes:
    """The content of a file."""
    return json.dumps(
        {
            "version": 2,
            "salt": state.salt,
            "failures": {origin: [found.count, found.last] for origin, found in state.failures.items()},
            "requests": [astuple(request) for request in state.requests],
            "pending": [astuple(login) for login in state.pending],
            "attempts": [astuple(attempt) for attempt in state.attempts],
            "turns": state.turns,
            "next_turn": state.next_turn,
            "lost": state.lost,
        },
        separators=(",", ":"),
    ).encode("ascii")


def decoded(data: bytes) -> RateLimitState:
    """The state in the content of a file. Raises CorruptState."""
    try:
        read = json.loads(data)
        if read["version"] == 1:  # of version 0.1, whose pending logins ended with it
            read |= {"pending": [], "turns": {}, "next_turn": 0.0}
        elif read["version"] != 2:
            raise CorruptState
        return RateLimitState(
            salt=_text(read["salt"]),
            failures={
                origin: Failures(_count(count), _moment(last))
                for origin, (count, last) in read["failures"].items()
            },
            requests=[SentRequest(_text(lease), _moment(at)) for lease, at in read["requests"]],
            pending=[_pending(*login) for login in read["pending"]],
            attempts=[Attempt(_text(origin), _moment(at)) for origin, at in read["attempts"]],
            turns={origin: _moment(at) for origin, at in read["turns"].items()},
            next_turn=_moment(read["next_turn"]),
            lost=_moment(read.get("lost", 0.0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise CorruptState from None


def _pending(origin: Any, lease: Any, since: Any, until: Any, has_turn: Any, decided: Any) -> Pending:
    return Pending(
        _text(origin), _text(lease), _moment(since), _moment(until), _truth(has_turn), _truth(decided)
    )


def _text(value: Any) -> str:
    """A name that this module made: letters and digits only, since some are parts of file names."""
    if not isinstance(value, str) or not (value.isascii() and value.isalnum()):
        raise CorruptState
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise CorruptState
    return value


def _moment(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise CorruptState
    return float(value)


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise CorruptState
    return value
