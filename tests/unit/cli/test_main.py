"""The command itself: its verbs, its help, and how it tells errors."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pam_iampass import __version__
from pam_iampass.cli import GROUPS, Verbs, group, main
from pam_iampass.cli.parameters import CommandWithVerbs, UserName
from pam_iampass.errors import ConfigurationError, Problem

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "pam_iampass.cli"]
VERBS = [verb for verbs in GROUPS.values() for verb in verbs]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def status_of(error: BaseException) -> int:
    """The exit status of a verb that raises `error`."""

    @click.command()
    def failing() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        main([], command=failing)
    return int(caught.value.code or 0)


def test_the_version_is_shown() -> None:
    assert run("--version").stdout == f"pam-iampass, version {__version__}\n"


def test_help_lists_every_verb_once_under_a_heading() -> None:
    modules = {file.stem for file in (ROOT / "pam_iampass/cli").glob("*.py")}
    assert set(VERBS) <= modules
    told = run("--help").stdout
    for heading, verbs in GROUPS.items():
        section = told.partition(f"\n{heading}:\n")[2].partition("\n\n")[0]
        assert [line.split()[0] for line in section.splitlines()] == list(verbs)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_starts_in_a_process_that_has_imported_nothing_else(verb: str) -> None:
    done = run(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: pam-iampass {verb} ")


def test_without_a_verb_help_is_shown() -> None:
    finished = run()
    assert "Examples:" in finished.stdout + finished.stderr
    assert finished.stdout.count("Usage:") + finished.stderr.count("Usage:") == 1


def test_a_verb_whose_package_is_not_installed_says_which() -> None:
    program = (
        "import sys\nsys.modules['yaml'] = None\nfrom pam_iampass.cli import main\nmain(['check', '--help'])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.stderr == "Error: check needs the Python package yaml, which is not installed\n"
    assert finished.returncode == 1


def test_without_the_sandbox_its_verb_says_where_it_is(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "pam_iampass",
        tmp_path / "pam_iampass",
        ignore=shutil.ignore_patterns("sandbox", "__pycache__"),
    )
    # In a virtual environment an editable installation would find the sandbox elsewhere.
    program = (
        "import runpy, sys; sys.meta_path = [each for each in sys.meta_path if 'editable' not in str(each)];"
        "runpy.run_module('pam_iampass.cli', run_name='__main__', alter_sys=True)"
    )
    for words, told in (
        (["sandbox"], "as pam-iampass-sandbox"),
        (["--help"], "Try out"),
        (["sandbox", "leave", "--help"], "Restore the previous settings file"),
    ):
        command = [sys.executable, "-c", program, *words]
        finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert told in finished.stdout + finished.stderr
        assert "Traceback" not in finished.stderr


def test_a_broken_verb_is_not_taken_for_one_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(GROUPS["Try out"], "fancy", "Do it.")  # there is no module of that name
    with click.Context(group) as context, pytest.raises(ModuleNotFoundError):
        group.get_command(context, "fancy")


@pytest.mark.needs_root
def test_a_configuration_error_is_reported_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem(Path("/etc/iampass/iampass.yaml"), 7, "timeout", '"60" has no unit', "write 60s")
    assert status_of(ConfigurationError([problem])) == 1
    assert (
        capsys.readouterr().err == '/etc/iampass/iampass.yaml:7: timeout: "60" has no unit\n    write 60s\n'
    )


def test_a_refusal_of_the_system_is_reported_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(PermissionError(13, "Permission denied", "/etc/shadow")) == 1
    assert capsys.readouterr().err.startswith("Error: /etc/shadow: Permission denied")
    assert status_of(OSError("odd")) == 1
    assert capsys.readouterr().err == "Error: odd\n"


def test_ctrl_c_is_reported_in_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(KeyboardInterrupt()) == 128 + signal.SIGINT
    assert capsys.readouterr().err.strip() == "Cancelled."


def test_a_character_that_the_terminal_does_not_have_is_shown_as_an_escape() -> None:
    program = (
        "import click\nfrom pam_iampass.cli import main\n"
        "main([], command=click.Command('x', callback=lambda: click.echo('j\\u00fcrgen \\u2026')))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    assert finished.stdout == b"j\xfcrgen \\u2026\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    finished = subprocess.run(
        [*COMMAND, "check", "--config", "/nowhere"],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert finished.stderr == b""
    assert finished.returncode == 1


@pytest.mark.parametrize(
    ("closed", "shown"), [("<&-", ("out\n", "err\n")), (">&-", ("", "err\n")), ("2>&-", ("out\n", ""))]
)
def test_a_standard_stream_that_is_closed_is_no_error(closed: str, shown: tuple[str, str]) -> None:
    program = (
        "import sys\nimport click\nfrom pam_iampass.cli import main\nfrom pam_iampass.cli.output import line\n"
        "def said():\n    sys.stdin.isatty()\n    line('out')\n    line('err', err=True)\n"
        "main([], command=click.Command('x', callback=said))"
    )
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", program]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (finished.stdout, finished.stderr) == shown
    assert finished.returncode == 0


def arguments(command: click.Command) -> list[click.Argument]:
    """The arguments of a verb, and of the verbs below it."""
    found = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        found += arguments(below)
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_a_user_as_an_argument_completes(verb: str) -> None:
    with click.Context(group) as context:
        command = group.get_command(context, verb)
    assert command is not None
    assert all(isinstance(one.type, UserName) for one in arguments(command) if one.name == "user")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["chekc"], "No such command 'chekc'. Did you mean 'check'?"),
        (["session", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["nothing-like-it"], "No such command 'nothing-like-it'."),
        (["doctor"], "No such command 'doctor'."),
        (["setup", "stauts"], "No such command 'stauts'. Did you mean 'status'?"),
        (["setup", "undoo", "sshd"], "No such command 'undoo'. Did you mean 'undo'?"),
        (["bypass", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["sandbox", "leav"], "No such command 'leav'. Did you mean 'leave'?"),
        (["check", "--confg", "/x"], "No such option '--confg'. Did you mean '--config'?"),
        (["setup", "sshd", "--promt"], "No such option '--promt'. Did you mean '--prompt'?"),
        (["bypass", "alice", "--fro", "5m"], "No such option '--fro'. Did you mean '--for'?"),
        (["session", "list", "--nothing-like-it"], "No such option '--nothing-like-it'.\n"),
    ],
)
def test_a_mistyped_verb_or_option_is_answered_with_the_one_that_may_be_meant(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_every_group_of_verbs_says_which_verb_may_be_meant() -> None:
    with click.Context(group) as context:
        commands = [group.get_command(context, verb) for verb in VERBS]
    assert [one.name for one in commands if isinstance(one, click.Group) and not isinstance(one, Verbs)] == []


@pytest.mark.parametrize("argument", ["lst", "list"])
def test_an_account_that_is_called_like_a_verb_can_be_named(argument: str) -> None:
    command = CommandWithVerbs("x", is_argument=lambda word: word == "lst", params=[click.Argument(["user"])])
    command.add_command(click.Command("list"))
    parsed = command.make_context("x", [argument])
    assert (parsed.params.get("user"), parsed.args) == (
        ("lst", []) if argument == "lst" else (None, ["list"])
    )


@pytest.mark.parametrize("words", ["chekc", "setup stauts", "bypass lst"])
def test_a_shell_that_completes_after_a_mistyped_verb_shows_no_error(words: str) -> None:
    typed = f"pam-iampass {words} "
    line = {
        "_PAM_IAMPASS_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    completed = subprocess.run(
        COMMAND, cwd=ROOT, env={**os.environ, **line}, capture_output=True, text=True, check=False
    )
    assert completed.stderr == ""
