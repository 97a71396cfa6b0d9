"""sshd: whether it accepts its new settings and has them, whether the administrator can log in; reloading the settings
of one that runs."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pam_iampass.check.sshd import exempt_users, is_spared, prompted
from pam_iampass.check.sshd_match import (
    ADDRESS,
    ANYBODY,
    MatchBlock,
    SshdConfiguration,
    SshdLogin,
    Witnesses,
)
from pam_iampass.config.sshd_exceptions import without_blocks
from pam_iampass.errors import Problem, SetupRefused
from pam_iampass.setup.checks import as_setup_says, error, fine, lockout, warning
from pam_iampass.setup.edits import CODES, PASSWORD, QUIET
from pam_iampass.setup.files import SYSTEMD, Change, Paths, take
from pam_iampass.setup.plan import WantedService
from pam_iampass.system import sshd
from pam_iampass.system.accounts import Account
from pam_iampass.system.programs import CommandUnavailable, find, run
from pam_iampass.system.sshd import Connection, SshdConfigRejected, SshdSettings
from pam_iampass.text import names

_INCLUDE = re.compile(r"^([ \t]*Include[ \t=]+)(.*)$", re.M | re.I)
_ABOVE = "/run"  # belongs to root, is in memory, and is not cleaned up
_UNITS = ("ssh.service", "sshd.service")
_BY_PASSWORD = frozenset(("password", "keyboard-interactive"))
_FACTORS = frozenset(sshd.SWITCHES.values()) | {"challengeresponseauthentication"}
TIMEOUT = 10.0
"""Seconds for sshd to start again after SIGHUP."""


def check(
    service: WantedService,
    changes: Iterable[Change],
    who: Account,
    paths: Paths,
    around: Callable[[Path], Iterable[Problem]],
) -> Iterator[Problem]:
    """Check the changes before they are made. `around` yields what leads past the phone with a configuration."""
    with scratch() as folder:
        candidate = paths.sshd_config
        ours = [change.then.content for change in changes if change.path == _drop_in(paths)]
        if service.choice != QUIET or ours:
            candidate = _candidate(paths, folder, ours[0] if ours else take(_drop_in(paths)).content)
        found = list(in_force(service, paths, candidate))
        yield from found
        if not any(result.is_error for result in found):
            if service.choice == CODES:
                yield from _codes(paths, candidate)
            yield from _for(service, who, paths, candidate)
            for problem in map(as_setup_says, around(candidate)):
                yield replace(problem, what=problem.what.replace(str(folder), str(paths.sshd_config.parent)))


def in_force(service: WantedService, paths: Paths, configuration: Path) -> Iterator[Problem]:
    """Whether sshd accepts a configuration, and has our settings with it."""
    try:
        found = sshd.settings(options=["-f", str(configuration)], create_folder=True)
    except SshdConfigRejected as rejected:
        folder, real = str(configuration.parent), str(paths.sshd_config.parent)
        messages = "; ".join(rejected.lines[-5:]).replace(folder, real)
        yield error(f"sshd rejects its settings: {messages}", "correct /etc/ssh, and try again")
        return
    yield fine("sshd -T: sshd accepts the settings")
    if found.service != "sshd":
        what = (
            f"sshd uses the PAM service {found.service} (PAMServiceName), and setup changes the file of sshd"
        )
        yield error(what, f"remove PAMServiceName from {paths.sshd_config} and what it includes")
    wrong = _differences(found, _expected(service))
    if not wrong and service.choice != QUIET:
        yield fine(f"sshd -T: {_drop_in(paths)} is in force")
    for key, wanted, value in wrong:
        what = f"sshd would use `{key} {value}` instead of `{key} {wanted}`"
        where = " before 10-iampass.conf" if service.choice != QUIET else ""
        yield error(what, f"remove {key} from {paths.sshd_config}, and from what it includes{where}")


def _for(service: WantedService, who: Account, paths: Paths, configuration: Path) -> Iterator[Problem]:
    """The same for a login of the administrator, with Match blocks."""
    try:
        found = sshd.settings(Connection(who.name), options=["-f", str(configuration)], create_folder=True)
    except SshdConfigRejected:
        return
    spared = service.exceptions.criteria and is_spared(found)
    for key, wanted, value in _differences(found, _expected(service)):
        if key == "authenticationmethods" and spared:
            continue
        what = f"a Match block sets `{key} {value}` for {who.name} instead of `{key} {wanted}`"
        yield warning(what, f"check the Match blocks of {paths.sshd_config}")
    if service.choice == QUIET:  # sshd itself has required the first factor
        yield fine("sshd: every client can log in. Recovery codes: --codes, or at a prompt: --prompt")
        return
    if service.choice == CODES:
        yield fine(f"sshd: every client can log in. Users without their phone: {sshd.with_code(who.name)}")
        return
    yield fine(
        "sshd: clients that answer no prompt (BatchMode, Ansible) can log in to exempt accounts only. "
        "With --no-prompt they can log in to all"
    )
    yield from spared_logins(service, configuration)
    permitted = found.values.get("permitrootlogin")
    if who.uid == 0 and permitted not in ("yes", "no"):
        what = (
            f"sshd would refuse root even after an approval: PermitRootLogin {permitted} accepts a key alone"
        )
        yield lockout(what, "log in as another user from now on, or set PermitRootLogin yes")
    elif service.choice == PASSWORD:
        yield from _password(who)
    else:
        yield from _key(who, found)


def _key(who: Account, found: SshdSettings) -> Iterator[Problem]:
    if found.values.get("authorizedkeyscommand", "none") != "none":
        yield fine(f"sshd: keys of {who.name} come from a command")
        return
    for file, _line in sshd.authorized_keys(who, found):
        yield fine(f"sshd: {who.name} has a key ({file})")
        return
    what = f"sshd: {who.name} has no key, which sshd demands before the phone"
    yield lockout(what, f"give {who.name} a key (ssh-copy-id), or use --password")


def _password(who: Account) -> Iterator[Problem]:
    words = run(["passwd", "-S", who.name]).output.split()
    if len(words) > 1 and words[1] not in ("P", "PS"):
        what = f"sshd: {who.name} has no password here, which sshd demands before the phone"
        yield lockout(what, f"set one (passwd {who.name}), or use --key")
    else:
        yield fine(f"sshd: {who.name} has a password")


def methods_with_code(paths: Paths) -> str:
    """The AuthenticationMethods by which sshd accepts what it accepts without our drop-in, and takes a code before.

    Empty if sshd does not say what it accepts, which `check` reports. Raises SetupRefused as `_candidate`.
    """
    try:
        with scratch() as folder:
            before = sshd.settings(
                options=["-f", str(_candidate(paths, folder, None))], create_folder=True
            ).method_lists
    except (SshdConfigRejected, CommandUnavailable, OSError):
        return ""
    lists = [",".join(methods) for methods in before if not _BY_PASSWORD.intersection(methods)]
    return " ".join([*lists, *(f"keyboard-interactive:pam,{methods}" for methods in lists)])


def _codes(paths: Paths, candidate: Path) -> Iterator[Problem]:
    """The logins that the drop-in of the way with codes would shut out, or would ask for a code before a password."""
    with scratch() as folder:
        before = _candidate(paths, folder, None)
        options = ("-f", str(before))
        global_settings = SshdLogin(Connection(ANYBODY, ADDRESS), sshd.settings(options=options))
        blocks = Witnesses((), ADDRESS, options=options).logins(SshdConfiguration.read(paths.sshd_config))
        for found in [global_settings, *blocks]:
            if isinstance(found, MatchBlock):
                if _FACTORS & found.keywords and "authenticationmethods" not in found.keywords:
                    what = f"sshd: {found.place}: cannot tell what sshd would accept with --codes ({found})"
                    yield error(what, "write AuthenticationMethods into this block")
                continue
            connection = None if found.block is None else found.connection
            then = sshd.settings(connection, options=["-f", str(candidate)]).method_lists
            yield from _shut_out(found, then)


def _shut_out(login: SshdLogin, then: list[list[str]]) -> Iterator[Problem]:
    """Yields the problems of a login that sshd accepts by these lists of methods from now on."""
    now = login.settings.method_lists
    if now == then:
        return
    where = "" if login.block is None else f" ({login.block.place}: {login.block})"
    own = f"write into this block: AuthenticationMethods {' '.join(map(','.join, now))}"
    if any(_BY_PASSWORD.intersection(methods) for methods in now):
        what = (
            f"sshd accepts passwords{where}, and --codes would ask these users for a code before the password"
        )
        yes = "set PasswordAuthentication no and KbdInteractiveAuthentication no, or use --password"
        yield error(what, own if where else yes)
    elif lost := [",".join(methods) for methods in now if methods not in then]:
        yield error(f"sshd accepts {' '.join(lost)}{where}, and with --codes it would not", own)


def _drop_in(paths: Paths) -> Path:
    return paths.sshd_drop_ins / "10-iampass.conf"


def _candidate(paths: Paths, folder: Path, drop_in: bytes | None) -> Path:
    """sshd's settings as they will be: a copy of its file that includes our drop-in, with this content, from `folder`.

    Raises SetupRefused if the folder of drop-ins is not included.
    """
    text = paths.sshd_config.read_text("utf-8", "surrogateescape")
    ours = _drop_in(paths)
    stand_in = folder / paths.sshd_drop_ins.name / ours.name
    stand_in.parent.mkdir(mode=0o700)
    stand_in.write_bytes(drop_in or b"")
    included = False

    def redirected(found: re.Match[str]) -> str:
        nonlocal included
        patterns = []
        for pattern in found.group(2).split():
            full = pattern if pattern.startswith("/") else f"{paths.sshd_config.parent}/{pattern}"
            if not ours.match(full):
                patterns.append(full)
                continue
            included = True
            files = sorted({*glob.glob(full), str(ours)})
            patterns += [f'"{stand_in if file == str(ours) else glob.escape(file)}"' for file in files]
        return found.group(1) + " ".join(patterns)

    new = _INCLUDE.sub(redirected, text)
    if not included:
        raise SetupRefused(
            f"{paths.sshd_config}: does not include {paths.sshd_drop_ins}",
            f"put the line `Include {paths.sshd_drop_ins}/*.conf` at its top",
        )
    candidate = folder / "sshd_config"
    candidate.write_text(new, "utf-8", "surrogateescape")
    return candidate


def _expected(service: WantedService) -> dict[str, str]:
    """The settings of our file, as `sshd -T` prints them; in the quiet way, what it needs."""
    if service.choice == QUIET:
        return {"usepam": "yes"}
    (drop_in,) = (file for file in service.files if not file.edited)
    text = without_blocks(drop_in.content.decode())
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return sshd.keywords("\n".join(lines))


def _differences(found: SshdSettings, expected: dict[str, str]) -> list[tuple[str, str, str]]:
    """The keywords with another value than expected: keyword, expected value, value."""
    return [
        (key, value, found.values.get(key, "nothing"))
        for key, value in expected.items()
        if found.values.get(key) != value
    ]


def spared_logins(service: WantedService, configuration: Path) -> Iterator[Problem]:
    """Exempt users whom sshd does not spare the prompt in a configuration (sshd -T -C)."""
    if service.exceptions.left_out:
        what = f"sshd: sshd_config cannot name {names(service.exceptions.left_out)}: they have to answer the prompt"
        yield warning(what, "exempt them by a group, or use --no-prompt")
    users = exempt_users(service.exempt) if service.exceptions.criteria else []
    try:
        asked = prompted(users, file=configuration)
    except SshdConfigRejected:  # reported already
        return
    for name, methods in asked.items():
        if name not in service.exceptions.left_out:
            what = f"sshd: {name} is exempt, but another Match block sets `AuthenticationMethods {methods}` for {name}"
            yield warning(what, "check the Match blocks of /etc/ssh/sshd_config and what it includes")
    spared = [name for name in users if name not in asked]
    if spared:
        yield fine(f"sshd -T -C: without a prompt, as exempt users: {names(spared)}")


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder that only root can enter.

    TMPDIR is ignored: the owner of the folder above could replace the files in it.
    """
    folder = Path(tempfile.mkdtemp(prefix="pam-iampass-setup-", dir=_ABOVE))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Reloaded:
    """The result of a reload."""

    done: bool
    """Whether no sshd keeps its old settings, as far as is known."""
    what: str


def reload_sshd() -> Reloaded:
    """Reload sshd through systemd, or by the pid in its PidFile. Raises CommandUnavailable."""
    if SYSTEMD.is_dir():
        for unit in _UNITS:
            if run(["systemctl", "is-active", "--quiet", unit]).ok:
                return _through_systemd(unit)
    return _by_signal()


def _through_systemd(unit: str) -> Reloaded:
    result = run(["systemctl", "reload-or-restart", unit], timeout=60)
    if result.ok:
        return Reloaded(True, f"reloaded {unit}")
    messages = "; ".join(result.lines)
    return Reloaded(False, f"{unit} could not be reloaded ({messages}): run systemctl restart {unit}")


def _by_signal() -> Reloaded:
    pid = _pid()
    if pid is not None:
        return _hang_up(pid)
    if not _listeners():
        return Reloaded(True, "sshd is not running: nothing to reload")
    listeners = " ".join(map(str, _listeners()))
    return Reloaded(
        False, f"sshd is running, but not with the pid in its PidFile: reload it: kill -HUP {listeners}"
    )


def _hang_up(pid: int) -> Reloaded:
    """Send SIGHUP, on which sshd starts again, and wait until it listens on new sockets."""
    process = Path("/proc", str(pid))
    before = _sockets(process) & _waiting_sockets()
    os.kill(pid, signal.SIGHUP)
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until:
        now = _sockets(process) & _waiting_sockets()
        if now and not now & before:
            return Reloaded(True, f"reloaded sshd (process {pid})")
        time.sleep(0.02)
    return Reloaded(False, f"sshd (process {pid}) does not listen after the reload: check it")


def _pid() -> int | None:
    """The pid of the listening sshd in its PidFile; None if the file is missing or wrong."""
    try:
        pid = int(Path(sshd.settings().values.get("pidfile", "none")).read_text("ascii"))
    except (OSError, ValueError, sshd.SshdConfigRejected, CommandUnavailable):
        return None
    return pid if pid in _listeners() else None


def _listeners() -> list[int]:
    """The sshd processes that wait for connections, not the processes of logins."""
    program = os.path.realpath(find("sshd") or "-")
    waiting = _waiting_sockets()
    return sorted(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and _link(entry / "exe").split(" ")[0] == program
        and _sockets(entry) & waiting
    )


def _waiting_sockets() -> set[str]:
    """The listening TCP sockets of this machine, as their links in /proc/PID/fd (proc_net(5))."""
    found = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", name).read_text("ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == "0A":
                    found.add(f"socket:[{words[9]}]")
    return found


def _sockets(process: Path) -> set[str]:
    try:
        return {_link(descriptor) for descriptor in (process / "fd").iterdir()}
    except OSError:  # it has just ended
        return set()


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
