"""The session phases with the pam_python door: the native door's tests."""

from __future__ import annotations

from tests.pam.native.test_session_phases import logins
from tests.pam.pam_python.shared import shared

__all__ = ["logins"]

globals().update(
    shared(
        "test_session_phases",
        # pam_python is not for programs that keep their caller's limits:
        "test_where_nothing_can_be_written_the_session_opens_and_nothing_is_left",
        "test_in_a_set_uid_program_the_agent_is_notified_too",
    )
)
