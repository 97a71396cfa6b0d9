"""A login with a recovery code: when one is asked for, and who redeems it.

On a host of a gateway the codes are the fleet's, and the gateway redeems them. Those that were made on the host itself
count only while no gateway can be reached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pam_iampass.client import Deadline
from pam_iampass.client.errors import IampassError, NotFound, Unavailable
from pam_iampass.login import decisions
from pam_iampass.login.application import AlreadyRefused, Conversation, PamApplication, Unanswered
from pam_iampass.login.approval import REPLY_MARGIN
from pam_iampass.login.context import ApprovalRequired, LoginContext
from pam_iampass.login.recovery import read
from pam_iampass.outcome import Decision, Outcome, Result

#: How long a person may take to type a recovery code where there was no prompt before. Seconds.
TIME_FOR_CODE = 60.0
#: How long the gateways may take to redeem one. Seconds.
TIME_TO_REDEEM = 20.0
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
        decision = self._at_gateway(code, before) if settings.gateways else None
        if decision is None:
            left = self.context.state.recovery_codes.spend(person, code)
            decision = decisions.wrong_code(before) if left is None else decisions.recovered(left, before)
        if decision.outcome is not Outcome.DENIED:
            throttle.attempt_was_right(person, login)
        return decision

    def _at_gateway(self, code: str, before: Decision | None) -> Decision | None:
        """Have a gateway redeem the code; None if no gateway can be reached, and the code has not left this machine."""
        required = self.required
        self.application.set_deadline(TIME_TO_REDEEM)
        try:
            told = required.configuration.api.redeem_code(
                required.phone.token,
                code,
                {**required.told_to_gateway(), "timeout": str(int(TIME_TO_REDEEM - REPLY_MARGIN))},
                deadline=Deadline(self.context.clock() + TIME_TO_REDEEM - REPLY_MARGIN, self.context.clock),
                pause=self.application.pause,
            )
        except Unavailable as error:
            if error.outage and not error.may_have_started:
                return None
            return decisions.unavailable(error, required.service, False, 0.0)
        except NotFound as error:
            return decisions.unknown_to_gateway(error, 0.0)
        except IampassError as error:
            return decisions.failed(error, 0.0)
        if told.left is not None:
            return decisions.recovered(told.left, before)
        return decisions.code_refused(told, before)

    def is_offered_after(self, decision: Decision) -> bool:
        """Whether to ask for a code now that the phone did not help. sshd's prompt has offered that before.

        It does not depend on whether this person has codes, only on whether anybody on this machine was given some. On
        a host of a gateway it does not know, and assumes so.
        """
        settings = self.required.settings
        ask = settings.recovery.ask.value
        no_request = decision.outcome in _NO_REQUEST
        unanswered = decision.outcome is Outcome.TIMED_OUT and ask == "unanswered"
        if decision.result is not Result.DENIED or ask == "never" or not (no_request or unanswered):
            return False
        if self.required.login.through_sshd:
            return False
        return bool(settings.gateways) or self.context.state.recovery_codes.in_use()

    def offer(self, decision: Decision) -> Decision:
        """Ask for a code and redeem it; `decision` stays where none is typed."""
        conversation = Conversation(self.application)
        self.application.set_deadline(TIME_FOR_CODE)
        conversation.say_error(decision.message)
        try:
            typed = conversation.ask(
                "IAMPASS recovery code (Enter: none): ", hidden=True, within=TIME_FOR_CODE
            )
        except (Unanswered, AlreadyRefused):
            typed = None
        code = read(typed)
        return replace(decision, message="") if code is None else self.redeem(code, decision)
