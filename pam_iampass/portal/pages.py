"""The pages for who has signed in."""

from __future__ import annotations

from collections.abc import Sequence

from pam_iampass.portal.visit import Handler

ROUTES: Sequence[tuple[str, Handler]] = ()
"""The address of each page, and what makes it."""
