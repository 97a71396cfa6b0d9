"""What can be done to a fleet, and what can be read of it: each act and each view is declared here, and only here."""

from pam_iampass.fleet import hosts, passkeys, people, phones, sessions
from pam_iampass.fleet.act import DECLARED

__all__ = ["DECLARED", "hosts", "passkeys", "people", "phones", "sessions"]
