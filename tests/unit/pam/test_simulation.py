"""The evaluator of PAM stacks, side by side with the machine's own libpam on random stacks."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pam_iampass.outcome import PamCode
from pam_iampass.pam.lines import CODES
from pam_iampass.pam.simulation import Simulation, simulate
from pam_iampass.pam.stack import Handler, PamFiles, PamType, UnusableService
from pam_iampass.setup.edits import with_us
from tests.support.examples import examples

_LIBPAM = ctypes.CDLL("libpam.so.0")
_LIBC = ctypes.CDLL("libc.so.6")
_LIBC.calloc.restype = ctypes.c_void_p
_LIBC.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]

SILENT = 0x8000


class _Response(ctypes.Structure):
    _fields_ = (("resp", ctypes.c_char_p), ("code", ctypes.c_int))


_Conversation = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.POINTER(_Response)),
    ctypes.c_void_p,
)


class _Conv(ctypes.Structure):
    _fields_ = (("conv", _Conversation), ("data", ctypes.c_void_p))


@_Conversation  # type: ignore[misc]
def _say_nothing(count: int, _messages: Any, responses: Any, _data: Any) -> int:
    """A conversation function that ignores messages and returns no answers."""
    responses[0] = ctypes.cast(_LIBC.calloc(count, ctypes.sizeof(_Response)), ctypes.POINTER(_Response))
    return 0


def libpam_results(folder: Path, service: str, calls: Sequence[str]) -> list[int]:
    """The return codes of these functions of libpam, called in turn on one handle.

    The folder stands in for /etc/pam.d (pam_start_confdir(3)). Where there is no handle to be had, that is what each
    of them returns.
    """
    handle = ctypes.c_void_p()
    conversation = _Conv(_say_nothing, None)
    started = _LIBPAM.pam_start_confdir(
        service.encode(), b"root", ctypes.byref(conversation), str(folder).encode(), ctypes.byref(handle)
    )
    if started != 0:
        return [started] * len(calls)
    codes = [int(getattr(_LIBPAM, call)(handle, SILENT)) for call in calls]
    _LIBPAM.pam_end(handle, codes[-1])
    return codes


SERVICE = "under-test"
FILES = (SERVICE, "one", "two", "other")


def _answer(word: str) -> Callable[[Handler], int]:
    """What the modules of these tests answer: pam_debug what its argument says."""

    def answer(handler: Handler) -> int:
        if handler.name == "pam_permit.so":
            return PamCode.SUCCESS
        if handler.name == "pam_deny.so":
            # pam_deny says PAM_AUTH_ERR, and PAM_CRED_ERR to setcred
            return PamCode.AUTH_ERR if word == "auth" else PamCode.CRED_ERR
        if handler.name == "pam_debug.so":
            for argument in handler.arguments:
                if argument.startswith(word + "="):
                    code = argument[len(word) + 1 :]
                    return CODES.index(code) if code in CODES else PamCode.SUCCESS
            return PamCode.SUCCESS
        return PamCode.MODULE_UNKNOWN

    return answer


def ours(folder: Path) -> list[int]:
    """What the evaluator says of pam_authenticate, and of pam_setcred before and after it."""
    try:
        stack = PamFiles([folder]).service(SERVICE).stacks[PamType.AUTH]
    except UnusableService:
        return [PamCode.ABORT, PamCode.ABORT, PamCode.ABORT]
    if not stack:
        refused = PamCode.PERM_DENIED
        return [refused, refused, refused]
    authenticated = simulate(stack, _answer("auth"))
    after: Simulation = simulate(stack, _answer("cred"), authenticated.answered)
    return [simulate(stack, _answer("cred"), {}).result, authenticated.result, after.result]


def theirs(folder: Path) -> list[int]:
    """What libpam says of the same."""
    alone = libpam_results(folder, SERVICE, ["pam_setcred"])
    return alone + libpam_results(folder, SERVICE, ["pam_authenticate", "pam_setcred"])


ACTIONS = st.sampled_from(["ignore", "ok", "done", "bad", "die", "reset", "1", "2", "3", "9", "0", "07", "x"])
# PAM_INCOMPLETE makes the application call again: no module of ours, and nothing that a login ends in.
ANSWERS = st.sampled_from(
    [*(code for code in CODES if code != "incomplete"), *["success"] * 12, *["ignore"] * 6]
)
NAMES = st.sampled_from([*CODES, "default", "default", "default", "success", "success", "nonsense"])
SPACE = st.sampled_from([" ", " ", "  ", "\t", " \\\n ", "\\\n"])
BRACKETS = st.lists(st.tuples(NAMES, ACTIONS), min_size=0, max_size=4).map(
    lambda pairs: "[" + " ".join(f"{name}={action}" for name, action in pairs) + "]"
)
WORDS = st.sampled_from(
    ["required", "requisite", "sufficient", "optional", "Required", "SUFFICIENT", "requird", "[success = ok]"]
)
MODULES = st.one_of(
    st.sampled_from(["pam_permit.so", "pam_deny.so", "pam_nowhere.so", "pam_permit.so  # why"]),
    st.tuples(ANSWERS, ANSWERS).map(lambda codes: f"pam_debug.so auth={codes[0]} cred={codes[1]}"),
    st.tuples(ANSWERS).map(lambda codes: f"pam_debug.so [auth={codes[0]}] cred=success"),
)
TYPES = st.sampled_from(["auth"] * 12 + ["-auth", "AUTH", "account", "session", "password", "nonsense"])
MODULE_LINES = st.tuples(TYPES, SPACE, st.one_of(BRACKETS, BRACKETS, WORDS, WORDS), SPACE, MODULES).map(
    "".join
)


# An include that names nothing makes libpam crash: there is nothing to compare with.
# By their paths: Debian's libpam looks for what is included by name in /etc/pam.d, whatever folder it is given.
def includes(*names: str) -> st.SearchStrategy[str]:
    # An include that names nothing makes libpam crash, and files that include each other make it read for minutes:
    # there is nothing to compare with.
    targets = st.sampled_from([*(f"FOLDER/{name}" for name in names), "FOLDER/missing", "FOLDER"])
    kinds = st.sampled_from(["include", "include", "substack", "substack", "Substack"])
    return st.one_of(
        st.tuples(TYPES, SPACE, kinds, SPACE, targets).map("".join),
        # One that fails in an included file acts on memory that libpam never set.
        st.sampled_from([*(f"FOLDER/{name}" for name in names), "FOLDER"]).map(
            lambda target: f"@include {target}"
        ),
    )


ODD = st.sampled_from(
    ["", "# nothing", "   ", "auth", "auth required", "x y z", "auth required pam_permit.so\r", "\\"]
)


def contents(*included: str) -> st.SearchStrategy[str]:
    lines = st.one_of(*[MODULE_LINES] * 8, *[includes(*included)] * 3, ODD)
    return st.lists(lines, min_size=0, max_size=6).map(lambda found: "\n".join(found) + "\n")


SIMPLE = st.lists(MODULE_LINES, min_size=0, max_size=4).map(lambda found: "\n".join(found) + "\n")


def write(folder: Path, contents: dict[str, str]) -> None:
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content.replace("FOLDER", str(folder)), encoding="utf-8")


def agree(contents: dict[str, str]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        write(folder, contents)
        assert ours(folder) == theirs(folder)
    finally:
        shutil.rmtree(folder)


RANDOM = settings(
    deadline=None, max_examples=examples(250), suppress_health_check=list(HealthCheck), derandomize=True
)


@RANDOM
@given(contents("one", "two", "two"), contents("two"), SIMPLE)
def test_random_stacks_with_includes_are_played_as_libpam_plays_them(top: str, one: str, two: str) -> None:
    agree({SERVICE: top, "one": one, "two": two})


@RANDOM
@given(
    st.lists(MODULE_LINES, min_size=1, max_size=7), st.lists(MODULE_LINES, min_size=1, max_size=5), st.data()
)
def test_random_jumps_over_and_within_substacks_are_played_as_libpam_plays_them(
    top: list[str], one: list[str], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(top)))
    kind = data.draw(
        st.sampled_from(["auth substack FOLDER/one", "auth include FOLDER/one", "@include FOLDER/one"])
    )
    nested = data.draw(st.sampled_from(["", "auth substack FOLDER/two\n", "auth include FOLDER/two\n"]))
    agree(
        {
            SERVICE: "\n".join([*top[:place], kind, *top[place:]]) + "\n",
            "one": nested + "\n".join(one) + "\n",
            "two": "auth [success=1 default=ignore] pam_debug.so\nauth requisite pam_deny.so\n",
        }
    )


@RANDOM
@given(st.one_of(st.none(), contents("one", "two")), contents("one", "two"))
def test_other_stands_in_as_it_does_for_libpam(top: str | None, other: str) -> None:
    files = {"other": other, "one": "auth required pam_permit.so\n", "two": "auth required pam_deny.so\n"}
    agree(files if top is None else {**files, SERVICE: top})


def test_a_file_that_includes_itself_ends_as_it_does_for_libpam() -> None:
    agree(
        {
            SERVICE: "auth include FOLDER/one\nauth required pam_permit.so\n",
            "one": "auth include FOLDER/one\n",
        }
    )
    agree(
        {
            SERVICE: "auth substack FOLDER/one\n",
            "one": "auth substack FOLDER/one\nauth required pam_permit.so\n",
        }
    )
    agree({SERVICE: "@include FOLDER/one\n", "one": "@include FOLDER/one\nauth required pam_permit.so\n"})


def test_a_missing_file_breaks_a_service_only_where_all_of_it_was_wanted() -> None:
    for line in ("@include FOLDER/missing", "auth include FOLDER/missing", "auth substack FOLDER/missing"):
        agree({SERVICE: f"auth required pam_permit.so\n{line}\n"})


def test_a_file_that_ends_in_a_backslash_is_no_file_as_for_libpam() -> None:
    agree({SERVICE: "auth required pam_permit.so\nauth required pam_permit.so \\", "other": ""})
    agree(
        {
            SERVICE: "auth include FOLDER/one\n",
            "one": "auth required pam_permit.so\nauth sufficient pam_debug.so \\\n",
        }
    )


def test_the_second_folder_counts_where_the_first_has_no_such_file(tmp_path: Path) -> None:
    etc, usr = tmp_path / "etc", tmp_path / "usr"
    for folder, module in ((etc, "pam_deny.so"), (usr, "pam_permit.so")):
        folder.mkdir()
        (folder / "both").write_text(f"auth required {module}\n")
    (usr / "one").write_text("auth required pam_permit.so\n")
    found = PamFiles([etc, usr])
    assert [handler.name for handler in found.service("both").stacks[PamType.AUTH]] == ["pam_deny.so"]
    assert [handler.name for handler in found.service("one").stacks[PamType.AUTH]] == ["pam_permit.so"]
    assert found.names() == ["both", "one"]


# Account stacks, as setup writes them: pam_debug plays what each module says


ACCOUNT_ANSWERS = st.sampled_from(
    [*(code for code in CODES if code != "incomplete"), *["success"] * 8, *["new_authtok_reqd"] * 4, "ignore"]
)
ACCOUNT_LINES = st.tuples(st.one_of(BRACKETS, WORDS), ACCOUNT_ANSWERS).map(
    lambda parts: f"account {parts[0]} pam_debug.so acct={parts[1]}"
)


def agree_on_accounts(contents: dict[str, str]) -> int:
    """What libpam says of pam_acct_mgmt, which is what the simulation says."""
    folder = Path(tempfile.mkdtemp())
    try:
        write(folder, contents)
        stack = PamFiles([folder]).service(SERVICE).stacks[PamType.ACCOUNT]
        result = simulate(stack, _answer("acct")).result if stack else PamCode.PERM_DENIED
        [theirs] = libpam_results(folder, SERVICE, ["pam_acct_mgmt"])
        assert result == theirs
        return theirs
    finally:
        shutil.rmtree(folder)


@RANDOM
@given(st.lists(ACCOUNT_LINES, max_size=5), st.lists(ACCOUNT_LINES, max_size=4), st.integers(0, 5))
def test_random_account_stacks_are_played_as_libpam_plays_them(
    top: list[str], shared: list[str], place: int
) -> None:
    lines = [*top[:place], "account include FOLDER/one", *top[place:]]
    agree_on_accounts({SERVICE: "\n".join(lines) + "\n", "one": "\n".join(shared) + "\n", "other": ""})


SHARED = {
    "Debian": "account [success=1 new_authtok_reqd=done default=ignore] UNIX\n"
    "account requisite pam_deny.so\naccount required pam_permit.so\n",
    "Red Hat": "account required UNIX\naccount sufficient pam_permit.so\naccount required pam_permit.so\n",
}
PASSES = (PamCode.SUCCESS, PamCode.NEW_AUTHTOK_REQD)


@pytest.mark.parametrize(
    "unix", ["success", "new_authtok_reqd", "acct_expired", "perm_denied", "authtok_expired"]
)
@pytest.mark.parametrize("shared", SHARED)
def test_libpam_itself_lets_nobody_past_a_denial_in_the_file_that_setup_writes(
    shared: str, unix: str
) -> None:
    """The modules of the edited file are played by pam_debug: an expired password does not skip ours (fact 80)."""
    stock = "account required pam_nologin.so\n@include one\n"
    files = PamFiles(
        [Path("/pam.d")],
        instead={
            Path("/pam.d/sshd"): f"auth requisite pam_unix.so\n{stock}",
            Path("/pam.d/one"): SHARED[shared].replace("UNIX", "pam_unix.so"),
        },
    )
    text = with_us(Path("/pam.d/sshd"), f"auth requisite pam_unix.so\n{stock}", files, "quiet")
    for ours in ("success", "ignore", "perm_denied", "abort", "module_unknown"):
        played = text.replace("pam_nologin.so", "pam_debug.so acct=ignore").replace(
            "@include one", "@include FOLDER/one"
        )
        played = played.replace("pam_unix.so", f"pam_debug.so acct={unix}")
        played = played.replace("-account", "account").replace("pam_sss.so", "pam_debug.so acct=user_unknown")
        played = played.replace("pam_iampass.so", f"pam_debug.so acct={ours}")
        unix_line = f"pam_debug.so acct={unix}"
        result = agree_on_accounts(
            {SERVICE: played, "one": SHARED[shared].replace("UNIX", unix_line), "other": ""}
        )
        lets_in = ours in ("success", "ignore") and unix in ("success", "new_authtok_reqd")
        assert (result in PASSES) is lets_in


PERMIT = "auth required pam_permit.so"
OF_RED_HAT = "auth sufficient PASSWORD\nauth required pam_deny.so\n"
#: The lines ahead of ours; whether ours is called, and the stack passes, with the right password and with a wrong one.
AHEAD = {
    "required": ("auth required PASSWORD", (True, True), (True, False)),
    "requisite": ("auth requisite PASSWORD", (True, True), (False, False)),
    "jumps": ("auth [success=ok default=die] PASSWORD", (True, True), (False, False)),
    "include": ("auth include FOLDER/one", (False, True), (True, False)),
    "substack": ("auth substack FOLDER/one", (True, True), (True, False)),
}


@pytest.mark.parametrize("how", AHEAD)
def test_libpam_calls_what_follows_a_password_or_not(how: str, tmp_path: Path) -> None:
    """After a wrong password that is `required` a phone would ring; behind `include` of Red Hat's only then."""
    ahead, *expected = AHEAD[how]
    called = tmp_path / "called"
    seen = []
    for password in ("pam_debug.so auth=success", "pam_debug.so auth=auth_err"):
        ours = f"auth required pam_exec.so quiet /usr/bin/touch {called}"
        files = {SERVICE: f"{ahead}\n{ours}\n{PERMIT}\n", "one": OF_RED_HAT, "other": ""}
        write(tmp_path, {name: text.replace("PASSWORD", password) for name, text in files.items()})
        [code] = libpam_results(tmp_path, SERVICE, ["pam_authenticate"])
        seen.append((called.exists(), code == PamCode.SUCCESS))
        called.unlink(missing_ok=True)
    assert seen == expected


@pytest.mark.parametrize(
    ("control", "passes"), [("required", False), ("optional", True), ("[default=ignore]", True)]
)
def test_libpam_lets_a_denial_pass_unless_the_line_is_required(
    control: str, passes: bool, tmp_path: Path
) -> None:
    for denial in ("maxtries", "abort"):
        stack = f"auth requisite pam_debug.so\nauth {control} pam_debug.so auth={denial}\n{PERMIT}\n"
        write(tmp_path, {SERVICE: stack, "other": ""})
        [code] = libpam_results(tmp_path, SERVICE, ["pam_authenticate"])
        assert (code == PamCode.SUCCESS) is passes
