"""`pam-iampass enroll USER`."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass

import click

from pam_iampass.cli.columns import line
from pam_iampass.cli.enroll_options import in_words
from pam_iampass.cli.enroll_waiting import wait
from pam_iampass.enrollment.request import Applicant
from pam_iampass.enrollment.service import Admission, Office
from pam_iampass.text import clean


@dataclass(frozen=True)
class Wishes:
    """How it is to be done."""

    replace: bool
    new_device: bool
    message: str | None
    waiting: float
    """Seconds to wait for the phone; 0: not at all."""
    as_json: bool


def enroll_one(office: Office, applicant: Applicant, wishes: Wishes) -> int:
    """Enrol one user and say what happens; returns the exit status. Raises PamIampassError and IampassError."""
    return _Enrolment(office, applicant, wishes).run()


class _Enrolment:
    def __init__(self, office: Office, applicant: Applicant, wishes: Wishes) -> None:
        self._office = office
        self._applicant = applicant
        self._wishes = wishes
        self._link: str | None = None

    def run(self) -> int:
        admission = self._office.admit(self._applicant, self._wishes.replace)
        self._say_admitted(admission)
        if admission.registered and not self._wishes.new_device:
            self._say(f"A phone of {clean(admission.user)} is registered already.", "green")
            self._say("To register another one, give --new-device.")
            return self._end(admission, registered=True)
        self._invite(admission)
        # Where there is a device, it cannot be told when another one is registered.
        if not self._wishes.waiting or admission.registered:
            self._say_how_to_go_on(admission)
            return self._end(admission, admission.registered)
        return self._wait(admission)

    def _say_admitted(self, admission: Admission) -> None:
        user = clean(admission.user)
        self._say(f"{user} is {'new' if admission.added else 'known already'} at IAMPASS.")
        if admission.file is None:
            self._say("The table of users has the token already.")
        else:
            self._say(f"The table of users has the token, in {clean(str(admission.file))}.")

    def _invite(self, admission: Admission) -> None:
        manager, name = self._office.manager, self._applicant.display_name
        number = self._applicant.phone_number
        if number is not None:
            manager.send_registration_sms(admission.token, name, number, self._wishes.message)
            self._say(f"A message with the registration link is on its way to {number}.")
            return
        self._link = manager.get_registration_link(admission.token, name)
        if self._wishes.as_json:
            if self._wishes.waiting and not admission.registered:
                click.echo(self._link, err=True)  # the object comes too late for whoever must open it
            return
        _show_link(self._link)

    def _wait(self, admission: Admission) -> int:
        people = {admission.token: admission.user}
        try:
            missing = wait(self._office.manager, people, self._wishes.waiting, self._wishes.as_json)
        except BaseException:
            self._say_how_to_go_on(admission)
            raise
        if missing:
            time = in_words(self._wishes.waiting)
            self._say(f"No phone of {clean(admission.user)} was registered within {time}.", "bold red")
            self._say_how_to_go_on(admission)
            self._end(admission, registered=False, ok=False)
            return 1
        self._say(f"The phone of {clean(admission.user)} is registered.", "bold green")
        return self._end(admission, registered=True)

    def _say_how_to_go_on(self, admission: Admission) -> None:
        if admission.registered:
            return
        user = clean(admission.user)
        self._say(
            f"{user} stands in the table: logins of {user} are denied until a phone is registered.", "yellow"
        )
        self._say(f"To see whether one is, or to get a new link: pam-iampass enroll {user}")

    def _say(self, text: str, style: str = "") -> None:
        if not self._wishes.as_json:
            line(text, style)

    def _end(self, admission: Admission, registered: bool, ok: bool = True) -> int:
        if self._wishes.as_json:
            found = {
                "ok": ok,
                "user": admission.user,
                "registered": registered,
                "added": admission.added,
                "file": None if admission.file is None else str(admission.file),
                "link": self._link,
                "message_to": self._applicant.phone_number if self._link is None else None,
            }
            if admission.registered and not self._wishes.new_device:
                found["message_to"] = None
            click.echo(json.dumps(found, indent=2))
        return 0


def _show_link(link: str) -> None:
    """The link, and on a terminal where it fits its QR code."""
    code = _code(link) if sys.stdout.isatty() else []
    scan = ", or scan the code with its camera" if code else ""
    line(f"On the phone that is to approve, open this link{scan}. Show it to nobody else.")
    click.echo(f"\n    {link}\n")
    # Not through rich, which would leave out the colours, and they are the code, where NO_COLOR is set.
    for each in code:
        click.echo(each, color=True)
    if code:
        click.echo()


def _code(link: str) -> list[str]:
    """The lines of the QR code; none where this terminal or this machine cannot show one."""
    try:
        from pam_iampass.login.qr_code import QrCode
    except ModuleNotFoundError as error:
        click.echo(f"(A code to scan needs the Python package {error.name}.)", err=True)
        return []
    code = QrCode(link)
    columns = shutil.get_terminal_size().columns
    missing = ""
    if columns < code.width:
        missing = f"a window of {code.width} columns; this one has {columns}"
    elif not sys.stdout.encoding.lower().startswith("utf"):
        missing = f"a terminal in UTF-8; this one is in {sys.stdout.encoding}"
    if missing:
        click.echo(f"(A code to scan needs {missing}.)", err=True)
        return []
    return code.coloured()
