"""The story of one login, from the person to the decision.

It reads from top to bottom, in the order in which things happen; no other module knows that order. Success has two
sources: the status `active` of a session that this login started, and a recovery code that it redeemed.
"""

from __future__ import annotations

from pam_iampass.errors import ConfigurationError, PamIampassError
from pam_iampass.login import decisions, policy
from pam_iampass.login.application import PamApplication
from pam_iampass.login.approval import PhoneRequest
from pam_iampass.login.arguments import ModuleArguments
from pam_iampass.login.context import LoginContext
from pam_iampass.login.conversation import Conversation, PromptDeclined, before_request
from pam_iampass.login.covering import Covered, Covering
from pam_iampass.login.enrollment import offer_enrollment
from pam_iampass.login.policy import ApprovalRequired, SecondFactorRequired
from pam_iampass.login.rate_limit import (
    AtCapacity,
    PhoneLost,
    RateLimit,
    RequestResult,
    Throttled,
    TurnDidNotCome,
    result_of,
    wait_for_turn,
)
from pam_iampass.login.recovery import CodeRedemption
from pam_iampass.outcome import Decision, Login, Outcome, Phase, Result
from pam_iampass.system.accounts import LookupFailed, UnknownAccount


def verify(
    login: Login, arguments: ModuleArguments, application: PamApplication, context: LoginContext
) -> Decision:
    """Decide a login. Raises ApplicationGone and Stopping (`login.application`)."""
    began = context.state.rate_limits.now()
    try:
        required = _who_must_approve(login, arguments, context)
        if isinstance(required, Decision):
            return required
        covered = _cover(required, application, context)
        if covered is not None:
            return covered
        rate_limit = context.state.rate_limit(required.approver, login, began)
        typed = _prompt(required, application, context)
        if not isinstance(required, ApprovalRequired):
            return decisions.unlisted(required.approver, ignore=False)
        return _get_approval(required, typed, rate_limit, arguments, application, context)
    except PromptDeclined as declined:
        return decisions.cancelled(str(declined))
    except AtCapacity:
        return decisions.at_capacity()
    except (PamIampassError, LookupFailed, policy.PolicyError) as error:
        return decisions.misconfigured(str(error))


def _who_must_approve(
    login: Login, arguments: ModuleArguments, context: LoginContext
) -> Decision | SecondFactorRequired:
    """Identify the person, require the first factor, ask the policy."""
    try:
        account = context.accounts.named(login.user)
    except UnknownAccount:
        return decisions.no_account()
    if arguments.first_factor is not None and not login.accepted(arguments.first_factor):
        return decisions.no_first_factor(arguments.first_factor)
    try:
        settings = context.load_settings()
    except ConfigurationError as error:
        if arguments.rescues(login):
            return decisions.rescued(str(error))
        raise
    service = settings.for_service(login.service)
    approver = policy.approver(login, account, service, context.accounts)
    exemption = policy.exemption(approver, login, service, context.accounts)
    if exemption is not None:
        return Decision(Outcome.EXEMPT, Result.IGNORED, exemption)
    login.participants.approver = approver.name
    bypass = context.state.bypasses.find(approver, login.service)
    if bypass is not None:
        return decisions.bypassed(bypass)
    phone = policy.phone(approver, service, context.open_users(settings))
    if not isinstance(phone, policy.NotListed):
        return ApprovalRequired(login, approver.name, settings, service, phone)
    if phone.ignore:
        return decisions.unlisted(approver.name, ignore=True)
    return SecondFactorRequired(login, approver.name, settings, service)


def _cover(
    required: SecondFactorRequired, application: PamApplication, context: LoginContext
) -> Decision | None:
    """Look for a kept session that covers the login. Raises AtCapacity."""
    sessions = context.kept_sessions
    if sessions is None or not sessions.count or not isinstance(required, ApprovalRequired):
        return None

    login, throttle = required.login, required.settings.throttle
    with context.concurrency.acquire("cover", required.approver, login, throttle.logins_at_once):
        return Covering(required, application, context).find()


def _prompt(required: SecondFactorRequired, application: PamApplication, context: LoginContext) -> str | None:
    """Show the prompt before the request, the same to all; return what was typed, None where there is no prompt.

    Raises PromptDeclined and AtCapacity.
    """
    login, throttle = required.login, required.settings.throttle
    with context.concurrency.acquire("prompt", required.approver, login, throttle.logins_at_once):
        return before_request(login, required.service, Conversation(application))


def _get_approval(
    required: ApprovalRequired,
    typed: str | None,
    rate_limit: RateLimit,
    arguments: ModuleArguments,
    application: PamApplication,
    context: LoginContext,
) -> Decision:
    """Redeem a recovery code or ask the phone; offer what is left. Raises AtCapacity."""
    login, user, settings = required.login, required.approver, required.settings
    application.after_reply.enter_context(
        context.concurrency.acquire("request", user, login, settings.throttle.logins_at_once)
    )
    recovery = CodeRedemption(login, user, settings.recovery, rate_limit, context.state.recovery_codes)
    code = recovery.code_in(typed)
    if code is not None:
        return recovery.redeem(code)

    request = PhoneRequest(required, application, context, prompted=typed is not None)
    decision = _ask_in_turn(required, request, rate_limit)

    enrolls = required.service.enroll_at_login and login.phase is Phase.AUTHENTICATE
    may_enroll = enrolls and required.phone.listed
    if decision.outcome is Outcome.NO_DEVICE and may_enroll:
        request.cleanup.close()
        return offer_enrollment(required, arguments, decision, application, context)
    if recovery.is_offered_after(decision):
        request.cleanup.close()
        return recovery.offer(decision, application)
    return decision


def _ask_in_turn(required: ApprovalRequired, request: PhoneRequest, rate_limit: RateLimit) -> Decision:
    """Wait for the turn, ask the phone, record the result. Raises AtCapacity."""
    remaining = request.deadline.remaining
    try:
        queued = request.cleanup.enter_context(rate_limit.queued(required.settings.throttle, remaining()))
        waited = wait_for_turn(
            *(queued, remaining, request.pause, request.announce, request.look_for_cover),
            prompted=request.prompted,
        )
    except Covered as found:
        queued.record(RequestResult.NOT_SENT)
        return found.decision
    except Throttled as throttled:
        can_type = required.login.phase is Phase.AUTHENTICATE
        return decisions.throttled(str(throttled), throttled.wait, can_type=can_type)
    except TurnDidNotCome:
        return decisions.turn_did_not_come(request.elapsed())
    except PhoneLost:
        return decisions.phone_lost(request.elapsed())
    try:
        decision = request.ask(waited=waited, check=queued.check_phone)
    except PhoneLost:
        decision = decisions.phone_lost(request.elapsed())
    except BaseException as interruption:
        queued.record(result_of(interruption, request.may_have_left))
        raise
    queued.record(result_of(decision, request.may_have_left))
    return decision
