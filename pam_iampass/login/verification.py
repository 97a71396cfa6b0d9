"""The story of one login, from the person to the decision.

It reads from top to bottom, in the order in which things happen; no other module knows that order. Success has two
sources: the status `active` of a session that this login started, and a recovery code that it redeemed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pam_iampass.errors import PamIampassError
from pam_iampass.login import decisions, policy, prompt
from pam_iampass.login.concurrency import AtCapacity
from pam_iampass.login.conversation import Conversation
from pam_iampass.outcome import Decision, Login, Outcome, Result
from pam_iampass.system.accounts import LookupFailed, UnknownAccount

if TYPE_CHECKING:
    from pam_iampass.login.application import PamApplication
    from pam_iampass.login.approval import ApprovalRequired
    from pam_iampass.login.arguments import ModuleArguments
    from pam_iampass.login.context import LoginContext
    from pam_iampass.login.rate_limit import RateLimit

OTHER_LOGIN = (
    "Another login in your name is also waiting for approval. Deny requests that you do not recognize."
)


def verify(
    login: Login, arguments: ModuleArguments, application: PamApplication, context: LoginContext
) -> Decision:
    """Decide a login. Raises ApplicationGone and Stopping (`login.application`)."""
    try:
        required = _who_must_approve(login, arguments, context)
        if isinstance(required, Decision):
            return required
        return _get_approval(required, arguments, application, context)
    except (PamIampassError, LookupFailed, policy.PolicyError) as error:
        return decisions.misconfigured(str(error))


def _who_must_approve(
    login: Login, arguments: ModuleArguments, context: LoginContext
) -> Decision | ApprovalRequired:
    """Identify the person, require the first factor, ask the policy."""
    try:
        account = context.accounts.named(login.user)
    except UnknownAccount:
        return decisions.no_account()
    if arguments.first_factor is not None and not login.accepted(arguments.first_factor):
        return decisions.no_first_factor(arguments.first_factor)
    settings = context.load_settings()
    service = settings.for_service(login.service)
    approver = policy.approver(login, account, service, context.accounts)
    exemption = policy.exemption(approver, login, settings.exempt, context.accounts)
    if exemption is not None:
        return Decision(Outcome.EXEMPT, Result.IGNORED, exemption)
    login.participants.approver = approver.name
    phone = policy.phone(approver, service, context.open_users(settings))
    if isinstance(phone, policy.NotListed):
        return decisions.unlisted(approver.name, phone.ignore)
    from pam_iampass.login.approval import ApprovalRequired

    return ApprovalRequired(login, approver.name, phone, settings, service)


def _get_approval(
    required: ApprovalRequired, arguments: ModuleArguments, application: PamApplication, context: LoginContext
) -> Decision:
    """Prompt; redeem a recovery code or ask the phone; offer what is left."""
    from pam_iampass.login.rate_limit import Superseded
    from pam_iampass.login.recovery import CodeRedemption

    login, service, user = required.login, required.service, required.approver
    try:
        application.after_reply.enter_context(
            context.concurrency.acquire(user, login, required.settings.throttle.logins_at_once)
        )
    except AtCapacity:
        return decisions.at_capacity()
    conversation = Conversation(application)
    rate_limit = context.dirs.rate_limit(user, login)
    recovery = CodeRedemption(
        login, required.settings.recovery, rate_limit, context.dirs.recovery_codes(user)
    )
    warned = rate_limit.others_wait()
    if warned:  # before the prompt: sshd holds back other text until then
        conversation.say(OTHER_LOGIN)
    try:
        typed = prompt.before_request(login, service, conversation, recovery.codes)
    except prompt.PromptDeclined as declined:
        return decisions.cancelled(str(declined))
    code = recovery.code_in(typed)
    if code is not None:
        return recovery.redeem(code)

    began = context.clock()
    cleanup = application.after_reply.enter_context(contextlib.ExitStack())
    prompted = typed is not None
    try:
        decision = _ask_phone(
            required, rate_limit, cleanup, application, context, warned=warned, prompted=prompted
        )
    except Superseded as superseded:
        return decisions.superseded(str(superseded), context.clock() - began)

    if decision.outcome is Outcome.NO_DEVICE and service.enroll_at_login and required.phone.listed:
        from pam_iampass.login.enrollment import offer_enrollment

        cleanup.close()
        return offer_enrollment(required, arguments, decision, application, context)
    if recovery.is_offered_after(decision):
        cleanup.close()
        return recovery.offer(decision, application)
    return decision


def _ask_phone(
    required: ApprovalRequired,
    rate_limit: RateLimit,
    cleanup: contextlib.ExitStack,
    application: PamApplication,
    context: LoginContext,
    *,
    warned: bool,
    prompted: bool,
) -> Decision:
    """Ask the phone when the rate limit allows it, and tell the rate limit the result.

    Closing `cleanup` ends the IAMPASS session and releases the lease. Waiting goes through `lease.pause`, which also
    notices a newer login. Raises Superseded.
    """
    from pam_iampass.login.approval import PhoneRequest
    from pam_iampass.login.rate_limit import Throttled, result_of

    conversation = Conversation(application)
    request = PhoneRequest(required, context)
    application.set_deadline(required.service.timeout)
    try:
        lease = cleanup.enter_context(
            rate_limit.lease(required.settings.throttle, application.pause, request.deadline.remaining)
        )
    except Throttled as throttled:
        return decisions.throttled(str(throttled), throttled.wait)
    try:
        if lease.others_wait and not warned:
            conversation.say(OTHER_LOGIN)
        decision = request.ask(conversation, cleanup, lease, prompted=prompted)
    except BaseException as interruption:
        lease.record(result_of(interruption, request.may_have_notified))
        raise
    lease.record(result_of(decision, request.may_have_notified))
    return decision
