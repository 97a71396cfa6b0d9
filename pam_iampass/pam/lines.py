"""The lines of a PAM file and their controls, as libpam reads them (pam.conf(5)), and what `setup` has made of them.

Each line of ours ends in a mark. A line that goes out of force, or is replaced, stays in the file as a comment that
begins with another mark. So the file itself says how it was before, whatever else was changed in it meanwhile.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

from pam_iampass.outcome import PamCode

MARK = "# pam-iampass"
"""The end of each line of ours."""
OUT = "#pam-iampass: "
"""The beginning of each line that was there before, and is out of force."""

_BLANKS = " \n\t"
_MARKED = re.compile(r"#[ \t]*pam-iampass[ \t\r]*$")
_WORD = re.compile(r"\[((?:\\\]|[^\]])*)\]?|([^ \n\t]+)")


@dataclass(frozen=True)
class PamLine:
    """A line, which may be written on several lines of the file."""

    number: int
    """The number of its first line in the file, from 1."""
    text: str
    words: tuple[str, ...]
    """Text in brackets is one word, without the brackets."""
    end: int = 0
    """The number of its last line in the file."""


def lines(content: str) -> tuple[list[PamLine], bool]:
    """All lines with text, and whether the file is complete: its last line does not end in a backslash."""
    found: list[PamLine] = []
    parts: list[str] = []
    start, continues = 0, False
    for number, raw in enumerate(_split(content), 1):
        part, continues = _part(raw.partition("\0")[0])
        if part and (continues or parts or part != "\n"):
            start = start if parts else number
            parts.append(part)
        if continues:
            continue
        text = "".join(parts)
        parts = []
        if text:
            found.append(PamLine(start, text.strip(), tuple(_words(text)), number))
    return found, not continues


def _split(content: str) -> list[str]:
    """The lines of the file, with their ends. Only a line feed ends one."""
    pieces = content.split("\n")
    return [piece + "\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])


def _part(raw: str) -> tuple[str, bool]:
    """The text of one line of the file, and whether the next one continues it. A comment ends both."""
    bare = raw.rstrip(_BLANKS)
    continues = bare.endswith("\\")
    text = (bare[:-1] + " ") if continues else raw
    before, comment, _ = text.partition("#")
    return before.lstrip(" \t"), continues and not comment


def _words(text: str) -> Iterator[str]:
    for word in _WORD.finditer(text):
        bracketed, plain = word.groups()
        yield plain if bracketed is None else bracketed.replace("\\]", "]")


def marked(text: str) -> list[str]:
    """Our lines, also the ones that a person has commented out."""
    return [line for line in text.split("\n") if _MARKED.search(line)]


def is_edited(text: str) -> bool:
    """Whether anything of ours is in the file."""
    return any(line.startswith(OUT) or _MARKED.search(line) for line in text.split("\n"))


def unedited(text: str) -> str:
    """The file without our lines, and with the lines restored that were put out of force for them."""
    kept = [line for line in text.split("\n") if not _MARKED.search(line)]
    return "\n".join(line[len(OUT) :] if line.startswith(OUT) else line for line in kept)


class Action(enum.Enum):
    """An action of libpam on a module's return code."""

    IGNORE = "ignore"
    OK = "ok"
    DONE = "done"
    BAD = "bad"
    DIE = "die"
    RESET = "reset"


ControlAction = Union[Action, int]
"""An action, or the number of modules to jump over."""

CODES = tuple(code.name.lower() for code in PamCode)
"""The names of the return codes in a control, in the order of their numbers."""

_LARGEST_JUMP = 2**31 - 1
_PAIR = re.compile(
    rf"({'|'.join(CODES)}|default)\s*=\s*({'|'.join(action.value for action in Action)}|[0-9]+)\s*", re.A
)
"""One `code=action`. libpam needs no blank between two of them."""


def _actions(default: Action, **special: Action) -> tuple[ControlAction, ...]:
    return tuple(special.get(code, default) for code in CODES)


ALL_BAD: tuple[ControlAction, ...] = _actions(Action.BAD)

WORDS: dict[str, tuple[ControlAction, ...]] = {
    "required": _actions(Action.BAD, success=Action.OK, new_authtok_reqd=Action.OK, ignore=Action.IGNORE),
    "requisite": _actions(Action.DIE, success=Action.OK, new_authtok_reqd=Action.OK, ignore=Action.IGNORE),
    "optional": _actions(Action.IGNORE, success=Action.OK, new_authtok_reqd=Action.OK),
    "sufficient": _actions(Action.IGNORE, success=Action.DONE, new_authtok_reqd=Action.DONE),
}
"""The controls of one word."""


def control(text: str) -> tuple[ControlAction, ...]:
    """The action for each code. `text` is a word or the inside of brackets; if it is invalid, all codes are bad."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    actions: dict[str, ControlAction] = {}
    place = len(text) - len(text.lstrip(" \t\n\v\f\r"))
    while place < len(text):
        pair = _PAIR.match(text, place)
        if pair is None:
            return ALL_BAD
        code, word = pair.groups()
        jump = int(word[:20]) if word.isdigit() else None
        if jump is not None and not 0 < jump <= _LARGEST_JUMP:
            return ALL_BAD
        action = Action(word) if jump is None else jump
        if code == "default":  # for codes that have none yet
            actions = {**dict.fromkeys(CODES, action), **actions}
        else:
            actions[code] = action
        place = pair.end()
    return tuple(actions.get(code, Action.BAD) for code in CODES)
