"""Who is let in without the phone at the moment, and files of bypasses that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator

from pam_iampass.doctor.catalogue import finding
from pam_iampass.errors import PamIampassError, Problem, UnreadableFile
from pam_iampass.login.bypass import Bypasses


def findings(bypasses: Bypasses | None = None, named: str | None = None) -> Iterator[Problem]:
    """All bypasses, or those of the user `named`."""
    try:
        active = (bypasses or Bypasses()).active()
    except UnreadableFile:  # this is not root
        return
    except PamIampassError as error:
        yield finding("bypass-unusable", "users", str(error), remedy=error.remedy)
        return
    for one in active:
        if named in (None, one.user):
            reason = f"; {one.reason}" if one.reason else ""
            evidence = f"pam-iampass bypass list: made by {one.made_by}{reason}"
            yield finding(
                "user-bypassed", "users", evidence, name=one.user, service=one.service or "all services"
            )
