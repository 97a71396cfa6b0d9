"""Would sshd take its new settings, are they in force then, and could whoever sets this up log in."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from pam_iampass.errors import Severity
from pam_iampass.setup import programs, staging
from pam_iampass.setup.checks import Finding, fine, lockout, warning
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.plan import Change
from pam_iampass.setup.services import PASSWORD, WantedService
from pam_iampass.system.accounts import Account
from pam_iampass.system.programs import Said

_INCLUDE = re.compile(r"^([ \t]*Include[ \t=]+)(.*)$", re.M | re.I)
_MOST_KEYS = 1024 * 1024  # bytes
_MISSING_FOLDER = re.compile(r"Missing privilege separation directory: (/run/\S+)")


def chooses_service() -> bool:
    """Whether this sshd can be told its PAM service (PAMServiceName, OpenSSH 9.8)."""
    told = _sshd("-T", "-o", "UsePAM=yes", "-o", "PAMServiceName=sshd")
    return not any(
        "PAMServiceName" in line or "Unsupported option" in line for line in told.errors.splitlines()
    )


def settings_for(user: str) -> dict[str, str]:
    """The settings that sshd has for a user, by their names in small letters; none where it says nothing.

    Raises SetupError where there is no sshd.
    """
    return _values(_sshd("-T", "-C", _connection(user)).output)


def check(
    service: WantedService, changes: Iterable[Change], who: Account, places: Paths
) -> Iterator[Finding]:
    """Judge the changes before they are made."""
    with staging.scratch() as folder:
        candidate = _candidate(places, folder, tuple(changes))
        found = list(judged(service, places, candidate))
        yield from found
        if not any(finding.stops for finding in found):
            yield from _for(service, who, places, candidate)


def judged(service: WantedService, places: Paths, configuration: Path) -> Iterator[Finding]:
    """What sshd says to a configuration: whether it takes it, and whether our settings are the ones in force."""
    told = _sshd("-T", "-f", str(configuration))
    if not told.ok:
        said = "; ".join(told.lines[-5:]).replace(str(configuration.parent), str(places.sshd_config.parent))
        yield Finding(f"sshd refuses its settings: {said}", Severity.ERROR, "mend /etc/ssh, and try again")
        return
    yield fine("sshd -T: sshd takes the settings")
    wrong = _differences(told.output, _expected(service, places))
    if not wrong:
        yield fine(f"sshd -T: {places.sshd_drop_ins / '10-iampass.conf'} is in force")
    for key, wanted, found in wrong:
        what = f"sshd would have `{key} {found}`, where `{key} {wanted}` is meant: it is set before our file is read"
        remedy = f"remove {key} from {places.sshd_config}, and from what it includes before 10-iampass.conf"
        yield Finding(what, Severity.ERROR, remedy)


def _for(service: WantedService, who: Account, places: Paths, configuration: Path) -> Iterator[Finding]:
    """What holds for the person who sets this up, a Match block considered."""
    told = _sshd("-T", "-f", str(configuration), "-C", _connection(who.name))
    if not told.ok:
        return
    for key, wanted, found in _differences(told.output, _expected(service, places)):
        what = f"a Match block sets `{key} {found}` for {who.name}, where `{key} {wanted}` is meant"
        yield warning(what, f"look at the Match blocks of {places.sshd_config}")
    values = _values(told.output)
    if who.uid == 0 and values.get("permitrootlogin") not in ("yes", "no"):
        permitted = values.get("permitrootlogin")
        what = f"sshd would refuse root, phone or not: PermitRootLogin {permitted} takes a key alone"
        yield lockout(what, "log in as somebody else from now on, or set PermitRootLogin yes")
    elif service.choice == PASSWORD:
        yield from _password(who)
    else:
        yield from _key(who, values)


def _connection(user: str) -> str:
    """A connection for sshd to tell its settings for."""
    return f"user={user},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22"


def _key(who: Account, values: dict[str, str]) -> Iterator[Finding]:
    if values.get("authorizedkeyscommand", "none") != "none":
        yield fine(f"sshd: keys of {who.name} come from a command")
        return
    home = os.path.expanduser(f"~{who.name}")
    for name in values.get("authorizedkeysfile", "").split():
        for token, meaning in (("%h", home), ("%u", who.name), ("%U", str(who.uid)), ("%%", "%")):
            name = name.replace(token, meaning)
        file = Path(home) / name
        if _has_line(file):
            yield fine(f"sshd: {who.name} has a key ({file})")
            return
    what = f"sshd: {who.name} has no key, and a key is demanded before the phone"
    yield lockout(what, f"give {who.name} a key (ssh-copy-id), or use --password")


def _has_line(file: Path) -> bool:
    """Whether a file holds a key. It is the person's own: neither a pipe nor an endless device may hold us up."""
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as opened:
            regular = stat.S_ISREG(os.fstat(opened.fileno()).st_mode)
            text = opened.read(_MOST_KEYS) if regular else b""
    except OSError:
        return False
    return any(line.strip() and not line.lstrip().startswith(b"#") for line in text.splitlines())


def _password(who: Account) -> Iterator[Finding]:
    words = programs.run(["passwd", "-S", who.name]).output.split()
    if len(words) > 1 and words[1] not in ("P", "PS"):
        what = f"sshd: {who.name} has no password here, and one is demanded before the phone"
        yield lockout(what, f"set one (passwd {who.name}), or use --key")
    else:
        yield fine(f"sshd: {who.name} has a password")


def _candidate(places: Paths, folder: Path, changes: tuple[Change, ...]) -> Path:
    """A copy of sshd's settings as they will be. Raises SetupRefused where our folder is not included."""
    text = places.sshd_config.read_text("utf-8", "surrogateescape")
    drop_ins = staging.copy(places.sshd_drop_ins, folder / "sshd_config.d", changes)
    included = False

    def redirected(found: re.Match[str]) -> str:
        nonlocal included
        patterns = []
        for pattern in found.group(2).split():
            full = pattern if pattern.startswith("/") else f"{places.sshd_config.parent}/{pattern}"
            ours = os.path.dirname(full) == str(places.sshd_drop_ins)
            included = included or (ours and fnmatchcase("10-iampass.conf", os.path.basename(full)))
            patterns.append(f"{drop_ins}/{os.path.basename(full)}" if ours else full)
        return found.group(1) + " ".join(patterns)

    new = _INCLUDE.sub(redirected, text)
    if not included:
        raise SetupRefused(
            f"{places.sshd_config}: does not include {places.sshd_drop_ins}",
            f"put the line `Include {places.sshd_drop_ins}/*.conf` at its top",
        )
    candidate = folder / "sshd_config"
    candidate.write_text(new, "utf-8", "surrogateescape")
    return candidate


def _expected(service: WantedService, places: Paths) -> dict[str, str]:
    """The settings of our file, as `sshd -T` spells them."""
    (drop_in,) = (file for file in service.files if file.path.parent == places.sshd_drop_ins)
    lines = (line for line in drop_in.content.decode().splitlines() if line and not line.startswith("#"))
    return _values("\n".join(lines))


def _values(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        values.setdefault(key.lower(), value.strip())
    return values


def _differences(told: str, expected: dict[str, str]) -> list[tuple[str, str, str]]:
    found = _values(told)
    return [
        (key, value, found.get(key, "nothing")) for key, value in expected.items() if found.get(key) != value
    ]


def _sshd(*arguments: str) -> Said:
    """sshd(8), which wants a folder that its unit makes when it starts."""
    told = programs.run(["sshd", *arguments])
    missing = _MISSING_FOLDER.search(told.errors)
    if missing is None:
        return told
    # It stays: to take it away could take it from an sshd that is started meanwhile, and that would let nobody in.
    Path(missing.group(1)).mkdir(mode=0o755, exist_ok=True)
    return programs.run(["sshd", *arguments])
