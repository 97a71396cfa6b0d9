"""Tells people on their terminals that somebody else asks their phone: an account that acts for them, or a person whom
they approve as the second one."""

from __future__ import annotations

from typing import Callable

from pam_iampass.audit.journal import WARNING, Journal
from pam_iampass.enforcer import protocol as enforcer
from pam_iampass.enforcer.protocol import ApproverNotice, EnforcerReply, EnforcerResult, EnforcerUnavailable
from pam_iampass.login.context import ApprovalRequired
from pam_iampass.login.policy import own_account
from pam_iampass.session.watcher import Workers
from pam_iampass.system.accounts import Accounts, LookupFailed

#: How long the enforcer may take. Seconds.
PATIENCE = 5.0
#: Threads. Such requests are few (`agents.requests_per_hour`, `throttle.requests_per_hour`).
MOST = 4


def _ask(notice: ApproverNotice) -> EnforcerReply:
    return enforcer.ask(notice, patience=PATIENCE)


class ApproverNotices:
    """Has the enforcer write a line for each request, in threads of their own: no login waits for it or fails."""

    def __init__(self, journal: Journal, ask: Callable[[ApproverNotice], EnforcerReply] = _ask) -> None:
        """`ask` has the enforcer write the line. It raises EnforcerUnavailable."""
        self._journal = journal
        self._ask = ask
        self._accounts = Accounts()
        self._workers = Workers(MOST)

    def send(self, required: ApprovalRequired) -> None:
        """Tell the person whose phone is asked. Waits for nothing, raises nothing."""
        login = required.login
        place = " from ".join(filter(None, (login.service, login.rhost)))
        what = login.participants.command or place
        try:
            self._workers.submit(lambda: self._send(required.asker, required.approver, what))
        except RuntimeError:  # out of threads
            self._failed(required.approver, "out of threads")

    def _send(self, asker: str, approver: str, what: str) -> None:
        try:
            account = own_account(approver, self._accounts)
            if account is not None:
                reply = self._ask(ApproverNotice(account.uid, asker, what))
                if reply.result is EnforcerResult.FAILED:
                    self._failed(approver, reply.problem)
        except (EnforcerUnavailable, LookupFailed, OSError) as error:
            self._failed(approver, str(error))

    def _failed(self, approver: str, why: str) -> None:
        self._journal.note(f"no line about a request was written on terminals of {approver}: {why}", WARNING)
