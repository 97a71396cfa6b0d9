"""Shows that phones are waited for: a line that counts down on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable

from pam_iampass.cli.columns import line
from pam_iampass.cli.enroll_options import in_words
from pam_iampass.client import Deadline, ManagementAPI, Unavailable
from pam_iampass.enrollment.waiting import wait_for_devices
from pam_iampass.text import clean


def wait(manager: ManagementAPI, people: Mapping[str, str], seconds: float, quiet: bool = False) -> set[str]:
    """Wait until everybody of `people`, names by token, has a phone. Returns the tokens of those who have none then.

    With `quiet` nothing is shown. Raises IampassError, but waits for a service that is out of reach.
    """
    deadline = Deadline.after(seconds)
    with _shown(people, deadline, seconds, quiet) as (say, registered):

        def out_of_reach(error: Unavailable | None) -> None:
            if error is None:
                say("IAMPASS answers again.")
            else:
                say(f"Still waiting, but IAMPASS cannot be asked: {clean(str(error))}.")

        def told(token: str) -> None:
            registered()
            if len(people) > 1:
                say(f"{clean(people[token])} has registered a phone.")

        return set(wait_for_devices(manager, people, deadline, time.sleep, told, out_of_reach))


@contextmanager
def _shown(
    people: Mapping[str, str], deadline: Deadline, seconds: float, quiet: bool
) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """Meanwhile it is shown that somebody is waited for. Gives what says a line, and what counts one phone more."""
    one = len(people) == 1
    whom = f"the phone of {clean(next(iter(people.values())))}" if one else f"{len(people)} phones"
    if quiet:
        yield (lambda text: None), (lambda: None)
    elif sys.stdout.isatty():
        with _progress(whom, len(people), deadline) as both:
            yield both
    else:
        line(f"Waiting until {whom} {'is' if one else 'are'} registered, for {in_words(seconds)} at most.")
        sys.stdout.flush()
        yield line, (lambda: None)


@contextmanager
def _progress(
    whom: str, number: int, deadline: Deadline
) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task
    from rich.text import Text

    class Application(ProgressColumn):
        """What is waited for, and how long yet."""

        def render(self, task: Task) -> Text:
            done = f" ({task.completed:.0f} of {number} registered)" if number > 1 else ""
            left = int(deadline.remaining())
            return Text(f"Waiting for {whom}{done}, {left // 60}:{left % 60:02} left. Ctrl-C stops waiting.")

    options: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**options)
    spinner = SpinnerColumn("dots" if console.encoding.startswith("utf") else "line")
    with Progress(spinner, Application(), console=console, transient=True) as progress:
        task = progress.add_task("", total=number)
        yield (
            lambda text: console.print(Text(text), soft_wrap=True),
            lambda: progress.advance(task),
        )
