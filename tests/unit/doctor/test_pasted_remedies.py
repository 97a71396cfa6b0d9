"""Remedies are pasted into a root shell, and hold names that a directory has made up."""

from __future__ import annotations

import shlex

import pytest

from pam_iampass.doctor.catalogue import finding


@pytest.mark.parametrize("name", ["alice", "a b", "x;reboot", "$(reboot)", "a'b"])
def test_a_name_is_one_word_of_the_command(name: str) -> None:
    found = finding("user-without-token", "users", "", name=name)
    assert shlex.split(found.remedy.partition(", or ")[0])[2:] == [name]
    assert name in found.what
