"""The module file itself: exports, linking, installation, and what Valgrind and the fuzzer say."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.pam.native.conftest import ROOT, SANITIZE, Door, Playing, build_native
from tests.support.scripted_module import DoorConnection, ask, deadline, result, say

PHASES = ["acct_mgmt", "authenticate", "chauthtok", "close_session", "open_session", "setcred"]

SOURCES = sorted((ROOT / "doors/native").glob("*.c"))

plain_build_only = pytest.mark.skipif(bool(SANITIZE), reason="says nothing about a sanitized build")


def output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()


@plain_build_only
def test_only_the_six_functions_of_pam_are_exported(door: Door) -> None:
    symbols = [line.split() for line in output("nm", "-D", "--defined-only", door.module).splitlines()]
    assert [(kind, name) for _, kind, name in symbols] == [("T", "pam_sm_" + phase) for phase in PHASES]


@plain_build_only
def test_there_is_no_global_state_that_could_be_changed(door: Door) -> None:
    objects = re.findall(
        r" O (\.data|\.bss)\s+\S+\s+(?:\.hidden )?(\S+)", output("objdump", "-t", door.module)
    )
    of_the_compiler = {"__dso_handle", "__TMC_END__", "completed.0"}
    assert {name for _, name in objects} <= of_the_compiler


@plain_build_only
def test_it_is_linked_with_full_relro_and_without_an_executable_stack(door: Door) -> None:
    dynamic = output("readelf", "--wide", "--dynamic", "--segments", door.module)
    assert "GNU_RELRO" in dynamic
    assert "BIND_NOW" in dynamic
    assert re.search(r"GNU_STACK .* RW ", dynamic)


@plain_build_only
def test_it_needs_libc_and_libpam_only(door: Door) -> None:
    assert set(re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "--dynamic", door.module))) == {
        "libpam.so.0",
        "libc.so.6",
    }


def test_an_installation_has_no_path_of_the_tests_in_it(tmp_path: Path) -> None:
    module = build_native(tmp_path / "build")
    strings = module.read_bytes()
    assert b"/run/iampass/pam.sock\0" in strings
    assert str(tmp_path).encode() not in strings


def whole_login(door: DoorConnection) -> None:
    door.hello()
    door.send(ask("Press Enter to be asked on your phone: "))
    door.receive()
    door.send(deadline(60000), say("Approve this on your phone …"), say("Approved."), result(0))


@plain_build_only
@pytest.mark.needs_program("valgrind", "pamtester")
def test_a_login_through_pamtester_leaves_valgrind_nothing_to_say(
    folder: Path, door: Door, agent: Playing, tmp_path: Path
) -> None:
    log = tmp_path / "valgrind"
    (folder / "pam.d" / "pamtester").write_text(f"auth required {door.module} debug\n")
    wrapper = {
        "LD_PRELOAD": "libpam_wrapper.so",
        "PAM_WRAPPER": "1",
        "PAM_WRAPPER_SERVICE_DIR": str(folder / "pam.d"),
    }
    options = [
        "--leak-check=full",
        "--show-leak-kinds=all",
        "--keep-debuginfo=yes",
        "--track-fds=yes",
        "--num-callers=30",
    ]
    command = [
        "valgrind",
        *options,
        f"--log-file={log}.%p",
        "pamtester",
        "pamtester",
        "alice",
        "authenticate",
    ]
    with agent(whole_login) as played:
        pipe, environment = subprocess.PIPE, {**os.environ, **wrapper}
        with subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT
        ) as login:
            shown, _ = login.communicate(b"\n")
    assert login.returncode == 0, shown.decode()
    assert b"successfully authenticated" in shown
    assert len(played.connections) == 1
    found = blocks(log.with_suffix(f".{login.pid}"))
    for child in set(tmp_path.iterdir()) - {log.with_suffix(f".{login.pid}")}:
        # Between fork and exec everything of the application's is still there: only an error counts.
        found += [
            block
            for block in blocks(child)
            if "in loss record" not in block and not block.startswith("Open ")
        ]
    assert found == []


def blocks(report: Path) -> list[str]:
    """What Valgrind says of the door: each error, lost block or open descriptor with its stack."""
    text = re.sub(r"(?m)^==\d+== ?", "", report.read_text()).replace("FILE DESCRIPTORS", "\nFILE DESCRIPTORS")
    starts = re.sub(r"(?m)^(?=Open )", "\n", text)
    ours = re.compile(r"pam_iampass\.so|\((?:{}):\d+\)".format("|".join(path.name for path in SOURCES)))
    return [block.strip() for block in starts.split("\n\n") if "   at 0x" in block and ours.search(block)]


@pytest.mark.needs_program("clang")
def test_the_frame_reader_survives_five_seconds_of_fuzzing(tmp_path: Path) -> None:
    command = ["make", "-s", "-C", str(ROOT / "doors/native"), "fuzz", f"BUILD={tmp_path}", "FUZZ_SECONDS=5"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    report = ended.stdout.decode(errors="replace")
    assert ended.returncode == 0, report[-4000:]
    assert int(re.findall(r"stat::number_of_executed_units: (\d+)", report)[0]) > 1000
