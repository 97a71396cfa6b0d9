"""YAML with lines, and without surprises."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.config.yaml_document import MappingNode, Node, ScalarNode, SequenceNode, YamlDocument, parse

FILE = Path("/etc/iampass/file.yaml")


def read(text: str | bytes) -> YamlDocument:
    return parse(text if isinstance(text, bytes) else text.encode(), FILE)


def problems_in(text: str | bytes) -> list[str]:
    """The problems, without the file in front."""
    return [str(problem)[len(str(FILE)) + 1 :] for problem in read(text).problems]


def plain(node: Node | None) -> object:
    """The node as text, dicts and lists."""
    if isinstance(node, MappingNode):
        return {key.text: plain(value) for key, value in node.entries}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return node.text if node else None


def test_mappings_lists_and_texts_are_read_with_their_lines() -> None:
    document = read("a: 1\n\nb:\n  - x\n  - {c: 'd'}\n")
    assert plain(document.root) == {"a": "1", "b": ["x", {"c": "d"}]}
    assert isinstance(document.root, MappingNode)
    assert [key.line for key, _ in document.root.entries] == [1, 3]
    items = document.root.entries[1][1]
    assert isinstance(items, SequenceNode)
    assert [item.line for item in items.items] == [4, 5]


@pytest.mark.parametrize(
    "word", ["no", "null", "~", "0123", "1e3", "0x10", "true", "2001-01-01", ".inf", "="]
)
def test_scalars_stay_text_as_keys_and_as_values(word: str) -> None:
    assert plain(read(f"{word}: {word}").root) == {word: word}


@pytest.mark.parametrize(
    ("text", "is_null"), [("null", True), ("~", True), ("", True), ("'null'", False), ("Null", False)]
)
def test_null_is_what_is_written_plainly(text: str, is_null: bool) -> None:
    document = read(f"a: {text}")
    assert isinstance(document.root, MappingNode)
    value = document.root.entries[0][1]
    assert isinstance(value, ScalarNode)
    assert value.is_null is is_null


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a: 1\nb: 2\na: 3\n", ["3: a: the key is duplicate (first in line 1)"]),
        ("a: {b: 1,\n b: 2}", ["2: a.b: the key is duplicate (first in line 1)"]),
        ("a: &x 1\n", ["1: an anchor (&name) is not supported"]),
        ("&x a: 1\n", ["1: an anchor (&name) is not supported"]),
        (
            "a: &x 1\nb: *x\n",
            ["1: an anchor (&name) is not supported", "2: an alias (*name) is not supported"],
        ),
        ("*x : 1\n", ["1: an alias (*name) is not supported"]),
        ("a: !!str 1\n", ["1: a tag (!name) is not supported"]),
        (
            "a: !!python/object/apply:os.system [id]\n",
            ["1: a tag (!name) is not supported"],
        ),
        ("<<: {a: 1}\n", ["1: the merge key << is not supported"]),
        ("a: 1\n---\nb: 2\n", ["2: a second document begins"]),
        ("[a]: 1\nb: 2\n", ["1: a list is not allowed as a key"]),
        ("? {a: 1}\n: 1\n", ["1: a mapping is not allowed as a key"]),
        ("\ufeffa: 1\n", ["1: the file starts with a byte-order mark"]),
        ("a: 1\nb: \x00\n", ["2: the character U+0000 is invisible"]),
        ("a: 1 # \x1b[2J\n", ["1: the character U+001B is invisible"]),
        ("a: x\x85b: y\n", ["1: the character U+0085 is invisible"]),
        ("a: x # \rb: y\n", ["1: the character U+000D is invisible"]),
        (b"a: 1\nb: \xff\xfe\n", ["2: the byte 0xff is not UTF-8"]),
        (b"a: \xed\xa0\x80", ["1: the byte 0xed is not UTF-8"]),
        ("a: 1".encode("utf-16"), ["1: the file is UTF-16, not UTF-8"]),
    ],
)
def test_surprises_are_refused_with_their_line(text: str | bytes, problems: list[str]) -> None:
    assert problems_in(text) == problems


def test_a_quoted_merge_key_is_a_name_like_any_other() -> None:
    assert plain(read("'<<': token").root) == {"<<": "token"}


def test_windows_line_ends_are_taken() -> None:
    assert plain(read("a: 1\r\nb: 2\r\n").root) == {"a": "1", "b": "2"}


def test_problems_do_not_hide_one_another() -> None:
    assert len(problems_in("a: 1\na: 2\n[x]: 1\nb: &y 1\n<<: 1\nc: !z 1\n")) == 5


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: [1, 2\n",
        "a: 'x\n",
        'a: "\\q"',
        "%YAML 9\n---\na",
    ],
)
def test_a_half_written_file_is_an_error_that_names_a_line(text: str) -> None:
    document = read(text)
    assert document.root is None
    assert "the file is not valid YAML" in document.problems[-1].what
    assert document.problems[-1].line


@pytest.mark.parametrize("text", ['"\\UFFFFFFFF"', '"\\U00110000"', "%YAML 1." + "9" * 5000 + "\n--- a"])
@pytest.mark.parametrize("loader", [None, yaml.SafeLoader])
def test_an_impossible_number_is_an_error_whatever_the_parser(text: str, loader: object) -> None:
    (problem,) = parse(text.encode(), FILE, loader).problems
    assert "the file is not valid YAML" in problem.what


def test_sixteen_levels_are_read_and_one_more_is_refused() -> None:
    assert not problems_in("[" * 16 + "]" * 16)
    assert problems_in("\n" + "[" * 17 + "]" * 17) == [
        "2: mappings and lists are nested more than 16 levels deep"
    ]


def test_endless_nesting_ends_quickly() -> None:
    start = time.process_time()
    assert problems_in("[" * 1_000_000)
    assert problems_in("a: " + "{b: " * 300_000)
    assert time.process_time() - start < 10


@given(st.binary())
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    read(data)


CHARACTERS = "abn0~<>|&*!%@`'\"\\{}[],:?#-. \n\tuUxX"
WORDS = ["\n  ", ": ", "- ", "---\n", "...\n", "%YAML ", "\\UFFFFFFFF"]
YAMLISH = st.lists(st.sampled_from([*CHARACTERS, *WORDS])).map("".join)


@given(YAMLISH)
def test_anything_like_yaml_is_read_or_refused_and_nothing_else(text: str) -> None:
    read(text)


@given(YAMLISH)
def test_anything_like_yaml_is_read_or_refused_by_the_slower_parser_too(text: str) -> None:
    parse(text.encode(), FILE, loader=yaml.SafeLoader)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("exempt:\n\tusers: [root]\n", 2),
        ("exempt:\n  users:\n  \t- root\n", 3),
        ("a: 1\n\tb: 2\n", 2),
        ("a:\n  b: 1\n \t c: 2\n", 3),
    ],
)
@pytest.mark.parametrize("loader", [None, yaml.SafeLoader])
def test_a_tab_that_indents_a_line_is_called_one(text: str, line: int, loader: Any) -> None:
    (problem,) = parse(text.encode(), FILE, loader).problems
    assert problem.line == line
    assert problem.what == "the line is indented with a tab, which YAML does not allow"
    assert problem.remedy == "write spaces instead"


def test_a_tab_elsewhere_is_no_problem() -> None:
    assert parse(b"a:\t1\nb: [x,\n\ty]\n", FILE).problems == ()
