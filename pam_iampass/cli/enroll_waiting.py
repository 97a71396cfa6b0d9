"""Waits for phones: with a countdown on a terminal, with plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from pam_iampass.cli.output import duration, line, progress
from pam_iampass.client import Deadline, ManagementAPI, Unavailable
from pam_iampass.enrollment.waiting import wait_for_devices


def wait(manager: ManagementAPI, users: Mapping[str, str], seconds: float, quiet: bool = False) -> set[str]:
    """Wait until each of `users`, names by token, has a phone. Returns the tokens without one at the deadline.

    With `quiet` nothing is shown. Raises IampassError, but waits while IAMPASS is unreachable.
    """
    deadline = Deadline.after(seconds)
    registered: set[str] = set()
    several = len(users) > 1
    whom = f"{len(users)} phones" if several else f"the phone of {next(iter(users.values()))}"
    if not quiet and not sys.stdout.isatty():
        line(
            f"Waiting until {whom} {'are' if several else 'is'} registered, for {duration(seconds)} at most."
        )
    with progress(quiet) as show:

        def show_countdown() -> None:
            done = f" ({len(registered)} of {len(users)} registered)" if several else ""
            left = int(deadline.remaining())
            show(f"Waiting for {whom}{done}, {left // 60}:{left % 60:02} left. Ctrl-C stops waiting.")

        def pause(seconds: float) -> None:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                show_countdown()
                time.sleep(min(left, 1.0))

        def say(text: str) -> None:
            if not quiet:
                show("")
                line(text)

        def on_registered(token: str) -> None:
            registered.add(token)
            if several:
                say(f"{users[token]} has registered a phone.")

        def on_availability(error: Unavailable | None) -> None:
            say(
                "IAMPASS answers again."
                if error is None
                else f"IAMPASS is unreachable, still waiting: {error}."
            )

        show_countdown()
        return set(wait_for_devices(manager, users, deadline, pause, on_registered, on_availability))
