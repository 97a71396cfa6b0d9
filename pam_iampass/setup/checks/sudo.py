"""Whether sudo accepts its new settings, and whether they are in force."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pam_iampass.doctor.sudo_loopholes import LoopholeKind, loopholes
from pam_iampass.setup import staging
from pam_iampass.setup.checks import CheckResult, error, fine, warning
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.plan import Change
from pam_iampass.system import sudoers
from pam_iampass.system.programs import CommandUnavailable, find
from pam_iampass.system.sudo_accounts import sudo_accounts

_INCLUDE_FOLDER = re.compile(r"^([@#]includedir[ \t]+)(\S+)[ \t]*$", re.M)
_OURS = "iampass-sudo"


def check(changes: Iterable[Change], paths: Paths) -> Iterator[CheckResult]:
    """Check the changes before they are made. Raises SetupRefused if our folder is not included."""
    with staging.scratch() as folder:
        drop_ins = staging.copy(paths.sudoers_drop_ins, folder / "sudoers.d", changes)
        text = paths.sudoers.read_text("utf-8", "surrogateescape")
        candidate = folder / "sudoers"
        new, replaced = _redirected(text, paths.sudoers_drop_ins, drop_ins)
        if not replaced:
            raise SetupRefused(
                f"{paths.sudoers}: does not include {paths.sudoers_drop_ins}",
                f"add the line `@includedir {paths.sudoers_drop_ins}` at its end, with visudo",
            )
        candidate.write_text(new, "utf-8", "surrogateescape")
        candidate.chmod(0o440)
        for result in judged(candidate):
            yield replace(result, what=result.what.replace(str(folder), str(paths.sudoers.parent)))
    in_force = sudoers.check()
    if not in_force.ok:
        messages = "; ".join(line for line in in_force.lines if not line.endswith("parsed OK"))
        yield warning(
            f"visudo -c reports an error in the present settings: {messages}", "correct it with visudo"
        )


def judged(file: Path) -> Iterator[CheckResult]:
    """Whether visudo accepts a sudoers file, and whether sudo will use our PAM service."""
    result = sudoers.check(file)
    if not result.ok:
        messages = "; ".join(result.lines[-5:])
        yield error(f"visudo rejects the settings: {messages}", "correct them with visudo, and try again")
        return
    yield fine("visudo -c: sudo accepts the settings")
    if find("cvtsudoers") is None:
        yield warning("cvtsudoers is not installed: other files were not checked for overriding ours", "")
        return
    try:
        found = sudoers.read(file, result)
    except CommandUnavailable as failure:
        yield error(str(failure), failure.remedy)
        return
    chosen = {name: found.text(name) for name in ("pam_service", "pam_login_service")}
    for option, value in chosen.items():
        if value != _OURS:
            what = f"sudo would use `{option}={value or '(its default)'}`, not {_OURS}"
            yield error(what, "remove it from the sudoers file that sets it after ours (the last one holds)")
    if set(chosen.values()) == {_OURS}:
        yield fine(f"cvtsudoers: sudo will use /etc/pam.d/{_OURS}")
    for loophole in loopholes(found, sudo_accounts(found), lambda service: service == _OURS):
        level = error if loophole.kind is LoopholeKind.OTHER_SERVICE else warning
        yield level(f"{loophole.finding.what} ({loophole.evidence})", loophole.finding.remedy)


def _redirected(text: str, folder: Path, staged: Path) -> tuple[str, bool]:
    replaced = False

    def to_staged(found: re.Match[str]) -> str:
        nonlocal replaced
        ours = Path(found.group(2)) == folder
        replaced = replaced or ours
        return f"{found.group(1)}{staged if ours else found.group(2)}"

    return _INCLUDE_FOLDER.sub(to_staged, text), replaced
