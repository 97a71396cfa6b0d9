"""A CycloneDX bill of materials of Debian packages: each with its checksum, and what it asks to be installed.

Usage: sbom.py VERSION SECONDS-SINCE-1970 PACKAGE...
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path


def field(package: Path, name: str) -> str:
    """One field of a package's control file; empty where it has none."""
    shown = subprocess.run(["dpkg-deb", "-f", str(package), name], check=True, capture_output=True, text=True)  # noqa: S603, S607
    return shown.stdout.strip()


def reference(name: str, version: str = "") -> str:
    """The package URL of a Debian package."""
    return f"pkg:deb/debian/{name}" + (f"@{version}" if version else "")


def dependencies(package: Path) -> list[str]:
    """The names of what a package depends on, the first where any of several will do."""
    wanted = f"{field(package, 'Depends')}, {field(package, 'Pre-Depends')}".split(",")
    return sorted(
        {found.group() for each in wanted if (found := re.match(r"[a-z0-9][a-z0-9+.-]*", each.strip()))}
    )


def bill(version: str, moment: float, packages: list[Path]) -> dict[str, object]:
    """The bill as a JSON object."""
    ours = {reference(field(each, "Package"), field(each, "Version")): each for each in packages}
    others = {name for each in packages for name in dependencies(each) if "iampass" not in name}

    def of(name: str, beside: Path) -> str:
        mine = reference(name, field(beside, "Version"))
        return mine if mine in ours else reference(name)

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(moment, timezone.utc).isoformat(),
            "component": {"type": "application", "name": "pam-iampass", "version": version},
        },
        "components": [
            *(
                {
                    "type": "library",
                    "bom-ref": mine,
                    "name": field(each, "Package"),
                    "version": field(each, "Version"),
                    "purl": mine,
                    "licenses": [{"license": {"id": "MIT"}}],
                    "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(each.read_bytes()).hexdigest()}],
                }
                for mine, each in sorted(ours.items())
            ),
            *(
                {"type": "library", "bom-ref": reference(name), "name": name, "purl": reference(name)}
                for name in sorted(others)
            ),
        ],
        "dependencies": [
            {
                "ref": mine,
                "dependsOn": sorted(of(name, each) for name in dependencies(each)),
            }
            for mine, each in sorted(ours.items())
        ],
    }


if __name__ == "__main__":
    print(json.dumps(bill(sys.argv[1], float(sys.argv[2]), [Path(word) for word in sys.argv[3:]]), indent=2))
