"""What people can do to the fleet: each act is a typed value, and `perform` is the only way to carry one out."""

from pam_iampass.gateway.acts import hosts, people, phones, sessions
from pam_iampass.gateway.acts.act import ACTS

__all__ = ["ACTS", "hosts", "people", "phones", "sessions"]
