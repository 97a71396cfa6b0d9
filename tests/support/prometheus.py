"""Prometheus's view of figures: what they say, and which alerts fire for them (promtool)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support import needs

RULES = Path(__file__).parents[2] / "packaging" / "prometheus"
GATEWAY_RULES = RULES / "pam-iampass.rules.yaml"
HOST_RULES = RULES / "pam-iampass-hosts.rules.yaml"


@dataclass(frozen=True)
class Scrape:
    """What was served, or is in a file, at a moment."""

    text: str
    at: float

    @property
    def values(self) -> dict[tuple[str, frozenset[tuple[str, str]]], tuple[str, float]]:
        """Kind and value, by name and labels."""
        return {
            (sample.name, frozenset(sample.labels.items())): (family.type, sample.value)
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """0 if there is no such sample. The name is without `iampass_`."""
        found = self.values.get((f"iampass_{name}", frozenset(labels.items())))
        return 0.0 if found is None else found[1]


def complaints(text: str) -> str:
    """What promtool has against a text."""
    checked = subprocess.run(
        [needs.program("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


_MINUTES_BEFORE = 10


def _series(
    job: str, before: Scrape, after: Scrape, up: int, advancing: Collection[str]
) -> list[dict[str, str]]:
    """Ten minutes as before; then two hours as after, in which counters go on as they have between the two, and so do
    the times that are `advancing`."""
    old, found = before.values, []
    where = f'instance="here",job="{job}"'
    for (name, labels), (kind, value) in after.values.items():
        counts = kind in ("counter", "histogram", "summary")
        earlier = old.get((name, labels), (kind, 0.0 if counts else value))[1]
        slopes = (0.0, value - earlier) if counts else (0.0, 0.0)
        if name.endswith("_timestamp_seconds"):  # promtool's clock begins at 0
            earlier, value = earlier - before.at, value - after.at + 60 * (_MINUTES_BEFORE + 1)
            if name.removeprefix("iampass_") in advancing:
                slopes = (60.0, 60.0)
        text = "".join(f"{key}={json.dumps(each)}," for key, each in sorted(labels))
        values = f"{earlier!r}{slopes[0]:+}x{_MINUTES_BEFORE} {value!r}{slopes[1]:+}x120"
        found.append({"series": f"{name}{{{text}{where}}}", "values": values})
    return [*found, {"series": f"up{{{where}}}", "values": f"1+0x{_MINUTES_BEFORE} {up}+0x120"}]


def firing(
    rules: Path,
    job: str,
    scrapes: tuple[Scrape, Scrape],
    expected: Collection[str],
    folder: Path,
    *,
    minutes: int = 115,
    up: int = 1,
    advancing: Collection[str] = (),
) -> str:
    """What promtool says if the alerts that fire `minutes` after the first of two scrapes are not those."""
    test = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{minutes}m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)],
    }
    series = _series(job, *scrapes, up, advancing)
    case = {"interval": "1m", "input_series": series, "promql_expr_test": [test]}
    file = folder / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [case]})
    )
    done = subprocess.run(
        [needs.program("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def alerts_in(rules: Path) -> set[str]:
    """The names of the alerts that the rules can give."""
    return {rule["alert"] for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"]}
