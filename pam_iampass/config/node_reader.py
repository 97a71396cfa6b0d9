"""The shape of a file: takes YAML nodes apart, and collects everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from pam_iampass.config.yaml_document import Mapping, Node, Scalar, Sequence
from pam_iampass.errors import Problem, Severity, shown


class Fault(Exception):
    """A value that makes no sense."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        """The end of a sentence that begins with the value: "is not a duration"."""
        self.remedy = remedy


@dataclass(frozen=True)
class Kind:
    """What may stand as a value."""

    says: str
    """What it is, for the reference page and for errors."""
    read: Callable[[str], Any]
    """Makes a value of a text; raises Fault."""
    example: str
    """A value as it could be written."""
    many: bool = False
    """Whether it is a list of such values."""
    nullable: bool = False
    """Whether `null` may stand instead."""


class NodeReader:
    """Reads the nodes of one file."""

    def __init__(self, file: Path, problems: Iterable[Problem] = ()) -> None:
        self.file = file
        self.problems = list(problems)
        self.lines: dict[tuple[str, str], int] = {}
        """The line of each item of a list, by key and text."""

    @property
    def failed(self) -> bool:
        """Whether something is so wrong that the file cannot be used."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def problem(self, line: int | None, key: str, what: str, remedy: str) -> None:
        self.problems.append(Problem(self.file, line, key, what, remedy))

    def mapping(self, node: Node, key: str, remedy: str) -> Mapping | None:
        """`node` where it is a mapping; None, and a problem, where it is not."""
        if isinstance(node, Mapping):
            return node
        what = "is empty" if isinstance(node, Scalar) and node.is_null else f"is {node.kind}, not a mapping"
        self.problem(node.line, key, what if key else f"the file {what}", remedy)
        return None

    def value(self, node: Node, key: str, kind: Kind) -> Any:
        """The value that `node` stands for; None where there is none, or where it makes no sense."""
        if kind.many:
            return self._values(node, key, kind)
        if not isinstance(node, Scalar):
            what = f"is {node.kind}, not {kind.says}"
            self.problem(node.line, key, what, f"write for example {kind.example}")
            return None
        if node.is_null and kind.nullable:
            return None
        return self._converted(node, key, kind)

    def _values(self, node: Node, key: str, kind: Kind) -> Any:
        if not isinstance(node, Sequence):
            what = "is empty" if isinstance(node, Scalar) and node.is_null else f"is {node.kind}, not a list"
            self.problem(node.line, key, what, f"write for example {kind.example}, or [] for none")
            return None
        values: dict[Any, None] = {}  # as a set that keeps its order
        for item in node.items:
            if not isinstance(item, Scalar):
                self.problem(item.line, key, f"holds {item.kind}", f"write for example {kind.example}")
                continue
            self.lines[key, item.text] = item.line
            value = self._converted(item, key, kind)
            if value in values:
                what = f"{shown(item.text)} stands twice in the list"
                self.problem(item.line, key, what, "keep one of the two")
            if value is not None:
                values[value] = None
        return tuple(values)

    def _converted(self, node: Scalar, key: str, kind: Kind) -> Any:
        if node.plain and not node.text:
            self.problem(node.line, key, "is empty", f"write for example {kind.example}")
            return None
        try:
            return kind.read(node.text)
        except Fault as fault:
            self.problem(node.line, key, f"{shown(node.text)} {fault.what}", fault.remedy)
            return None
