"""A copy of a folder of settings as it will be, for programs to judge before anything is replaced."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pam_iampass.setup.plan import Change

_ABOVE = "/run"  # root's, in memory, and nothing cleans it up meanwhile


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is root's alone, and gone afterwards.

    Never where TMPDIR says: whoever owns the folder above could put PAM files of their own there, and root runs these.
    """
    folder = Path(tempfile.mkdtemp(prefix="pam-iampass-setup-", dir=_ABOVE))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy(folder: Path, target: Path, changes: Iterable[Change]) -> Path:
    """Make `target` what `folder` will be once the changes in it are made; only files, not folders below it."""
    target.mkdir(mode=0o700)
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.is_file():
            shutil.copy2(file, target / file.name)
    for change in changes:
        if change.path.parent != folder:
            continue
        staged = target / change.path.name
        if change.then.content is None:
            staged.unlink(missing_ok=True)
        else:
            staged.write_bytes(change.then.content)
            staged.chmod(change.then.mode)
    return target
