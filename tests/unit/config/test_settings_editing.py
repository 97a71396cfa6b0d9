"""One setting is set in the text of the settings, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.config.settings_editing import with_setting
from pam_iampass.errors import ConfigurationError, EditRefused
from tests.support.installation import ROOT

SHIPPED = (ROOT / "config/iampass.yaml").read_text()
FILE = Path("/etc/iampass/iampass.yaml")


@pytest.mark.parametrize(
    ("before", "key", "value", "after"),
    [
        ("timeout: 60s  # long\n", "timeout", "30s", "timeout: 30s  # long\n"),
        ("timeout:\nserver: x\n", "timeout", "30s", "timeout: 30s\nserver: x\n"),
        ("timeout: '60s'\n", "timeout", '"30s"', 'timeout: "30s"\n'),
        ("a: b", "timeout", "30s", "a: b\ntimeout: 30s\n"),
        ("", "session.keep", "true", "session: {keep: true}\n"),
        ("# nothing\n", "timeout", "30s", "# nothing\ntimeout: 30s\n"),
        ("session: {}\n", "session.keep", "true", "session: {keep: true}\n"),
        ("session: {check: 30s}\n", "session.keep", "true", "session: {check: 30s, keep: true}\n"),
        ("session:\n  check: 30s # c\n# d\nb: c\n", "session.keep", "true", None),
        ("session:\n", "session.keep", "true", "session: {keep: true}\n"),
        ("services: {}\n", "services.sudo.timeout", "9s", "services: {sudo: {timeout: 9s}}\n"),
        ("exempt:\n  users:\n    - a # c\n# d\n", "exempt.users", "[b]", None),
        ("a: 'ä'\nb: c\n", "b", "d", "a: 'ä'\nb: d\n"),
    ],
)
def test_a_value_is_replaced_or_added_and_comments_stay(
    before: str, key: str, value: str, after: str | None
) -> None:
    new = with_setting(before, key, value, FILE)
    assert after in (None, new)
    assert yaml.safe_load(new) != yaml.safe_load(before)
    assert [word for word in ("# c", "# d", "# long") if word in before and word not in new] in ([], ["# c"])


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("a: b\n", "a", "b\nc: d"),
        ("a: b\n", "a", "b, c: d"),
        ("a: {b: c}\n", "a.b", "c, d: e"),
        ("a: {b: c}\n", "a.b", "c}\nd: {e: f"),
        ("a: {b: c}\n", "a.d", "e # f"),
        ("a: b\n", "a", ""),
        ("a: b\n", "a", "[c"),
        ("a: b\n", "a", "&c d"),
        ("a: b\n", "a..c", "d"),
        ("[a, b]\n", "a", "c"),
        ("", "a", ">#"),
        ("a: >#\n", "b", "c"),
    ],
)
def test_what_would_change_anything_else_is_refused(text: str, key: str, value: str) -> None:
    with pytest.raises(EditRefused):
        with_setting(text, key, value, FILE)


def test_of_the_shipped_file_one_line_changes() -> None:
    new = with_setting(SHIPPED, "session.keep", "true", FILE)
    changed = [pair for pair in zip(SHIPPED.split("\n"), new.split("\n")) if pair[0] != pair[1]]
    assert changed == [("  keep: false", "  keep: true")]


WORDS = st.text("ab:#{}[], '\"\n-&|>", max_size=12)


@given(text=WORDS, key=st.sampled_from(["a", "a.b", "b"]), value=WORDS)
def test_whatever_is_there_and_typed_only_that_key_changes(text: str, key: str, value: str) -> None:
    before = f"x: y\n{text}\n"
    try:
        new = with_setting(before, key, value, FILE)
    except (EditRefused, ConfigurationError):
        return
    old, now = yaml.safe_load(before), yaml.safe_load(new)
    old.pop(key[0], None)
    now.pop(key[0])
    assert old == now
