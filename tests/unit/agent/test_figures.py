"""What an agent and setup write for node_exporter: figures without names, and alerts for what happens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.agent.context import Configurations, LoginContexts
from pam_iampass.agent.figures import FILE, LEAST_SECONDS, CountingJournal, Figures
from pam_iampass.audit.journal import SessionRecord
from pam_iampass.client.errors import (
    Declined,
    IampassError,
    LocalFailure,
    NotFound,
    ProtocolError,
    Refused,
    TLSFailure,
    Unavailable,
)
from pam_iampass.login.application import PamApplication
from pam_iampass.login.bypass import Bypass, Moment
from pam_iampass.module import Module
from pam_iampass.outcome import RESULTS, Decision, Login, Outcome, Result, SessionEvent
from pam_iampass.setup.manifest import Manifest, ServiceRecord, figures
from tests.support.prometheus import HOST_RULES, Scrape, alerts_in, complaints, firing
from tests.support.sandbox import HttpStatus
from tests.support.setting import FIRST_POLL, ME, Setting
from tests.support.state_file import unwritable

JOB = "node"
NOW = 1_800_000_000.0
MINUTES = 40
#: These are written anew again and again.
ADVANCING = ("written_timestamp_seconds", "pam_looked_timestamp_seconds")


class Host:
    """An agent that counts, and the folder into which it writes."""

    def __init__(self, world: Setting) -> None:
        self.world = world
        self.late = 0.0
        self.figures = Figures(lambda: time.time() - self.late)
        self.journal = CountingJournal(self.figures, world.records)
        self.manifest = Manifest({"sshd": ServiceRecord("quiet", 1.0, True, ())})
        configurations = Configurations(owner=os.geteuid(), observe=self.figures.called)
        made = LoginContexts(configurations, world.state, lambda: 1)
        self._module = Module(
            self.journal,
            lambda config, left_open: replace(made(config, left_open), first_poll=FIRST_POLL),
            None,
        )
        self.folder = world.folder / "metrics"
        self.folder.mkdir()

    def login(self, **items: str) -> int | None:
        def authenticate(pamh: PamApplication, flags: int, argv: list[str]) -> int:
            return self._module.pam_sm_authenticate(pamh, flags, argv)

        settings = f"config={self.world.folder / 'iampass.yaml'}"
        named: dict[str, Any] = {"user": ME, "service": "sshd", **items}
        return self.world.door_class(authenticate, settings, **named).finish().code

    def scrape(self, *, agent_at: float = 0.0, watch_at: float = 0.0) -> Scrape:
        """What node_exporter finds. The agent wrote at `agent_at`, the watch looked at `watch_at`."""
        now = time.time()
        self.late = agent_at
        self.figures.write(str(self.folder), self.world.state, 0)
        self.late = 0.0
        return Scrape((self.folder / FILE).read_text() + figures(self.manifest, now - watch_at), now)


@pytest.fixture
def host(world: Setting) -> Host:
    world.state.database.open()
    return Host(world)


# What is written


def test_logins_are_counted_by_service_outcome_and_result(host: Host) -> None:
    host.login()
    host.world.sandbox.auto = "deny"
    host.login(service="login")
    host.world.configure(exempt=f"{{users: [{ME}]}}")
    host.login(service="my-service")
    scrape = host.scrape()

    def logins(service: str, outcome: str, result: str) -> float:
        return scrape.value("logins_total", service=service, outcome=outcome, result=result)

    assert logins("sshd", "approved", "success") == logins("login", "denied", "denied") == 1
    assert logins("other", "exempt", "ignored") == 1
    assert (
        sum(value for (name, _), (_, value) in scrape.values.items() if name == "iampass_logins_total") == 3
    )
    assert scrape.value("answer_seconds_count", outcome="approved") == 1
    assert 0 < scrape.value("answer_seconds_sum", outcome="approved") < 30
    assert scrape.value("answer_seconds_bucket", outcome="approved", le="+Inf") == 1
    assert scrape.value("call_seconds_count", call="start", result="answered") == 2
    assert scrape.value("call_seconds_count", call="end", result="answered") == 2
    assert (scrape.value("reachable"), scrape.value("servers", state="answering")) == (1, 1)
    assert 0 <= scrape.at - scrape.value("reachable_since_timestamp_seconds") < 60


def test_each_outcome_and_result_of_a_service_is_there_before_it_happens_first(host: Host) -> None:
    every = {(outcome.value, result.value) for outcome in Outcome for result in RESULTS[outcome]}
    labels = [dict(labels) for name, labels in host.scrape().values if name == "iampass_logins_total"]
    for service in ("sshd", "sudo", "su"):
        assert {(each["outcome"], each["result"]) for each in labels if each["service"] == service} == every
    assert len(labels) == 3 * len(every)


def test_no_figure_has_what_another_program_has_chosen(host: Host) -> None:
    chosen = 'mine"} 1\nup{x="'
    host.login(service=chosen, rhost="192.0.2.7", ruser="mallory")
    host.login(service="mallory", user="mallory", rhost="host.example.com")
    record = SessionRecord(SessionEvent.OPENED, "5f0c", "mallory", "mallory", "mallory", "192.0.2.7")
    host.journal.session(record)
    scrape = host.scrape()
    for name in (ME, "mallory", "mine", "192.0.2.7", "example.com", "localhost", "5f0c", Setting.token):
        assert f'"{name}' not in scrape.text
        assert name == ME or name not in scrape.text
    assert complaints(scrape.text) == ""
    assert scrape.value("session_events_total", event="session_opened") == 1


def test_everybody_may_read_the_file_which_is_replaced_as_a_whole(host: Host) -> None:
    old = os.umask(0o077)
    try:
        host.scrape()
        first = os.open(host.folder / FILE, os.O_RDONLY)
        host.login()
        scrape = host.scrape()
    finally:
        os.umask(old)
    assert (host.folder / FILE).stat().st_mode & 0o777 == 0o644
    with os.fdopen(first, "rb") as file:
        assert file.read().endswith(b"\n")
    assert sorted(os.listdir(host.folder)) == [FILE]
    assert scrape.text.startswith("# HELP iampass_build_info ")


def test_a_folder_that_is_missing_keeps_the_agent_from_nothing(host: Host) -> None:
    host.figures.write(str(host.folder / "missing"), host.world.state, 0)
    assert host.login() == 0


def test_bypasses_and_the_agents_file_have_a_figure(host: Host) -> None:
    assert (host.scrape().value("bypasses"), host.scrape().value("state_usable")) == (0, 1)
    bypass = Bypass(ME, 0, None, 600.0, Moment.now(), "root", "", survives_reboot=False)
    host.world.state.bypasses.add(bypass)
    assert host.scrape().value("bypasses") == 1


def reachable(*errors: IampassError | None, seconds: float = 5.0) -> tuple[float, float] | None:
    """What is said after these attempts, at 1, 2, 3, … s; None if nothing is."""
    clock = iter(range(1, 100))
    found = Figures(lambda: float(next(clock)))
    for error in errors:
        found.called("iampass.example", "poll", seconds, error)
    if not found._servers:
        return None
    (server,) = found._servers.values()
    return server.answers, server.since


def test_it_is_unreachable_from_the_first_of_two_failures_in_a_row() -> None:
    away = Unavailable("no route")
    assert reachable() is None
    assert reachable(None, None) == (True, 1)
    assert reachable(None, away, None, away) == (True, 1)
    assert reachable(None, away, away, away) == (False, 2)
    assert reachable(away) == reachable(away, away) == (False, 1)
    assert reachable(away, away, None, None) == (True, 3)
    for answer in (Declined("no"), NotFound("no"), Refused("no", status=401)):
        assert reachable(answer, answer) == (True, 1)
    for failure in (TLSFailure("x"), LocalFailure("x"), ProtocolError("x")):
        assert reachable(None, failure, failure) == (False, 2)


def test_a_call_that_had_no_time_says_nothing_about_iampass() -> None:
    late = Unavailable("no time is left", timed_out=True)
    assert reachable(None, late, late, seconds=LEAST_SECONDS / 2) == (True, 1)
    assert reachable(None, late, late) == (False, 2)


def test_a_gateway_that_fails_is_told_from_all_that_do(host: Host) -> None:
    away = Unavailable("no route")
    for error in (None, away, away):
        host.figures.called("a", "start", 1.0, error)
        host.figures.called("b", "start", 1.0, None)
    scrape = host.scrape()
    assert [scrape.value("servers", state=state) for state in ("answering", "failing")] == [1, 1]
    assert scrape.value("reachable") == 1
    host.figures.called("b", "start", 1.0, away)
    host.figures.called("b", "start", 1.0, away)
    assert host.scrape().value("reachable") == 0
    assert "iampass_reachable" not in host.scrape(agent_at=-4000).text


def test_pam_files_are_reported_for_each_service_that_is_set_up() -> None:
    record = ServiceRecord("", 1.0, True, ())
    services = {"sshd": record, "su": replace(record, said="lost"), "x": replace(record, renewed=(5.0, 7.0))}
    scrape = Scrape(figures(Manifest(services), NOW), NOW)
    assert [scrape.value("pam_in_force", service=name) for name in services] == [1, 0, 1]
    assert scrape.value("pam_restored_timestamp_seconds", service="x") == 7
    assert scrape.value("pam_looked_timestamp_seconds") == NOW
    assert complaints(scrape.text) == ""
    assert figures(Manifest(), NOW) == ""


# Alerts


@dataclass
class Scene:
    """A host to which something happens."""

    host: Host

    def nothing(self) -> Scrape:
        self.host.login()
        self.host.login(service="login")
        return self.host.scrape()

    def agent_hangs(self) -> Scrape:
        return self.host.scrape(agent_at=600)

    def iampass_away(self) -> Scrape:
        self.host.world.sandbox.misbehave("start", HttpStatus(503), times=None)
        self.host.login()
        self.host.login()
        return self.host.scrape()

    def gateway_away(self) -> Scrape:
        for error in (None, Unavailable("away"), Unavailable("away")):
            self.host.figures.called("a", "poll", 5.0, error)
            self.host.figures.called("b", "poll", 5.0, None)
        return self.host.scrape()

    def misconfigured(self) -> Scrape:
        self.host.world.configure(timeout="never")
        self.host.login()
        return self.host.scrape()

    def outage_tolerated(self) -> Scrape:
        decision = Decision(Outcome.UNAVAILABLE, Result.IGNORED, "no route")
        self.host.journal.record(Login("alice", "sshd"), decision)
        return self.host.scrape()

    def bypass(self) -> Scrape:
        bypass = Bypass(ME, 0, None, 600.0, Moment.now(), "root", "", survives_reboot=False)
        self.host.world.state.bypasses.add(bypass)
        return self.host.scrape()

    def denied(self) -> Scrape:
        self.host.world.sandbox.auto = "deny"
        self.host.login()
        return self.host.scrape()

    def state_unusable(self) -> Scrape:
        state = self.host.world.state
        with unwritable(state.database):
            self.host.login()
            assert state.problem
            return self.host.scrape()

    def session_silent(self) -> Scrape:
        record = SessionRecord(SessionEvent.SILENT, "5f0c", "alice", "alice", "sshd")
        self.host.journal.session(record)
        return self.host.scrape()

    def pam_file(self, **changes: object) -> Scrape:
        (record,) = self.host.manifest.services.values()
        record = replace(record, **changes)  # type: ignore[arg-type]
        self.host.manifest = Manifest({"sshd": record})
        return self.host.scrape()

    def pam_file_off(self) -> Scrape:
        return self.pam_file(said="given up, after 3 attempts within an hour")

    def pam_file_restored(self) -> Scrape:
        return self.pam_file(renewed=(time.time(),))

    def watch_stopped(self) -> Scrape:
        return self.host.scrape(watch_at=4 * 3600)


SCENES: dict[Callable[[Scene], Scrape], set[str]] = {
    Scene.nothing: set(),
    Scene.agent_hangs: {"IampassAgentSilent"},
    Scene.iampass_away: {"IampassUnreachable", "IampassLoginsUndecided"},
    Scene.gateway_away: {"IampassGatewayPassedBy"},
    Scene.misconfigured: {"IampassLoginsUndecided"},
    Scene.outage_tolerated: {"IampassLoginsWithoutPhone"},
    Scene.bypass: {"IampassBypass"},
    Scene.denied: {"IampassHostRequestsDenied"},
    Scene.state_unusable: {"IampassStateUnusable"},
    Scene.session_silent: {"IampassSessionsSilent"},
    Scene.pam_file_off: {"IampassPamFileOff"},
    Scene.pam_file_restored: {"IampassPamFileRestored"},
    Scene.watch_stopped: {"IampassPamWatchSilent"},
}


@pytest.mark.parametrize("happens", SCENES, ids=lambda scene: scene.__name__)
def test_an_alert_fires_for_what_happens_and_no_other(
    happens: Callable[[Scene], Scrape], host: Host, tmp_path: Path
) -> None:
    before = host.scrape()
    after = happens(Scene(host))
    advancing = ADVANCING if happens is not Scene.agent_hangs else ADVANCING[1:]
    scrapes = before, after
    assert (
        firing(HOST_RULES, JOB, scrapes, SCENES[happens], tmp_path, minutes=MINUTES, advancing=advancing)
        == ""
    )


def test_each_rule_has_a_scene() -> None:
    assert alerts_in(HOST_RULES) == set().union(*SCENES.values())


def test_a_name_of_a_service_cannot_end_its_label() -> None:
    record = ServiceRecord("", 1.0, True, ())
    text = figures(Manifest({'a"b\\c\nd': record}), NOW)
    assert 'iampass_pam_in_force{service="a\\"b\\\\c\\nd"} 1\n' in text
