"""The kinds of findings, and the page that is made of them."""

from __future__ import annotations

import ast
import inspect
import re
import shlex

import pytest

from pam_iampass.check.catalogue import KINDS, SECTIONS, finding
from pam_iampass.check.report import merged
from pam_iampass.errors import Problem, Severity
from tests.support.installation import ROOT
from tools.docs import findings_reference


def test_the_page_is_what_the_catalogue_says() -> None:
    assert (ROOT / "docs/reference/findings.md").read_text("utf-8") == findings_reference.page()
    assert (ROOT / "docs/reference/gateway-findings.md").read_text(
        "utf-8"
    ) == findings_reference.gateway_page()


def test_no_id_stands_twice() -> None:
    assert len(KINDS) == sum(len(kinds) for kinds in SECTIONS.values())


def test_every_kind_is_used_in_the_code() -> None:
    others = ("pam_iampass/pam/services.py", "pam_iampass/config/user_table.py")
    files = [*(ROOT / "pam_iampass/check").glob("*.py"), *map(ROOT.joinpath, others)]
    code = "".join(file.read_text("utf-8") for file in files if file.name != "catalogue.py")
    assert [kind for kind in KINDS if f'"{kind}"' not in code] == []


def test_every_kind_that_a_problem_has_is_in_the_catalogue() -> None:
    """`check` looks it up there."""
    place = list(inspect.signature(Problem).parameters).index("kind")
    kinds = {
        given.value
        for file in (ROOT / "pam_iampass").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Problem"
        for given in (*call.args[place:][:1], *(one.value for one in call.keywords if one.arg == "kind"))
        if isinstance(given, ast.Constant)
    }
    assert {"service-off", "switched-off", "sshd-grace-short"} <= kinds <= set(KINDS)


def test_every_kind_of_finding_is_brought_about_in_a_test() -> None:
    tests = ROOT / "tests"
    breakages = next(
        node.value
        for node in ast.parse((tests / "system/test_check.py").read_text("utf-8")).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "BREAKAGES"
    )
    assert isinstance(breakages, ast.Dict)
    broken = {ast.literal_eval(key) for key in breakages.keys if key}
    elsewhere = [*(tests / "unit/check").glob("test_*.py"), *(tests / "vm/selinux").glob("test_*.py")]
    elsewhere += [tests / "system/setuid/test_ways_in.py", tests / "system/setup/test_removal.py"]
    elsewhere += [tests / "gateway/test_lockouts_on_a_host.py", tests / "system/test_held_up.py"]
    elsewhere.append(tests / "system/setup/test_codes.py")
    told = "".join(file.read_text("utf-8") for file in elsewhere if file.stem != "test_catalogue")
    assert broken <= set(KINDS)
    assert [kind for kind in set(KINDS) - broken if not re.search(rf"[\[\"]{kind}[\]\"]", told)] == []


def test_titles_are_lines_and_remedies_say_what_to_do() -> None:
    for kind in KINDS.values():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", kind.id)
        assert len(kind.title) <= 100
        assert not kind.title.endswith(".")
        assert kind.meaning.endswith(".") or not kind.meaning
        assert not kind.remedy.endswith(".")


def test_what_is_the_same_but_for_its_subject_is_reported_once_and_the_worst_comes_first() -> None:
    note, error = "sshd-limits", "agent-off"
    found = merged(
        [
            finding(note, "one", "evidence", what="is low", remedy="more"),
            finding(error, "two", "evidence", what="is open", remedy="close it"),
            finding(note, "three", "evidence", what="is low", remedy="more"),
            finding(note, "one", "evidence", what="is low", remedy="more"),
        ]
    )
    assert [(one.severity, one.key) for one in found] == [
        (Severity.ERROR, "two"),
        (Severity.NOTE, "one, three"),
    ]


def test_braces_in_what_a_file_says_are_text() -> None:
    found = finding("configuration-error", "x", "{0}", what="{path}", remedy="{}")
    assert (found.what[-6:], found.evidence, found.remedy) == ("{path}", "{0}", "{}")


@pytest.mark.parametrize("name", ["alice", "a b", "x;reboot", "$(reboot)", "a'b"])
def test_a_name_is_one_word_of_the_command(name: str) -> None:
    """Remedies are pasted into a root shell, and hold names that a directory has made up."""
    found = finding("user-bypassed", "users", "", name=name, service="sshd")
    assert shlex.split(found.remedy.partition("otherwise: ")[2])[3:] == [name]
    assert name in found.what
