"""Parses YAML to nodes with line numbers: the plain subset of YAML that people write by hand.

Scalars stay text: the reader of the node decides what `no` or `0123` means. Constructs that can surprise are errors:
duplicate keys, anchors, aliases, tags, merge keys, several documents, invisible characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Union

import yaml

from pam_iampass.errors import Problem

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
    builder = _Builder(file)
    builder.build(text, loader)
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

    def __init__(self, file: Path) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.root: Node | None = None

    def build(self, text: str, loader: Any) -> None:
        loader = loader or getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self._build(yaml.parse(text, Loader=loader))
        except _Stop:
            self.root = None
        except yaml.YAMLError as error:
            self.root = None
            self._syntax(error)
        except (ValueError, OverflowError):  # the parser does not check numbers in escapes and in %YAML
            self.root = None
            what = "the file is not valid YAML: it contains an invalid number"
            self._problem(None, what, "look for a backslash or a %")

    def _build(self, events: Iterable[Any]) -> None:
        scalar_event = yaml.ScalarEvent
        starts: dict[Any, type[MappingNode] | type[SequenceNode]] = {
            yaml.MappingStartEvent: MappingNode,
            yaml.SequenceStartEvent: SequenceNode,
        }
        ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        documents = 0
        inner = _OpenNode(None)
        above: list[_OpenNode] = []
        for event in events:
            kind = type(event)
            if kind is scalar_event:
                if event.tag is not None or event.anchor is not None:
                    self._refuse_marks(event)
                self._place(ScalarNode(event.value, event.start_mark.line + 1, not event.style), inner)
            elif kind in starts:
                self._refuse_marks(event)
                node = starts[kind](event.start_mark.line + 1)
                path = inner.path_of(inner.key.text) if inner.has_key and inner.key else inner.path
                self._place(node, inner)
                if len(above) >= DEEPEST:
                    what = f"mappings and lists are nested more than {DEEPEST} levels deep"
                    self._problem(node.line, what, "remove levels")
                    raise _Stop
                above.append(inner)
                inner = _OpenNode(node, path)
            elif kind in ends:
                inner = above.pop()
            elif kind is yaml.AliasEvent:
                what = "an alias (*name) is not supported"
                self._problem(event.start_mark.line + 1, what, "write the value itself")
                self._place(None, inner)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    line = event.start_mark.line + 1
                    self._problem(line, "a second document begins", "write one document, without ---")
                    raise _Stop

    def _place(self, node: Node | None, inner: _OpenNode) -> None:
        """Add `node` to its container; None for a node that is skipped."""
        container = inner.node
        if type(container) is MappingNode:
            if not inner.has_key:
                inner.has_key = True
                inner.key = self._key(node, inner)
                return
            inner.has_key = False
            if inner.key is not None and node is not None:
                container.entries.append((inner.key, node))
        elif node is None:
            return
        elif type(container) is SequenceNode:
            container.items.append(node)
        else:
            self.root = node

    def _key(self, node: Node | None, inner: _OpenNode) -> ScalarNode | None:
        """The key, or None if it and its value are skipped."""
        if type(node) is not ScalarNode:
            if node is not None:
                self._problem(node.line, f"{node.kind} is not allowed as a key", "quote names with [ or {")
            return None
        if node.plain and node.text == "<<":
            what = "the merge key << is not supported"
            self._problem(node.line, what, "write the keys themselves, or quote the name")
            return None
        if node.text in inner.lines:
            what = f"the key is duplicate (first in line {inner.lines[node.text]})"
            self._problem(node.line, what, "delete one of the two", inner.path_of(node.text))
            return None
        inner.lines[node.text] = node.line
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
        self._problem(mark.line + 1 if mark else None, what, remedy)

    def _problem(self, line: int | None, what: str, remedy: str, key: str = "") -> None:
        self.problems.append(Problem(self.file, line, key, what, remedy))


class _OpenNode:
    """A mapping or a list that has not ended yet; without a node the document itself."""

    __slots__ = ("has_key", "key", "lines", "node", "path")

    def __init__(self, node: Node | None, path: str = "") -> None:
        self.node = node
        self.path = path
        self.lines: dict[str, int] = {}
        self.has_key = False
        self.key: ScalarNode | None = None
        """The key whose value is next; None if the value is skipped."""

    def path_of(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key
