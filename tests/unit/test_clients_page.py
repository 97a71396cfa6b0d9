"""docs/one-server/clients.md says what the tests of the clients show."""

from __future__ import annotations

from pathlib import Path

from tests.packages.client_table import CLIENTS
from tests.packages.clients_page import page


def test_the_page_is_up_to_date() -> None:
    assert (Path(__file__).parents[2] / "docs/one-server/clients.md").read_text() == page()


def test_no_two_clients_share_an_account() -> None:
    assert len({client.account for client in CLIENTS}) == len(CLIENTS)
