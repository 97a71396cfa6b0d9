"""The part of a login that has to do with recovery codes: what was typed, whether it is right, when to ask."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pam_iampass.errors import PamIampassError
from pam_iampass.login import decisions
from pam_iampass.login.application import Application
from pam_iampass.login.context import LoginContext
from pam_iampass.login.conversation import AlreadyRefused, Conversation, Unanswered
from pam_iampass.outcome import Decision, Login, Outcome, Result
from pam_iampass.system.accounts import Account

if TYPE_CHECKING:
    from pam_iampass.config.settings import Settings
    from pam_iampass.login.rate_limit import Throttle
    from pam_iampass.login.recovery_codes import RecoveryCodes

#: How long a person may take to type a recovery code where there was no prompt before. Seconds.
TIME_FOR_CODE = 60.0


@dataclass
class RecoveryStep:
    """The part of a login that has to do with recovery codes."""

    login: Login
    settings: Settings
    throttle: Throttle
    codes: RecoveryCodes

    @classmethod
    def of(cls, who: Account, login: Login, settings: Settings, parts: LoginContext) -> RecoveryStep:
        stores = parts.stores
        return cls(login, settings, stores.throttle(who.name, login), stores.recovery_codes(who.name))

    def read(self, typed: str) -> str | None:
        """The code that was typed; None where the text is not shaped like one."""
        from pam_iampass.login import recovery_code

        return recovery_code.read(typed)

    def spend(self, code: str, before: Decision | None = None) -> Decision:
        """Try a code. It is counted before it is looked at: guesses at the same moment count, too."""
        from pam_iampass.login.rate_limit import Throttled

        try:
            self.throttle.attempt(self.settings.recovery.attempts_per_hour)
        except Throttled as throttled:
            return decisions.too_many_codes(str(throttled), throttled.wait)
        left = self.codes.spend(code)
        if left is None:
            return decisions.wrong_code(before)
        with contextlib.suppress(
            PamIampassError
        ):  # it is spent: whatever cannot be remembered now, they are in
            self.throttle.attempt_was_right()
        return decisions.recovered(left, before)

    def is_offered_after(self, decision: Decision, replaced: bool) -> bool:
        """Whether to ask for a code, now that the phone has not helped. In sshd that was said at the prompt."""
        wanted = self.settings.recovery.ask.value
        no_request = decision.outcome in (Outcome.UNAVAILABLE, Outcome.NO_DEVICE, Outcome.THROTTLED)
        silence = decision.outcome is Outcome.TIMED_OUT and wanted == "unanswered"
        if decision.result is not Result.DENIED or wanted == "never" or not (no_request or silence):
            return False
        return not self.login.through_sshd and not replaced and self.codes.left() > 0

    def offer(self, decision: Decision, conversation: Conversation, waiting: Application) -> Decision:
        """Ask for a code; `decision` stays where none is typed."""
        waiting.set_deadline(TIME_FOR_CODE)
        conversation.say_error(decision.message)
        try:
            typed = conversation.ask(
                "IAMPASS recovery code (Enter: none): ", hidden=True, within=TIME_FOR_CODE
            )
        except (Unanswered, AlreadyRefused):
            typed = ""
        code = self.read(typed)
        return replace(decision, message="") if code is None else self.spend(code, decision)
