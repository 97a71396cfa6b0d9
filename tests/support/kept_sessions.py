"""Sessions that an agent finds when it starts: active at IAMPASS, each with an open login session."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pam_iampass.client import AuthenticationAPI, Transport
from pam_iampass.config.settings import SessionSettings
from pam_iampass.session.kept_session import AttachedLogin, KeptSession, State, new_id
from pam_iampass.system.boot import since_boot
from tests.support.sandbox import Sandbox


def kept_sessions(
    sandbox: Sandbox, settings_file: str, logins: Sequence[AttachedLogin], settings: SessionSettings
) -> list[KeptSession]:
    """One approved session for each login. Adds the users to IAMPASS; their tokens are `t-` and the name."""
    sandbox.auto, sandbox.delay = "approve", 0.0
    api = AuthenticationAPI(
        sandbox.application_id,
        sandbox.application_secret,
        transport=Transport(sandbox.url, sandbox.ca_file),
    )
    found = []
    for login in logins:
        token = f"t-{login.user}"
        sandbox.add_user(token, device=True)
        session = api.authenticate_user(token, duration_seconds=86400)
        kept = KeptSession(
            id=new_id(),
            state=State.OPEN,
            session=session.Schema().dumps(session),
            config=settings_file,
            user=login.user,
            approver=login.user,
            service=login.service,
            rhost="192.0.2.7",
            through_sshd=True,
            address="192.0.2.7",
            first_factor=None,
            methods=(),
            rules=settings,
            began=since_boot(),
            approved=since_boot(),
            since=time.time(),
            attached=(login,),
            person=login.user,
        )
        found.append(kept)
    api.close()
    return found
