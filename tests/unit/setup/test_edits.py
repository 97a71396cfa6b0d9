"""What our lines make of PAM files, as a simulation has it: who gets in, and whose phone rings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.check.catalogue import KINDS
from pam_iampass.errors import SetupRefused
from pam_iampass.outcome import PamCode
from pam_iampass.pam.lines import is_edited, marked, unedited
from pam_iampass.pam.modules import fixed_answer, is_ours, stem
from pam_iampass.pam.simulation import simulate
from pam_iampass.pam.stack import DEBIAN, Handler, PamFiles, PamType
from pam_iampass.setup import checks
from pam_iampass.setup.edits import with_us
from pam_iampass.setup.files import content_of
from pam_iampass.setup.plan import wanted
from tests.support.folders import put
from tests.unit.check.test_stacks import SYSTEM_AUTH
from tests.unit.setup.stage import COMMON, SSHD, SU, SUDO, Stage

PASSWORD_AUTH = (
    SYSTEM_AUTH
    + """\
account     required      pam_unix.so
account     sufficient    pam_localuser.so
account     sufficient    pam_usertype.so issystem
account     [default=bad success=ok user_unknown=ignore] pam_sss.so
account     required      pam_permit.so
password    required      pam_deny.so
session     optional      pam_keyinit.so revoke
-session    optional      pam_systemd.so
session     [success=1 default=ignore] pam_succeed_if.so service in crond quiet use_uid
session     required      pam_unix.so
"""
)
FAILLOCK = "auth required pam_faillock.so preauth silent\n" + PASSWORD_AUTH.replace(
    "auth        required                                     pam_deny.so",
    "auth required pam_faillock.so authfail\nauth required pam_deny.so",
)
RED_HAT = {
    "system-auth": PASSWORD_AUTH,
    "password-auth": PASSWORD_AUTH,
    "postlogin": "session optional pam_umask.so silent\n",
    "sshd": """\
auth       substack     password-auth
auth       include      postlogin
account    required     pam_sepermit.so
account    required     pam_nologin.so
account    include      password-auth
password   include      password-auth
session    required     pam_selinux.so close
session    required     pam_loginuid.so
session    include      password-auth
session    include      postlogin
""",
    "sudo": "".join(f"{kind} include system-auth\n" for kind in ("auth", "account", "password", "session")),
    "sudo-i": "".join(f"{kind} include sudo\n" for kind in ("auth", "account", "password", "session")),
    "su": """\
auth            required        pam_env.so
auth            sufficient      pam_rootok.so
auth            substack        system-auth
auth            include         postlogin
account         sufficient      pam_succeed_if.so uid = 0 use_uid quiet
account         include         system-auth
session         include         system-auth
""",
}
SYSTEMS = ("debian", "red hat", "red hat with faillock")
#: What modules say where a test says nothing else.
USUAL = {
    **dict.fromkeys(
        ("pam_unix", "pam_localuser", "pam_usertype", "pam_access", "pam_wheel"), PamCode.SUCCESS
    ),
    **{"pam_sepermit": PamCode.SUCCESS, "pam_sss": PamCode.USER_UNKNOWN},
    **dict.fromkeys(("pam_rootok", "pam_succeed_if"), PamCode.AUTH_ERR),
}
OTHERS = ("pam_iampass", "pam_deny", "pam_permit", "pam_env", "pam_faildelay", "pam_nologin", "pam_faillock")


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, stage: Stage) -> Stage:
    if request.param != "debian":
        for file in (*stage.paths.pam.iterdir(), stage.paths.root / "etc/debian_version"):
            file.unlink()
        for name, text in RED_HAT.items():
            put(stage.paths.pam / name, text)
        if "faillock" in request.param:
            for name in ("system-auth", "password-auth"):
                put(stage.paths.pam / name, FAILLOCK)
    return stage


def modules_in(stage: Stage) -> Path:
    """A folder with the modules that these files name."""
    modules = stage.paths.root / "security"
    modules.mkdir(exist_ok=True)
    for module in (*USUAL, *OTHERS):
        (modules / f"{module}.so").touch()
    return modules


def findings(stage: Stage, name: str, choice: str = "") -> list[str]:
    """What setup's simulation says of a service."""
    found = checks.check_stacks(wanted(name, choice, stage.paths), stage.paths, [modules_in(stage)])
    return [result.what for result in found if result.is_error]


def login(
    stage: Stage, name: str, kind: PamType, ours: int = PamCode.SUCCESS, **answers: int
) -> tuple[int, bool]:
    """The result of a stack, and whether the phone rang. `answers` are those of modules, the others are content."""
    files = stage.paths.pam_files()
    stack = files.service(name).stacks[kind]

    def answer(handler: Handler) -> int:
        if is_ours(handler):
            return ours
        said = {**USUAL, **answers}.get(stem(handler))
        return fixed_answer(handler) if said is None else said

    run = simulate(stack, answer, dialect=files.dialect)
    return run.result, any(map(is_ours, run.asked))


OK, AUTH_ERR, IGNORE, ABORT = PamCode.SUCCESS, PamCode.AUTH_ERR, PamCode.IGNORE, PamCode.ABORT
EVERY = [
    ("sshd", "quiet"),
    ("sshd", "codes"),
    ("sshd", "key"),
    ("sshd", "password"),
    ("sudo", ""),
    ("sudo", "always"),
    ("su", ""),
]


@pytest.mark.parametrize(("name", "choice"), EVERY)
def test_every_way_in_leads_to_the_phone(system: Stage, name: str, choice: str) -> None:
    before = system.files()
    assert findings(system, name, choice) == []
    system.set_up(name, choice)
    both = name == "sshd" or choice == "always"
    for kind in (PamType.AUTH, PamType.ACCOUNT)[choice in ("quiet", "codes") :][: 2 if both else 1]:
        assert login(system, name, kind) == (OK, True)
        assert login(system, name, kind, ours=IGNORE) == (OK, True), "an exempt user"
        assert login(system, name, kind, ours=ABORT)[0] != OK
    system.undo()
    assert system.files() == before


@pytest.mark.parametrize(("name", "choice"), [("sshd", "password"), ("sudo", ""), ("su", "")])
def test_a_wrong_password_rings_no_phone(system: Stage, name: str, choice: str) -> None:
    system.set_up(name, choice)
    for code in (AUTH_ERR, PamCode.USER_UNKNOWN, PamCode.MAXTRIES):
        result, rang = login(system, name, PamType.AUTH, pam_unix=code)
        assert (result == OK, rang) == (False, False)


@pytest.mark.parametrize("name", ["sshd", "sudo", "su"])
def test_an_account_that_faillock_has_locked_rings_no_phone(system: Stage, name: str) -> None:
    system.set_up(name, "password" if name == "sshd" else "")
    if "faillock" in system.text(
        "system-auth" if (system.paths.pam / "system-auth").exists() else "common-auth"
    ):
        result, rang = login(system, name, PamType.AUTH, pam_faillock=AUTH_ERR)
        assert (result == OK, rang) == (False, False)


@pytest.mark.parametrize("ours", [PamCode.MAXTRIES, PamCode.MODULE_UNKNOWN, PamCode.AUTHINFO_UNAVAIL])
def test_the_line_that_takes_a_code_ends_the_auth_stack_unless_sshd_could_not_ask(
    system: Stage, ours: int
) -> None:
    """No password gets in after a code; where sshd cannot ask for one, passwords are checked as before."""
    system.set_up("sshd", "codes")
    assert login(system, "sshd", PamType.AUTH) == (OK, False)
    assert login(system, "sshd", PamType.AUTH, pam_unix=AUTH_ERR)[0] != OK
    result, rang = login(system, "sshd", PamType.AUTH, pam_iampass=ours)
    assert (result == OK, rang) == (False, False)
    stack = system.paths.pam_files().service("sshd").stacks[PamType.AUTH]
    assert stack[0].arguments == ("codes",)


def test_arguments_that_a_person_has_added_stay_and_the_line_for_codes_is_written_once(stage: Stage) -> None:
    stage.set_up("sshd", "codes")
    text = stage.text("sshd").replace("pam_iampass.so codes", "pam_iampass.so codes debug")
    put(
        stage.paths.pam / "sshd",
        text.replace("requisite   pam_iampass.so  #", "requisite   pam_iampass.so rescue=bob  #"),
    )
    for choice, asks in (("codes", "codes debug"), ("quiet", "")):
        stage.set_up("sshd", choice)
        assert ("pam_iampass.so " + asks in stage.text("sshd")) or not asks
        assert stage.text("sshd").count(" codes") == bool(asks)
        assert "pam_iampass.so rescue=bob" in stage.text("sshd")


@pytest.mark.parametrize("choice", ["quiet", "codes", "key", "password"])
def test_an_expired_password_still_leads_to_the_phone(system: Stage, choice: str) -> None:
    """sshd lets in for it, to change the password: the phone must have been asked."""
    system.set_up("sshd", choice)
    result, rang = login(system, "sshd", PamType.ACCOUNT, pam_unix=PamCode.NEW_AUTHTOK_REQD)
    assert (result, rang) == (PamCode.NEW_AUTHTOK_REQD, True)
    for denied in (PamCode.PERM_DENIED, PamCode.MAXTRIES):
        result, rang = login(system, "sshd", PamType.ACCOUNT, ours=denied, pam_unix=PamCode.NEW_AUTHTOK_REQD)
        assert result not in (OK, PamCode.NEW_AUTHTOK_REQD)


@pytest.mark.parametrize("code", [PamCode.NEW_AUTHTOK_REQD, PamCode.AUTHTOK_EXPIRED])
@pytest.mark.parametrize("ahead", ["", "account required pam_access.so\n", "account required pam_otp.so\n"])
def test_a_sudo_that_asks_for_every_command_asks_before_a_password_has_expired(
    system: Stage, code: int, ahead: str
) -> None:
    """sudo runs what needs no password after either code."""
    (modules_in(system) / "pam_otp.so").touch()
    put(system.paths.pam / "sudo", ahead + system.text("sudo"))
    assert findings(system, "sudo", "always") == []
    system.set_up("sudo", "always")
    for name in ("sudo", *(["sudo-i"] if (system.paths.pam / "sudo-i").exists() else [])):
        for answers in ({"pam_unix": code, "pam_otp": OK}, {"pam_otp": code}):
            assert login(system, name, PamType.ACCOUNT, **answers)[1]
            result, rang = login(system, name, PamType.ACCOUNT, PamCode.PERM_DENIED, **answers)
            assert (result, rang) == (PamCode.PERM_DENIED, True)
    text = system.text("sudo")
    system.set_up("sudo", "always")
    assert system.text("sudo") == text
    assert text.count("pam_iampass.so always") == 1


REFUSALS: Mapping[str, Mapping[str, int]] = {
    "an expired account": {"pam_unix": PamCode.ACCT_EXPIRED},
    "a locked account": {"pam_unix": PamCode.PERM_DENIED},
    "a password that may not be changed any more": {"pam_unix": PamCode.AUTHTOK_EXPIRED},
    "expired, as sssd says": {"pam_unix": PamCode.USER_UNKNOWN, "pam_sss": PamCode.ACCT_EXPIRED},
    "denied by sssd": {"pam_unix": PamCode.USER_UNKNOWN, "pam_sss": PamCode.PERM_DENIED},
    "nologin": {"pam_nologin": PamCode.AUTH_ERR},
    "pam_access": {"pam_access": PamCode.PERM_DENIED},
}


@pytest.mark.parametrize("place", ["before", "after"])
def test_what_is_refused_anyway_rings_no_phone(system: Stage, place: str) -> None:
    """Also where the administrator has written pam_access after the shared file."""
    access = "account required pam_access.so\n"
    text = system.text("sshd")
    put(system.paths.pam / "sshd", access + text if place == "before" else text + access)
    before = system.text("sshd")
    assert findings(system, "sshd", "quiet") == []
    system.set_up("sshd", "quiet")
    assert login(system, "sshd", PamType.ACCOUNT) == (OK, True)
    for refusal, answers in REFUSALS.items():
        result, rang = login(system, "sshd", PamType.ACCOUNT, **answers)
        assert (result in (OK, PamCode.NEW_AUTHTOK_REQD), rang) == (False, False), refusal
    system.undo()
    assert system.text("sshd") == before


@pytest.mark.parametrize("module", ["pam_wheel.so", "pam_succeed_if.so uid >= 1000", "pam_access.so"])
def test_lines_ahead_that_refuse_end_the_login(system: Stage, module: str) -> None:
    text = f"auth\trequired  {module} # [1]\n" + system.text("sudo")
    put(system.paths.pam / "sudo", text)
    assert findings(system, "sudo") == []
    system.set_up("sudo")
    assert f"#pam-iampass: auth\trequired  {module} # [1]\n" in system.text("sudo")
    name = module.split(".")[0]
    assert login(system, "sudo", PamType.AUTH, **{name: OK}) == (OK, True)
    result, rang = login(system, "sudo", PamType.AUTH, **{name: AUTH_ERR})
    assert (result == OK, rang) == (False, False)
    system.undo()
    assert system.text("sudo") == text


def test_root_becomes_another_user_without_the_phone(system: Stage) -> None:
    system.set_up("su")
    assert login(system, "su", PamType.AUTH, pam_rootok=OK, ours=ABORT) == (OK, False)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("auth sufficient pam_wheel.so trust", "A wrong password gets in"),
        ("auth sufficient pam_succeed_if.so user ingroup nopasswdlogin", "su:"),
        ("auth [success=done default=ignore] pam_unix.so", "su:"),
    ],
)
def test_a_line_that_leads_past_the_phone_is_refused_with_its_place(
    system: Stage, line: str, told: str
) -> None:
    put(system.paths.pam / "su", f"{line}\n" + system.text("su"))
    found = findings(system, "su")
    assert any(told in what for what in found), found
    assert any("pam.d/su" in what for what in found)


def test_a_shared_file_that_ends_with_sufficient_is_refused_where_it_cannot_be_written_out(
    stage: Stage,
) -> None:
    put(stage.paths.pam / "common-auth", "auth sufficient pam_unix.so\nauth required pam_deny.so\n")
    assert any(KINDS["stack-skipped"].title in what for what in findings(stage, "sudo"))


def test_a_wrong_password_that_goes_on_in_the_shared_file_is_refused(stage: Stage) -> None:
    put(stage.paths.pam / "common-auth", "auth required pam_unix.so\nauth required pam_permit.so\n")
    assert any(KINDS["stack-wrong-rings"].title in what for what in findings(stage, "sudo"))


def test_a_password_in_the_file_itself_ends_the_login_if_it_is_wrong(stage: Stage) -> None:
    put(stage.paths.pam / "doas", "auth required pam_unix.so\naccount required pam_unix.so\n")
    assert findings(stage, "doas") == []
    stage.set_up("doas")
    assert login(stage, "doas", PamType.AUTH) == (OK, True)
    assert login(stage, "doas", PamType.AUTH, pam_unix=AUTH_ERR) == (AUTH_ERR, False)


def test_a_substack_in_what_would_be_written_out_is_refused(system: Stage) -> None:
    if not (system.paths.pam / "system-auth").exists():
        return
    put(system.paths.pam / "system-auth", "auth sufficient pam_unix.so\nauth substack password-auth\n")
    with pytest.raises(SetupRefused, match="system-auth:2: a substack cannot be written out"):
        system.plan("sudo")


def test_a_jump_over_a_substack_goes_on_leading_behind_it(stage: Stage) -> None:
    """As cockpit's and gdm's files have it: a substack counts as one line, and its lines are written out."""
    text = (
        "auth [success=2 default=ignore] pam_sss.so\nauth optional pam_env.so\nauth substack common-auth\n"
        "auth optional pam_group.so\naccount required pam_unix.so\n"
    )
    put(stage.paths.pam / "cockpit", text)
    assert findings(stage, "cockpit") == []
    stage.set_up("cockpit")
    assert "auth       [success=4 default=ignore] pam_sss.so  # pam-iampass\n" in stage.text("cockpit")
    assert login(stage, "cockpit", PamType.AUTH) == (OK, True)
    assert login(stage, "cockpit", PamType.AUTH, pam_unix=AUTH_ERR, pam_sss=OK) == (OK, True)
    assert login(stage, "cockpit", PamType.AUTH, pam_unix=AUTH_ERR, pam_sss=OK, ours=ABORT)[0] != OK
    assert login(stage, "cockpit", PamType.AUTH, pam_unix=AUTH_ERR) == (AUTH_ERR, False)
    stage.undo()
    assert stage.text("cockpit") == text


def test_the_session_line_comes_after_pam_systemd_or_last(stage: Stage) -> None:
    stage.set_up("sshd", "quiet")
    after = stage.text("sshd").split("@include common-session\n")[1]
    assert (
        after == "session    optional    pam_iampass.so  # pam-iampass\nsession    optional     pam_motd.so\n"
    )
    stage.set_up("sudo")
    assert stage.text("sudo").startswith(
        "session required pam_limits.so\nsession    optional    pam_iampass.so  # pam-iampass\n"
    )


def test_without_pam_systemd_the_session_line_is_ahead_of_a_file_of_the_user(stage: Stage) -> None:
    """It could forge the variable that carries the id of the session."""
    put(stage.paths.pam / "common-session", "session required pam_unix.so\n")
    put(stage.paths.pam / "sshd", f"{stage.text('sshd')}session required pam_env.so user_readenv=1\n")
    stage.set_up("sshd", "quiet")
    ours, environment = (
        stage.text("sshd").index(text) for text in ("optional    pam_iampass.so", "pam_env.so")
    )
    assert stage.text("sshd").index("@include common-session\n") < ours < environment


SESSIONS = {
    "shared": "@include common-session-noninteractive\n",
    "none": "",
    "jumps": "session [success=1 default=ignore] pam_succeed_if.so quiet\nsession required pam_limits.so\n",
    "jumps over pam_systemd": "session [success=1 default=ignore] pam_succeed_if.so quiet\n@include common-session\n",
    "ends": "session sufficient pam_succeed_if.so quiet\nsession required pam_limits.so\n",
}


@pytest.mark.parametrize("session", SESSIONS.values(), ids=list(SESSIONS))
def test_every_session_passes_our_line_and_ends_as_it_did(stage: Stage, session: str) -> None:
    """Of doas and sudo-rs too: without the line, the phone could not end a root shell."""
    shared = (
        "session [default=1] pam_permit.so\nsession requisite pam_deny.so\nsession required pam_unix.so\n"
    )
    put(stage.paths.pam / "common-session-noninteractive", shared)
    put(stage.paths.pam / "doas", f"@include common-auth\n@include common-account\n{session}")
    every = [{"pam_succeed_if": code, "pam_limits": OK, "pam_systemd": OK} for code in (OK, AUTH_ERR, IGNORE)]
    every += [{**answers, name: AUTH_ERR} for answers in every for name in ("pam_limits", "pam_systemd")]
    before = [login(stage, "doas", PamType.SESSION, IGNORE, **answers)[0] for answers in every]
    stage.set_up("doas")
    after = [login(stage, "doas", PamType.SESSION, IGNORE, **answers) for answers in every]
    assert [result for result, _ in after] == before
    assert all(asked for result, asked in after if result == OK)
    stage.undo()
    assert stage.text("doas").endswith(f"@include common-account\n{session}")


def test_a_session_line_that_every_service_has_is_not_written_twice(stage: Stage) -> None:
    put(stage.paths.pam / "other", f"{stage.text('other')}session optional pam_iampass.so\n")
    put(stage.paths.pam / "doas", "@include common-auth\n@include common-account\n")
    stage.set_up("doas")
    assert "session" not in stage.text("doas")


def test_a_key_leaves_account_and_session_of_an_included_file_in_force(stage: Stage) -> None:
    put(stage.paths.pam / "everything", SSHD)
    put(stage.paths.pam / "sshd", "@include everything\n")
    with pytest.raises(SetupRefused, match="sshd:1: the line includes other lines"):
        stage.plan("sshd", "key")


def test_a_line_on_several_lines_of_the_file_is_replaced_and_restored(stage: Stage) -> None:
    text = SUDO.replace(
        "@include common-auth", "auth required \\\n  pam_wheel.so \\\n  deny\n@include common-auth"
    )
    put(stage.paths.pam / "sudo", text)
    stage.set_up("sudo")
    assert "auth       requisite   pam_wheel.so  deny  # pam-iampass\n" in stage.text("sudo")
    assert login(stage, "sudo", PamType.AUTH, pam_wheel=AUTH_ERR) == (AUTH_ERR, False)
    stage.undo()
    assert stage.text("sudo") == text


PIECES = [
    *(*SSHD.splitlines(), *SU.splitlines(), *SUDO.splitlines()),
    *(
        "auth required pam_wheel.so",
        "account required \\",
        "  pam_access.so",
        "",
        "  # a comment \\",
        "\t",
        "\udcff",
    ),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pam.d")
    for name, text in COMMON.items():
        (folder / name).write_text(text)
    return folder


@given(
    st.lists(st.sampled_from(PIECES), max_size=12),
    st.sampled_from(["\n", ""]),
    st.sampled_from(["key", "password", ""]),
)
def test_whatever_is_in_a_file_it_is_restored_to_the_byte(
    shared: Path, pieces: list[str], end: str, way: str
) -> None:
    text = "\n".join(pieces) + end
    try:
        made = with_us(shared / "sshd", text, PamFiles([shared], DEBIAN), way)
    except SetupRefused:
        return
    assert is_edited(made)
    assert marked(made)
    assert content_of(unedited(made)) == content_of(text)
