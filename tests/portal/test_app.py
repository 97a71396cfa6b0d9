"""The portal at its port: signing in, acts, and what is refused."""

from __future__ import annotations

from tests.portal.conftest import SignIn


def test_who_has_a_passkey_signs_in_and_out(signed_in: SignIn) -> None:
    alice = signed_in("alice")
    shown = alice.get("/link")
    assert shown.status == 200
    done = alice.act("phone_lost", person="alice", back="/people/alice?x=1")
    assert done.status == 200, done.words
    assert 'href="/people/alice?x=1"' in done.text
    out = alice.post("/sign-out")
    assert (out.status, alice.cookies) == (200, {})
    assert alice.post("/sign-out").status == 200
