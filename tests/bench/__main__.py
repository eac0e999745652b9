"""Run scenarios one after the other, and put what they find into docs/bench.

python -m tests.bench                    all of them: `make bench`
python -m tests.bench NAME … --runs N    these, with N runs of each side
python -m tests.bench --draw             draw results.svg anew, and measure nothing

Each scenario is a process of its own. Those on the lab have a network of their own, in which nobody else talks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import (
    assess,
    data,
    flat,
    machine,
    memory,
    move,
    native,
    nfc,
    plan_page,
    plans,
    plot,
    results,
    sparse,
    stream,
)
from tests.bench.measure import may_drop_caches, tool


@dataclass(frozen=True)
class Scenario:
    """prepare: makes what takes long, once; measure(runs, folder): needs no network but its own, if `own_network`."""

    title: str
    prepare: Callable[[], None]
    measure: Callable[[int, Path], results.Outcome]
    own_network: bool = False
    runs: int = 5


SCENARIOS = {
    "stream": Scenario(stream.TITLE, stream.prepare, stream.measure),
    "nfc": Scenario(nfc.TITLE, nfc.prepare, nfc.measure, own_network=True),
    "flat": Scenario(flat.TITLE, flat.prepare, flat.measure, own_network=True),
    "sparse": Scenario(sparse.TITLE, sparse.prepare, sparse.measure, own_network=True, runs=3),
    "memory": Scenario(memory.TITLE, memory.prepare, memory.measure),
    "move": Scenario(move.TITLE, move.prepare, move.measure),
    "native": Scenario(native.TITLE, native.prepare, native.measure, runs=3),
    "assess": Scenario(assess.TITLE, assess.prepare, assess.measure, runs=3),
    "plans": Scenario(plans.TITLE, plans.prepare, plans.measure, runs=3),
    "plan_page": Scenario(plan_page.TITLE, plan_page.prepare, plan_page.measure),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--runs", type=int, help="of each side, instead of what the scenario has")
    parser.add_argument("--draw", action="store_true", help="only draw the plot anew")
    parser.add_argument("--inside", metavar="FILE", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.names) - set(SCENARIOS):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if given.inside:
        inside(given.names[0], given.runs, given.inside)
        return 0
    found = results.load()
    for name in [] if given.draw else given.names or SCENARIOS:
        found = results.merge(name, run(name, given.runs), list(SCENARIOS))
        show(found[name])
    plot.write(found, results.FOLDER / "results.svg")
    return 0


def run(name: str, runs: int | None) -> dict[str, object]:
    """Measure one scenario in a process of its own."""
    scenario = SCENARIOS[name]
    print(f"{name}: {scenario.title}", flush=True)
    scenario.prepare()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        words = [sys.executable, "-m", "tests.bench", name, "--runs", str(runs or scenario.runs), "--inside", file.name]
        subprocess.run([*(["unshare", "--net", "--"] if scenario.own_network else []), *words], check=True)
        answer: dict[str, object] = json.loads(Path(file.name).read_text())
    return answer


def inside(name: str, runs: int, file: Path) -> None:
    """The process of one scenario."""
    scenario = SCENARIOS[name]
    if scenario.own_network:
        tool("ip", "link", "set", "lo", "up")
    with tempfile.TemporaryDirectory(dir=data.cache(), prefix="run-") as folder:
        outcome = scenario.measure(runs, Path(folder))
        described = {**machine.describe(Path(folder)), "caches_dropped": may_drop_caches()}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    file.write_text(json.dumps(results.entry(scenario.title, now, described, outcome)))


def show(entry: dict[str, object]) -> None:
    for line in plot.lines(entry):
        print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
