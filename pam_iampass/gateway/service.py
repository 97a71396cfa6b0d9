"""The calls of hosts: start, poll and end, as IAMPASS has them."""

from __future__ import annotations

from pam_iampass.gateway.gateway import Gateway
from pam_iampass.server.http import Route

ROUTES: tuple[Route[Gateway], ...] = ()
"""The calls that a gateway answers."""
