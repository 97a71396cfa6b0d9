"""Show something to the person, or ask them something; all text is cleaned."""

from __future__ import annotations

from pam_iampass.config.settings import ServiceSettings
from pam_iampass.login.application import ConversationFailed, PamApplication, PamMessage
from pam_iampass.login.decisions import seconds
from pam_iampass.outcome import Login, Phase
from pam_iampass.text import clean

#: What sshd answers in place of a person whom it has already refused, such as root under `PermitRootLogin
#: prohibit-password` (OpenSSH, `auth-pam.c`, `fake_password`). It is cut or repeated to the length of what was typed:
#: a bare Enter stays a bare Enter.
SSHD_REFUSED = "\b\n\r\x7f"

PROMPT_ECHO_OFF = 1
PROMPT_ECHO_ON = 2
ERROR_MSG = 3
TEXT_INFO = 4


class AlreadyRefused(Exception):
    """The application has already refused this login."""


class Unanswered(Exception):
    """The application could not ask the person, or they did not answer in time."""


class Conversation:
    """The conversation with the person who logs in.

    In sshd's account phase it is silent but for errors: prompts fail there, and sshd shows texts as a banner once the
    phase is over, when they are of no use to the person and in the way of scp and rsync.
    """

    def __init__(self, pamh: PamApplication) -> None:
        self._pamh = pamh
        self._silent = pamh.phase is Phase.ACCOUNT

    def say(self, text: str) -> None:
        """Show a line."""
        if not self._silent:
            self._pamh.conversation(PamMessage(TEXT_INFO, clean(text)))

    def say_error(self, text: str) -> None:
        """Show an error."""
        self._pamh.conversation(PamMessage(ERROR_MSG, clean(text)))

    def ask(self, prompt: str, *, hidden: bool = False, within: float | None = None) -> str:
        """Return the answer: empty for a bare Enter and where the application passes none on.

        Input is echoed unless `hidden`. Raises Unanswered where the application cannot ask (sshd's `password` method, a
        program without a terminal) or `within` seconds are over, and AlreadyRefused where sshd answers in the
        person's place.
        """
        if self._silent:
            raise Unanswered
        style = PROMPT_ECHO_OFF if hidden else PROMPT_ECHO_ON
        try:
            answer = self._pamh.conversation(PamMessage(style, clean(prompt)), within).resp
        except ConversationFailed:
            raise Unanswered from None
        if not isinstance(answer, str):
            return ""
        if answer and answer[: len(SSHD_REFUSED)] == SSHD_REFUSED[: len(answer)]:
            raise AlreadyRefused
        return answer


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
