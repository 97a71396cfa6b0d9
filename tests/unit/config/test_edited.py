"""Changing single keys of a YAML file: the rest of it stays as it is, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pam_iampass.config.yaml_document import REMOVED, edited
from tests.support.installation import ROOT


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ("a: 1 # one\nb: 2\n", {"a": "x"}, 'a: "x" # one\nb: 2\n'),
        ("a: 1\nb: 2", {"c": [1, "y"]}, 'a: 1\nb: 2\nc: [1, "y"]\n'),
        ("", {"a": None}, "a: null\n"),
        ("# nothing yet\n", {"a": 1}, "# nothing yet\na: 1\n"),
        ("a:\n\n# about b\nb: 2\n", {"a": "x"}, 'a: "x"\n\n# about b\nb: 2\n'),
        ("a: # to be set\nb: 2\n", {"a": "x"}, 'a: "x" # to be set\nb: 2\n'),
        ("a:\n  - 1\n  - 2 # two\n\n# about b\nb: 2\n", {"a": []}, "a:\n  [] # two\n\n# about b\nb: 2\n"),
        ("a: {x: 1,\n  y: 2}\nb: 2\n", {"a": 1}, "a: 1\nb: 2\n"),
        ("a: |\n  one\n  two\nb: 2\n", {"a": 1}, "a: 1\nb: 2\n"),
        ("\"a\": 'x'\n", {"a": "ä\n"}, '"a": "\\u00e4\\n"\n'),
        ("x: {a: 1}\nä: ö\na: 2\n", {"a": 3}, "x: {a: 1}\nä: ö\na: 3\n"),
        ("a: 1\n# about b\nb: 2 # two\nc: 3\n", {"b": REMOVED}, "a: 1\n# about b\nc: 3\n"),
        ("a: 1\nb:\n  - 2\n  - 3\n# c\nc: 3\n", {"b": REMOVED}, "a: 1\n# c\nc: 3\n"),
        ("a: 1\nb: 2", {"b": REMOVED, "z": REMOVED}, "a: 1\n"),
        ("a: 1\r\nb: 2\r\n", {"a": 2}, "a: 2\r\nb: 2\r\n"),
    ],
)
def test_one_key_changes_and_nothing_else(before: str, wanted: dict[str, Any], after: str) -> None:
    assert edited(before, wanted) == after
    found = yaml.safe_load(after) or {}
    assert {name: found.get(name, REMOVED) for name in wanted} == wanted


def test_the_shipped_settings_keep_their_comments() -> None:
    before = (ROOT / "config/iampass.yaml").read_text()
    wanted = {"application_id": "h-1", "gateways": ["https://gw"], "ca_file": "/ca.pem", "server": REMOVED}
    after = edited(before, wanted)
    removed = set(before.splitlines()) - set(after.splitlines())
    assert removed == {"application_id:", "gateways: []", "ca_file: null", "server: https://iam-api.com"}
    kept = {key: value for key, value in yaml.safe_load(before).items() if key not in wanted}
    del wanted["server"]
    assert yaml.safe_load(after) == {**kept, **wanted}


@pytest.mark.parametrize("text", ["[1, 2]", "{a: 1}", "a: [", "just text", "a: 1\n---\nb: 2\n"])
def test_what_is_not_one_key_on_each_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="this is not"):
        edited(text, {"a": 2})
