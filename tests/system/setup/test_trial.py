"""A trial ends by itself, whatever becomes of the terminal and of the process that began it. Here without systemd."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pam_iampass.setup import trial
from pam_iampass.setup.manifest import Trial
from pam_iampass.setup.paths import Paths
from tests.support.installation import ROOT
from tests.support.terminal import Terminal
from tests.support.world import PATIENCE, wait_until
from tests.system.setup.conftest import STATE, Administrator, everything

TRY = ["/usr/bin/python3", "-m", "tests.system.setup.trying"]
MANIFEST = STATE / "setup/manifest.json"


def began(administrator: Administrator, *names: str, seconds: float = 3) -> None:
    done = subprocess.run([*TRY, str(seconds), *names], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["on trial"], done.stdout + done.stderr


def its_end(before: dict[str, tuple[object, ...]]) -> None:
    """Wait until everything is back."""
    wait_until(lambda: not MANIFEST.exists(), "the trial did not end")
    assert everything() == before


def test_it_ends_by_itself_and_logins_are_as_before(administrator: Administrator) -> None:
    before = everything()
    for seconds in (6, 30, 120):
        began(administrator, "sshd", "sudo", seconds=seconds)
        begun = len(administrator.sandbox.sessions)
        got_in = administrator.gets_in_by_key_alone()
        if MANIFEST.exists():
            break  # otherwise the trial ended before the login did
    assert got_in
    assert len(administrator.sandbox.sessions) == begun + 1
    its_end(before)
    assert administrator.gets_in_by_key_alone()
    status, shown = administrator.become_root("sudo", "-k", "id", "-un")
    assert (status, "phone" in shown) == (0, False)


def test_it_ends_though_the_terminal_was_closed(administrator: Administrator) -> None:
    before = everything()
    terminal = Terminal([*TRY, "4", "su"], environment={"PYTHONPATH": str(ROOT)})
    terminal.expect("on trial")
    terminal.close()  # and its processes get SIGHUP
    terminal.process.wait(PATIENCE)
    Terminal.open.discard(terminal)
    its_end(before)


def test_it_ends_though_the_process_was_killed_in_the_middle(administrator: Administrator) -> None:
    before = everything()
    for seconds in ("4", "30", "120"):
        process = subprocess.Popen(
            [*TRY, seconds, "sudo", "--hang"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "wrote /etc/pam.d/iampass-sudo\n"
        status = administrator.setup("status")
        on_trial = MANIFEST.exists()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        its_end(before)
        if on_trial:
            break  # otherwise the trial ended before its status was seen
    assert "broken off" in status


def test_what_was_edited_meanwhile_is_put_back_and_kept(administrator: Administrator) -> None:
    before = everything()
    began(administrator, "sudo", seconds=300)
    mine = Path("/etc/pam.d/iampass-sudo")
    mine.write_text(mine.read_text() + "# mine\n")
    name = json.loads(MANIFEST.read_text())["trial"]["name"]
    administrator.setup("--trial-over", name, "--at", str(time.time()))  # as the process that waits does
    its_end(before)
    (kept,) = (STATE / "setup/edited").iterdir()
    assert kept.read_text().endswith("# mine\n")


def test_it_is_confirmed_by_a_login_and_then_stays(administrator: Administrator) -> None:
    told = administrator.setup("sudo", "--try", "5")
    assert "on trial until" in told
    assert "In that case run: pam-iampass setup undo" in told
    state = json.loads(administrator.setup("status", "--json"))["trial"]
    assert (state["services"], state["over"], state["kept_by"]) == (["sudo"], False, "process")
    told = administrator.setup("confirm", ok=False)
    assert "no login through sudo since the trial began" in told
    administrator.sandbox.auto = "deny"
    administrator.become_root("sudo", "-k", "true")
    assert "no login through sudo since the trial began" in administrator.setup("confirm", ok=False)
    administrator.sandbox.auto = "approve"
    administrator.forget_refusals()
    administrator.become_root("sudo", "-k", "true")
    name = json.loads(MANIFEST.read_text())["trial"]["name"]
    assert "no longer on trial" in administrator.setup("confirm")
    after = everything()
    administrator.setup("--trial-over", name, "--at", str(time.time()))  # the process that waited, at its end
    assert everything() == after
    assert json.loads(administrator.setup("status", "--json"))["trial"] is None


def test_a_record_that_a_user_made_up_confirms_nothing(administrator: Administrator) -> None:
    administrator.setup("sudo", "--try", "5")
    fields = (
        "IAMPASS_OUTCOME=approved\nIAMPASS_RESULT=success\nIAMPASS_USER=alice\nIAMPASS_SERVICE=iampass-sudo\n"
    )
    subprocess.run(
        ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "logger", "--journald"],
        input=f"{fields}SYSLOG_IDENTIFIER=pam_iampass\nMESSAGE=outcome=approved result=success\n",
        text=True,
        check=True,
    )
    assert "no login through sudo since the trial began" in administrator.setup("confirm", ok=False)
    administrator.setup("confirm", "--force")


def test_undo_ends_it_at_once(administrator: Administrator) -> None:
    before = everything()
    administrator.setup("su", "--try", "5")
    administrator.setup("undo")
    assert everything() == before
    assert "there is no trial to confirm" in administrator.setup("confirm", ok=False)


def test_nothing_else_is_set_up_meanwhile(administrator: Administrator) -> None:
    administrator.setup("su", "--try", "5")
    told = administrator.setup("sudo", ok=False)
    assert "a trial of su is not over yet" in told


def test_what_is_set_up_for_good_is_not_put_on_trial(administrator: Administrator) -> None:
    administrator.setup("sshd", "--key")
    after = everything()
    told = administrator.setup("sshd", "--password", "--try", "5", ok=False)
    assert "sshd is set up already" in told
    assert everything() == after


def test_the_next_trial_is_not_ended_by_the_process_of_the_last(administrator: Administrator) -> None:
    began(administrator, "su", seconds=5)
    first = json.loads(MANIFEST.read_text())["trial"]["name"]
    administrator.setup("undo")
    administrator.setup("su", "--try", "5")

    def waits() -> bool:
        return (
            subprocess.run(
                ["pgrep", "-f", f"trial-over {first}"], capture_output=True, check=False
            ).returncode
            == 0
        )

    wait_until(lambda: not waits(), "the first process did not end")
    assert "on, since" in administrator.setup("status")


# With systemd


@pytest.fixture
def units(administrator: Administrator) -> dict[str, str]:
    """The unit files of a trial of ten minutes."""
    about = Trial("abc", ("sshd",), 1_800_000_000.0, 1_800_000_600.0, trial.SYSTEMD_BACKEND)
    written = trial.units(about, Paths(), MANIFEST)
    return {path.name: text for path, text in written.items()}


def test_the_timer_survives_a_reboot(units: dict[str, str]) -> None:
    timer = units["pam-iampass-trial.timer"].splitlines()
    assert "OnCalendar=2027-01-15 08:10:00 UTC" in timer
    assert "Persistent=yes" in timer
    assert "OnActiveSec=600" in timer
    assert "WantedBy=timers.target" in timer


def test_systemd_understands_the_units(units: dict[str, str], tmp_path: Path) -> None:
    folder = Path("/etc/systemd/system")
    for name, text in units.items():
        (folder / name).write_text(text.replace("/usr/bin/python3", "/usr/bin/python3"))
    paths = [str(folder / name) for name in units]
    try:
        judged = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False
        )
        moment = subprocess.run(
            ["systemd-analyze", "calendar", "2027-01-15 08:10:00 UTC"],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        for path in paths:
            Path(path).unlink()
    assert "pam-iampass" not in judged.stderr
    assert judged.returncode == 0, judged.stderr
    assert "2027-01-15 08:10:00 UTC" in moment.stdout


def test_words_of_the_command_are_quoted_for_systemd() -> None:
    assert trial._quoted("/a b/100%/$x") == '"/a b/100%%/$$x"'
    assert trial._quoted("/usr/bin/python3") == "/usr/bin/python3"
