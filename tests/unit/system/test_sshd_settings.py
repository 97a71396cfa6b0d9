"""What sshd -T says of an sshd that has not read its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from pam_iampass.system import sshd
from pam_iampass.system.programs import CommandUnavailable
from tests.support.folders import put


def test_an_sshd_whose_libraries_are_being_upgraded_has_not_rejected_its_configuration(
    tmp_path: Path,
) -> None:
    complaint = "sshd: error while loading shared libraries: libcrypto.so.3: cannot open shared object file"
    program = put(tmp_path / "sshd", f"#!/bin/sh\necho '{complaint}' >&2\nexit 127\n", 0o755)
    with pytest.raises(CommandUnavailable, match="libcrypto"):
        sshd.settings(program=str(program))
