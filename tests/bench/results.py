"""docs/bench/results.json: what each scenario found, when, and on which machine. A scenario replaces its own part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.stats import Figure, Run

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "bench"
FILE = FOLDER / "results.json"


@dataclass(frozen=True)
class Outcome:
    """figures: the ratios; sides: the runs that they are of, by name; notes: what else belongs to them."""

    figures: Sequence[Figure]
    sides: Mapping[str, Sequence[Run]]
    notes: Sequence[str] = ()


def entry(title: str, date: str, machine: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """A scenario as it is written."""
    return {
        "title": title,
        "date": date,
        "figures": [one.to_dict() for one in outcome.figures],
        "notes": list(outcome.notes),
        "runs": {
            side: [{key: value for key, value in asdict(run).items() if value != {}} for run in runs]
            for side, runs in outcome.sides.items()
        },
        "machine": dict(machine),
    }


def load(path: Path = FILE) -> dict[str, Any]:
    """All scenarios by name; empty when there are none yet."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def merge(name: str, scenario: Mapping[str, Any], order: Sequence[str], path: Path = FILE) -> dict[str, Any]:
    """Put a scenario in the place of its former result, in `order`, and write all."""
    known = {**load(path), name: dict(scenario)}
    merged = {key: known[key] for key in order if key in known}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(merged, indent=1, sort_keys=False) + "\n")
    part.replace(path)
    return merged
