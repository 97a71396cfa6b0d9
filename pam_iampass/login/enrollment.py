"""Enrollment at login: a listed user without a phone is shown a link to register one.

This login is denied in any case; the next one asks the phone. As it lets anybody who gets here register a phone, it
requires that sshd has accepted a key before. sshd shows text only together with the next prompt, so the link comes
with a prompt, and IAMPASS is asked for the phone after the answer.
"""

from __future__ import annotations

import os

from pam_iampass.client import Deadline, ManagementAPI, ManagementAPIResult
from pam_iampass.client.errors import IampassError
from pam_iampass.login import decisions
from pam_iampass.login.api import connect
from pam_iampass.login.application import PamApplication
from pam_iampass.login.approval import REPLY_MARGIN
from pam_iampass.login.arguments import ModuleArguments
from pam_iampass.login.context import LoginContext
from pam_iampass.login.conversation import AlreadyRefused, Conversation, Unanswered
from pam_iampass.login.policy import ApprovalRequired
from pam_iampass.outcome import Decision

#: How often IAMPASS is asked whether the phone is registered. Seconds.
INTERVAL = 2.0
#: The longest link that can be shown: the conversation cuts lines after that many characters.
LONGEST_LINK = 300


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
        problem = _register(required, deadline, application, context)
    except IampassError as error:
        problem = error.diagnostics()
    except AlreadyRefused:
        return decisions.cancelled("sshd had already refused this login")
    elapsed = decision.elapsed + context.clock() - began
    if problem is None:
        return decisions.registered(decision, elapsed)
    return decisions.not_registered(decision, problem, elapsed)


def _register(
    required: ApprovalRequired, deadline: Deadline, application: PamApplication, context: LoginContext
) -> str | None:
    """Let the person register a phone; return why there is none, or None. Raises IampassError and AlreadyRefused."""
    settings, token = required.settings, required.phone.token
    manager = connect(ManagementAPI, settings, context.connect(settings).transport)
    name = f"{required.approver}@{os.uname().nodename}"
    link = manager.get_registration_link(token, name, deadline=deadline, pause=application.pause)
    if len(link) > LONGEST_LINK:
        return f"the link has {len(link)} characters, but only {LONGEST_LINK} can be shown"
    conversation = Conversation(application)
    _show(link, required.service.timeout, conversation)
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


def _show(link: str, timeout: float, conversation: Conversation) -> None:
    time_left = decisions.seconds(timeout)
    conversation.say(f"No phone is registered for you yet. You have {time_left} to register one:")
    conversation.say("open this link on your phone, or scan the code. Show it to nobody else.")
    conversation.say(link)
    for line in _code(link):
        conversation.say(line)


def _code(link: str) -> list[str]:
    try:
        from pam_iampass.login.qr_code import QrCode
    except ModuleNotFoundError:  # segno is not installed: the link is enough
        return []
    return QrCode(link).plain()
