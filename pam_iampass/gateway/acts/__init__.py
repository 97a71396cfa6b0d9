"""Acts, which are all that people can do to the fleet: each is a typed value, and only `perform` carries one out."""

from pam_iampass.gateway.acts import hosts, passkeys, people, phones, requests, sessions
from pam_iampass.gateway.acts.act import ACTS

__all__ = ["ACTS", "hosts", "passkeys", "people", "phones", "requests", "sessions"]
