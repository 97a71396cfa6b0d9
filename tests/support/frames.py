"""Frames of the relay protocol that only a door sends."""

from __future__ import annotations

from collections.abc import Mapping

from pam_iampass.agent.wire import Frame, FrameType


def encode_items(items: Mapping[str, bytes]) -> Frame:
    """The frame with the PAM items that are set."""
    return Frame(
        FrameType.ITEMS, b"".join(name.encode() + b"=" + value + b"\0" for name, value in items.items())
    )
