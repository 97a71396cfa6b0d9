"""The settings of the portal, `/etc/iampass-portal/portal.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

FOLDER = Path("/etc/iampass-portal")
DEFAULT_PATH = FOLDER / "portal.yaml"


@dataclass(frozen=True)
class PortalSettings:
    """Where the portal is, and who passes requests on to it."""

    origin: str
    """As browsers send it; the same as `portal.origin` in gateway.yaml."""
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """The reverse proxies of the site, which say whose requests they pass on."""
