"""The kinds of audit records."""

from __future__ import annotations

from pam_iampass.audit.journal import MESSAGE_IDS, PAM_FILE_IDS, SESSION_IDS, SESSION_LEFT_OPEN
from pam_iampass.outcome import Outcome, SessionEvent


def test_every_kind_of_event_has_an_id_of_its_own() -> None:
    ids = [*MESSAGE_IDS.values(), *SESSION_IDS.values(), *PAM_FILE_IDS.values(), SESSION_LEFT_OPEN]
    assert set(MESSAGE_IDS) == set(Outcome)
    assert set(SESSION_IDS) == set(SessionEvent)
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 32 and int(one, 16) for one in ids)
