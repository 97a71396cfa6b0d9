"""The IAMPASS client that the settings describe."""

from __future__ import annotations

from typing import TypeVar

from pam_iampass.client import AuthenticationAPI, ManagementAPI, Transport
from pam_iampass.config.settings import Settings

_API = TypeVar("_API", AuthenticationAPI, ManagementAPI)


def connect(api: type[_API], settings: Settings, transport: Transport | None = None) -> _API:
    """An API object for the application of the settings. A `transport` brings its own connections.

    Raises TLSFailure if there are no certificates to trust.
    """
    if transport is None:
        transport = Transport(settings.server, settings.ca_file, settings.proxy)
    return api(
        settings.application_id,
        settings.application_secret,
        transport=transport,
        previous_secret=settings.previous_secret,
    )
