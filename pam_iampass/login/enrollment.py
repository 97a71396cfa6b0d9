"""Enrolment at login: who stands in the table and has no phone yet is shown the link to register one.

It never lets anybody in: the next login asks the phone. Whoever gets here can register a phone of theirs, so it is only
for logins whose key sshd has accepted before; that has been looked at already (`verification`).

sshd shows our text with the next prompt only, so the link comes with a question; the phone is asked after when it is
answered.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Protocol

from pam_iampass.client import Deadline
from pam_iampass.client.errors import IampassError
from pam_iampass.client.management import ManagementAPI, ManagementAPIResult
from pam_iampass.login import decisions
from pam_iampass.login.conversation import AlreadyRefused, Conversation, Unanswered

if TYPE_CHECKING:
    from pam_iampass.client import AuthenticationAPI
    from pam_iampass.config.settings import Settings
    from pam_iampass.outcome import Decision

#: How long to wait between two questions whether there is a phone. Seconds.
INTERVAL = 2.0
#: The longest link that can be shown: a line of the conversation is cut after that many characters.
LONGEST_LINK = 300


class Pausing(Protocol):
    """What is needed of the application while we wait (`relay.connection.RelayConnection`)."""

    def pause(self, seconds: float) -> None:
        """Wait, unless the application dies."""


@dataclass(frozen=True)
class EnrolmentAtLogin:
    """Offers a link to one login, and waits until the phone is registered."""

    settings: Settings
    seconds: float
    """How long the person has."""
    connect: Callable[[Settings], AuthenticationAPI]
    conversation: Conversation
    waiting: Pausing
    clock: Callable[[], float]

    def offer(self, user: str, token: str, decision: Decision) -> Decision:
        """What comes of the login that was decided so because the user has no phone: always a denial.

        Raises what the handle raises when the application dies.
        """
        began = self.clock()
        deadline = Deadline(began + self.seconds, self.clock)
        try:
            problem = self._register(user, token, deadline)
        except IampassError as error:
            problem = error.diagnostics()
        except AlreadyRefused:
            return decisions.cancelled("sshd had refused this login already")
        elapsed = decision.elapsed + self.clock() - began
        if problem is None:
            return decisions.registered(decision, elapsed)
        return decisions.not_registered(decision, problem, elapsed)

    def _register(self, user: str, token: str, deadline: Deadline) -> str | None:
        """Why there is no phone at the end; None where there is. Raises IampassError and AlreadyRefused."""
        settings = self.settings
        transport = self.connect(settings).transport
        manager = ManagementAPI(settings.application_id, settings.application_secret, transport=transport)
        name = f"{user}@{os.uname().nodename}"
        link = manager.get_registration_link(token, name, deadline=deadline, pause=self.waiting.pause)
        if len(link) > LONGEST_LINK:
            return f"the link has {len(link)} characters, {LONGEST_LINK} can be shown"
        self._show(link)
        try:
            self.conversation.ask("Once your phone is registered, press Enter: ", within=deadline.remaining())
        except Unanswered:
            return "the prompt was not answered"
        while not deadline.expired:
            found = manager.has_registered_mobile_device(token, deadline=deadline, pause=self.waiting.pause)
            if found is ManagementAPIResult.has_mobile_device:
                return None
            self.waiting.pause(min(INTERVAL, deadline.remaining()))
        return "the time was up"

    def _show(self, link: str) -> None:
        say = self.conversation.say
        say(
            f"No phone is registered for you yet. You have {decisions.seconds(round(self.seconds))} to register one:"
        )
        say("open this link on your phone, or scan the code. Show it to nobody else.")
        say(link)
        for line in _code(link):
            say(line)


def _code(link: str) -> list[str]:
    try:
        from pam_iampass.login.qr_code import QrCode
    except ModuleNotFoundError:  # segno is not installed: the link will do
        return []
    return QrCode(link).plain()
