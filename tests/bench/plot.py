"""docs/bench/results.svg: a bar for each figure, against the line that it has to reach. Readable on light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from tests.bench.stats import Figure

WIDTH, LEFT, RIGHT = 880, 330, 40
ROW, BAR, HEAD, FOOT = 30, 14, 34, 44
LINE = 0.5  # where the bar line stands, as a part of the track: what it asks for
STYLE = """
svg { color-scheme: light dark; font: 13px system-ui, sans-serif; }
.page { fill: #ffffff; } .text { fill: #1f2328; } .soft { fill: #59636e; } .title { font-weight: 600; }
.track { fill: #eaeef2; } .good { fill: #1a7f37; } .bad { fill: #bc4c00; } .plain { fill: #57606a; }
.line { stroke: #1f2328; stroke-width: 2; } .spread { stroke: #1f2328; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; } .text { fill: #e6edf3; } .soft { fill: #9198a1; }
.track { fill: #21262d; } .good { fill: #3fb950; } .bad { fill: #f0883e; } .plain { fill: #8b949e; }
.line { stroke: #e6edf3; } .spread { stroke: #e6edf3; }
}
"""


def lines(scenario: Mapping[str, Any]) -> list[str]:
    """The figures of one scenario as text."""
    return [f"{one.what}: {_said(one)}" for one in _figures(scenario)]


def write(scenarios: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draw(scenarios))


def draw(scenarios: Mapping[str, Any]) -> str:
    """All scenarios as one SVG."""
    parts: list[str] = []
    y = 12.0
    for scenario in scenarios.values():
        parts.append(_text(16, y + 18, scenario["title"], "text title"))
        parts.append(_text(WIDTH - RIGHT, y + 18, scenario["date"][:10], "soft", anchor="end"))
        y += HEAD
        for one in _figures(scenario):
            parts += _row(one, y)
            y += ROW
        y += 8
    machine = next(reversed(scenarios.values()), {"machine": None})["machine"]
    if machine:
        said = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, Linux {machine['kernel']}"
        parts.append(_text(16, y + 20, f"Medians with least and most. {said}", "soft"))
    height = y + FOOT
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" role="img">'
    label = "<title>What vmferry needs, as ratios to other tools</title>"
    page = f'<rect class="page" width="{WIDTH}" height="{height:g}" rx="6"/>'
    return "\n".join([head, label, f"<style>{STYLE}</style>", page, *parts, "</svg>"]) + "\n"


def _figures(scenario: Mapping[str, Any]) -> list[Figure]:
    return [Figure.from_dict(one) for one in scenario["figures"]]


def _row(one: Figure, y: float) -> list[str]:
    """The bar is as long as the median, where the line stands at what is asked for, in the middle of the track."""
    width = WIDTH - LEFT - RIGHT - 190
    unit = one.bar or max(one.most, 1.0)

    def x(value: float) -> float:
        return LEFT + min(1.0, value / unit * LINE) * width

    kind = {None: "plain", True: "good", False: "bad"}[one.reached]
    middle = y + BAR / 2
    parts = [
        _text(LEFT - 12, middle + 4, one.what, "text", anchor="end"),
        f'<rect class="track" x="{LEFT}" y="{y:g}" width="{width}" height="{BAR}" rx="3"/>',
        f'<rect class="{kind}" x="{LEFT}" y="{y:g}" width="{x(one.median) - LEFT:.1f}" height="{BAR}" rx="3"/>',
        f'<path class="spread" d="M{x(one.least):.1f} {middle:g}H{x(one.most):.1f}"/>',
        _text(LEFT + width + 12, middle + 4, _said(one), "text"),
    ]
    if one.bar is not None:
        parts.append(f'<path class="line" d="M{x(one.bar):.1f} {y - 4:g}V{y + BAR + 4:g}"/>')
    return parts


def _said(one: Figure) -> str:
    asked = "" if one.bar is None else f", {'≥' if one.bound == 'least' else '≤'} {one.bar:g}"
    return f"{_number(one.median)}{one.unit} ({_number(one.least)}–{_number(one.most)}){asked}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
