"""Asks IAMPASS which users have a phone. Changes nothing and rings no phone."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pam_iampass.client import Deadline, Declined, ManagementAPI, ManagementAPIResult, NotFound, Unavailable
from pam_iampass.config import settings
from pam_iampass.doctor.user_status import UserStatusReport
from pam_iampass.doctor.users import UsersCheck
from pam_iampass.login.api import connect
from pam_iampass.system.service_user import reading_as


class PhoneState(enum.Enum):
    """What IAMPASS says about a user."""

    REGISTERED = "registered"
    NONE = "none"
    UNKNOWN = "unknown"
    """IAMPASS does not know the user."""
    NOT_ASKED = "not_asked"
    """There was no time, or no answer."""


def phone_states(
    client: ManagementAPI,
    tokens: Mapping[str, str],
    progress: Callable[[str], None],
    seconds: float | None = None,
) -> dict[str, PhoneState]:
    """The state of each user in `tokens`, within `seconds` for all together (None: 30 s for each).

    Raises IampassError for a failure that will meet all of them.
    """
    deadline = None if seconds is None else Deadline.after(seconds)
    states = dict.fromkeys(tokens, PhoneState.NOT_ASKED)
    for number, (user, token) in enumerate(tokens.items(), 1):
        progress(f"checking phones: {number} of {len(tokens)}")
        if deadline is not None and deadline.expired:
            break
        try:
            found = client.has_registered_mobile_device(token, deadline=deadline)
        except (Declined, NotFound):
            states[user] = PhoneState.UNKNOWN
        except Unavailable:
            continue
        else:
            has_device = found is ManagementAPIResult.has_mobile_device
            states[user] = PhoneState.REGISTERED if has_device else PhoneState.NONE
    return states


def phones_of(
    report: UserStatusReport, config: Path, progress: Callable[[str], None]
) -> dict[str, PhoneState]:
    """The state of each user of the report who is asked on the phone.

    Raises PamIampassError if the settings in `config` are invalid, and IampassError as `phone_states` does.
    """
    with reading_as() as readers:
        read = settings.load(config, readers=readers)
    client = connect(ManagementAPI, read)
    try:
        return phone_states(client, UsersCheck(report, read).tokens(sys.maxsize), progress)
    finally:
        client.close()
