"""What an attack on the portal has found at its gateway. Each test says how it should be, and fails as long as it is
not."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from pam_iampass.gateway import own_requests, restored, sign_ins
from pam_iampass.gateway.actors import ActRefused
from pam_iampass.gateway.acts.passkeys import RemovePasskey, passkey_options
from pam_iampass.gateway.acts.people import BypassPhone
from pam_iampass.gateway.acts.phones import NewPhone
from pam_iampass.gateway.acts.requests import DisownSession
from pam_iampass.gateway.acts.views import show_records
from pam_iampass.gateway.cli import portal
from pam_iampass.gateway.records import Filter
from pam_iampass.gateway.sessions import HostSession
from pam_iampass.portal.gateway import GatewayError
from tests.gateway.test_acts_socket import acts, folder, server
from tests.gateway.test_portal_command import ca, given, machine
from tests.gateway.test_sign_ins import ann, running, zoe
from tests.support.acts_socket import RunningActs, signed_in
from tests.support.browser_of import OPERATORS, PORTAL, REMOTE, Browser, browser_of, sign_in, with_passkey
from tests.support.gateway import LIMITS, RunningGateway, settings_for
from tests.support.gateway_command import GatewayCommand
from tests.support.sandbox import Sandbox

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


# 2: anybody who has signed in writes into the history of anybody


@finding
def test_02_what_was_refused_to_others_does_not_push_off_what_was_done_to_a_person(
    running: RunningGateway, ann: Browser, zoe: Browser
) -> None:
    zoe.do(BypassPhone("ben", 60.0, reason="ticket 1"))
    for _ in range(20):
        assert is_refused(lambda: ann.do_without_touch(BypassPhone("ben", 60.0)))
    ben = browser_of(running, "ben")

    async def read(gateway: Any, connection: Any) -> Any:
        actor = await sign_ins.actor(gateway, connection, ben.token, "")
        return await show_records(gateway, connection, actor, Filter("ben"), 20)

    assert "bypass" in {row.get("what") for row in running.transaction(read)}


# 3: a passkey without a role ends the passkey with the role


@finding
def test_03_a_further_passkey_removes_no_passkey_of_roots(running: RunningGateway, zoe: Browser) -> None:
    """zoe has a further passkey on a laptop, which is stolen. No role counts with it; with a touch of it alone it ends
    the one by root's link: the admin is shut out until root makes another link."""
    laptop = browser_of(running, "zoe")
    (root,) = running.rows("SELECT id FROM passkey WHERE person = 'zoe' AND roles <> '{}'")
    assert is_refused(lambda: laptop.do(RemovePasskey("zoe", root["id"])))


# 4: what is answered to a passkey that is to be confirmed


@finding
def test_04_nothing_is_told_to_a_passkey_that_is_not_confirmed(running: RunningGateway) -> None:
    authenticator = with_passkey(running, "ann")
    running.transaction(restored.confirm)
    begun = sign_in(running, authenticator)
    assert not begun.is_confirmed
    assert is_refused(lambda: running.run(passkey_options(running.gateway, begun.token)))


# 5: a stolen cookie keeps the help desk from having its owner asked


@pytest.fixture
def limited(
    conninfo: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningGateway]:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    limits = dataclasses.replace(LIMITS, cool_off=60.0)
    settings = settings_for(conninfo, sandbox, tmp_path, limits=limits, portal=PORTAL, operators=OPERATORS)
    with RunningGateway(settings) as made:
        made.transaction(restored.begin)
        made.populate()
        yield made


def ask(made: RunningGateway) -> Any:
    work = own_requests.ask(made.gateway, "alice", "a call to the help desk", REMOTE, "x", caller="dora")
    return made.run(work)


@finding
def test_05_a_stolen_token_keeps_no_help_desk_from_having_its_owner_asked(
    limited: RunningGateway, sandbox: Sandbox
) -> None:
    thief = browser_of(limited, "alice")
    for _ in range(3):
        found = ask(limited)
        if not isinstance(found, HostSession):
            break
        sandbox.wait_for_request("token-of-alice")
        thief.do_without_touch(DisownSession("alice", str(found.id)))
    assert isinstance(ask(limited), HostSession), "the phone is asked, as in the table of fleet-security"


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


# 16: a stolen cookie has IAMPASS asked


@finding
def test_16_the_token_of_a_sign_in_alone_has_iampass_asked_a_bounded_number_of_times(
    acts: RunningActs, server: RunningGateway, sandbox: Sandbox
) -> None:
    """fleet-security: «without it IAMPASS is not asked either». The view `phone` asks it, of a role's cookie for each
    person whom the role sees, by eight calls at the same time, and in the lane of logins."""
    many = sign_ins.RECORDS_A_MINUTE + 10
    for number in range(many):
        server.add_person(f"person{number}", f"token-{number}", ("staff",))
    thief, before = signed_in(acts, "iris", by_root=True), len(sandbox.calls)
    for number in range(many):
        with contextlib.suppress(GatewayError):
            thief.look("phone", person=f"person{number}")
    assert len(sandbox.calls) - before <= sign_ins.RECORDS_A_MINUTE


# 18: a phone that is gone at IAMPASS, and was reported nowhere here


@finding
def test_18_who_had_a_phone_is_not_taken_for_somebody_who_never_had_one(
    running: RunningGateway, ann: Browser, sandbox: Sandbox
) -> None:
    """The docs: «who has never had a phone needs none». The gateway has seen ann's phone, and has no memory of it: once
    IAMPASS has none (its own support, or another application, has removed it), a stolen laptop registers the next."""
    sandbox.add_user("token-of-ann")
    assert is_refused(lambda: ann.do(NewPhone("ann"))), "it must be approved on the phone"
    sandbox.delete_user("token-of-ann")
    sandbox.add_user("token-of-ann", device=False)
    assert is_refused(lambda: ann.do(NewPhone("ann")))
