"""A folder in which nobody but root can write, up to the root of the file system."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def trusted_folder() -> Iterator[Path]:
    """A fresh folder below /var/lib; /tmp would not do, since anybody can write there."""
    folder = Path(tempfile.mkdtemp(dir="/var/lib"))
    yield folder
    shutil.rmtree(folder)
