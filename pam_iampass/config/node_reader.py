"""Reads values from YAML nodes, and collects every problem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from pam_iampass.config.yaml_document import MappingNode, Node, ScalarNode, SequenceNode
from pam_iampass.errors import Problem, shown


class InvalidValue(Exception):
    """A value that a setting does not accept."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        """The rest of a sentence that begins with the value: "is not a duration"."""
        self.remedy = remedy


@dataclass(frozen=True)
class ValueType:
    """The values that a setting accepts."""

    description: str
    """For the reference page and for errors."""
    read: Callable[[str], Any]
    """Converts a text to a value. Raises InvalidValue."""
    example: str
    """A valid value, as written in the file."""
    many: bool = False
    """Whether the setting is a list of such values."""
    nullable: bool = False
    """Whether the setting accepts `null`."""


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
            self.problem(node.line, key, f"{shown(node.text)} {invalid.what}", invalid.remedy)
            return None


def _is_not(node: Node, expected: str) -> str:
    return "is empty" if isinstance(node, ScalarNode) and node.is_null else f"is {node.kind}, not {expected}"
