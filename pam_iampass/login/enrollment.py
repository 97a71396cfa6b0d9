"""Enrollment at login: a listed user without a phone is shown a link to register one.

This login is denied in any case; the next one asks the phone. As it lets anybody who gets here register a phone, it
requires that sshd has accepted a key before. sshd shows text only together with the next prompt, so the link comes
with a prompt, and IAMPASS is asked for the phone after the answer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from pam_iampass.client import Deadline, ManagementAPIResult
from pam_iampass.client.errors import IampassError
from pam_iampass.login import decisions
from pam_iampass.login.application import AlreadyRefused, Conversation, PamApplication, Unanswered
from pam_iampass.login.approval import REPLY_MARGIN
from pam_iampass.login.context import ApprovalRequired, LoginContext, ModuleArguments
from pam_iampass.outcome import Decision

#: How often IAMPASS is asked whether the phone is registered. Seconds.
INTERVAL = 2.0
#: The longest link that can be shown: the conversation cuts lines after that many characters.
LONGEST_LINK = 300

_BLACK, _WHITE = 16, 231
_UPPER_HALF = "\N{UPPER HALF BLOCK}"
# By whether the upper and the lower half are black.
_LIGHT = {
    (False, False): "\N{FULL BLOCK}",
    (False, True): _UPPER_HALF,
    (True, False): "\N{LOWER HALF BLOCK}",
    (True, True): " ",
}
_QUIET_ZONE = 4  # modules around the code (ISO/IEC 18004)


def offer_enrollment(
    required: ApprovalRequired,
    arguments: ModuleArguments,
    decision: Decision,
    application: PamApplication,
    context: LoginContext,
) -> Decision:
    """Show the link and wait until the phone is registered. `decision` is why; what is returned denies as well.

    Raises ApplicationGone and Stopping.
    """
    if arguments.first_factor is None:
        return decisions.misconfigured("enroll_at_login requires first_factor=publickey on the PAM line")
    began = context.clock()
    deadline = Deadline(began + required.service.timeout - REPLY_MARGIN, context.clock)
    application.set_deadline(required.service.timeout)
    try:
        problem = _register(required, deadline, application)
    except IampassError as error:
        problem = error.diagnostics()
    except AlreadyRefused:
        return decisions.cancelled("sshd had already refused this login")
    elapsed = decision.elapsed + context.clock() - began
    if problem is None:
        return decisions.registered(decision, elapsed)
    return decisions.not_registered(decision, problem, elapsed)


def _register(required: ApprovalRequired, deadline: Deadline, application: PamApplication) -> str | None:
    """Let the person register a phone; return why there is none, or None. Raises IampassError and AlreadyRefused."""
    manager, token = required.configuration.manager, required.phone.token
    name = f"{required.approver}@{os.uname().nodename}"
    link = manager.get_registration_link(token, name, deadline=deadline, pause=application.pause)
    if len(link) > LONGEST_LINK:
        return f"the link has {len(link)} characters, but only {LONGEST_LINK} can be shown"
    conversation = Conversation(application)
    time_left = decisions.seconds(required.service.timeout)
    conversation.say(f"No phone is registered for you yet. You have {time_left} to register one:")
    conversation.say("open this link on your phone, or scan the code. Show it to nobody else.")
    conversation.say(link)
    with contextlib.suppress(ModuleNotFoundError):  # the link is enough
        for line in QrCode(link).plain():
            conversation.say(line)
    try:
        conversation.ask("Once your phone is registered, press Enter: ", within=deadline.remaining())
    except Unanswered:
        return "the prompt was not answered"
    while not deadline.expired:
        found = manager.has_registered_mobile_device(token, deadline=deadline, pause=application.pause)
        if found is ManagementAPIResult.has_mobile_device:
            return None
        application.pause(min(INTERVAL, deadline.remaining()))
    return "the time was up"


class QrCode:
    """The QR code of a text, for a terminal.

    Two rows of the code share a line of text, by means of half-block characters. With colours, every cell gets black
    and white from the part of xterm's palette that no theme changes, so that the code is black on white whatever the
    colours of the terminal. Without colours (PAM's conversation) the light modules are drawn, for terminals with a
    dark background; on a light background the code is inverted, which many cameras can read.
    """

    def __init__(self, text: str) -> None:
        """Raises ModuleNotFoundError where segno is not installed."""
        import segno  # only for this: most agents never show a code

        code = segno.make(text, error="l", micro=False)
        self._rows = [tuple(map(bool, row)) for row in code.matrix_iter(border=_QUIET_ZONE)]

    @property
    def width(self) -> int:
        """Cells of a line."""
        return len(self._rows[0])

    def coloured(self) -> list[str]:
        """Lines for a terminal, colours included."""
        return ["".join(self._cells(upper, lower)) + "\x1b[0m" for upper, lower in self._pairs()]

    def plain(self) -> list[str]:
        """Lines without colours."""
        return [
            "".join(_LIGHT[above, below] for above, below in zip(upper, lower))
            for upper, lower in self._pairs()
        ]

    def _pairs(self) -> list[tuple[Sequence[bool], Sequence[bool]]]:
        """Each two rows that share a line."""
        rows = [*self._rows, (False,) * self.width] if len(self._rows) % 2 else self._rows
        return list(zip(rows[::2], rows[1::2]))

    @staticmethod
    def _cells(upper: Sequence[bool], lower: Sequence[bool]) -> list[str]:
        cells, before = [], ""
        for above, below in zip(upper, lower):
            colours = f"\x1b[38;5;{_BLACK if above else _WHITE};48;5;{_BLACK if below else _WHITE}m"
            cells.append(_UPPER_HALF if colours == before else colours + _UPPER_HALF)
            before = colours
        return cells
