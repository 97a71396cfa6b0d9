"""Fixtures for all tests."""

from __future__ import annotations

from tests.support.folders import trusted_folder

__all__ = ["trusted_folder"]
