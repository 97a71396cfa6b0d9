"""Gives a person the registration link: on the terminal with a QR code, or by SMS."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

import click

from pam_iampass.cli.output import finding, line
from pam_iampass.client import ManagementAPI


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
