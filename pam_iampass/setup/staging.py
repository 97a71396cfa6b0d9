"""A copy of a settings folder with the changes applied, for programs to check before anything is replaced."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pam_iampass.setup.plan import Change

_ABOVE = "/run"  # belongs to root, is in memory, and is not cleaned up


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder that only root can enter.

    TMPDIR is ignored: the owner of the folder above could replace the files in it.
    """
    folder = Path(tempfile.mkdtemp(prefix="pam-iampass-setup-", dir=_ABOVE))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy(folder: Path, target: Path, changes: Iterable[Change]) -> Path:
    """Make `target` a copy of the files in `folder`, with the changes applied; folders below it are not copied."""
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
