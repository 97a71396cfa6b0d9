"""Recovery codes in a login: recognize one in what was typed, redeem it, offer to type one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pam_iampass.config.settings import RecoverySettings
from pam_iampass.login import decisions
from pam_iampass.login.application import PamApplication
from pam_iampass.login.conversation import AlreadyRefused, Conversation, Unanswered
from pam_iampass.login.rate_limit import RateLimit, Throttled
from pam_iampass.login.recovery_codes import RecoveryCodes, read
from pam_iampass.outcome import Decision, Login, Outcome, Result

#: How long a person may take to type a recovery code where there was no prompt before. Seconds.
TIME_FOR_CODE = 60.0
_NO_REQUEST = (Outcome.UNAVAILABLE, Outcome.NO_DEVICE, Outcome.THROTTLED, Outcome.MISCONFIGURED)


@dataclass(frozen=True)
class CodeRedemption:
    """Redeems the recovery codes of the person who logs in."""

    login: Login
    person: str
    settings: RecoverySettings
    rate_limit: RateLimit
    codes: RecoveryCodes

    def code_in(self, typed: str | None) -> str | None:
        """The recovery code that was typed; None where the text has not the form of one."""
        return None if typed is None else read(typed)

    def redeem(self, code: str, before: Decision | None = None) -> Decision:
        """Redeem a code. `before` is why it was asked for.

        The attempt is counted before the code is looked at, so that parallel guesses count too. Raises StateError.
        """
        try:
            self.rate_limit.attempt(self.settings.attempts_per_hour)
        except Throttled as throttled:
            return decisions.too_many_codes(str(throttled), throttled.wait)
        left = self.codes.spend(self.person, code)
        if left is None:
            return decisions.wrong_code(before)
        self.rate_limit.attempt_was_right()
        return decisions.recovered(left, before)

    def is_offered_after(self, decision: Decision) -> bool:
        """Whether to ask for a code now that the phone did not help. sshd's prompt has offered that before.

        It does not depend on whether this person has codes, only on whether anybody on this machine was given some.
        """
        ask = self.settings.ask.value
        no_request = decision.outcome in _NO_REQUEST
        unanswered = decision.outcome is Outcome.TIMED_OUT and ask == "unanswered"
        if decision.result is not Result.DENIED or ask == "never" or not (no_request or unanswered):
            return False
        return not self.login.through_sshd and self.codes.in_use()

    def offer(self, decision: Decision, application: PamApplication) -> Decision:
        """Ask for a code and redeem it; `decision` stays where none is typed."""
        conversation = Conversation(application)
        application.set_deadline(TIME_FOR_CODE)
        conversation.say_error(decision.message)
        try:
            typed = conversation.ask(
                "IAMPASS recovery code (Enter: none): ", hidden=True, within=TIME_FOR_CODE
            )
        except (Unanswered, AlreadyRefused):
            typed = None
        code = self.code_in(typed)
        return replace(decision, message="") if code is None else self.redeem(code, decision)
