"""The benchmark's own arithmetic: pairs, medians, bars, and what is kept of earlier results."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import plot, results
from tests.bench.results import Outcome
from tests.bench.stats import Figure, Run, figure, ratios
from tests.bench.v2v_times import conversion_seconds


def runs(*seconds: float) -> list[Run]:
    return [Run(one, one / 2) for one in seconds]


def test_a_ratio_is_taken_pair_by_pair() -> None:
    assert ratios(runs(10, 30, 8), runs(5, 10, 8)) == [2.0, 3.0, 1.0]


def test_a_ratio_of_something_else_than_seconds() -> None:
    above, below = [Run(1, 0, {"mib": 30})], [Run(1, 0, {"mib": 10})]
    assert ratios(above, below, lambda run: run.facts["mib"]) == [3.0]


def test_sides_with_unequal_runs_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios(runs(1, 2), runs(1))


def test_the_median_is_not_moved_by_one_slow_run() -> None:
    one = figure("x", [2.1, 2.0, 9.0, 2.2, 2.05], bar=2.0)
    assert (one.median, one.least, one.most, one.runs) == (2.1, 2.0, 9.0, 5)


@pytest.mark.parametrize(
    ("values", "bound", "reached"),
    [([2.0], "least", True), ([1.99], "least", False), ([1.1], "most", True), ([1.11], "most", False)],
)
def test_a_bar_is_reached_at_the_bar(values: list[float], bound: str, reached: bool) -> None:
    bar = 2.0 if bound == "least" else 1.1
    assert figure("x", values, bar=bar, bound=bound).reached is reached  # type: ignore[arg-type]


def test_a_figure_without_a_bar_reaches_none() -> None:
    assert figure("x", [1.0]).reached is None


def test_nothing_measured_is_no_figure() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        figure("x", [])


def test_a_figure_survives_being_written() -> None:
    one = figure("x", [1.0, 3.0], bar=1.5, bound="most", unit="")
    assert Figure.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def outcome(value: float) -> Outcome:
    return Outcome([figure("faster", [value], bar=2.0)], {"ours": runs(1)}, ["note"])


def test_a_scenario_replaces_its_own_result_only(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "results.json"
    order = ["stream", "flat"]
    for name, value in (("flat", 3.0), ("stream", 1.0), ("flat", 4.0)):
        results.merge(name, results.entry(name, "2026-01-01T00:00:00+00:00", {"cpu": "x"}, outcome(value)), order, file)
    found = results.load(file)
    assert list(found) == order
    assert [found[name]["figures"][0]["median"] for name in order] == [1.0, 4.0]
    assert found["flat"]["runs"] == {"ours": [{"seconds": 1, "cpu_s": 0.5}]}
    assert [path.name for path in file.parent.iterdir()] == ["results.json"]


def test_without_results_there_are_none(tmp_path: Path) -> None:
    assert results.load(tmp_path / "results.json") == {}


MACHINE = {"cpu": "a <CPU> & more", "cores": 2, "memory_gib": 23.5, "kernel": "6.1"}


def drawn(*figures: Figure) -> ElementTree.Element:
    entry = results.entry("A & B", "2026-01-01T00:00:00+00:00", MACHINE, Outcome(figures, {}))
    return ElementTree.fromstring(plot.draw({"x": entry}))


def widths(svg: ElementTree.Element, kind: str) -> list[float]:
    return [float(one.get("width", "")) for one in svg.iter() if one.get("class") == kind]


def test_the_plot_tells_good_from_bad() -> None:
    svg = drawn(figure("a", [3.0], bar=2.0), figure("b", [1.5], bar=1.1, bound="most"), figure("c", [1.0]))
    assert [len(widths(svg, kind)) for kind in ("good", "bad", "plain")] == [1, 1, 1]
    text = " ".join(svg.itertext())
    assert "3× (3–3), ≥ 2" in text
    assert "1.5× (1.5–1.5), ≤ 1.1" in text
    assert "a <CPU> & more" in text


def test_a_bar_ends_at_the_line_when_the_figure_is_what_is_asked_for() -> None:
    svg = drawn(figure("a", [2.0], bar=2.0), figure("b", [1.0], bar=2.0), figure("c", [99.0], bar=2.0))
    track = widths(svg, "track")[0]
    assert widths(svg, "good") == pytest.approx([track / 2, track], abs=0.1)
    assert widths(svg, "bad") == pytest.approx([track / 4], abs=0.1)


def test_an_empty_plot_is_still_a_plot() -> None:
    assert ElementTree.fromstring(plot.draw({})).tag.endswith("svg")


def test_the_conversion_is_read_from_what_virt_v2v_says() -> None:
    said = [
        "[   0.0] Setting up the source: -i libvirt -ic vpx://…",
        "[   2.5] Opening the source",
        "[  60.0] Inspecting the source",
        "[ 300.0] Closing the overlay",
        "[ 301.5] Setting up the destination: -o libvirt",
        "[ 302.0] Copying disk 1/2",
    ]
    assert conversion_seconds(said) == 299.0
    with pytest.raises(KeyError):
        conversion_seconds(said[:2])
