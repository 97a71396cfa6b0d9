"""How a recovery code is used on this host: at sshd, or where sudo and others ask for one."""

from __future__ import annotations

from pam_iampass.check.stacks import Stacks
from pam_iampass.config.settings import Settings
from pam_iampass.config.value_types import AskForCode, Prompt
from pam_iampass.pam.services import USES
from pam_iampass.system import sshd, sshd_session
from pam_iampass.system.trusted_folder import shell_word

_AT_PROMPT = "type a code at the prompt instead of pressing Enter."
_ASKED = {
    AskForCode.NEVER: "takes no code (`recovery: {ask: never}` in the settings)",
    AskForCode.UNAVAILABLE: "asks for a code if the phone could not be asked",
    AskForCode.UNANSWERED: "asks for a code if the phone could not be asked or did not answer",
}


def how_codes_are_used(settings: Settings, stacks: Stacks, user: str) -> list[str]:
    """A sentence for each service of this machine that asks the phone, sshd first."""
    siblings = {other for name, *others in USES.values() for other in others if name in stacks.with_us}
    services = [name for name in stacks.with_us if name not in siblings]
    found = [_of_sshd(settings, stacks, user)] if stacks.asks("sshd", in_sshd=True) else []
    for name in services:
        if name != "sshd":
            prompts = settings.for_service(name).prompt is Prompt.ALWAYS
            found.append(f"{name}: {_AT_PROMPT}" if prompts else f"{name} {_ASKED[settings.recovery.ask]}.")
    return found or ["No service of this machine asks the phone yet: pam-iampass setup."]


def _of_sshd(settings: Settings, stacks: Stacks, user: str) -> str:
    if stacks.takes_code("sshd"):
        return f"ssh, if the phone is missing: {sshd.with_code(shell_word(user))}"
    if stacks.asks("sshd"):
        prompt, shows_text = settings.for_service("sshd").prompt, sshd_session.installed_shows_text()
        if prompt is Prompt.ALWAYS or (prompt is Prompt.AUTO and not shows_text):
            return f"ssh: {_AT_PROMPT}"
        if shows_text:
            return f"ssh {_ASKED[settings.recovery.ask]}."
    return (
        "ssh: no code can be typed. To change that: pam-iampass setup sshd --codes, or --prompt. Without it, an"
        f" administrator can help if the phone is missing: pam-iampass bypass {shell_word(user)} --for 15m"
    )
