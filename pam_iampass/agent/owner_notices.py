"""Tells people on their terminals that an account that acts for them asks their phone."""

from __future__ import annotations

from typing import Callable

from pam_iampass.audit.journal import WARNING, Journal
from pam_iampass.enforcer import protocol as enforcer
from pam_iampass.enforcer.protocol import EnforcerReply, EnforcerResult, EnforcerUnavailable, OwnerNotice
from pam_iampass.login.context import ApprovalRequired
from pam_iampass.login.policy import own_account
from pam_iampass.session.watcher import Workers
from pam_iampass.system.accounts import Accounts, LookupFailed

#: How long the enforcer may take. Seconds.
PATIENCE = 5.0
#: Threads. Requests of such accounts are few (`agents.requests_per_hour`).
MOST = 4


def _ask(notice: OwnerNotice) -> EnforcerReply:
    return enforcer.ask(notice, patience=PATIENCE)


class OwnerNotices:
    """Has the enforcer write a line for each request, in threads of their own: no login waits for it or fails."""

    def __init__(self, journal: Journal, ask: Callable[[OwnerNotice], EnforcerReply] = _ask) -> None:
        """`ask` has the enforcer write the line. It raises EnforcerUnavailable."""
        self._journal = journal
        self._ask = ask
        self._accounts = Accounts()
        self._workers = Workers(MOST)

    def send(self, required: ApprovalRequired) -> None:
        """Tell the owner of a request. Waits for nothing, raises nothing."""
        login = required.login
        place = " from ".join(filter(None, (login.service, login.rhost)))
        what = login.participants.command or place
        try:
            self._workers.submit(lambda: self._send(required.agent, required.approver, what))
        except RuntimeError:  # out of threads
            self._failed(required.approver, "out of threads")

    def _send(self, agent: str, owner: str, what: str) -> None:
        try:
            account = own_account(owner, self._accounts)
            if account is not None:
                reply = self._ask(OwnerNotice(account.uid, agent, what))
                if reply.result is EnforcerResult.FAILED:
                    self._failed(owner, reply.problem)
        except (EnforcerUnavailable, LookupFailed, OSError) as error:
            self._failed(owner, str(error))

    def _failed(self, owner: str, why: str) -> None:
        self._journal.note(f"no line about a request was written on terminals of {owner}: {why}", WARNING)
