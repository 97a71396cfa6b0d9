"""The PAM module: the functions that pam_python would call. `pamh` is the application, over a socket.

Nothing here raises: every failure denies the login and is recorded.
"""

from __future__ import annotations

from typing import Callable

from pam_iampass.audit.journal import ERROR, Journal
from pam_iampass.config.settings import same_program
from pam_iampass.login import decisions, verification
from pam_iampass.login.application import ApplicationGone, Conversation, PamApplication, Stopping
from pam_iampass.login.context import ContextFactory, ModuleArguments
from pam_iampass.login.policy import caller_name
from pam_iampass.login.throttle import client_address
from pam_iampass.outcome import Decision, Login, Outcome, PamCode, Phase, Result, denied
from pam_iampass.session.kept_session import AttachedLogin
from pam_iampass.session.store import KeptSessions
from pam_iampass.system import sshd_session
from pam_iampass.system.accounts import Accounts


class Module:
    """The functions, with what the agent has for them."""

    def __init__(
        self,
        journal: Journal,
        make_context: ContextFactory,
        sessions: KeptSessions | None,
        report: Callable[[str, Login, Decision], None] = lambda _config, _login, _decision: None,
        shows_text: Callable[[str], bool] = sshd_session.shows_text,
    ) -> None:
        """`report` is called after the answer, with the path of the settings, of a login that this host has let in by
        itself. `shows_text` says whether the program of sshd with this identity shows texts at once."""
        self._journal = journal
        self._report = report
        self._make_context = make_context
        self._sessions = sessions
        self._shows_text = shows_text

    def pam_sm_authenticate(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        """Decide a login in either phase, tell the person, write the audit record; return the PAM code."""
        login = Login("?", "?")
        try:
            login = self._login(pamh)
            arguments = ModuleArguments.parse(argv)
            if arguments.only_takes_code(login):
                return self._take_code(arguments, pamh)
            decision = self._decide(login, arguments, pamh)
        except ApplicationGone as gone:
            decision = denied(Outcome.CANCELLED, str(gone))
        except Stopping as stopping:
            decision = denied(
                Outcome.UNAVAILABLE, str(stopping), "The phone check is restarting. Please try again."
            )
        except BaseException as error:  # noqa: BLE001 - an entry point: SystemExit and KeyboardInterrupt deny as well
            decision = denied(Outcome.UNAVAILABLE, _raised_at(error), "The phone check failed.")
        return self._finish(pamh, login, decision)

    #: In the account phase (`pamh.phase`) of sshd, and of sudo with `always`, the person is asked there.
    pam_sm_acct_mgmt = pam_sm_authenticate

    def pam_sm_open_session(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        """Attach the login session to its kept session. Always PAM_IGNORE: the session phase lets nobody in or out."""
        return self._ignore_after(lambda: self._open(pamh), "open")

    def pam_sm_close_session(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        """Note that the login session is over. Always PAM_IGNORE."""
        return self._ignore_after(lambda: self._close(pamh), "close")

    def decline(self, pamh: PamApplication, reason: str) -> int:
        """Deny a login that there is no capacity for; return the PAM code."""
        decision = denied(
            Outcome.UNAVAILABLE, reason, "Too many logins at once. Please try again in a minute."
        )
        return self._finish(pamh, self._login(pamh), decision)

    def _login(self, pamh: PamApplication) -> Login:
        ssh_auth_info = pamh.env.get("SSH_AUTH_INFO_0")
        login = Login(
            user=pamh.user or "",
            service=pamh.service or "",
            rhost=pamh.rhost or None,
            tty=pamh.tty or None,
            ruser=pamh.ruser or None,
            real_uid=pamh.real_uid,
            login_uid=pamh.login_uid,
            address="" if ssh_auth_info is None else client_address(pamh.ssh_connection),
            ssh_auth_info=ssh_auth_info,
            phase=pamh.phase,
            sshd_shows_text=self._shows_text(pamh.executable),
            command=pamh.command,
        )
        login.participants.caller = caller_name(login, Accounts())
        return login

    def _take_code(self, arguments: ModuleArguments, pamh: PamApplication) -> int:
        """Ask for a recovery code that the account phase is to redeem. It decides no login, and leaves no record."""
        try:
            return self._make_context(arguments.config, lambda _reason: None).typed_codes.ask(pamh)
        except (ApplicationGone, Stopping):
            return PamCode.MAXTRIES

    def _decide(self, login: Login, arguments: ModuleArguments, pamh: PamApplication) -> Decision:
        if arguments.unknown:
            return decisions.misconfigured(
                "unknown arguments on the PAM line: " + " ".join(arguments.unknown)
            )
        if arguments.first_factor is not None and login.phase is Phase.ACCOUNT:
            return decisions.misconfigured(
                "first_factor belongs on an auth line: in the account phase sshd has seen to the first factor itself"
            )
        if arguments.always and (login.phase is not Phase.ACCOUNT or same_program(login.service) != "sudo"):
            return decisions.misconfigured("always belongs on an account line of sudo")
        if arguments.codes:
            return decisions.misconfigured("codes belongs on an auth line of sshd, without first_factor")
        context = self._make_context(arguments.config, lambda reason: self._journal.left_open(login, reason))
        if arguments.debug:
            self._journal.note(f"login started: {login}")
        decision = verification.verify(login, arguments, pamh, context)
        if decision.is_reported:
            pamh.after_reply.callback(self._report, arguments.config, login, decision)
        return decision

    def _finish(self, pamh: PamApplication, login: Login, decision: Decision) -> int:
        """Record the decision and tell the person; return the PAM code."""
        self._journal.record(login, decision)
        _tell(pamh, login, decision)
        code = decision.pam_code(login)
        return int(code) if type(code) is PamCode else PamCode.ABORT

    def _ignore_after(self, work: Callable[[], None], what: str) -> int:
        try:
            work()
        except (ApplicationGone, Stopping):
            pass  # the pidfd of an attached login tells of its end
        except BaseException as error:  # noqa: BLE001 - an entry point
            self._journal.note(f"a login could not {what} its kept session: {_raised_at(error)}", ERROR)
        return PamCode.IGNORE

    def _open(self, pamh: PamApplication) -> None:
        if pamh.session is None or self._sessions is None:
            return
        account = Accounts().named(pamh.user or "")
        self._sessions.opened(
            pamh.session,
            AttachedLogin(
                pid=pamh.peer_pid,
                audit_session=pamh.audit_session,
                xdg_session=pamh.xdg_session,
                user=account.name,
                uid=account.uid,
                service=pamh.service or "",
                tty=pamh.tty or None,
                rhost=pamh.rhost or None,
            ),
            pamh.pidfd(),
        )

    def _close(self, pamh: PamApplication) -> None:
        if pamh.session is not None and self._sessions is not None:
            self._sessions.closed(pamh.session, pamh.peer_pid)


def _tell(pamh: PamApplication, login: Login, decision: Decision) -> None:
    """Tell the person the decision, and a notice beside it.

    Neither an approval nor a bypass in sshd: sshd would send the line as a banner, to scp and rsync as well, and
    repeat it before the message of the day (OpenSSH, `auth2.c` and `session.c`, `loginmsg`).
    """
    if decision.outcome is Outcome.CANCELLED:
        return
    is_usual = decision.outcome in (Outcome.APPROVED, Outcome.BYPASSED) and login.through_sshd
    conversation = Conversation(pamh)
    is_error = decision.result is Result.DENIED or (login.through_sshd and login.phase is Phase.ACCOUNT)
    say = conversation.say_error if is_error else conversation.say
    try:
        for line in ("" if is_usual else decision.message, decision.notice):
            if line:
                say(line)
    except ApplicationGone:
        return


def _raised_at(error: BaseException) -> str:
    """The type of an error and the line that raised it. Its text is left out: it may contain a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"the module failed with {type(error).__name__}{where}"
