"""A login with a recovery code: when one is asked for, and who redeems it.

On a host of a gateway the codes are the fleet's, and the gateway redeems them. Codes that were made on the host itself
count only while no gateway can be reached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pam_iampass.client import Deadline
from pam_iampass.login import decisions
from pam_iampass.login.application import (
    CODE_PROMPT,
    SSHD_REFUSED,
    AlreadyRefused,
    Conversation,
    PamApplication,
    Unanswered,
)
from pam_iampass.login.approval import REPLY_MARGIN
from pam_iampass.login.at_gateway import TIME_TO_REDEEM
from pam_iampass.login.context import ApprovalRequired, LoginContext
from pam_iampass.login.recovery import read
from pam_iampass.outcome import Decision, Outcome, Result

#: How long a person may take to type a recovery code where there was no prompt before. Seconds.
TIME_FOR_CODE = 60.0
_NO_REQUEST = (Outcome.UNAVAILABLE, Outcome.NO_DEVICE, Outcome.THROTTLED, Outcome.MISCONFIGURED)


@dataclass(frozen=True)
class CodeRedemption:
    """Redeems the recovery codes of the person who logs in."""

    required: ApprovalRequired
    application: PamApplication
    context: LoginContext

    def redeem(self, code: str, before: Decision | None = None) -> Decision:
        """Redeem a code. `before` is why it was asked for.

        The attempt is counted before the code is looked at, so that parallel guesses count too. Raises StateError.
        """
        person, login, settings = self.required.approver, self.required.login, self.required.settings
        throttle = self.context.state.throttle
        refusal = throttle.attempt(person, login, settings.recovery.attempts_per_hour)
        if refusal is not None:
            return decisions.too_many_codes(refusal.reason, refusal.wait)
        deadline = Deadline.after(TIME_TO_REDEEM - REPLY_MARGIN, self.context.clock)
        request = self.required.request(self.application, deadline)
        decision = self.required.decider.redeem(code, before, request)
        if decision is None:
            left = self.context.state.recovery_codes.spend(person, code)
            decision = decisions.wrong_code(before) if left is None else decisions.recovered(left, before)
        if decision.outcome is not Outcome.DENIED:
            throttle.attempt_was_right(person, login)
        return decision

    def redeem_typed_before(self, text: str) -> Decision:
        """Redeem what was typed before the first factor (`typed_codes`). The phone is not asked, whatever it is."""
        code = read(text)
        if code is None:
            return decisions.no_code(withheld=text.startswith(SSHD_REFUSED))
        if self.required.asker:
            return decisions.code_for_another(self.required.asker, self.required.approver)
        return self.redeem(code)

    def is_offered_after(self, decision: Decision) -> bool:
        """Whether to ask for a code now that the phone did not help, and the application can show why.

        It does not depend on whether this person has codes, only on whether anybody on this machine was given some. On
        a host of a gateway it does not know, and assumes so.
        """
        settings = self.required.settings
        ask = settings.recovery.ask.value
        no_request = decision.outcome in _NO_REQUEST
        unanswered = decision.outcome is Outcome.TIMED_OUT and ask == "unanswered"
        if decision.result is not Result.DENIED or ask == "never" or not (no_request or unanswered):
            return False
        if not self.required.login.shows_text:
            return False
        return self.required.decider.redeems_codes or self.context.state.recovery_codes.in_use()

    def offer(self, decision: Decision) -> Decision:
        """Ask for a code and redeem it; `decision` stays where none is typed."""
        conversation = Conversation(self.application)
        self.application.set_deadline(TIME_FOR_CODE)
        conversation.say_error(decision.message)
        try:
            typed = conversation.ask(CODE_PROMPT, hidden=True, within=TIME_FOR_CODE)
        except (Unanswered, AlreadyRefused):
            typed = None
        code = read(typed)
        return replace(decision, message="") if code is None else self.redeem(code, decision)
