"""What can stand in the way of setting up.

pam_iampass.errors.PamIampassError
└── SetupError        it was not done, and the files are as they were, unless the text says otherwise
    ├── Refused       it would do harm; the text says what to do, and perhaps that --force does it all the same
    └── Edited        a file is no longer as it was written; somebody else's work would be lost
"""

from __future__ import annotations

from collections.abc import Sequence

from pam_iampass.errors import PamIampassError
from pam_iampass.text import clean


class SetupError(PamIampassError):
    """It could not be done. `details` are lines of evidence, such as what a program said."""

    def __init__(self, what: str, remedy: str, details: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.details = tuple(details)

    def diagnostics(self) -> str:
        lines = [clean(self.what, 2000), *("    " + clean(line, 500) for line in self.details)]
        return "\n".join([*lines, "    " + clean(self.remedy, 2000)] if self.remedy else lines)


class Refused(SetupError):
    """It would do harm."""


class Edited(SetupError):
    """A file is no longer as it was written; `details` is the difference."""
