"""PAM services in a folder of their own.

pam_start_confdir(3) reads a service from another folder, but the files that it includes by name from /etc/pam.d (seen
with Linux-PAM 1.7.0). Therefore the names are replaced with absolute paths.
"""

from __future__ import annotations

import re
from pathlib import Path

_INCLUDE = re.compile(
    rb"^([ \t]*(?:@include|-?(?:auth|account|password|session)[ \t]+(?:include|substack))[ \t]+)([^/\s][^\s]*)",
    re.M | re.I,
)


def resolve_includes(folder: Path) -> None:
    """Make the services in `folder` include each other, as far as the folder has the files."""
    for file in folder.iterdir():

        def absolute(found: re.Match[bytes]) -> bytes:
            name = found.group(2).decode("utf-8", "surrogateescape")
            known = (folder / name).is_file()
            return found.group(1) + (str(folder / name).encode() if known else found.group(2))

        content = file.read_bytes()
        settled = _INCLUDE.sub(absolute, content)
        if settled != content:
            file.write_bytes(settled)
