"""What `pam-iampass setup` does, without the printing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pam_iampass.audit.journal import Journal, PamFileRecord
from pam_iampass.audit.query import NoJournal, records_since
from pam_iampass.config import settings as settings_file
from pam_iampass.config.settings import Settings
from pam_iampass.doctor.files import REMOVED, SHARED_AUTH, at_removal
from pam_iampass.doctor.stacks import module_folders
from pam_iampass.errors import PamIampassError, Problem
from pam_iampass.outcome import Result
from pam_iampass.pam.services import USES
from pam_iampass.setup import apply, files, plan, services, trial
from pam_iampass.setup.apply import Machine, Tell
from pam_iampass.setup.checks import configuration, stacks
from pam_iampass.setup.checks import sshd as sshd_check
from pam_iampass.setup.checks import sudo as sudo_check
from pam_iampass.setup.edits import KEY, PASSWORD, QUIET
from pam_iampass.setup.errors import SetupError, SetupRefused
from pam_iampass.setup.files import take
from pam_iampass.setup.manifest import Manifest, ManifestStore, Trial
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.plan import Plan
from pam_iampass.setup.reload import SYSTEMD, reload_sshd
from pam_iampass.setup.watch import Watch
from pam_iampass.system import programs
from pam_iampass.system.accounts import Account
from pam_iampass.system.paths import SETTINGS
from pam_iampass.system.service_user import config_readers

_WATCH = ("pam-iampass-watch.path", "pam-iampass-watch.timer")


@dataclass(frozen=True)
class ServiceStatus:
    """Whether a service is set up."""

    name: str
    word: str
    """`off`, `on`, `by hand`, `broken off` or `changed`."""
    choice: str = ""
    since: float | None = None
    conflicts: tuple[tuple[Path, list[str]], ...] = ()


class Setup:
    """The setup of one machine."""

    def __init__(self, tell: Tell, paths: Paths | None = None, config: Path = Path(SETTINGS)) -> None:
        """`tell` is called for each thing that is done. `config` has the settings that our lines use."""
        self.paths = paths or Paths()
        self.store = ManifestStore(self.paths.state)
        self.config = config
        self._machine = Machine(reload_sshd, tell)
        self._removed = self.paths.state / REMOVED.name
        self._planned_from: Manifest | None = None

    def plans(self, names: Sequence[str], choice: str | None, *, force: bool) -> list[Plan]:
        """What has to be done for these services. Raises SetupError and UntrustedFile."""
        manifest = self.store.load()
        if manifest.trial is not None:
            remedy = "pam-iampass setup confirm keeps it, pam-iampass setup undo ends it"
            raise SetupRefused(f"a trial of {_and(manifest.trial.services)} is not over yet", remedy)
        self._planned_from = manifest
        return [self._plan(name, choice, manifest, force) for name in names]

    def _plan(self, name: str, choice: str | None, manifest: Manifest, force: bool) -> Plan:
        chosen = ""
        if name == "sshd":
            earlier = manifest.services.get(name)
            chosen = choice or (earlier.choice if earlier else QUIET)
        settings = self._settings() if chosen in services.EXEMPT_METHODS else None
        wanted = services.wanted(name, chosen, self.paths, settings)
        return plan.make(wanted, manifest, time.time(), force=force)

    def _settings(self) -> Settings | None:
        """The settings; None if they are invalid, which `check` reports."""
        return settings_file.check(self.config, readers=config_readers()).settings

    def check(self, plans: Sequence[Plan], who: Account) -> Iterator[Problem]:
        """Check everything before it is changed; yields what is found. An error in the settings ends it."""
        found = list(configuration.check_settings(self.config))
        yield from found
        if any(finding.is_error for finding in found):
            return
        for each in plans:
            service = each.service
            for name in service.pam_services:
                yield from configuration.check_second_factor(who, service.name, name, self.config)
            if service.name == "sshd":
                yield from sshd_check.check(service, each.changes, who, self.paths)
            if service.name == "sudo":
                yield from sudo_check.check()
            yield from stacks.check_module(service)
            yield from stacks.check(service, self.paths, module_folders())

    def set_up(self, plans: Sequence[Plan], trial_seconds: float | None) -> Trial | None:
        """Make the changes, for good or on trial for some seconds. Raises SetupError and OSError."""
        if trial_seconds is not None:
            self._must_be_new(plans)
        with apply.undisturbed(), self.store.locked(10.0):  # the watch may look just now
            manifest = self.store.load()
            # The plan was made before the lock was taken. If another setup has begun a trial since, to save over its
            # manifest would keep it from ending.
            if manifest != self._planned_from:
                raise SetupError("another pam-iampass setup has just changed something", "try again")
            for change in (change for each in plans for change in each.changes):
                if take(change.path) != change.now:
                    raise SetupError(f"{change.path}: was changed just now by another process", "try again")
            wanted, machine = None, self._machine
            if trial_seconds is not None:
                wanted = trial.new([each.service.name for each in plans], trial_seconds, time.time())
                machine = replace(machine, arm=partial(trial.start, wanted, self.paths, self.store.file))
            try:
                with apply.applied(plans, manifest, self.store, machine, wanted):
                    for each in plans:
                        self._judge(each)
            except BaseException:
                trial.stop(self.paths)
                raise
            self._start_watch()
        return wanted

    def _start_watch(self) -> None:
        """Have systemd put the lines back if something else writes the files."""
        if SYSTEMD.is_dir():
            done = programs.run(["systemctl", "enable", "--now", *_WATCH], timeout=60)
            if not done.ok:
                self._machine.tell("to do", f"systemctl enable --now {' '.join(_WATCH)} ({done.complaint})")

    def undo(self, names: Sequence[str] | None, removal: str | None = None) -> list[str]:
        """Restore the files of these services, or of all; returns which.

        With `removal` the package is removed: what asked is remembered, with these profiles of pam-auth-update.
        Raises SetupError for the services for which that failed, after all others have been restored.
        """
        if not self.store.folder.exists() and not removal:
            return []
        with apply.undisturbed(), self.store.locked(10.0):
            if removal is not None:
                self._remember(removal.split())
            done = self._undo(names)
            if removal is None:
                earlier = at_removal(self._removed).items()
                self._write_removed(
                    {} if names is None else {one: how for one, how in earlier if one not in names}
                )
        return done

    def _remember(self, profiles: Sequence[str]) -> None:
        """Record what asks, and how it is switched on again, for `doctor`. A trial would have ended anyway."""
        manifest = self.store.load()
        on = {
            name: " ".join(["pam-iampass setup", name, *([f"--{record.choice}"] if record.choice else [])])
            for name, record in manifest.services.items()
            if manifest.trial is None or name not in manifest.trial.services
        }
        if "iampass" in profiles:
            on[SHARED_AUTH] = f"pam-auth-update --enable {' '.join(profiles)}"
        self._write_removed({**at_removal(self._removed), **on})

    def _write_removed(self, found: dict[str, str]) -> None:
        if found:
            files.write(self._removed, json.dumps(found, indent=2).encode() + b"\n")
        else:
            self._removed.unlink(missing_ok=True)

    def confirm(self, *, force: bool) -> Trial:
        """Keep what is on trial. Raises SetupRefused if nobody has logged in since, unless `force`."""
        with apply.undisturbed(), self.store.locked(10.0):
            manifest = self.store.load()
            running = manifest.trial
            if running is None:
                raise SetupRefused("there is no trial to confirm", "see pam-iampass setup status")
            if not force:
                self._must_have_worked(running, manifest)
            self.store.save(replace(manifest, trial=None))
            trial.stop(self.paths)
        return running

    def end_trial(self, name: str) -> list[str]:
        """Undo the trial `name`, even if its files were edited; returns its services.

        What prevents it is raised: systemd tries again.
        """
        with apply.undisturbed(), self.store.locked(60.0, regardless=True):
            running = self.store.load().trial
            if running is None or running.name != name:
                return []
            return self._undo(running.services)

    def watch(self, journal: Journal) -> list[PamFileRecord]:
        """Put our lines back into files that were restored without them; returns what was recorded.

        It also ends a trial that is over: setup may have been killed before there was a timer.
        """
        if not self.store.file.exists():
            return []
        with apply.undisturbed(), self.store.locked(60.0):
            running = self.store.load().trial
            try:
                if running is not None and time.time() > running.deadline:
                    self._undo(running.services)
            finally:
                found = Watch(self.paths, self.store, self._machine, journal).look()
        return found

    def status(self) -> tuple[list[ServiceStatus], Trial | None]:
        """The status of each service, and the trial that runs. Raises SetupError and UntrustedFile."""
        manifest = self.store.load()
        names = dict.fromkeys((*services.SERVICES, *manifest.services))
        return [self._status(name, manifest) for name in names], manifest.trial

    def _status(self, name: str, manifest: Manifest) -> ServiceStatus:
        record = manifest.services.get(name)
        if record is None:
            return ServiceStatus(name, "by hand" if self._by_hand(name, manifest) else "off")
        conflicts = tuple(apply.conflicts(record, self.store))
        word = "on" if record.complete else "broken off"
        if record.complete and conflicts:
            word = "changed"
        return ServiceStatus(name, word, record.choice, record.since, conflicts)

    def _by_hand(self, name: str, manifest: Manifest) -> bool:
        """Whether the files that setup would write exist already."""
        for choice in (KEY, PASSWORD, QUIET):
            try:
                if not self._plan(name, choice, manifest, True).changes:
                    return True
            except PamIampassError:
                continue
        return False

    def _undo(self, names: Sequence[str] | None) -> list[str]:
        manifest = before = self.store.load()
        known = [name for name in manifest.services if names is None or name in names]
        failed: dict[str, str] = {}
        for name in known:
            try:
                manifest = apply.undo(name, manifest, self.store, self._machine)
            except PamIampassError as error:
                failed[name] = f"{error}; {error.remedy}"
            except OSError as error:
                failed[name] = str(error)
        if failed:
            details = [f"{name}: {reason}" for name, reason in failed.items()]
            done = _and([name for name in known if name not in failed])
            what = f"{_and(list(failed))} could not be undone" + (f"; {done}: undone" if done else "")
            raise SetupError(what, "remove the cause, then repeat: pam-iampass setup undo", details)
        if manifest.trial is None:
            if before.trial is not None and not known:
                self.store.save(manifest)
            trial.stop(self.paths)
        return known

    def _judge(self, each: Plan) -> None:
        """Have the programs check the files that are in force now."""
        found = list(stacks.judged(each.service, self.paths))
        if each.service.name == "sshd":
            found += list(sshd_check.judged(each.service, self.paths, self.paths.sshd_config))
        for finding in found:
            if finding.is_error:
                raise SetupError(f"{finding.what}; the changes were undone", finding.remedy)

    def _must_be_new(self, plans: Sequence[Plan]) -> None:
        known = [each.service.name for each in plans if each.service.name in self.store.load().services]
        if known:
            what = f"{_and(known)} is set up already, and the end of a trial would not restore that"
            remedy = f"run pam-iampass setup undo {' '.join(known)} first, or omit --try"
            raise SetupRefused(what, remedy)

    def _must_have_worked(self, running: Trial, manifest: Manifest) -> None:
        names = {name: {*USES.get(name, (name,))} for name in running.services if name in manifest.services}
        try:
            records = records_since(
                running.started, frozenset(one for each in names.values() for one in each)
            )
        except NoJournal as error:
            remedy = f"{how_to_try(list(names))}; if it works, confirm with --force"
            raise SetupRefused(f"there is no record of logins: {error}", remedy) from None
        passed = {record.service for record in records if record.result != Result.DENIED.value}
        missing = [name for name, pam_services in names.items() if not pam_services & passed]
        if missing:
            what = f"the journal has no login through {_and(missing)} since the trial began"
            raise SetupRefused(what, f"{how_to_try(missing)}, then confirm. --force confirms without a login")


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


_WAYS = {
    "sshd": "log in with ssh from another terminal",
    "sudo": "run `sudo -k true` as a user who has to give a password (from root: `runuser -u USER -- sudo -k true`)",
    "su": "run `su` as a user other than root (from root: `runuser -u USER -- su`)",
    "polkit-1": "run `pkexec true` as a user other than root",
    "doas": "run `doas true` as a user who has to give a password (from root: `runuser -u USER -- doas true`)",
    "login": "log in at a console",
}


def how_to_try(names: Sequence[str]) -> str:
    """How to test these services."""
    return " and ".join(_WAYS.get(name, f"log in through {name}") for name in names)
