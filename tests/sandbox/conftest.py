from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.signer import Caller
from tests.support.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(application_id="demo", application_secret="s3cret") as running:
        running.add_user("alice")
        running.add_user("bob", device=False)
        yield running


@pytest.fixture
def caller(sandbox: Sandbox) -> Caller:
    return Caller(sandbox)
