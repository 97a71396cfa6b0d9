"""The PAM module: the six functions that pam_python would call. `pamh` is the application, over a socket.

Nothing here raises: every failure denies the login and is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from pam_iampass.audit.journal import ERROR, Journal
from pam_iampass.login.application import ApplicationGone, PamApplication, Stopping
from pam_iampass.login.arguments import ModuleArguments
from pam_iampass.login.conversation import Conversation
from pam_iampass.outcome import Decision, Login, Outcome, PamCode, Phase, Result, denied

if TYPE_CHECKING:
    from pam_iampass.login.context import ContextFactory
    from pam_iampass.session.attached import Attachments


def pam_sm_authenticate(pamh: PamApplication, flags: int, argv: list[str]) -> int:
    """Decide a login in either phase, tell the person, write the audit record; return the PAM code.

    The helper calls this; the agent calls `authenticate` with a context of its own.
    """
    from pam_iampass.relay import helper_context

    return authenticate(pamh, argv, Journal(), helper_context.context)


def pam_sm_setcred(pamh: PamApplication, flags: int, argv: list[str]) -> int:
    """PAM_IGNORE: this module sets no credentials, and only an approval is a success."""
    return PamCode.IGNORE


#: In sshd's account phase (`pamh.phase`), the person is asked there.
pam_sm_acct_mgmt = pam_sm_authenticate


def pam_sm_open_session(pamh: PamApplication, flags: int, argv: list[str]) -> int:
    """PAM_IGNORE: only the agent keeps sessions, and calls `open_session`."""
    return PamCode.IGNORE


def pam_sm_close_session(pamh: PamApplication, flags: int, argv: list[str]) -> int:
    """PAM_IGNORE: only the agent keeps sessions, and calls `close_session`."""
    return PamCode.IGNORE


def pam_sm_chauthtok(pamh: PamApplication, flags: int, argv: list[str]) -> int:
    """PAM_IGNORE: this module changes no passwords."""
    return PamCode.IGNORE


def authenticate(
    pamh: PamApplication, argv: list[str], journal: Journal, make_context: ContextFactory
) -> int:
    """`pam_sm_authenticate`, with the journal and the context passed in."""
    login = Login("?", "?")
    try:
        login = _login(pamh)
        decision = _decide(login, ModuleArguments.parse(argv), pamh, journal, make_context)
    except ApplicationGone as gone:
        decision = denied(Outcome.CANCELLED, str(gone))
    except Stopping as stopping:
        decision = denied(
            Outcome.UNAVAILABLE, str(stopping), "The phone check is restarting. Please try again."
        )
    except BaseException as error:  # noqa: BLE001 - an entry point: SystemExit and KeyboardInterrupt deny as well
        decision = denied(Outcome.UNAVAILABLE, _raised_at(error), "The phone check failed.")
    return _finish(pamh, login, decision, journal)


def decline(pamh: PamApplication, journal: Journal, reason: str) -> int:
    """Deny a login that there is no capacity for."""
    decision = denied(Outcome.UNAVAILABLE, reason, "Too many logins at once. Please try again in a minute.")
    return _finish(pamh, _login(pamh), decision, journal)


def open_session(pamh: PamApplication, journal: Journal, sessions: Attachments) -> int:
    """Attach the login session to its kept session. Always PAM_IGNORE: the session phase lets nobody in or out."""
    return _ignore_after(lambda: _open(pamh, sessions), "open", journal)


def close_session(pamh: PamApplication, journal: Journal, sessions: Attachments) -> int:
    """Note that the login session is over. Always PAM_IGNORE."""
    return _ignore_after(lambda: _close(pamh, sessions), "close", journal)


def _ignore_after(work: Callable[[], None], what: str, journal: Journal) -> int:
    try:
        work()
    except (ApplicationGone, Stopping):
        pass  # the pidfd of an attached login tells of its end
    except BaseException as error:  # noqa: BLE001 - an entry point
        journal.note(f"a login could not {what} its kept session: {_raised_at(error)}", ERROR)
    return PamCode.IGNORE


def _open(pamh: PamApplication, sessions: Attachments) -> None:
    from pam_iampass.session.attached import AttachedLogin, key_fingerprint
    from pam_iampass.system.accounts import Accounts

    if pamh.session is None:
        return
    account = Accounts().named(pamh.user or "")
    sessions.opened(
        pamh.session,
        AttachedLogin(
            pidfd=pamh.pidfd(),
            pid=pamh.peer_pid,
            audit_session=pamh.audit_session,
            xdg_session=pamh.xdg_session,
            user=account.name,
            uid=account.uid,
            service=pamh.service or "",
            tty=pamh.tty or None,
            rhost=pamh.rhost or None,
            key=key_fingerprint(pamh.env.get("SSH_AUTH_INFO_0")),
        ),
    )


def _close(pamh: PamApplication, sessions: Attachments) -> None:
    if pamh.session is not None:
        sessions.closed(pamh.session, pamh.peer_pid)


def _login(pamh: PamApplication) -> Login:
    from pam_iampass.login.policy import caller_name
    from pam_iampass.system.accounts import Accounts

    login = Login(
        user=pamh.user or "",
        service=pamh.service or "",
        rhost=pamh.rhost or None,
        tty=pamh.tty or None,
        ruser=pamh.ruser or None,
        real_uid=pamh.real_uid,
        ssh_auth_info=pamh.env.get("SSH_AUTH_INFO_0"),
        phase=pamh.phase,
    )
    login.participants.caller = caller_name(login, Accounts())
    return login


def _decide(
    login: Login,
    arguments: ModuleArguments,
    pamh: PamApplication,
    journal: Journal,
    make_context: ContextFactory,
) -> Decision:
    from pam_iampass.login import decisions, verification

    if arguments.unknown:
        return decisions.misconfigured("unknown arguments on the PAM line: " + " ".join(arguments.unknown))
    if arguments.first_factor is not None and login.phase is Phase.ACCOUNT:
        reason = "first_factor belongs on an auth line: in the account phase sshd has seen to the first factor itself"
        return decisions.misconfigured(reason)
    context = make_context(arguments.config, lambda reason: journal.left_open(login, reason))
    if arguments.debug:
        journal.note(f"login started: {login}")
    return verification.verify(login, arguments, pamh, context)


def _finish(pamh: PamApplication, login: Login, decision: Decision, journal: Journal) -> int:
    """Record the decision and tell the person; return the PAM code."""
    journal.record(login, decision)
    _tell(pamh, login, decision)
    code = decision.pam_code(login)
    return int(code) if type(code) is PamCode else PamCode.ABORT


def _tell(pamh: PamApplication, login: Login, decision: Decision) -> None:
    """Tell the person the decision.

    Neither an approval nor a bypass in sshd: sshd would send the line as a banner, to scp and rsync as well, and
    repeat it before the message of the day (OpenSSH, `auth2.c` and `session.c`, `loginmsg`).
    """
    if not decision.message or decision.outcome is Outcome.CANCELLED:
        return
    if decision.outcome in (Outcome.APPROVED, Outcome.BYPASSED) and login.through_sshd:
        return
    conversation = Conversation(pamh)
    try:
        if decision.result is Result.DENIED or login.phase is Phase.ACCOUNT:
            conversation.say_error(decision.message)
        else:
            conversation.say(decision.message)
    except ApplicationGone:
        return


def _raised_at(error: BaseException) -> str:
    """The type of an error and the line that raised it. Its text is left out: it may contain a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"the module failed with {type(error).__name__}{where}"
