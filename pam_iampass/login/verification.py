"""The story of one login, from the person to the decision.

It reads from top to bottom, in the order in which things happen; no other module knows that order. Success has two
sources: the status `active` of a session that this login started, and a recovery code that it redeemed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pam_iampass.client import Deadline
from pam_iampass.config.value_types import Approver, SecondPerson
from pam_iampass.errors import ConfigurationError, PamIampassError
from pam_iampass.login import decisions, policy, second_person
from pam_iampass.login.application import (
    ApplicationGone,
    Conversation,
    PamApplication,
    Stopping,
    before_request,
)
from pam_iampass.login.approval import REPLY_MARGIN, PhoneRequest
from pam_iampass.login.context import ApprovalRequired, AskedLogin, LoginContext, ModuleArguments
from pam_iampass.login.keeping import Covering
from pam_iampass.login.recovery import read
from pam_iampass.login.redemption import CodeRedemption
from pam_iampass.login.throttle import Cause, Refusal, RequestResult
from pam_iampass.login.throttle_store import AskingLogin, AtCapacity, QueuedLogin, result_of
from pam_iampass.outcome import Decision, Login, Outcome, Phase, Result
from pam_iampass.system.accounts import LookupFailed, UnknownAccount


def verify(
    login: Login, arguments: ModuleArguments, application: PamApplication, context: LoginContext
) -> Decision:
    """Decide a login. Raises ApplicationGone and Stopping (`login.application`)."""
    before = None
    if login.through_sshd and login.phase is Phase.ACCOUNT:
        before = context.typed_codes.take(application)
    try:
        required = _who_must_approve(login, arguments, application, context)
        if isinstance(required, Decision):
            return required
        covered = _cover(required, application, context)
        if covered is not None:
            return covered
        if before is not None and isinstance(required, ApprovalRequired):
            return _redeem(required, before, application, context)
        typed = _prompt(required, application, context)
        if isinstance(typed, Decision):
            return typed
        changed = _look_again(required, arguments, application, context) if typed is not None else None
        if changed is not None:
            return changed
        if not isinstance(required, ApprovalRequired):
            return decisions.unlisted(required.approver, ignore=False)
        return _get_approval(required, typed, application, context)
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
    if configuration.settings.show_command:
        login.participants.command = login.command
    service = configuration.settings.for_service(login.service)

    def people_within() -> frozenset[str]:
        sessions, place = context.state.sessions, (application.audit_session, login.real_uid)
        return sessions.people_within(context.config, *place) if sessions else frozenset()

    agent = policy.acting(login, account, service, context.accounts, configuration.users)
    within = policy.session_account(login, context.accounts)
    login.participants.session_user = "" if within is None else within.name
    found: ApprovalRequired | policy.Person | policy.Exempt | policy.Nobody
    if isinstance(service.approver, SecondPerson):
        found = second_person.who_approves(
            service.approver, login, account, configuration, application, context, agent
        )
    elif agent is not None:
        found = policy.Person(agent.account.name, agent.account)
    else:
        found = policy.who_approves(
            login, account, service, context.accounts, configuration.users, people_within
        )
    if isinstance(found, policy.Exempt):
        return Decision(Outcome.EXEMPT, Result.IGNORED, found.reason)
    if isinstance(found, policy.Nobody):
        return decisions.nobody_to_ask(found.reason, found.unknown)
    if isinstance(found, ApprovalRequired):
        login.participants.approver, login.participants.person = found.approver, found.person
        return found
    login.participants.approver = found.name
    bypass = context.state.bypasses.find(found, login.service)
    if bypass is not None and not (agent and agent.only_by_session):
        return decisions.bypassed(bypass)
    asked = found.name
    if agent is not None:
        asked = agent.owner
        login.participants.approver, login.participants.person = asked, found.name
    phone = policy.phone(asked, service, configuration.users)
    if not isinstance(phone, policy.NotListed):
        asker = "" if agent is None else found.name
        return ApprovalRequired(
            login, account.name, asked, configuration, service, phone, asker, is_agents=agent is not None
        )
    if phone.ignore and agent is None:
        return decisions.unlisted(asked, ignore=True)
    return AskedLogin(login, account.name, asked, configuration, service)


def _cover(required: AskedLogin, application: PamApplication, context: LoginContext) -> Decision | None:
    """Look for a kept session that covers the login. Raises AtCapacity."""
    sessions = context.state.sessions
    if sessions is None or not sessions.count or not isinstance(required, ApprovalRequired):
        return None

    login, throttle = required.login, required.settings.throttle
    with context.state.throttle.stage("cover", required.counted, login, throttle.logins_at_once):
        for person in required.people:
            decision = Covering(person, application, context).find()
            if decision is not None:
                login.participants.approver = person.approver
                return decision
    return None


def _prompt(
    required: AskedLogin, application: PamApplication, context: LoginContext
) -> str | None | Decision:
    """Show the prompt before the request, the same to all; return what was typed, None where there is no prompt.

    A decision is returned where no request is wanted. Raises AtCapacity.
    """
    login, throttle = required.login, required.settings.throttle
    second = ""
    if isinstance(required, ApprovalRequired) and required.asker:
        second = _in_words([person.approver for person in required.people])
    with context.state.throttle.stage("prompt", required.counted, login, throttle.logins_at_once):
        return before_request(login, required.service, Conversation(application), second)


def _redeem(
    required: ApprovalRequired, typed: str, application: PamApplication, context: LoginContext
) -> Decision:
    """Redeem what was typed before the first factor; the phone is not asked. Raises AtCapacity."""
    logins_at_once = required.settings.throttle.logins_at_once
    with context.state.throttle.stage("request", required.counted, required.login, logins_at_once):
        return CodeRedemption(required, application, context).redeem_typed_before(typed)


def _look_again(
    required: AskedLogin, arguments: ModuleArguments, application: PamApplication, context: LoginContext
) -> Decision | None:
    """Look again after the prompt, which takes time: the user table may now name nobody for this login, or another
    person."""
    if required.service.approver in (Approver.USER, Approver.CALLER):
        return None
    found = _who_must_approve(required.login, arguments, application, context)
    if isinstance(found, Decision):
        return found
    if (found.approver, found.counted) == (required.approver, required.counted):
        return None
    return decisions.nobody_to_ask("who must approve has changed while the prompt was shown", "who you are")


def _in_words(names: list[str]) -> str:
    """The names of the people who are asked one after the other; if there are many, of the first ones."""
    if len(names) == 1:
        return names[0]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}, one after the other"


def _get_approval(
    required: ApprovalRequired,
    typed: str | None,
    application: PamApplication,
    context: LoginContext,
) -> Decision:
    """Redeem a recovery code or ask the phone; offer what is left. Raises AtCapacity."""
    login, settings = required.login, required.settings
    application.after_reply.enter_context(
        context.state.throttle.stage("request", required.counted, login, settings.throttle.logins_at_once)
    )
    if required.asks_owner:
        return _ask_owner(required, application, context, prompted=typed is not None)
    if required.asker:
        return _ask_second_people(required, application, context, prompted=typed is not None)
    recovery = CodeRedemption(required, application, context)
    code = read(typed)
    if code is not None:
        return recovery.redeem(code)

    request = PhoneRequest(required, application, context, prompted=typed is not None)
    decision = _ask_in_turn(required, request, context)
    if recovery.is_offered_after(decision):
        request.cleanup.close()
        return recovery.offer(decision)
    return decision


def _ask_owner(
    required: ApprovalRequired, application: PamApplication, context: LoginContext, *, prompted: bool
) -> Decision:
    """Have the owner of an account approve: none of their own limits, codes and bypasses counts for it."""
    login = required.login
    own = AskingLogin(
        context.state.throttle, required.asker, login, context.began, required.limits, is_agents=True
    )
    refusal = own.count()
    if refusal is not None:
        return _refused(refusal, login, 0.0, has_codes=False)
    request = PhoneRequest(required, application, context, prompted=prompted)
    try:
        decision = _ask_in_turn(required, request, context, own)
    except BaseException as interruption:
        own.record(_result(interruption, request))
        raise
    own.record(_result(decision, request))
    return decisions.by_owner(required.approver, required.asker, decision)


def _result(end: Decision | BaseException, request: PhoneRequest) -> RequestResult:
    """The result of a request, as limits count it. One that was withdrawn is not held against who asked."""
    return RequestResult.STOPPED if request.withdrawn else result_of(end, request.sent.may_have_rung)


def _ask_second_people(
    required: ApprovalRequired, application: PamApplication, context: LoginContext, *, prompted: bool
) -> Decision:
    """Have one of several others approve. For the limits of the person who asks them, it is one login."""
    login, began = required.login, context.clock()
    own = AskingLogin(
        context.state.throttle, required.asker, login, context.began, required.settings.throttle
    )
    refusal = own.count()
    if refusal is not None:
        return _refused(refusal, login, 0.0, has_codes=False)
    application.set_deadline(required.service.timeout)
    deadline = Deadline(began + required.service.timeout - REPLY_MARGIN, context.clock)
    requests: dict[str, PhoneRequest] = {}
    try:
        asked = list(_ask_each(required, own, requests, deadline, application, context, prompted=prompted))
    except BaseException as interruption:
        own.record(result_of(interruption, any(request.sent.may_have_rung for request in requests.values())))
        if isinstance(interruption, (ApplicationGone, Stopping)):
            raise type(interruption)(f"{interruption}; asked: {', '.join(requests)}") from interruption
        raise
    decision = decisions.by_second_person(asked, context.clock() - began)
    own.record(result_of(decision, any(request.sent.may_have_rung for request in requests.values())))
    return decision


def _ask_each(
    required: ApprovalRequired,
    own: AskingLogin,
    requests: dict[str, PhoneRequest],
    deadline: Deadline,
    application: PamApplication,
    context: LoginContext,
    *,
    prompted: bool,
) -> Iterator[tuple[str, Decision]]:
    """Ask one person after the other, each once, until one has decided; their names and decisions.

    The next one is asked only once the request to the one before has ended. `requests` takes each one that is made.
    """
    for place, person in enumerate(required.people):
        left = len(required.people) - place
        share = second_person.share(deadline.remaining(), left, context.least_share)
        request = PhoneRequest(
            person,
            application,
            context,
            prompted=prompted,
            deadline=deadline.sooner(share),
            may_be_outage=not any(earlier.sent.may_have_left for earlier in requests.values()),
        )
        requests[person.approver] = request
        person.login.participants.approver = person.approver
        decision = _ask_in_turn(person, request, context, own)
        yield person.approver, decision
        if decision.outcome not in decisions.ASK_THE_NEXT:
            return
        if left == 1 or deadline.remaining() < context.least_share:
            return
        request.cleanup.close()
        if request.left_open or deadline.remaining() < context.least_share or own.count() is not None:
            return


def _ask_in_turn(
    required: ApprovalRequired,
    request: PhoneRequest,
    context: LoginContext,
    own: AskingLogin | None = None,
) -> Decision:
    """Wait for the turn, ask the phone, record the result. `own` is the login of the person who asks a second
    person."""
    login, remaining = required.login, request.deadline.remaining
    queued = QueuedLogin(
        context.state.throttle,
        required.approver,
        login,
        context.began,
        required.limits,
        required.decider.queue_scope,
        required.asker,
        is_agents=required.asks_owner,
    )
    request.cleanup.callback(queued.end)
    end = queued.join(remaining()) or queued.wait(
        remaining, request.pause, request.announce, request.look_for_cover, prompted=request.prompted
    )
    if isinstance(end, Refusal):
        return _refused(end, login, request.elapsed())
    if end is not None:
        return end

    def phone_is_lost() -> bool:
        if context.state.lost_phones.reported_since(context.began, required.phone.token):
            return True  # perhaps for another name
        return queued.phone_is_lost() or (own is not None and own.phone_is_lost())

    try:
        decision = request.ask(
            waited=queued.waited, phone_is_lost=phone_is_lost, is_withdrawn=queued.is_withdrawn
        )
        decision = replace(decision, elapsed=request.elapsed())
    except BaseException as interruption:
        queued.record(_result(interruption, request))
        raise
    queued.record(_result(decision, request))
    return decision


def _refused(refusal: Refusal, login: Login, elapsed: float, *, has_codes: bool = True) -> Decision:
    """No request is sent: the throttle has refused it."""
    if refusal.cause is Cause.PHONE_LOST:
        return decisions.phone_lost(elapsed)
    if refusal.cause is Cause.NO_TURN:
        return decisions.turn_did_not_come(elapsed)
    if refusal.cause is Cause.AT_CAPACITY:
        return decisions.at_capacity()
    can_type = has_codes and (login.phase is Phase.AUTHENTICATE or login.shows_text)
    return decisions.throttled(refusal.reason, refusal.wait, can_type=can_type)
