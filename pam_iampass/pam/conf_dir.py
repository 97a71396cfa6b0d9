"""PAM services in a folder of their own.

pam_start_confdir(3) reads a service from another folder, but what that service includes still from /etc/pam.d (seen
with Linux-PAM 1.7.0). An absolute name is taken as it is: so inclusions are given one.
"""

from __future__ import annotations

import re
from pathlib import Path

_INCLUDE = re.compile(
    rb"^([ \t]*(?:@include|-?(?:auth|account|password|session)[ \t]+(?:include|substack))[ \t]+)([^/\s][^\s]*)",
    re.M | re.I,
)


def resolve_includes(folder: Path) -> None:
    """Have the services in `folder` include each other, where the folder has what they name."""
    for file in folder.iterdir():

        def absolute(found: re.Match[bytes]) -> bytes:
            name = found.group(2).decode("utf-8", "surrogateescape")
            known = (folder / name).is_file()
            return found.group(1) + (str(folder / name).encode() if known else found.group(2))

        content = file.read_bytes()
        settled = _INCLUDE.sub(absolute, content)
        if settled != content:
            file.write_bytes(settled)
