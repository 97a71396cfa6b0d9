"""What an attack on the portal has found at its gateway. Each test says how it should be, and fails as long as it is
not."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest

from pam_iampass.gateway.actors import ActRefused
from pam_iampass.gateway.cli import portal
from tests.gateway.test_acts_socket import acts, folder, server
from tests.gateway.test_portal_command import ca, given, machine
from tests.gateway.test_sign_ins import ann, running, zoe
from tests.support.browser_of import Browser, sign_in
from tests.support.gateway import RunningGateway
from tests.support.gateway_command import GatewayCommand

__all__ = ["acts", "ann", "ca", "folder", "given", "machine", "running", "server", "zoe"]
finding = pytest.mark.xfail(strict=True, raises=AssertionError)


def is_refused(act: Callable[[], Any]) -> bool:
    try:
        act()
    except ActRefused:
        return True
    return False


def rows_of(running: RunningGateway, person: str) -> list[dict[str, Any]]:
    return running.rows(f"SELECT id FROM sign_in WHERE person = '{person}'")


def again(running: RunningGateway, browser: Browser) -> Browser:
    """The owner signs in once more, with the passkey."""
    return dataclasses.replace(browser, token=sign_in(running, browser.authenticator).token)


# 6: root's command takes a certificate and a key that others can exchange


@finding
def test_06_setup_links_to_no_file_that_others_can_exchange(
    gateway_command: GatewayCommand, given: list[str], tmp_path: Path
) -> None:
    """systemd reads both as root and passes them to the portal (LoadCredential): whoever owns the folder has it pass on
    any file of root, such as the fleet's key."""
    folder = tmp_path / "acme"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    for name in ("portal.pem", "portal.key"):
        shutil.move(tmp_path / name, folder / name)
        os.chown(folder / name, 65534, 65534)
    words = [each.replace(str(tmp_path), str(folder)) for each in given]
    said = gateway_command.said(*words, status=1)
    assert "systemd does not run here" not in said, "it has written everything before that"


# 7: a wrong proxy is found after everything was changed


@finding
def test_07_setup_changes_nothing_if_it_is_given_what_the_portal_does_not_take(
    gateway_command: GatewayCommand, given: list[str]
) -> None:
    gateway_command.said(*given, status=1)
    before = portal.SETTINGS.read_bytes()
    gateway_command.said("portal", "setup", "--origin", given[3], "--proxy", "proxy.example.com", status=1)
    assert portal.CERTIFICATE.is_symlink()
    assert portal.SETTINGS.read_bytes() == before
