"""The moving picture of the README: an ssh login that keeps its session, as an animated SVG made from a real run."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.support.sandbox import Sandbox
from tests.support.sshd import PROMPT
from tests.support.terminal import Terminal
from tests.system.demo_session import KeptLogin

COLUMNS, ROWS = 100, 21
_SECONDS = 3.0
_LAST_SECONDS = 6.0
#: What the phone and its user do, by the words of `KeptLogin`.
_CAPTIONS = {
    "the user approves": "approved on the phone",
    "sudo was covered: the phone stays silent": "sudo is covered: the phone stays silent",
    "the user walks away with the phone": "the user walks away with the phone",
    "sudo was no longer covered: the phone is asked": "now sudo asked the phone",
    "the user ends the session on the phone": "the user ends the session on the phone",
    "the login is over": "the login is over",
}


@dataclass(frozen=True)
class Frame:
    """What was on the terminal, and what happened then."""

    screen: str
    caption: str
    seconds: float = _SECONDS


def record(sandbox: Sandbox, token: str, password: str) -> list[Frame]:
    """Log in as alice, and go through the scene of the demo."""
    terminal = Terminal(["ssh", "alice@server"], 60)
    frames: list[Frame] = []

    def announce(step: str) -> None:
        frames.append(Frame(f"$ ssh alice@server\n{plain(terminal.shown)}", _CAPTIONS[step]))

    terminal.expect(PROMPT)
    terminal.sendline("")
    right = KeptLogin(sandbox, token, terminal, password, announce).play()
    announce("the login is over")
    assert right, terminal.shown
    return [*frames[:-1], Frame(frames[-1].screen, frames[-1].caption, _LAST_SECONDS)]


def plain(shown: str) -> str:
    """A terminal's output without what sets its title and modes, and without the reverse line feeds of raw modes."""
    return re.sub(r"\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b\[\?\d+[hl]", "", shown).replace("\r", "").strip()


def animation(frames: list[Frame], name: str) -> str:
    """The frames one after the other, again and again, in an SVG that needs neither a script nor a font."""
    pictures = [picture(frame, f"{name}-{number}") for number, frame in enumerate(frames)]
    head = re.search(r'<svg[^>]* viewBox="0 0 ([0-9.]+) ([0-9.]+)"', pictures[0])
    assert head is not None
    total = sum(frame.seconds for frame in frames)
    styles, groups, begin = [], [], 0.0
    for number, (frame, image) in enumerate(zip(frames, pictures)):
        start, end = (round(100 * at / total, 3) for at in (begin, begin + frame.seconds))
        begin += frame.seconds
        hidden = "visibility: hidden"
        before = f"0% {{ {hidden} }} " if start else ""
        after = f" {end}%, 100% {{ {hidden} }}" if end < 100 else ""
        styles.append(f"@keyframes {name}-{number} {{ {before}{start}% {{ visibility: visible }}{after} }}")
        styles.append(f".{name}-f{number} {{ animation: {name}-{number} {total}s step-end infinite }}")
        groups.append(f'<g class="{name}-f{number}">{image}</g>')
    width, height = head.groups()
    still = f"@media (prefers-reduced-motion: reduce) {{ g[class^={name}-f] {{ animation: none; visibility: hidden }} "
    still += f".{name}-f{len(frames) - 1} {{ visibility: visible !important }} }}"
    style = "\n".join([*styles, still])
    return (
        f'<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">\n'
        f"<style>\n{style}\n</style>\n" + "\n".join(groups) + "\n</svg>\n"
    )


def picture(frame: Frame, name: str) -> str:
    """One frame: always of the same size, with the caption as the window's title."""
    lines = frame.screen.split("\n")
    assert len(lines) <= ROWS, frame.screen
    return svg("\n".join([*lines, *[" "] * (ROWS - len(lines))]), frame.caption, name)


def svg(screen: str, title: str, name: str) -> str:
    """What was on a terminal, as an SVG that needs no font from elsewhere."""
    options = {"force_terminal": True, "color_system": "truecolor", "legacy_windows": False}
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), **options)  # type: ignore[arg-type]
    console.print(Text.from_ansi(screen), soft_wrap=False)
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    made = console.export_svg(title=title, code_format=form, unique_id=name)
    return made.replace("Fira Code", "DejaVu Sans Mono")
