"""The prompt before the request, where the application would hold back other text until it is too late."""

from __future__ import annotations

from pam_iampass.config.settings import ServiceSettings
from pam_iampass.login.conversation import AlreadyRefused, Conversation, Unanswered
from pam_iampass.login.decisions import seconds
from pam_iampass.outcome import Login


class PromptDeclined(Exception):
    """No request is to be sent; the text is the reason."""


def before_request(login: Login, service: ServiceSettings, conversation: Conversation) -> str | None:
    """Ask the person to press Enter or to type a recovery code; return what they typed.

    The text is the same for all, so that it does not tell who is listed, who has codes, or who logs in elsewhere.
    Returns None where they were not asked. sshd cannot show this prompt in its `password` method: the request is then
    sent without it. Elsewhere only the settings ask for the prompt, and no answer means that no request is wanted.
    Raises PromptDeclined.
    """
    wanted = service.prompt.value
    if wanted == "never" or (wanted == "auto" and not login.through_sshd):
        return None
    try:
        return conversation.ask(
            "IAMPASS: press Enter to get a request on your phone, or type a recovery code; "
            f"you then have {seconds(service.timeout)}: "
        )
    except AlreadyRefused:
        raise PromptDeclined("sshd had already refused this login") from None
    except Unanswered:
        if not login.through_sshd:
            raise PromptDeclined("the prompt was not answered") from None
        return None
