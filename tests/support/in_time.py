"""Upper bounds of time that hold on a busy machine too."""

from __future__ import annotations

from typing import Callable, Protocol, TypeVar

#: Seconds that a busy machine may take for what takes none.
BUSY = 20.0
#: The same in one of a few tries (`in_time`).
BUSY_ONCE = 6.0


class Timed(Protocol):
    """Anything that knows how long it took."""

    @property
    def elapsed(self) -> float:
        """Seconds."""


T = TypeVar("T", bound=Timed)


def in_time(play: Callable[[], T], within: float, *, least: float = 0.0, tries: int = 5) -> T:
    """Play something that takes from `least` to `within` seconds.

    It must never take less. It may take longer, if the machine is busy, but not each of a few times.
    """
    for _ in range(tries):
        played = play()
        assert played.elapsed >= least, played
        if played.elapsed < within:
            return played
    raise AssertionError(f"it took {played.elapsed} s, not {within} s, each of {tries} times: {played}")
