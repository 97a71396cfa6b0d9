"""Whether sudo accepts its new settings, and whether they are in force."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pam_iampass.doctor.sudo import loopholes
from pam_iampass.setup import staging
from pam_iampass.setup.checks import CheckResult, error, fine, warning
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.plan import Change
from pam_iampass.system import sudoers
from pam_iampass.system.programs import CommandUnavailable

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
    try:
        sudoers.read()
    except sudoers.SudoersRejected as rejected:
        yield warning(f"an error in the present settings: {rejected}", "correct it with visudo")


def judged(file: Path) -> Iterator[CheckResult]:
    """Whether visudo accepts a sudoers file, and whether sudo will use our PAM service."""
    try:
        found = sudoers.read(file)
    except sudoers.SudoersRejected as rejected:
        yield error(str(rejected), "correct them with visudo, and try again")
        return
    except CommandUnavailable as failure:
        yield error(str(failure), failure.remedy)
        return
    yield fine("visudo -c: sudo accepts the settings")
    chosen = {name: found.text(name) for name in ("pam_service", "pam_login_service")}
    for option, value in chosen.items():
        if value != _OURS:
            what = f"sudo would use `{option}={value or '(its default)'}`, not {_OURS}"
            yield error(what, "remove it from the sudoers file that sets it after ours (the last one holds)")
    if set(chosen.values()) == {_OURS}:
        yield fine(f"cvtsudoers: sudo will use /etc/pam.d/{_OURS}")
    for loophole in loopholes(found, lambda service: service == _OURS, lambda names: frozenset()):
        level = error if loophole.kind == "sudo-other-service" else warning
        yield level(f"{loophole.what} ({loophole.evidence})", loophole.remedy)


def _redirected(text: str, folder: Path, staged: Path) -> tuple[str, bool]:
    replaced = False

    def to_staged(found: re.Match[str]) -> str:
        nonlocal replaced
        ours = Path(found.group(2)) == folder
        replaced = replaced or ours
        return f"{found.group(1)}{staged if ours else found.group(2)}"

    return _INCLUDE_FOLDER.sub(to_staged, text), replaced
