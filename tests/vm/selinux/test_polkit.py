"""pkexec, which becomes root through polkit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.packages.people import KEY, WHO, got_in, outcomes, type_password
from tests.support.terminal import Terminal
from tests.vm.denials import Denial
from tests.vm.site import Site


def pkexec(site: Site) -> Terminal:
    """alice runs pkexec, and types her password."""
    terminal = site.ssh("alice", f"pkexec sh -c '{WHO}'", options=(*KEY, "-tt"))
    terminal.expect(r"(\d+)\.\s+alice\b")  # one of several administrators
    number = terminal.match.group(1)
    terminal.expect("Choose identity[^:]*: ")
    terminal.sendline(number)
    type_password(terminal)
    return terminal


@pytest.fixture(scope="module")
def polkit(site: Site, usual: set[Denial]) -> Iterator[None]:
    """polkit asks the phone; what pkexec is denied without it is the machine's own."""
    site.machine.run("pam-iampass", "setup", "undo")
    assert got_in(pkexec(site), "root")
    site.set_up("polkit-1")
    yield
    site.machine.run("pam-iampass", "setup", "undo", "polkit-1")


def test_pkexec_becomes_root_only_with_the_phone(site: Site, polkit: None, cursor: str) -> None:
    terminal = pkexec(site)
    site.approve("alice")
    assert got_in(terminal, "root")
    terminal = pkexec(site)
    site.deny("alice")
    terminal.finish()
    assert "In as root." not in terminal.shown
    assert outcomes(site.machine.journal(cursor)) == [
        ("approved", "success", "alice", "polkit-1"),
        ("denied", "denied", "alice", "polkit-1"),
    ]
    site.machine.run("pam-iampass", "throttle", "clear", "alice")
