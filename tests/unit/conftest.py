"""Gateways and portals need Python 3.10: what is declared for them evaluates `X | None`."""

from __future__ import annotations

import sys

collect_ignore_glob = ["fleet/*", "gateway/*", "portal/*"] if sys.version_info < (3, 10) else []
