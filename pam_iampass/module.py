"""The PAM module: the six functions that pam_python would call, with `pamh` at the other end of a socket.

Nothing here raises: whatever goes wrong denies and leaves an audit record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pam_iampass.audit.journal import Journal
from pam_iampass.login.application import Application, ApplicationGone, Stopping
from pam_iampass.login.conversation import Conversation
from pam_iampass.outcome import Decision, Login, Outcome, PamCode, Result, denied

if TYPE_CHECKING:
    from pam_iampass.login.context import ContextFactory

SETTINGS = "/etc/iampass/iampass.yaml"


@dataclass(frozen=True)
class Arguments:
    """The arguments on the PAM line."""

    config: str = SETTINGS
    first_factor: str | None = None
    debug: bool = False
    unknown: tuple[str, ...] = ()

    @classmethod
    def read(cls, argv: list[str]) -> Arguments:
        """Read them; `argv[0]` is the module's own name. What is not known is kept in `unknown`."""
        values: dict[str, str] = {}
        unknown = []
        for argument in argv[1:]:
            name, _, value = argument.partition("=")
            fits = {
                "config": value.startswith("/"),
                "first_factor": value == "publickey",
                "debug": argument == "debug",
            }.get(name, False)
            if fits and name not in values:
                values[name] = value
            else:
                unknown.append(argument)
        return cls(
            values.get("config", SETTINGS), values.get("first_factor"), "debug" in values, tuple(unknown)
        )


def pam_sm_authenticate(pamh: Application, flags: int, argv: list[str]) -> int:
    """Decide a login, tell the person, leave the audit record; return the PAM code."""
    from pam_iampass.relay import helper_context

    return authenticate(pamh, argv, Journal(), helper_context.parts)


def pam_sm_setcred(pamh: Application, flags: int, argv: list[str]) -> int:
    """We give no credentials: PAM_IGNORE. Only an approval is a success."""
    return PamCode.IGNORE


def pam_sm_acct_mgmt(pamh: Application, flags: int, argv: list[str]) -> int:
    """We say nothing about accounts: PAM_IGNORE."""
    return PamCode.IGNORE


def pam_sm_open_session(pamh: Application, flags: int, argv: list[str]) -> int:
    """We take no part in sessions: PAM_IGNORE."""
    return PamCode.IGNORE


def pam_sm_close_session(pamh: Application, flags: int, argv: list[str]) -> int:
    """We take no part in sessions: PAM_IGNORE."""
    return PamCode.IGNORE


def pam_sm_chauthtok(pamh: Application, flags: int, argv: list[str]) -> int:
    """We change no passwords: PAM_IGNORE."""
    return PamCode.IGNORE


def authenticate(pamh: Application, argv: list[str], journal: Journal, make_context: ContextFactory) -> int:
    """What `pam_sm_authenticate` does, with the journal and the parts passed in."""
    login = Login("?", "?")
    try:
        login = _login(pamh)
        decision = _decide(login, Arguments.read(argv), pamh, journal, make_context)
    except ApplicationGone as gone:
        decision = denied(Outcome.CANCELLED, str(gone))
    except Stopping as stopping:
        decision = denied(
            Outcome.UNAVAILABLE, str(stopping), "The phone check is being restarted. Please try again."
        )
    except BaseException as error:  # noqa: BLE001 - an entry point: SystemExit and KeyboardInterrupt deny as well
        decision = denied(Outcome.UNAVAILABLE, _where(error), "The phone check failed.")
    journal.record(login, decision)
    _tell(pamh, login, decision)
    code = decision.pam_code(login)
    return int(code) if type(code) is PamCode else PamCode.ABORT


def decline(pamh: Application, journal: Journal, reason: str) -> int:
    """Deny a login that there is no room for, with its record."""
    login = _login(pamh)
    decision = denied(Outcome.UNAVAILABLE, reason, "Too many logins at once. Please try again in a minute.")
    journal.record(login, decision)
    _tell(pamh, login, decision)
    return int(decision.pam_code(login))


def _login(pamh: Application) -> Login:
    return Login(
        user=pamh.user or "",
        service=pamh.service or "",
        rhost=pamh.rhost or None,
        tty=pamh.tty or None,
        ruser=pamh.ruser or None,
        real_uid=pamh.real_uid,
        ssh_auth_info=pamh.env.get("SSH_AUTH_INFO_0"),
    )


def _decide(
    login: Login, arguments: Arguments, pamh: Application, journal: Journal, make_context: ContextFactory
) -> Decision:
    if arguments.unknown:
        reason = "unknown module arguments on the PAM line: " + " ".join(arguments.unknown)
        return denied(Outcome.MISCONFIGURED, reason, "The phone check is not set up rightly on this machine.")
    from pam_iampass.login import verification
    from pam_iampass.login.context import Demands

    parts = make_context(arguments.config, lambda reason: journal.left_open(login, reason))
    demands = Demands(arguments.first_factor)
    if arguments.debug:
        journal.note(f"a login begins: {login}")
    return verification.verify(login, demands, Conversation(pamh), pamh, parts)


def _tell(pamh: Application, login: Login, decision: Decision) -> None:
    """Tell the person what came of the login.

    An approval in sshd says so itself: the login goes on. sshd would pass our line on as a banner (to scp and rsync as
    well) and, before the message of the day, once more (OpenSSH, `auth2.c` and `session.c`, `loginmsg`).
    """
    if not decision.message or decision.outcome is Outcome.CANCELLED:
        return
    if decision.outcome is Outcome.APPROVED and login.through_sshd:
        return
    conversation = Conversation(pamh)
    try:
        if decision.result is Result.DENIED:
            conversation.say_error(decision.message)
        else:
            conversation.say(decision.message)
    except ApplicationGone:
        return


def _where(error: BaseException) -> str:
    """What broke and where: the kind of error and the line, never its text, which may hold a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"the module failed with {type(error).__name__}{place}"
