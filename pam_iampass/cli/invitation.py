"""Gives people the registration link, on the terminal with a QR code or by SMS, and waits for their phones."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import click

from pam_iampass.cli.output import duration, finding, line, progress
from pam_iampass.client import Deadline, ManagementAPI, ManagementAPIResult, Unavailable

_CALL = 10.0  # seconds for one question


@dataclass(frozen=True)
class Invitation:
    """How one person gets the link."""

    display_name: str | None
    """The name that the app shows."""
    number: str | None
    """The phone number for the SMS; None: the link is shown."""
    message: str | None
    """The text of the SMS before the link."""
    quiet: bool
    """Whether the link is printed without explanation, or not at all, because a JSON object follows."""

    def send(self, manager: ManagementAPI, token: str, *, waits: bool, link: str | None = None) -> str | None:
        """Send or show the link; returns it if it was not sent. Raises IampassError.

        With `waits` the command goes on waiting for the phone. A `link` saves asking IAMPASS for one.
        """
        if self.number is not None:
            manager.send_registration_sms(token, self.display_name, self.number, self.message)
            if not self.quiet:
                line(f"A message with the registration link was sent to {self.number}.")
            return None
        link = link or manager.get_registration_link(token, self.display_name)
        if not self.quiet:
            _show_link(link)
        elif waits:
            line(link, err=True)  # the JSON object is printed after waiting, which is too late
        return link


def _show_link(link: str) -> None:
    """The link, and its QR code on a terminal that can show it."""
    code = _code(link) if sys.stdout.isatty() else []
    scan = ", or scan the code with its camera" if code else ""
    line(f"Open this link on the phone{scan}. Show it to nobody else.")
    finding([""], link)
    line()
    # Not through `line`, which drops the colours under NO_COLOR: here they are the code.
    for each in code:
        click.echo(each, color=True)
    if code:
        line()


def _code(link: str) -> list[str]:
    """The lines of the QR code; none if the terminal or the machine cannot show one."""
    try:
        from pam_iampass.login.qr_code import QrCode
    except ModuleNotFoundError as error:
        line(f"(A QR code needs the Python package {error.name}.)", err=True)
        return []
    code = QrCode(link)
    columns = shutil.get_terminal_size().columns
    missing = ""
    if columns < code.width:
        missing = f"a window of {code.width} columns; this one has {columns}"
    elif not sys.stdout.encoding.lower().startswith("utf"):
        missing = f"a terminal in UTF-8; this one is in {sys.stdout.encoding}"
    if missing:
        line(f"(A QR code needs {missing}.)", err=True)
        return []
    return code.coloured()


def wait(manager: ManagementAPI, users: Mapping[str, str], seconds: float, quiet: bool = False) -> set[str]:
    """Wait until each of `users`, names by token, has a phone. Returns the tokens without one at the deadline.

    With `quiet` nothing is shown. Raises IampassError, but waits while IAMPASS is unreachable.
    """
    deadline = Deadline.after(seconds)
    missing = dict(users)
    several = len(users) > 1
    whom = f"{len(users)} phones" if several else f"the phone of {next(iter(users.values()))}"
    unreachable = False

    with progress(quiet) as show:

        def say(text: str) -> None:
            if not quiet:
                show("")
                line(text)

        def pause(seconds: float) -> None:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                done = f" ({len(users) - len(missing)} of {len(users)} registered)" if several else ""
                minutes, rest = divmod(int(deadline.remaining()), 60)
                show(f"Waiting for {whom}{done}, {minutes}:{rest:02} left. Ctrl-C stops waiting.")
                time.sleep(min(left, 1.0))

        if not sys.stdout.isatty():
            say(
                f"Waiting until {whom} {'are' if several else 'is'} registered, for {duration(seconds)} at most."
            )
        while missing and not deadline.expired:
            try:
                for token in list(missing):
                    found = manager.has_registered_mobile_device(token, deadline=deadline.sooner(_CALL))
                    if unreachable:
                        unreachable = False
                        say("IAMPASS answers again.")
                    if found is ManagementAPIResult.has_mobile_device:
                        user = missing.pop(token)
                        if several:
                            say(f"{user} has registered a phone.")
            except Unavailable as error:
                if not unreachable and not deadline.expired:
                    unreachable = True
                    say(f"IAMPASS is unreachable, still waiting: {error}.")
            if missing:
                pause(min(max(2.0, len(missing) / 20), deadline.remaining()))
    return set(missing)
