"""The story of one login, from the person to the decision.

It reads from top to bottom, in the order in which things happen; no other module knows that order. Success has two
sources: the status `active` of a session that this login started, and a recovery code that it redeemed.
"""

from __future__ import annotations

from pam_iampass.errors import ConfigurationError, PamIampassError
from pam_iampass.login import decisions, policy
from pam_iampass.login.application import Conversation, PamApplication, before_request
from pam_iampass.login.approval import PhoneRequest
from pam_iampass.login.context import ApprovalRequired, AskedLogin, LoginContext, ModuleArguments
from pam_iampass.login.enrollment import offer_enrollment
from pam_iampass.login.keeping import Covering
from pam_iampass.login.recovery import CodeRedemption, read
from pam_iampass.login.throttle import Cause, Refusal
from pam_iampass.login.throttle_store import AtCapacity, QueuedLogin, result_of
from pam_iampass.outcome import Decision, Login, Outcome, Phase, Result
from pam_iampass.system.accounts import LookupFailed, UnknownAccount


def verify(
    login: Login, arguments: ModuleArguments, application: PamApplication, context: LoginContext
) -> Decision:
    """Decide a login. Raises ApplicationGone and Stopping (`login.application`)."""
    try:
        required = _who_must_approve(login, arguments, application, context)
        if isinstance(required, Decision):
            return required
        covered = _cover(required, application, context)
        if covered is not None:
            return covered
        typed = _prompt(required, application, context)
        if isinstance(typed, Decision):
            return typed
        if not isinstance(required, ApprovalRequired):
            return decisions.unlisted(required.approver, ignore=False)
        return _get_approval(required, typed, arguments, application, context)
    except AtCapacity:
        return decisions.at_capacity()
    except (PamIampassError, LookupFailed, policy.PolicyError) as error:
        return decisions.misconfigured(str(error))


def _who_must_approve(
    login: Login, arguments: ModuleArguments, application: PamApplication, context: LoginContext
) -> Decision | AskedLogin:
    """Identify the person, require the first factor, ask the policy."""
    try:
        account = context.accounts.named(login.user)
    except UnknownAccount:
        return decisions.no_account()
    if arguments.first_factor is not None and not login.accepted(arguments.first_factor):
        return decisions.no_first_factor(arguments.first_factor)
    try:
        configuration = context.configure()
    except ConfigurationError as error:
        if arguments.rescues(login):
            return decisions.rescued(str(error))
        raise
    service = configuration.settings.for_service(login.service)

    def people_within() -> frozenset[str]:
        sessions, place = context.state.sessions, (application.audit_session, login.real_uid)
        return sessions.people_within(context.config, *place) if sessions else frozenset()

    person = policy.who_approves(login, account, service, context.accounts, configuration.keys, people_within)
    if isinstance(person, policy.Exempt):
        return Decision(Outcome.EXEMPT, Result.IGNORED, person.reason)
    if isinstance(person, policy.Nobody):
        return decisions.nobody_named(person.reason, person.unknown)
    login.participants.approver = person.name
    bypass = context.state.bypasses.find(person, login.service)
    if bypass is not None:
        return decisions.bypassed(bypass)
    phone = policy.phone(person.name, service, configuration.users)
    if not isinstance(phone, policy.NotListed):
        return ApprovalRequired(login, account.name, person.name, configuration, service, phone)
    if phone.ignore:
        return decisions.unlisted(person.name, ignore=True)
    return AskedLogin(login, account.name, person.name, configuration, service)


def _cover(required: AskedLogin, application: PamApplication, context: LoginContext) -> Decision | None:
    """Look for a kept session that covers the login. Raises AtCapacity."""
    sessions = context.state.sessions
    if sessions is None or not sessions.count or not isinstance(required, ApprovalRequired):
        return None

    login, throttle = required.login, required.settings.throttle
    with context.state.throttle.stage("cover", required.approver, login, throttle.logins_at_once):
        return Covering(required, application, context).find()


def _prompt(
    required: AskedLogin, application: PamApplication, context: LoginContext
) -> str | None | Decision:
    """Show the prompt before the request, the same to all; return what was typed, None where there is no prompt.

    A decision is returned where no request is wanted. Raises AtCapacity.
    """
    login, throttle = required.login, required.settings.throttle
    with context.state.throttle.stage("prompt", required.approver, login, throttle.logins_at_once):
        return before_request(login, required.service, Conversation(application))


def _get_approval(
    required: ApprovalRequired,
    typed: str | None,
    arguments: ModuleArguments,
    application: PamApplication,
    context: LoginContext,
) -> Decision:
    """Redeem a recovery code or ask the phone; offer what is left. Raises AtCapacity."""
    login, user, settings = required.login, required.approver, required.settings
    application.after_reply.enter_context(
        context.state.throttle.stage("request", user, login, settings.throttle.logins_at_once)
    )
    recovery = CodeRedemption(
        login, user, settings.recovery, context.state.throttle, context.state.recovery_codes
    )
    code = read(typed)
    if code is not None:
        return recovery.redeem(code)

    request = PhoneRequest(required, application, context, prompted=typed is not None)
    decision = _ask_in_turn(required, request, context)

    enrolls = required.service.enroll_at_login and login.phase is Phase.AUTHENTICATE
    may_enroll = enrolls and required.phone.listed
    if decision.outcome is Outcome.NO_DEVICE and may_enroll:
        request.cleanup.close()
        return offer_enrollment(required, arguments, decision, application, context)
    if recovery.is_offered_after(decision):
        request.cleanup.close()
        return recovery.offer(decision, application)
    return decision


def _ask_in_turn(required: ApprovalRequired, request: PhoneRequest, context: LoginContext) -> Decision:
    """Wait for the turn, ask the phone, record the result."""
    login, remaining, limits = required.login, request.deadline.remaining, required.settings.throttle
    queued = QueuedLogin(context.state.throttle, required.approver, login, context.began, limits)
    request.cleanup.callback(queued.end)
    end = queued.join(remaining()) or queued.wait(
        remaining, request.pause, request.announce, request.look_for_cover, prompted=request.prompted
    )
    if isinstance(end, Refusal):
        return _refused(end, login, request.elapsed())
    if end is not None:
        return end
    try:
        decision = request.ask(waited=queued.waited, phone_is_lost=queued.phone_is_lost)
    except BaseException as interruption:
        queued.record(result_of(interruption, request.may_have_left))
        raise
    queued.record(result_of(decision, request.may_have_left))
    return decision


def _refused(refusal: Refusal, login: Login, elapsed: float) -> Decision:
    """No request is sent: the throttle has refused it."""
    if refusal.cause is Cause.PHONE_LOST:
        return decisions.phone_lost(elapsed)
    if refusal.cause is Cause.NO_TURN:
        return decisions.turn_did_not_come(elapsed)
    if refusal.cause is Cause.AT_CAPACITY:
        return decisions.at_capacity()
    can_type = login.phase is Phase.AUTHENTICATE
    return decisions.throttled(refusal.reason, refusal.wait, can_type=can_type)
