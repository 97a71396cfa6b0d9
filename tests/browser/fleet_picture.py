"""The moving picture of a fleet in the README, made from what `make demo FLEET=1` shows."""

from __future__ import annotations

import subprocess

from tests.browser.moving_picture import Frame, animation
from tests.support.installation import ROOT

#: What the picture says, and the beginnings of the titles of the scenes that it shows meanwhile.
_FRAMES = {
    "a host joins with an invite, and alice approves on her phone": (
        "web1.example joins",
        "alice logs in to web1.example",
    ),
    "approved once on the bastion: neither web1 nor web2 nor sudo there rings": (
        "alice logs in to bastion.example",
    ),
    "alice walks away with her phone, and all three logins end": ("alice walks away",),
    "an attacker has taken over web1: what its key can do": (
        "web1.example was taken over",
        "The script rings alice",
    ),
    "one command shuts web1 out": ("The administrator: host suspend",),
}


def moving_picture() -> str:
    """Run the demo, and make an SVG of it. Raises AssertionError if something went wrong in it."""
    command = ["tests/support/isolated-root.sh", "/usr/bin/python3", "-m", "tests.system.demo_fleet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    scenes = [scene.split("\n") for scene in done.stdout.split("\n\n")]
    frames = []
    for caption, beginnings in _FRAMES.items():
        shown = []
        for beginning in beginnings:
            (lines,) = (lines for title, *lines in scenes if title.startswith(beginning))
            shown.append("\n".join(line.partition("| ")[2] for line in lines if line.startswith("  | ")))
        frames.append(Frame("\n\n".join(shown), caption, seconds=8.0))
    return animation(frames, "fleet")
