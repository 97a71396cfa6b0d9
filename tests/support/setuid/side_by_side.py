"""Tests that mostly wait, and so run concurrently, each in a thread with its own guest."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Callable

import pytest

from tests.support.setuid.stage import Guest, Stage

Scene = Callable[[Guest], None]
Outcomes = dict[Scene, "Future[None]"]


def side_by_side(scene: Scene) -> Callable[[Outcomes], None]:
    """Make a test of a function with a guest; it runs concurrently with the other marked tests of its file."""

    def test(outcomes: Outcomes) -> None:
        outcomes[scene].result()

    test.__doc__ = scene.__doc__
    test.scene = scene  # type: ignore[attr-defined]
    return test


@contextmanager
def played(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Outcomes]:
    """Start all selected tests of a file."""
    mine = (item for item in request.session.items if getattr(item, "module", None) is request.module)
    found = {getattr(getattr(item, "function", None), "scene", None) for item in mine}
    scenes: list[Scene] = [scene for scene in found if scene is not None]
    with ThreadPoolExecutor(len(scenes) + 1) as pool:
        yield {scene: pool.submit(scene, stage.guest()) for scene in scenes}
