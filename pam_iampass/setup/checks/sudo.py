"""Would sudo take its new settings, and are they in force then."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pam_iampass.errors import Severity
from pam_iampass.setup import programs, staging
from pam_iampass.setup.checks import Finding, fine, warning
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.plan import Change
from pam_iampass.system.programs import find

_INCLUDE_FOLDER = re.compile(r"^([@#]includedir[ \t]+)(\S+)[ \t]*$", re.M)


def check(changes: Iterable[Change], places: Paths) -> Iterator[Finding]:
    """Judge the changes before they are made. Raises SetupRefused where our folder is not included."""
    with staging.scratch() as folder:
        drop_ins = staging.copy(places.sudoers_drop_ins, folder / "sudoers.d", changes)
        text = places.sudoers.read_text("utf-8", "surrogateescape")
        candidate = folder / "sudoers"
        new, replaced = _redirected(text, places.sudoers_drop_ins, drop_ins)
        if not replaced:
            raise SetupRefused(
                f"{places.sudoers}: does not include {places.sudoers_drop_ins}",
                f"add the line `@includedir {places.sudoers_drop_ins}` at its end, with visudo",
            )
        candidate.write_text(new, "utf-8", "surrogateescape")
        candidate.chmod(0o440)
        for finding in judged(candidate):
            yield replace(finding, what=finding.what.replace(str(folder), str(places.sudoers.parent)))
    already = programs.run(["visudo", "-c"])
    if not already.ok:
        said = "; ".join(line for line in already.lines if not line.endswith("parsed OK"))
        yield warning(f"visudo -c complains of what is there already: {said}", "mend it with visudo")


def judged(sudoers: Path) -> Iterator[Finding]:
    """Whether visudo takes the sudoers file, and whether sudo will use our PAM service."""
    told = programs.run(["visudo", "-c", "-f", str(sudoers)])
    if not told.ok:
        said = "; ".join(told.lines[-5:])
        yield Finding(
            f"visudo refuses the settings: {said}", Severity.ERROR, "mend it with visudo, and try again"
        )
        return
    yield fine("visudo -c: sudo takes the settings")
    if find("cvtsudoers") is None:
        yield warning("cvtsudoers is not installed: nothing can say whether another file overrides ours", "")
        return
    chosen = defaults(sudoers)
    for option in ("pam_service", "pam_login_service"):
        if chosen.get(option) != "iampass-sudo":
            what = f"sudo would have `{option}={chosen.get(option, '(its own)')}`, not iampass-sudo"
            remedy = "remove it from the sudoers file that sets it after ours (the last one counts)"
            yield Finding(what, Severity.ERROR, remedy)
    if all(chosen.get(option) == "iampass-sudo" for option in ("pam_service", "pam_login_service")):
        yield fine("cvtsudoers: sudo will use /etc/pam.d/iampass-sudo")


def _redirected(text: str, folder: Path, staged: Path) -> tuple[str, bool]:
    replaced = False

    def to_staged(found: re.Match[str]) -> str:
        nonlocal replaced
        ours = Path(found.group(2)) == folder
        replaced = replaced or ours
        return f"{found.group(1)}{staged if ours else found.group(2)}"

    return _INCLUDE_FOLDER.sub(to_staged, text), replaced


def defaults(sudoers: Path) -> dict[str, str]:
    """The general Defaults that a sudoers file ends up with, those that have a value.

    Raises SetupError where there is no cvtsudoers.
    """
    told = programs.run(["cvtsudoers", "-f", "json", str(sudoers)])
    try:
        read: dict[str, Any] = json.loads(told.output)
    except ValueError:
        return {}
    chosen: dict[str, str] = {}
    for entry in read.get("Defaults", ()):
        if "Binding" not in entry:
            for option in entry.get("Options", ()):
                chosen.update({key: value for key, value in option.items() if isinstance(value, str)})
    return chosen
