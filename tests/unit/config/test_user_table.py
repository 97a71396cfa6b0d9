"""The user table: found by name alone, or a reason why not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pam_iampass.config.user_table import Entry, TableReport, UserTable, WrongOwner, check, file_name, user_of
from pam_iampass.config.value_types import name_error
from pam_iampass.errors import ConfigurationError, Severity
from tests.support.folders import OWNER, put
from tests.support.table_folder import TableFolder

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/", exclude_categories=["Cc"]), min_size=1)


class Table(TableFolder):
    """A table that is read and checked."""

    @property
    def report(self) -> TableReport:
        return check(self.users, owner=OWNER)

    def own(self, user: str, text: str) -> Path:
        """Write the user's own file."""
        self.folder.mkdir(exist_ok=True)
        return put(self.folder / file_name(user), text)

    def problems_for(self, user: str) -> list[str]:
        """The problems that keep the user's entry from being found, without the folder in front."""
        with pytest.raises(ConfigurationError) as caught:
            self.table.find(user)
        assert caught.value.diagnostics()
        return [str(problem).replace(f"{self.root}/", "", 1) for problem in caught.value.problems]

    def problems(self) -> list[str]:
        """All problems, without the folder in front."""
        return [str(problem).replace(f"{self.root}/", "", 1) for problem in self.report.problems]


@pytest.fixture
def table(own_folder: Path) -> Table:
    return Table(own_folder)


# Accounts that act for a person

FAULTS = {
    "claude: {acts_for: bob}": '"bob" is not in the user table',
    "claude: {acts_for: claude}": "names the account itself",
    "robot: {acts_for: alice}\nclaude: {acts_for: robot}": '"robot" itself acts for "alice"',
    "bob: {keys: []}\nclaude: {acts_for: bob}": '"bob" has no token in the user table',
    "claude: {acts_for: alice, token: c}": "stands beside a token, methods or keys: only the owner's phone approves "
    "for this account",
    "claude: {acts_for: alice, methods: []}": "stands beside a token, methods or keys: only the owner's phone approves "
    "for this account",
}


def test_an_account_acts_for_a_user_of_the_table(table: Table) -> None:
    put(table.users, "alice: t\nclaude: {acts_for: alice}\n")
    table.own("robot", "robot: {acts_for: alice}")
    assert table.problems() == []
    assert [table.table.owner_of(name) for name in ("alice", "claude", "robot", "bob")] == [
        *(None, "alice", "alice", None)
    ]
    assert table.find("claude") == Entry(None, acts_for="alice")


@pytest.mark.parametrize(("text", "fault"), FAULTS.items())
def test_one_that_cannot_act_for_whom_it_names_is_an_error_of_its_line_and_of_nobody_else(
    table: Table, text: str, fault: str
) -> None:
    put(table.users, f"alice: t\n{text}\n")
    place = f"users.yaml:{len(text.splitlines()) + 1}: claude.acts_for: {fault}"
    assert table.problems() == [place]
    with pytest.raises(WrongOwner) as caught:
        table.table.owner_of("claude")
    assert [str(problem).replace(f"{table.root}/", "", 1) for problem in caught.value.problems] == [place]
    assert table.find("alice") == Entry("t")


def test_one_in_a_file_of_its_own_names_that_file(table: Table) -> None:
    put(table.users, "alice: t\n")
    table.own("claude", "\nclaude: {acts_for: bob}")
    with pytest.raises(WrongOwner, match=r"users\.d/claude\.yaml:2: claude\.acts_for: "):
        table.table.owner_of("claude")


def test_a_host_of_a_gateway_knows_none_yet(table: Table) -> None:
    put(table.users, "alice: t\nclaude: {acts_for: alice}\n")
    (problem,) = check(table.users, owner=OWNER, joined=True).problems
    assert "cannot be used on a host that has joined a gateway" in str(problem)


@pytest.mark.parametrize("value", ["[alice]", "''", "al/ice"])
def test_an_owner_is_a_name(table: Table, value: str) -> None:
    put(table.users, f"claude: {{acts_for: {value}}}\n")
    assert "users.yaml:1: claude.acts_for: " in table.problems_for("claude")[0]


# What is found


def test_a_user_may_have_methods(table: Table) -> None:
    put(
        table.users,
        "bob: {token: t, methods: [facial, device]}\neve: {token: e, methods: []}\n",
    )
    assert table.find("bob") == Entry("t", ("facial", "device"))
    assert table.find("eve") == Entry("e", ())


def test_the_users_own_file_is_read_first(table: Table) -> None:
    put(table.users, "alice: old\nbob: b\n")
    table.own("alice", "alice: new")
    assert table.find("alice") == Entry("new")
    assert table.find("bob") == Entry("b")


@pytest.mark.parametrize("content", ["", "# nobody yet\n", "null\n", "{}\n"])
def test_a_table_may_be_empty(table: Table, content: str) -> None:
    put(table.users, content)
    assert table.find("alice") is None
    assert not table.problems()


def test_a_missing_table_denies_all_who_have_no_file_of_their_own(table: Table) -> None:
    table.own("alice", "alice: token")
    assert table.find("alice") == Entry("token")
    assert table.problems_for("bob") == ["users.yaml: does not exist"]
    assert table.problems() == ["users.yaml: does not exist"]


@pytest.mark.parametrize(
    "name", ["", "a/b", "/etc/passwd", "../users", "a\0b", "a\nb", "a\x7f", "a\x85", "\udcff", "x" * 257]
)
def test_an_impossible_name_is_in_no_table_and_no_file_is_opened_for_it(table: Table, name: str) -> None:
    assert table.find(name) is None  # although there is no table at all


@pytest.mark.parametrize(
    "name", [".", "..", ".hidden", "%2e", "%", "a b", "ü", "jo@example.com", "-rf", "DOMAIN\\jo", "😀"]
)
def test_a_name_with_unusual_characters_has_a_file_of_its_own(table: Table, name: str) -> None:
    put(table.users, "{}\n")
    file = table.own(name, f"'{name}': token")
    assert file.parent == table.folder
    assert not file.name.startswith(".")
    assert table.find(name) == Entry("token")
    assert not table.problems()


def test_a_name_that_is_too_long_for_a_file_is_found_in_the_table(table: Table) -> None:
    name = "ü" * 100
    table.own("alice", "alice: a")
    put(table.users, f"{name}: token\n")
    assert table.find(name) == Entry("token")


# What changes


def test_a_change_is_seen_at_once(table: Table) -> None:
    put(table.users, "alice: one\n")
    same = table.table
    for token in ("one", "two", "six", "ten"):
        put(
            table.users, f"alice: {token}\n"
        )  # of the same length, within one tick of the file system's clock
        assert same.find("alice") == Entry(token)


def later() -> float:
    """A clock by which all files were changed a while ago."""
    return time.time() + 60


def test_a_table_that_did_not_change_is_read_once(table: Table) -> None:
    put(table.users, "".join(f"user{number}: token{number}\n" for number in range(20_000)))
    same = UserTable(table.users, owner=OWNER, clock=later)
    first = cpu(lambda: same.find("user7"))
    assert min(cpu(lambda: same.find("user19999")) for _ in range(3)) < first / 10
    put(table.users, "user7: other\n")
    assert same.find("user7") == Entry("other")


def test_a_broken_table_is_reported_again_and_again_until_it_is_mended(table: Table) -> None:
    put(table.users, "alice: ''\n")
    same = UserTable(table.users, owner=OWNER, clock=later)
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            same.find("alice")
    put(table.users, "alice: token\n")
    assert same.find("alice") == Entry("token")


def test_a_table_that_becomes_writable_for_others_is_believed_no_more(table: Table) -> None:
    put(table.users, "alice: token\n")
    same = UserTable(table.users, owner=OWNER, clock=later)
    assert same.find("alice")
    table.users.chmod(0o666)
    with pytest.raises(ConfigurationError):
        same.find("alice")
    table.users.chmod(0o644)
    table.root.chmod(0o777)
    with pytest.raises(ConfigurationError):
        same.find("alice")


# What is wrong


WRONG = [
    ("alice:", "1: alice: the token is empty"),
    ("alice: ''", "1: alice: the token is empty"),
    ("alice: '..'", "1: alice: the token would change the URL of the request"),
    ('alice: "a\\nb"', "1: alice: the token contains a control character"),
    ("alice: " + "t" * 257, "1: alice: the token has 257 characters; the maximum is 256"),
    ("alice: [a]", "1: alice: is a list, not a mapping"),
    ("alice: {methods: [facial]}", "1: alice: has neither a token nor keys"),
    ("alice: {token: t, methods: facial}", "1: alice.methods: is a text, not a list"),
    ("alice: {token: t, methods: [voice]}", '1: alice.methods: "voice" is not a method of IAMPASS'),
    ("alice: {token: t, method: [facial]}", "1: alice: has an unknown key"),
    ("alice: {token: t, token: u}", "1: alice.token: the key is duplicate (first in line 1)"),
    ("alice", "1: the file is a text, not a mapping"),
    ("alice: t\nalice: u", "2: alice: the key is duplicate (first in line 1)"),
    (
        "alice: 't",
        "1: the file is not valid YAML: while scanning a quoted scalar, found unexpected end of stream",
    ),
]


@pytest.mark.parametrize(("text", "problem"), WRONG, ids=[text[:30] for text, _ in WRONG])
def test_what_is_wrong_with_the_table_denies_everybody_in_it(table: Table, text: str, problem: str) -> None:
    put(table.users, text)
    assert table.problems_for("alice") == [f"users.yaml:{problem}"]
    assert table.problems_for("bob") == table.problems_for("alice") == table.problems()


@pytest.mark.parametrize(("text", "problem"), WRONG, ids=[text[:30] for text, _ in WRONG])
def test_what_is_wrong_with_a_file_of_ones_own_denies_that_one_user(
    table: Table, text: str, problem: str
) -> None:
    table.own("alice", text)
    put(table.users, "alice: token\nbob: token\n")
    assert table.problems_for("alice") == [f"users.d/alice.yaml:{problem}"]
    assert table.find("bob") == Entry("token")


@pytest.mark.parametrize(
    ("text", "line"),
    [("bob: t", ":1"), ("alice: t\nbob: t", ":2"), ("Alice: t", ":1"), ("", ""), ("{}", "")],
)
def test_a_file_of_ones_own_speaks_of_that_user_alone(table: Table, text: str, line: str) -> None:
    table.own("alice", text)
    assert table.problems_for("alice") == [
        f'users.d/alice.yaml{line}: alice: the file must hold "alice" alone'
    ]
    assert table.problems()[0] == table.problems_for("alice")[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("'': t", '1: the user name "" is empty'),
        ("a/b: t", '1: a/b: the user name "a/b" contains a slash'),
        ('"a\\tb": t', '1: a\\x09b: the user name "a\\x09b" contains a control character'),
        (
            "? " + "n" * 257 + "\n: t",
            f'1: {"n" * 257}: the user name "{"n" * 79}…" has 257 characters; the maximum is 256',
        ),
        ("? [a]\n: t", "1: a list is not allowed as a key"),
        ("<<: t", "1: the merge key << is not supported"),
    ],
)
def test_an_impossible_user_name_is_an_error(table: Table, text: str, problem: str) -> None:
    put(table.users, text)
    assert table.problems_for("bob") == [f"users.yaml:{problem}"]


def test_a_hundred_problems_are_all_kept_but_not_all_put_into_one_line(table: Table) -> None:
    put(table.users, "".join(f"user{number}: .\n" for number in range(100)))
    with pytest.raises(ConfigurationError) as caught:
        table.find("alice")
    assert len(caught.value.problems) == 100
    assert str(caught.value).endswith("; and 95 more")
    assert caught.value.diagnostics().count("\n") == 199


def test_a_file_of_ones_own_that_cannot_be_trusted_is_an_error(table: Table) -> None:
    put(table.users, "alice: token\n")
    table.own("alice", "alice: token").chmod(0o666)
    assert table.problems_for("alice") == [
        "users.d/alice.yaml: alice: is writable by users other than root (mode 0666)"
    ]
    assert table.problems()[0] == table.problems_for("alice")[0]


def test_a_folder_that_cannot_be_trusted_is_an_error_for_everybody(table: Table) -> None:
    put(table.users, "bob: token\n")
    table.folder.mkdir()
    table.folder.chmod(0o777)
    (problem,) = table.problems_for("bob")
    assert problem.endswith("users.d is a folder that users other than root can write (mode 0777)")
    assert table.problems() == ["users.d: is a folder that users other than root can write (mode 0777)"]


def test_a_folder_that_cannot_be_examined_is_an_error_for_everybody(own_folder: Path) -> None:
    with pytest.raises(ConfigurationError):
        UserTable(own_folder / ("d" * 300) / "users.yaml", owner=OWNER).find("alice")


# What check tells besides


def test_a_file_that_nobody_has_is_reported_with_its_right_name(table: Table) -> None:
    put(table.users, "")
    table.folder.mkdir()
    for name in (
        "jo@example.com.yaml",
        "README",
        "%61.yaml",
        "%zz.yaml",
        ".alice.yaml.swp",
    ):
        put(table.folder / name)
    problems = table.report.problems
    assert [problem.file and problem.file.name for problem in problems] == [
        "%61.yaml",
        "%zz.yaml",
        "README",
        "jo@example.com.yaml",
    ]
    assert all(problem.severity is Severity.WARNING for problem in problems)
    assert problems[2].remedy == "move it to another folder"
    assert problems[3].remedy == 'for the user "jo@example.com" name it jo%40example.com.yaml'


def test_a_user_in_both_places_is_a_warning(table: Table) -> None:
    table.own("alice", "alice: a")
    put(table.users, "bob: b\nalice: c\n")
    (problem,) = table.report.problems
    assert (problem.file, problem.line, problem.severity) == (table.users, 2, Severity.WARNING)
    assert "is not read" in problem.what


def test_two_users_with_one_token_are_a_warning(table: Table) -> None:
    put(table.users, "alice: same\nbob: other\neve: {token: same, methods: [facial]}\n")
    (problem,) = table.report.problems
    assert (problem.key, problem.line, problem.severity) == ("eve", 3, Severity.WARNING)
    assert 'the same token as "alice"' in problem.what


def test_the_whole_table_is_shown_as_a_look_up_finds_it(table: Table) -> None:
    own = table.own("alice", "alice: a")
    put(table.users, "alice: b\nbob: c\n")
    assert table.report.entries == {"alice": Entry("a"), "bob": Entry("c")}
    assert table.report.files == (own, table.users)


# File names


@given(NAMES)
def test_a_name_is_read_back_from_its_file_name(name: str) -> None:
    if name_error(name) is None:
        assert user_of(file_name(name)) == name


@given(st.text(st.characters(codec="utf-8")))
def test_a_file_name_is_plain_and_visible_and_no_path(name: str) -> None:
    encoded = file_name(name)
    assert encoded.endswith(".yaml")
    assert set(encoded) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.%")
    if name:
        assert encoded[0] != "."


@given(st.text() | st.from_regex(r"[a-z.%0-9A-F]{0,8}\.yaml", fullmatch=True))
def test_a_file_belongs_to_at_most_one_user(name: str) -> None:
    user = user_of(name)
    assert user is None or file_name(user) == name


def test_the_documented_examples_of_file_names_hold() -> None:
    assert file_name("jo@example.com") == "jo%40example.com.yaml"
    assert file_name(".x") == "%2Ex.yaml"
    assert file_name("Ü") == "%C3%9C.yaml"


# Tokens


@given(st.dictionaries(NAMES, st.text(max_size=8) | st.lists(st.text(max_size=3))))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_whatever_the_table_holds_is_found_or_a_configuration_error(
    table: Table, content: dict[str, object]
) -> None:
    put(table.users, json.dumps(content))
    same = table.table
    if any(problem.severity is Severity.ERROR for problem in table.report.problems):
        for name in [*content, "nobody"]:
            if name_error(name) is None:
                assert table.problems_for(name)
    else:
        assert {name: same.find(name) for name in content} == {
            name: Entry(str(content[name])) for name in content
        }


# Speed


def cpu(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


@pytest.mark.parametrize(
    "text",
    [
        'alice: "private-token\\x07"',
        "alice: private-token\nalice: private-token",
        "alice: *private-token",
        "alice: {token: private-token, methods: [facial, facial], x: private-token}",
        "alice: 'private-token",
        "alice: private-token: x",
    ],
)
def test_what_is_wrong_with_a_token_is_reported_without_the_token(table: Table, text: str) -> None:
    put(table.users, text)
    with pytest.raises(ConfigurationError) as caught:
        table.find("alice")
    assert "private" not in str(caught.value)
