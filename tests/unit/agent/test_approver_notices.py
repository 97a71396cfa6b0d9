"""Lines on terminals of people for whom accounts act: what is asked of the enforcer, and what waits for it."""

from __future__ import annotations

import os
import threading
from typing import Any, Callable, cast

import pytest

from pam_iampass.agent.approver_notices import ApproverNotices
from pam_iampass.audit.journal import Journal
from pam_iampass.enforcer.protocol import ApproverNotice, EnforcerReply, EnforcerResult, EnforcerUnavailable
from pam_iampass.login.context import ApprovalRequired
from pam_iampass.login.policy import Phone
from pam_iampass.outcome import Login, Participants
from tests.support.setting import ME, Records
from tests.support.world import PATIENCE, wait_until

DONE = EnforcerReply(EnforcerResult.DONE)


def required(
    owner: str = ME, command: str = "sudo id (in /srv)", rhost: str | None = None
) -> ApprovalRequired:
    login = Login("claude", "sudo", rhost, participants=Participants(command=command))
    unused = cast(Any, None)
    phone = Phone("token", ())
    return ApprovalRequired(login, "claude", owner, unused, unused, phone, "claude", is_agents=True)


def sent(request: ApprovalRequired) -> ApproverNotice:
    """What the enforcer is asked for."""
    asked: list[ApproverNotice] = []

    def ask(notice: ApproverNotice) -> EnforcerReply:
        asked.append(notice)
        return DONE

    ApproverNotices(Journal(Records()), ask).send(request)
    wait_until(lambda: asked, "the enforcer is asked")
    return asked[0]


def test_the_line_names_the_account_and_the_command() -> None:
    assert sent(required()) == ApproverNotice(os.geteuid(), "claude", "sudo id (in /srv)")


@pytest.mark.parametrize(("rhost", "what"), [(None, "sudo"), ("192.0.2.7", "sudo from 192.0.2.7")])
def test_without_a_command_it_names_the_service(rhost: str | None, what: str) -> None:
    assert sent(required(command="", rhost=rhost)).what == what


def test_no_login_waits_for_it() -> None:
    may_go_on = threading.Event()
    asked: list[str] = []

    def ask(notice: ApproverNotice) -> EnforcerReply:
        asked.append(notice.what)
        assert may_go_on.wait(PATIENCE)
        return DONE

    notices = ApproverNotices(Journal(Records()), ask)
    for number in range(20):
        notices.send(required(command=str(number)))
    may_go_on.set()
    wait_until(lambda: len(asked) == 20, "all are asked for")


def _fails(_notice: ApproverNotice) -> EnforcerReply:
    return EnforcerReply(EnforcerResult.FAILED, "no terminals")


def _is_away(_notice: ApproverNotice) -> EnforcerReply:
    raise EnforcerUnavailable("no socket")


@pytest.mark.parametrize(("ask", "why"), [(_fails, "no terminals"), (_is_away, "no socket")])
def test_a_failure_is_in_the_journal_alone(ask: Callable[[ApproverNotice], EnforcerReply], why: str) -> None:
    records = Records()
    ApproverNotices(Journal(records), ask).send(required())
    wait_until(lambda: records.fields, "the journal says so")
    assert records.fields[0]["MESSAGE"] == f"no line about a request was written on terminals of {ME}: {why}"


def test_a_person_without_an_account_here_has_no_terminal() -> None:
    records, asked = Records(), threading.Event()

    def ask(notice: ApproverNotice) -> EnforcerReply:
        asked.set()
        return DONE

    notices = ApproverNotices(Journal(records), ask)
    notices.send(required(owner="nobody-has-this-name"))
    notices.send(required())
    assert asked.wait(PATIENCE)
    assert records.fields == []
