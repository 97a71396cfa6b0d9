"""Writes the results as a page with tables, as JSON, and as an image."""

from __future__ import annotations

import json
import os
import platform
from datetime import date
from pathlib import Path

from bench.measure import Row, Section

FOLDER = Path(__file__).parent


def write(sections: list[Section], bounds: list[tuple[str, float, float]]) -> None:
    """Write `results.md`, `results.json` and `results.svg`. Bounds are (what, found, at most)."""
    lines = [
        "# Measurements",
        "",
        f"Made by `make bench` on {date.today()}: {os.cpu_count()} cores, Python {platform.python_version()},"
        f" kernel {platform.release().split('-')[0]}. All in one run, side by side;"
        " medians. Machines are noisy: compare the ratios, not the milliseconds.",
        "",
        "| what | found | at most |",
        "| --- | ---: | ---: |",
        *(f"| {what} | {_figure(found)} | {_figure(most)} |" for what, found, most in bounds),
        "",
        "![CPU of one authenticate, by door](results.svg)",
    ]
    for section in sections:
        lines += ["", f"## {section.title}", "", *_table(section)]
        if section.remark:
            lines += ["", section.remark]
    (FOLDER / "results.md").write_text("\n".join(lines) + "\n")
    results = {"sections": [section.as_json() for section in sections], "bounds": bounds}
    (FOLDER / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    _plot(sections[0])


def _table(section: Section) -> list[str]:
    return [
        "| | " + " | ".join(section.columns) + " |",
        "| --- |" + " ---: |" * len(section.columns),
        *(
            f"| {row.name} | " + " | ".join(_cell(row, column) for column in section.columns) + " |"
            for row in section.rows
        ),
    ]


def _cell(row: Row, column: str) -> str:
    return _figure(row.values[column]) if column in row.values else ""


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def _plot(section: Section) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "pam-iampass"
    from matplotlib import pyplot

    rows = sorted(section.rows, key=lambda row: row.values["CPU ms"])
    figure, axes = pyplot.subplots(figsize=(9, 3.6))
    ours = ["#1f77b4" if "door" in row.name else "#bbbbbb" for row in rows]
    bars = axes.barh([row.name for row in rows], [row.values["CPU ms"] for row in rows], color=ours)
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_xscale("log")
    axes.set_xlabel("CPU of one authenticate in the application, ms (logarithmic)")
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(FOLDER / "results.svg", metadata={"Date": None})
