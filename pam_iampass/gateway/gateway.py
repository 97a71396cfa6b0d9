"""One gateway: what its calls and its command share."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Callable

from pam_iampass.gateway.database import Database
from pam_iampass.gateway.keys import KeyFile
from pam_iampass.gateway.settings import GatewaySettings


@dataclass
class Gateway:
    """A gateway with open connections to its database."""

    settings: GatewaySettings
    database: Database
    keys: KeyFile
    clock: Callable[[], float] = time.time
    """Unix time in seconds: for signatures. Everything else goes by the database's clock."""
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    """Of this process."""


@asynccontextmanager
async def opened(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """A gateway with these settings. Connections are made when they are needed."""
    async with Database(settings.database, connections=settings.limits.connections) as database:
        yield Gateway(settings, database, KeyFile(settings.key))
