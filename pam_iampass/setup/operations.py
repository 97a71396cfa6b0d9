"""The operations of `pam-iampass setup`, without the printing."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pam_iampass.audit.journal import Journal, PamFileRecord
from pam_iampass.check import switched_off
from pam_iampass.check.installation import REMOVED, SHARED_AUTH, at_removal
from pam_iampass.check.sshd_match import ANYBODY, CONFIGURATION
from pam_iampass.check.stacks import Stacks, module_folders
from pam_iampass.config import settings as settings_file
from pam_iampass.config.settings import Settings
from pam_iampass.errors import PamIampassError, Problem, SetupError, SetupRefused
from pam_iampass.pam.modules import ALWAYS
from pam_iampass.setup import apply, checks, files, plan, sshd, trial
from pam_iampass.setup.apply import Hooks, Tell
from pam_iampass.setup.edits import CODES, KEY, PASSWORD, QUIET
from pam_iampass.setup.files import SYSTEMD, Change, Paths
from pam_iampass.setup.manifest import Manifest, ManifestStore, Trial, figures
from pam_iampass.setup.plan import Plan, WantedService
from pam_iampass.setup.watch import PamFileWatch
from pam_iampass.system import programs
from pam_iampass.system.accounts import Account
from pam_iampass.system.paths import SETTINGS
from pam_iampass.system.service_user import config_readers

_OPTIONS = {QUIET: ["--no-prompt"], KEY: ["--prompt"], PASSWORD: ["--password"], ALWAYS: ["--always"]}
_CHOICES = {"sshd": (QUIET, KEY, PASSWORD, CODES), "sudo": ("", ALWAYS)}
"""The ways to ask; the first one where nothing else is chosen."""
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
    problems: tuple[Problem, ...] = ()
    """Ways around the phone in services that are set up."""


@dataclass(frozen=True)
class Proposal:
    """The changes to be made for some services: what `propose` was given, and what it found."""

    names: Sequence[str]
    choices: Mapping[str, str]
    force: bool
    plans: tuple[Plan, ...]
    manifest: Manifest
    """The manifest from which they were made."""

    @property
    def changes(self) -> list[Change]:
        """The changes of all services, in order."""
        return [change for each in self.plans for change in each.changes]


class Setup:
    """The setup of one machine: `propose`, `check` and `set_up`, and what undoes it."""

    def __init__(self, tell: Tell, paths: Paths | None = None, config: Path = Path(SETTINGS)) -> None:
        """`tell` is called for each thing that is done. `config` has the settings that our lines use."""
        self.paths = paths or Paths()
        self.store = ManifestStore(self.paths.state)
        self.config = config
        self._hooks = Hooks(sshd.reload_sshd, tell, self._in_force)
        self._removed = self.paths.state / REMOVED.name

    def propose(self, names: Sequence[str], choices: Mapping[str, str], *, force: bool) -> Proposal:
        """Return what has to be done for these services, some of them in a way that was chosen. Raises SetupError and
        UntrustedFile."""
        manifest = self.store.load()
        if manifest.trial is not None:
            remedy = "pam-iampass setup confirm keeps it, pam-iampass setup undo ends it"
            raise SetupRefused(f"a trial of {_and(manifest.trial.services)} is not over yet", remedy)
        plans = tuple(self._plan(name, choices.get(name), manifest, force) for name in names)
        return Proposal(names, choices, force, plans, manifest)

    def _plan(self, name: str, choice: str | None, manifest: Manifest, force: bool) -> Plan:
        earlier = manifest.services.get(name)
        chosen, settings, methods = choice, None, ""
        if chosen is None:
            chosen = earlier.choice if earlier else _CHOICES.get(name, ("",))[0]
        if chosen == CODES:
            methods = sshd.methods_with_code(self.paths)
        if chosen in plan.EXEMPT_METHODS:  # None if they are invalid, which `check` reports
            settings = self._settings()
        wanted = plan.wanted(name, chosen, self.paths, settings, methods=methods)
        return plan.make(wanted, earlier, time.time(), force=force)

    def _settings(self) -> Settings | None:
        """The settings; None if they are invalid."""
        return settings_file.check(self.config, readers=config_readers()).settings

    def check(self, proposal: Proposal, who: Account) -> Iterator[Problem]:
        """Check everything before it is changed; yields what is found. An error in the settings ends it."""
        found = list(checks.check_settings(self.config))
        yield from found
        if any(finding.is_error for finding in found):
            return
        gateway = checks.AtGateway(who, self.config)
        yield from gateway.ask()
        yield from gateway.others(each.service for each in proposal.plans)
        for each in proposal.plans:
            service = each.service
            for name in service.pam_services:
                yield from checks.check_second_factor(who, service, name, self.config, gateway)
            yield from checks.check_others(who, service, self.config)
            if service.name == "sshd":
                yield from sshd.check(service, each.changes, who, self.paths, partial(self._around, service))
            if service.name == "sudo":
                around = list(self._around(service))
                yield from map(checks.as_setup_says, around)
                yield from checks.check_sudo(self.config, around, always=service.choice == ALWAYS)
                if service.choice == ALWAYS:
                    yield from checks.check_always(self.config, service.pam_services)
            if service.name in proposal.manifest.services and each.changes:
                for problem in switched_off.of_files(service.name, self._stacks(service.name)):
                    now = f"as it is now: {checks.as_setup_says(problem).what}"
                    yield checks.warning(now, "this setup mends it")
            yield from checks.check_module(service)
            yield from checks.check_stacks(service, self.paths, module_folders())

    def _around(self, service: WantedService, sshd_config: Path = CONFIGURATION) -> Iterator[Problem]:
        """Yields the settings of a service's program that would lead around the phone, given its new PAM files."""
        stacks = self._stacks(service.name, service.pam_texts)
        return switched_off.of_program(service.name, stacks, self._settings(), sshd_config=sshd_config)

    def unasked(self, name: str) -> Iterator[Problem]:
        """Yields the ways around the phone in a service as it is now. Raises OSError."""
        return map(checks.as_setup_says, switched_off.problems(name, self._stacks(name), self._settings()))

    def _stacks(self, name: str, texts: Mapping[Path, str] | None = None) -> Stacks:
        return Stacks(self.paths.pam_files(texts), module_folders(), frozenset([name]))

    def set_up(self, proposal: Proposal, trial_seconds: float | None) -> Trial | None:
        """Make the changes, for good or on trial for some seconds. Raises SetupError, UntrustedFile and OSError."""
        with self._alone(10.0):  # the watch may look just now
            # The proposal was made before the lock was taken. What the watch has noted since changes nothing; another
            # setup may have begun a trial, or a file may have been edited.
            now = self.propose(proposal.names, proposal.choices, force=proposal.force)
            if changed := sorted({str(one.path) for one in {*proposal.changes} ^ {*now.changes}}):
                raise SetupError(
                    f"{', '.join(changed)}: was changed just now by another process", "try again"
                )
            manifest, wanted, hooks = now.manifest, None, self._hooks
            if trial_seconds is not None:
                names = [each.service.name for each in now.plans]
                wanted = trial.new(names, manifest, trial_seconds, time.time())
                hooks = replace(hooks, arm=partial(trial.start, wanted, self.paths, self.store.file))
            try:
                apply.make_changes(now.plans, manifest, self.store, hooks, wanted)
            except BaseException:
                trial.stop(self.paths)
                raise
            if SYSTEMD.is_dir():  # which has the lines put back if something else writes the files
                done = programs.run(["systemctl", "enable", "--now", *_WATCH], trial.PATIENCE)
                if not done.ok:
                    hooks.tell("to do", f"systemctl enable --now {' '.join(_WATCH)} ({done.complaint})")
        return wanted

    def _in_force(self, service: WantedService) -> Iterator[Problem]:
        """Whether the programs accept the files as they are now."""
        yield from checks.in_force(service, self.paths)
        if service.name == "sshd":
            yield from sshd.in_force(service, self.paths, self.paths.sshd_config)

    def undo(self, names: Sequence[str] | None, removal: str | None = None) -> list[str]:
        """Restore the files of these services, or of all; returns which.

        With `removal` the package is removed: what asked is remembered, with these profiles of pam-auth-update.
        Raises SetupError for the services for which that failed, after all others have been restored.
        """
        if not self.store.folder.exists() and not removal:
            return []
        with self._alone(10.0):
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
        """Record what asks, and how it is switched on again, for `check`. A trial would have ended anyway."""
        manifest = self.store.load()
        running = manifest.trial
        on = {}
        for name, record in manifest.services.items():
            choice = record.choice
            if running is not None and name in running.services:
                if name not in running.earlier:
                    continue
                choice = running.earlier[name]
            on[name] = " ".join(["pam-iampass setup", name, *_OPTIONS.get(choice, ())])
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
        with self._alone(10.0):
            manifest = self.store.load()
            running = manifest.trial
            if running is None:
                raise SetupRefused("there is no trial to confirm", "see pam-iampass setup status")
            if not force:
                trial.require_logins(running, manifest)
            self.store.save(replace(manifest, trial=None))
            trial.stop(self.paths)
        return running

    def end_trial(self, name: str) -> list[str]:
        """Undo the trial `name`, even if its files were edited; returns its services.

        What prevents it is raised: systemd tries again.
        """
        with self._alone(60.0, regardless=True):
            running = self.store.load().trial
            if running is None or running.name != name:
                return []
            return self._end(running)

    def watch(
        self, journal: Journal, ended: Callable[[Sequence[str]], None] = lambda services: None
    ) -> list[PamFileRecord]:
        """Put our lines back into files that were restored without them; returns what was recorded.

        It also ends a trial that is over, and calls `ended` with its services: setup may have been killed before there
        was a timer.
        """
        if not self.store.file.exists():
            return []
        with self._alone(60.0):
            running = self.store.load().trial
            try:
                if running is not None and time.time() > running.deadline:
                    ended(self._end(running))
            finally:
                program = partial(switched_off.of_program, settings=self._settings(), only=ANYBODY)
                found = PamFileWatch(self.paths, self.store, self._hooks, journal, program=program).look()
        return found

    @contextlib.contextmanager
    def _alone(self, patience: float, *, regardless: bool = False) -> Iterator[None]:
        """Hold the lock of the store, undisturbed. The state afterwards is written for node_exporter."""
        with apply.undisturbed(), self.store.locked(patience, regardless=regardless):
            try:
                yield
            finally:
                with contextlib.suppress(PamIampassError, OSError):  # such as a folder that is missing
                    text = figures(self.store.load(), time.time())
                    files.write(self.paths.figures, text.encode(), mode=0o644)

    def status(self) -> tuple[list[ServiceStatus], Trial | None]:
        """The status of each service, and the trial that runs. Raises SetupError and UntrustedFile."""
        manifest = self.store.load()
        names = dict.fromkeys((*plan.SERVICES, *manifest.services))
        return [self._status(name, manifest) for name in names], manifest.trial

    def _status(self, name: str, manifest: Manifest) -> ServiceStatus:
        record = manifest.services.get(name)
        if record is None:
            if not self._by_hand(name, manifest):
                return ServiceStatus(name, "off")
            return ServiceStatus(name, "by hand", problems=tuple(self.unasked(name)))
        conflicts = tuple(apply.conflicts(record, self.store))
        word = "on" if record.complete else "broken off"
        if record.complete and conflicts:
            word = "changed"
        problems = tuple(self.unasked(name)) if record.complete else ()
        return ServiceStatus(name, word, record.choice, record.since, conflicts, problems)

    def _by_hand(self, name: str, manifest: Manifest) -> bool:
        """Whether the files that setup would write exist already."""
        for choice in _CHOICES.get(name, ("",)):
            try:
                if not self._plan(name, choice, manifest, True).changes:
                    return True
            except PamIampassError:
                continue
        return False

    def _end(self, running: Trial) -> list[str]:
        """Undo a trial: what was set up before asks as it did then, all else no longer; returns its services.

        Raises SetupError or OSError; the trial is then not over.
        """
        manifest = self.store.load()
        back = [
            self._plan(name, choice, manifest, True)
            for name, choice in running.earlier.items()
            if name in manifest.services
        ]
        if back:
            whatever = replace(self._hooks, judge=lambda service: ())  # it was so before, too
            apply.make_changes(back, manifest, self.store, whatever)
        others = [name for name in running.services if name not in running.earlier]
        done = [each.service.name for each in back] + self._undo(others)
        self.store.save(replace(self.store.load(), trial=None))
        trial.stop(self.paths)
        return done

    def _undo(self, names: Sequence[str] | None) -> list[str]:
        manifest = before = self.store.load()
        known = [name for name in manifest.services if names is None or name in names]
        failed: dict[str, str] = {}
        for name in known:
            try:
                manifest = apply.undo(name, manifest, self.store, self._hooks)
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


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
