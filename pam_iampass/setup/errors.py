"""What can stop a setup.

pam_iampass.errors.PamIampassError
└── SetupError           it was not done; the files are unchanged, unless the text says otherwise
    ├── SetupRefused     it would do harm; the text says what to do, and whether --force overrides it
    └── FileEdited       a file was edited after it was set up, and the edits would be lost
"""

from __future__ import annotations

from collections.abc import Sequence

from pam_iampass.errors import PamIampassError
from pam_iampass.text import clean


class SetupError(PamIampassError):
    """It could not be done. `details` are lines of evidence, such as the output of a program."""

    def __init__(self, what: str, remedy: str, details: Sequence[str] = ()) -> None:
        super().__init__(what, remedy)
        self.details = tuple(details)

    def diagnostics(self) -> str:
        what, *remedy = super().diagnostics().split("\n")
        return "\n".join([what, *("    " + clean(line, 500) for line in self.details), *remedy])


class SetupRefused(SetupError):
    """It would do harm."""


class FileEdited(SetupError):
    """A file was edited after it was set up; `details` is the difference."""
