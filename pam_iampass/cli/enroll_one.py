"""`pam-iampass enroll USER`."""

from __future__ import annotations

from dataclasses import dataclass

from pam_iampass.cli.enroll_waiting import wait
from pam_iampass.cli.invitation import Invitation
from pam_iampass.cli.output import duration, line, show_json
from pam_iampass.enrollment.request import EnrollmentRequest
from pam_iampass.enrollment.service import EnrollmentService


@dataclass(frozen=True)
class EnrollOptions:
    """The options of the command."""

    replace: bool
    new_device: bool
    message: str | None
    seconds: float
    """How long to wait for the phone; 0: not at all."""
    as_json: bool


def enroll_one(service: EnrollmentService, request: EnrollmentRequest, options: EnrollOptions) -> int:
    """Enroll one user and report. Returns the exit status. Raises PamIampassError and IampassError."""
    return _Enrollment(service, request, options).run()


class _Enrollment:
    def __init__(
        self, service: EnrollmentService, request: EnrollmentRequest, options: EnrollOptions
    ) -> None:
        self._manager = service.manager
        self._request = request
        self._options = options
        self._result = service.enroll(request, options.replace)
        self._link: str | None = None
        self._invited = False

    def run(self) -> int:
        result, user, options = self._result, self._result.user, self._options
        self._say(f"{user} is {'new' if result.added else 'already known'} at IAMPASS.")
        where = "already has the token" if result.file is None else f"has the token, in {result.file}"
        self._say(f"The user table {where}.")
        if result.registered and not options.new_device:
            self._say(f"{user} already has a phone.", "green")
            self._say(f"If it is lost: pam-iampass phone lost {user}")
            self._say("To register another one, give --new-device.")
            return self._end(registered=True)
        self._invite()
        # If there is a device already, IAMPASS does not show whether another one is registered.
        if result.registered:
            return self._end(registered=True)
        if not options.seconds:
            self._say_how_to_continue()
            return self._end(registered=False)
        return self._wait()

    def _invite(self) -> None:
        request, options = self._request, self._options
        invitation = Invitation(request.display_name, request.phone_number, options.message, options.as_json)
        waits = bool(options.seconds) and not self._result.registered
        self._link = invitation.send(self._manager, self._result.token, waits=waits)
        self._invited = True

    def _wait(self) -> int:
        user, seconds = self._result.user, self._options.seconds
        try:
            missing = wait(self._manager, {self._result.token: user}, seconds, self._options.as_json)
        except BaseException:
            self._say_how_to_continue()
            raise
        if not missing:
            self._say(f"The phone of {user} is registered.", "bold green")
            return self._end(registered=True)
        self._say(f"No phone of {user} was registered within {duration(seconds)}.", "bold red")
        self._say_how_to_continue()
        return self._end(registered=False, status=1)

    def _say_how_to_continue(self) -> None:
        user = self._result.user
        self._say(f"Logins of {user} are denied until a phone is registered.", "yellow")
        self._say(f"To check, or to get a new link: pam-iampass enroll {user}")

    def _say(self, text: str, style: str = "") -> None:
        if not self._options.as_json:
            line((text, style))

    def _end(self, registered: bool, status: int = 0) -> int:
        if self._options.as_json:
            show_json(
                {
                    "ok": status == 0,
                    "user": self._result.user,
                    "registered": registered,
                    "added": self._result.added,
                    "file": None if self._result.file is None else str(self._result.file),
                    "link": self._link,
                    "message_to": self._request.phone_number if self._invited else None,
                }
            )
        return status
