"""What a key of `iampass.yaml` is, and a section of keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

from pam_iampass.config.node_reader import ValueType

REQUIRED = object()
"""The default of a key that must be set."""


@dataclass(frozen=True)
class Key:
    """One key of the file."""

    name: str
    type: ValueType
    default: Any
    """As written in the file: a text, None for null, () for an empty list; or REQUIRED."""
    doc: str
    section: Section | None = None
    """Where the value is a mapping: its keys. A missing mapping has the defaults of its keys."""

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def default_value(self) -> Any:
        if self.section is not None:
            return self.section.default_value()
        return self.type.read(self.default) if isinstance(self.default, str) else self.default


@dataclass(frozen=True)
class Section:
    """A key with further keys below it."""

    name: str
    keys: tuple[Key, ...]
    doc: str
    named: bool = False
    """Whether the keys are below names that the administrator chooses."""
    merged: bool = False
    """Whether a service takes over the general values of the keys that it does not set."""

    def default_value(self) -> dict[str, Any]:
        return {} if self.named else {key.name: key.default_value() for key in self.keys}


KeyOrSection = Union[Key, Section]


def mapping(section: Section, example: str) -> Key:
    """A section as a key of another section."""
    return Key(section.name, ValueType("a mapping", str, example), None, section.doc, section)
