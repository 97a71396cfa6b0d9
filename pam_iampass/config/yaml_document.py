"""Reads YAML, the plain subset that people write by hand, and collects every problem with its line.

`parse` makes nodes of a file, `NodeReader` values of the nodes.
Scalars stay text: the reader of the node decides what `no` or `0123` means. Constructs that can surprise are errors:
duplicate keys, anchors, aliases, tags, merge keys, several documents, invisible characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Union

import yaml

from pam_iampass.config.value_types import InvalidValue, ValueType
from pam_iampass.errors import Problem, shown

DEEPEST = 16
"""Maximum depth of nested mappings and lists."""

# Besides control characters: NEL, LS, PS and a lone CR are line breaks in YAML but not in editors, so a key could
# hide in what looks like a comment; a byte-order mark is invisible; the last two are not characters.
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|\r(?!\n)")
_NULLS = ("", "~", "null")


class ScalarNode:
    """A text, and its line."""

    __slots__ = ("line", "plain", "text")
    kind = "a text"

    def __init__(self, text: str, line: int, plain: bool) -> None:
        self.text = text
        self.line = line
        self.plain = plain
        """Whether it was written without quotes."""

    @property
    def is_null(self) -> bool:
        """Whether it is an unquoted `null` or `~`, or empty."""
        return self.plain and self.text in _NULLS


class MappingNode:
    """Keys and values, in the order of the file."""

    __slots__ = ("entries", "line")
    kind = "a mapping"

    def __init__(self, line: int) -> None:
        self.line = line
        self.entries: list[tuple[ScalarNode, Node]] = []


class SequenceNode:
    """A list of nodes."""

    __slots__ = ("items", "line")
    kind = "a list"

    def __init__(self, line: int) -> None:
        self.line = line
        self.items: list[Node] = []


Node = Union[ScalarNode, MappingNode, SequenceNode]


class YamlDocument(NamedTuple):
    """The content of a file, as far as it could be parsed."""

    root: Node | None
    """None for an empty file, or if a problem ended the parsing."""
    problems: tuple[Problem, ...]


def parse(data: bytes, file: Path, loader: Any = None) -> YamlDocument:
    """Parse `data`, the content of `file`. Raises nothing: errors are in the document's problems.

    `loader` is the PyYAML loader to use; by default the one in C if available.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return YamlDocument(None, (_undecodable(data, error, file),))
    invisible = _INVISIBLE.search(text)
    if invisible:
        return YamlDocument(None, (_invisible(text, invisible, file),))
    builder = _Builder(file, text)
    builder.build(loader)
    return YamlDocument(builder.root, tuple(builder.problems))


def _undecodable(data: bytes, error: UnicodeDecodeError, file: Path) -> Problem:
    line = data.count(b"\n", 0, error.start) + 1
    what = f"the byte 0x{data[error.start]:02x} is not UTF-8"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        what = "the file is UTF-16, not UTF-8"
    return Problem(file, line, "", what, "save the file as UTF-8 text")


def _invisible(text: str, match: re.Match[str], file: Path) -> Problem:
    line = text.count("\n", 0, match.start()) + 1
    character = match.group()
    if character == "\ufeff" and match.start() == 0:
        what = "the file starts with a byte-order mark"
        return Problem(file, line, "", what, "save it as UTF-8 without one")
    what = f"the character U+{ord(character):04X} is invisible"
    return Problem(file, line, "", what, "delete it, or save the file as plain text")


_NO_TAGS = "delete it; lists do not support exceptions (!name); quote a value that begins with !"


class _Stop(Exception):
    """The parsing cannot continue."""


class _Builder:
    """Builds nodes from the events of the YAML parser."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.text = text
        self.problems: list[Problem] = []
        self.root: Node | None = None

    def build(self, loader: Any) -> None:
        loader = loader or getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self._build(iter(yaml.parse(self.text, Loader=loader)))
        except _Stop:
            self.root = None
        except yaml.YAMLError as error:
            self.root = None
            self._syntax(error)
        except (ValueError, OverflowError):  # the parser does not check numbers in escapes and in %YAML
            self.root = None
            what = "the file is not valid YAML: it contains an invalid number"
            self._problem(None, what, "look for a backslash or a %")

    def _build(self, events: Iterator[Any]) -> None:
        documents = 0
        for event in events:
            if type(event) is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    line = event.start_mark.line + 1
                    self._problem(line, "a second document begins", "write one document, without ---")
                    raise _Stop
                self.root = self._node(next(events), events, "", 0)

    def _node(self, event: Any, events: Iterator[Any], path: str, depth: int) -> Node | None:
        """The node that begins with `event`; None if it is skipped. `path` are the keys above it."""
        kind, line = type(event), event.start_mark.line + 1
        if kind is yaml.AliasEvent:
            self._problem(line, "an alias (*name) is not supported", "write the value itself")
            return None
        if event.tag is not None or event.anchor is not None:
            self._refuse_marks(event)
        if kind is yaml.ScalarEvent:
            return ScalarNode(event.value, line, not event.style)
        if depth == DEEPEST:
            what = f"mappings and lists are nested more than {DEEPEST} levels deep"
            self._problem(line, what, "remove levels")
            raise _Stop
        if kind is yaml.SequenceStartEvent:
            sequence = SequenceNode(line)
            while type(event := next(events)) is not yaml.SequenceEndEvent:
                item = self._node(event, events, path, depth + 1)
                if item is not None:
                    sequence.items.append(item)
            return sequence
        mapping, lines = MappingNode(line), dict[str, int]()
        while type(event := next(events)) is not yaml.MappingEndEvent:
            key = self._key(self._node(event, events, path, depth + 1), lines, path)
            below = path if key is None else _path(path, key.text)
            value = self._node(next(events), events, below, depth + 1)
            if key is not None and value is not None:
                mapping.entries.append((key, value))
        return mapping

    def _key(self, node: Node | None, lines: dict[str, int], path: str) -> ScalarNode | None:
        """The key of a mapping, or None if it and its value are skipped. `lines` has the keys before it."""
        if type(node) is not ScalarNode:
            if node is not None:
                self._problem(node.line, f"{node.kind} is not allowed as a key", "quote names with [ or {")
            return None
        if node.plain and node.text == "<<":
            what = "the merge key << is not supported"
            self._problem(node.line, what, "write the keys themselves, or quote the name")
            return None
        if node.text in lines:
            what = f"the key is duplicate (first in line {lines[node.text]})"
            self._problem(node.line, what, "delete one of the two", _path(path, node.text))
            return None
        lines[node.text] = node.line
        return node

    def _refuse_marks(self, event: Any) -> None:
        # Without the name: it may be a token, and messages are logged.
        line = event.start_mark.line + 1
        if event.anchor is not None:
            self._problem(line, "an anchor (&name) is not supported", "delete it")
        if event.tag is not None:
            self._problem(line, "a tag (!name) is not supported", _NO_TAGS)

    def _syntax(self, error: Any) -> None:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        details = [
            text for text in (getattr(error, "context", None), getattr(error, "problem", None)) if text
        ]
        what = "the file is not valid YAML: " + (", ".join(details) or "it cannot be read")
        remedy = "check this line and the one before: quotes, colons, indentation"
        if any("a tag" in text for text in details):  # other modules have exceptions such as [!wheel]
            remedy = _NO_TAGS
        wrong = self.text.split("\n")[mark.line : mark.line + 1] if mark else []
        if wrong and "\t" in wrong[0][: len(wrong[0]) - len(wrong[0].lstrip())]:
            what, remedy = (
                "the line is indented with a tab, which YAML does not allow",
                "write spaces instead",
            )
        self._problem(mark.line + 1 if mark else None, what, remedy)

    def _problem(self, line: int | None, what: str, remedy: str, key: str = "") -> None:
        self.problems.append(Problem(self.file, line, key, what, remedy))


def _path(above: str, key: str) -> str:
    return f"{above}.{key}" if above else key


class NodeReader:
    """Reads the nodes of one file."""

    def __init__(self, file: Path, problems: Iterable[Problem] = ()) -> None:
        self.file = file
        self.problems = list(problems)
        self.lines: dict[tuple[str, str], int] = {}
        """The line of each list item, by key and text."""

    @property
    def failed(self) -> bool:
        """Whether a problem is an error, so that the file cannot be used."""
        return any(problem.is_error for problem in self.problems)

    def problem(self, line: int | None, key: str, what: str, remedy: str) -> None:
        self.problems.append(Problem(self.file, line, key, what, remedy))

    def mapping(self, node: Node, key: str, remedy: str) -> MappingNode | None:
        """`node` if it is a mapping; otherwise None, with a problem added."""
        if isinstance(node, MappingNode):
            return node
        what = _is_not(node, "a mapping")
        self.problem(node.line, key, what if key else f"the file {what}", remedy)
        return None

    def value(self, node: Node, key: str, accepted: ValueType) -> Any:
        """The value of `node`; None for `null` and, with a problem added, for an invalid value."""
        if accepted.many:
            return self._values(node, key, accepted)
        if not isinstance(node, ScalarNode):
            what = f"is {node.kind}, not {accepted.description}"
            self.problem(node.line, key, what, f"write for example {accepted.example}")
            return None
        if node.is_null and accepted.nullable:
            return None
        return self._converted(node, key, accepted)

    def _values(self, node: Node, key: str, accepted: ValueType) -> Any:
        if not isinstance(node, SequenceNode):
            remedy = f"write for example {accepted.example}, or [] for none"
            self.problem(node.line, key, _is_not(node, "a list"), remedy)
            return None
        values: dict[Any, None] = {}  # an ordered set
        for item in node.items:
            if not isinstance(item, ScalarNode):
                self.problem(item.line, key, f"holds {item.kind}", f"write for example {accepted.example}")
                continue
            self.lines[key, item.text] = item.line
            value = self._converted(item, key, accepted)
            if value in values:
                self.problem(item.line, key, f"{shown(item.text)} is listed twice", "delete one of the two")
            if value is not None:
                values[value] = None
        return tuple(values)

    def _converted(self, node: ScalarNode, key: str, accepted: ValueType) -> Any:
        if node.plain and not node.text:
            self.problem(node.line, key, "is empty", f"write for example {accepted.example}")
            return None
        try:
            return accepted.read(node.text)
        except InvalidValue as invalid:
            value = node.text if invalid.value is None else invalid.value
            self.problem(node.line, key, f"{shown(value)} {invalid.what}", invalid.remedy)
            return None


def _is_not(node: Node, expected: str) -> str:
    return "is empty" if isinstance(node, ScalarNode) and node.is_null else f"is {node.kind}, not {expected}"
