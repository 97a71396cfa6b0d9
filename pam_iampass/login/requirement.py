"""What the policy requires of a login that is not exempt."""

from __future__ import annotations

from dataclasses import dataclass

from pam_iampass.config.settings import ServiceSettings, Settings
from pam_iampass.login.policy import Phone
from pam_iampass.outcome import Login


@dataclass(frozen=True)
class SecondFactorRequired:
    """A login that requires a second factor."""

    login: Login
    approver: str
    """The account whose phone is asked."""
    settings: Settings
    service: ServiceSettings


@dataclass(frozen=True)
class ApprovalRequired(SecondFactorRequired):
    """A login that a person must approve on a phone."""

    phone: Phone
