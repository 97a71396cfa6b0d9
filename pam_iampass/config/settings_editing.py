"""Sets one key in the text of a settings file, and leaves everything else in it as it is, comments too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Union

import yaml

from pam_iampass.config import yaml_document
from pam_iampass.config.yaml_document import ScalarNode, SequenceNode
from pam_iampass.errors import ConfigurationError, EditRefused, shown

Tree = Union[tuple[str, bool], list[Any], dict[str, Any]]
"""A text and whether it is unquoted, a list or a mapping."""


def with_setting(text: str, key: str, value: str, file: Path) -> str:
    """The text of the settings `file` with another value of a key; `value` is written as in the file.

    `key` has the names of the sections before it, with dots between them. Raises ConfigurationError if the text is not
    valid YAML, and EditRefused if the key cannot be set without changing anything else.
    """
    names = key.split(".")
    where = f"write it into {file} with an editor, then run pam-iampass check"
    if not all(names):
        raise EditRefused(f"{shown(key)} is not a key", "write for example session.keep")
    document = yaml_document.parse(value.encode("utf-8", "surrogateescape"), file)
    if document.root is None or document.problems or "\n" in value:
        raise EditRefused(f"{shown(value)} is not one value", where)
    expected = _set(_tree(text, file) or {}, names, _plain(document.root))
    try:
        new = _edited(text, names, value)
        _composed(new)
        as_expected = _tree(new, file) == expected
    except (ConfigurationError, yaml.YAMLError):
        as_expected = False
    if not as_expected:
        raise EditRefused(f"{key} cannot be set without changing anything else", where)
    return new


def _tree(text: str, file: Path) -> Tree | None:
    """The content of a text; None if it is empty. Raises ConfigurationError."""
    document = yaml_document.parse(text.encode("utf-8", "surrogateescape"), file)
    if document.problems:
        raise ConfigurationError(document.problems)
    return None if document.root is None else _plain(document.root)


def _plain(node: yaml_document.Node) -> Tree:
    if isinstance(node, ScalarNode):
        return node.text, node.plain
    if isinstance(node, SequenceNode):
        return [_plain(item) for item in node.items]
    return {name.text: _plain(value) for name, value in node.entries}


def _set(tree: Tree, names: list[str], wanted: Tree) -> Tree:
    """The tree with this value at the end of the path."""
    if not names:
        return wanted
    below = tree if isinstance(tree, dict) else {}  # what was null becomes a mapping
    return {**below, names[0]: _set(below.get(names[0], {}), names[1:], wanted)}


def _edited(text: str, names: list[str], value: str) -> str:
    """The text with another value at the end of the path."""
    node = _composed(text)
    for place, name in enumerate(names):
        written = value
        for further in reversed(names[place + 1 :]):
            written = f"{{{further}: {written}}}"
        if not isinstance(node, yaml.MappingNode):
            return f"{text}{_break(text)}{name}: {written}\n"
        found = next((pair for pair in node.value if pair[0].value == name), None)
        if found is None:
            return _added(text, node, f"{name}: {written}")
        above, node = found
        if place == len(names) - 1 or not isinstance(node, yaml.MappingNode):
            start, end = node.start_mark.index, _end(node)
            if start == end:  # nothing is written there
                start = end = text.index(":", above.end_mark.index) + 1
                written = f" {written}"
            return text[:start] + written + text[end:]
    return text


def _composed(text: str) -> yaml.Node | None:
    """The root, whose marks count characters. Some texts that libyaml takes, such as `a: >#`, raise YAMLError."""
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _added(text: str, node: yaml.MappingNode, entry: str) -> str:
    """The text with a further entry of a mapping."""
    end = _end(node)
    if node.flow_style:
        separator = ", " if node.value else ""
        return f"{text[: end - 1].rstrip()}{separator}{entry}{text[end - 1 :]}"
    line_end = text.find("\n", end)  # after a comment
    before, after = (text, "") if line_end < 0 else (text[: line_end + 1], text[line_end + 1 :])
    return f"{before}{_break(before)}{' ' * node.start_mark.column}{entry}\n{after}"


def _break(text: str) -> str:
    return "" if not text or text.endswith("\n") else "\n"


def _end(node: yaml.Node) -> int:
    """Where a node ends; of a block without the comments that follow it."""
    if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and not node.flow_style and node.value:
        last = node.value[-1]
        if isinstance(last, tuple):
            return max(_end(last[1]), int(last[0].end_mark.index))
        return _end(last)
    return int(node.end_mark.index)
