"""YAML as nodes that know their line: the plain part of YAML that people write by hand.

Scalars stay text: what `no` or `0123` means is for the reader of the node to say. What can surprise is
refused: a key that stands twice, anchors, aliases, tags, merge keys, several documents, unseen characters.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from pam_iampass.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

DEEPEST = 16
"""How many mappings and lists may stand inside one another."""

# Besides control characters: YAML takes NEL, LS, PS and a lone CR for line breaks, editors do not, so that a
# key could hide in what looks like a comment; a byte-order mark is unseen; the last two are no characters.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|\r(?!\n)")
_NULLS = ("", "~", "null")


class Scalar:
    """A text, and the line it stands in."""

    __slots__ = ("line", "plain", "text")
    kind = "a text"

    def __init__(self, text: str, line: int, plain: bool) -> None:
        self.text = text
        self.line = line
        self.plain = plain
        """Whether it was written without quotes."""

    @property
    def is_null(self) -> bool:
        """Whether it can stand for nothing: an unquoted `null` or `~`, or no text at all."""
        return self.plain and self.text in _NULLS


class Mapping:
    """Keys and values, in the order of the file."""

    __slots__ = ("entries", "line")
    kind = "a mapping"

    def __init__(self, line: int) -> None:
        self.line = line
        self.entries: list[tuple[Scalar, Node]] = []


class Sequence:
    """A list of nodes."""

    __slots__ = ("items", "line")
    kind = "a list"

    def __init__(self, line: int) -> None:
        self.line = line
        self.items: list[Node] = []


Node = Union[Scalar, Mapping, Sequence]


class Document:
    """What a file says, as far as it could be read."""

    def __init__(self, root: Node | None, problems: tuple[Problem, ...]) -> None:
        self.root = root
        """None for an empty file, and where a problem stopped the reading."""
        self.problems = problems


def parse(data: bytes, file: Path, loader: Any = None) -> Document:
    """Read `data`, the content of `file`. Raises nothing: what is wrong stands in the document's problems.

    `loader` is the PyYAML loader to use; by default the one in C where there is one.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Document(None, (_undecodable(data, error, file),))
    unseen = _UNSEEN.search(text)
    if unseen:
        return Document(None, (_unseen(text, unseen, file),))
    builder = _Builder(file)
    builder.build(text, loader)
    return Document(builder.root, tuple(builder.problems))


def _undecodable(data: bytes, error: UnicodeDecodeError, file: Path) -> Problem:
    line = data.count(b"\n", 0, error.start) + 1
    what = f"the byte 0x{data[error.start]:02x} is not UTF-8"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        what = "the file is UTF-16, not UTF-8"
    return Problem(file, line, "", what, "save the file as UTF-8 text")


def _unseen(text: str, found: re.Match[str], file: Path) -> Problem:
    line = text.count("\n", 0, found.start()) + 1
    character = found.group()
    if character == "\ufeff" and found.start() == 0:
        what = "the file starts with a byte-order mark"
        return Problem(file, line, "", what, "save it as UTF-8 without one")
    what = f"the character U+{ord(character):04X} cannot be seen"
    return Problem(file, line, "", what, "delete it, or save the file as plain text")


_NO_TAGS = "leave it out; lists hold names and no exceptions (!name); quote a value that begins with !"


class _Stop(Exception):
    """Nothing sensible can be read from here on."""


class _Builder:
    """Nodes from the events of the YAML parser."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.root: Node | None = None

    def build(self, text: str, loader: Any) -> None:
        import yaml

        loader = loader or getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self._build(yaml.parse(text, Loader=loader), yaml)
        except _Stop:
            self.root = None
        except yaml.YAMLError as error:
            self.root = None
            self._syntax(error)
        except (
            ValueError,
            OverflowError,
        ):  # numbers in escapes and in %YAML that the parser takes without a look
            self.root = None
            what = "the file is not valid YAML: it holds an impossible number"
            self._problem(None, what, "look for a backslash or a %")

    def _build(self, events: Iterable[Any], yaml: Any) -> None:
        scalar_event = yaml.ScalarEvent
        starts: dict[Any, type[Mapping] | type[Sequence]] = {
            yaml.MappingStartEvent: Mapping,
            yaml.SequenceStartEvent: Sequence,
        }
        ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        documents = 0
        inner = _Open(None)
        above: list[_Open] = []
        for event in events:
            kind = type(event)
            if kind is scalar_event:
                if event.tag is not None or event.anchor is not None:
                    self._refuse_marks(event)
                self._place(Scalar(event.value, event.start_mark.line + 1, not event.style), inner)
            elif kind in starts:
                self._refuse_marks(event)
                node = starts[kind](event.start_mark.line + 1)
                path = inner.path_of(inner.key.text) if inner.has_key and inner.key else inner.path
                self._place(node, inner)
                if len(above) >= DEEPEST:
                    what = f"more than {DEEPEST} levels stand inside one another"
                    self._problem(node.line, what, "write it flatter")
                    raise _Stop
                above.append(inner)
                inner = _Open(node, path)
            elif kind in ends:
                inner = above.pop()
            elif kind is yaml.AliasEvent:
                what = "an alias (*name) is not understood here"
                self._problem(event.start_mark.line + 1, what, "write the value out")
                self._place(None, inner)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    line = event.start_mark.line + 1
                    self._problem(line, "a second document begins", "keep one document, without ---")
                    raise _Stop

    def _place(self, node: Node | None, inner: _Open) -> None:
        """Put `node` (None where there is none worth keeping) where it belongs."""
        container = inner.node
        if type(container) is Mapping:
            if not inner.has_key:
                inner.has_key = True
                inner.key = self._key(node, inner)
                return
            inner.has_key = False
            if inner.key is not None and node is not None:
                container.entries.append((inner.key, node))
        elif node is None:
            return
        elif type(container) is Sequence:
            container.items.append(node)
        else:
            self.root = node

    def _key(self, node: Node | None, inner: _Open) -> Scalar | None:
        """The key, or None where it and its value must be left out."""
        if type(node) is not Scalar:
            if node is not None:
                self._problem(node.line, f"{node.kind} stands where a key belongs", "quote names with [ or {")
            return None
        if node.plain and node.text == "<<":
            what = "the merge key << is not understood here"
            self._problem(node.line, what, "write the keys out, or quote the name")
            return None
        if node.text in inner.lines:
            what = f"the key stands a second time (first in line {inner.lines[node.text]})"
            self._problem(node.line, what, "keep one of the two", inner.path_of(node.text))
            return None
        inner.lines[node.text] = node.line
        return node

    def _refuse_marks(self, event: Any) -> None:
        # Without the name: what was written there may be a token, and ends up in logs.
        line = event.start_mark.line + 1
        if event.anchor is not None:
            self._problem(line, "an anchor (&name) is not understood here", "leave it out")
        if event.tag is not None:
            self._problem(line, "a tag (!name) is not understood here", _NO_TAGS)

    def _syntax(self, error: Any) -> None:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        said = [text for text in (getattr(error, "context", None), getattr(error, "problem", None)) if text]
        what = "the file is not valid YAML: " + (", ".join(said) or "it cannot be read")
        remedy = "look at this line and the one before: quotes, colons, indentation"
        if any("a tag" in text for text in said):  # what other modules take for an exception: [!wheel]
            remedy = _NO_TAGS
        self._problem(mark.line + 1 if mark else None, what, remedy)

    def _problem(self, line: int | None, what: str, remedy: str, key: str = "") -> None:
        self.problems.append(Problem(self.file, line, key, what, remedy))


class _Open:
    """A mapping or a list whose end has not come yet; the document itself where there is no node."""

    __slots__ = ("has_key", "key", "lines", "node", "path")

    def __init__(self, node: Node | None, path: str = "") -> None:
        self.node = node
        self.path = path
        self.lines: dict[str, int] = {}
        self.has_key = False
        self.key: Scalar | None = None
        """The key whose value comes next; None, too, where it is to be left out."""

    def path_of(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key
