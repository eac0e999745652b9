"""The matrix as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.lab.recipes import Recipe

HEAD = """\
# Guests that were moved

`make guests` builds each of these in the lab, boots it on VMware's devices and asks it who it is, moves it, boots it on
virtio, and asks again: host name, addresses, MACs, routes, DNS, mounts, checksums of a file on each disk, enabled
services, machine id and kernel. Of an unconverted guest addresses, MACs and routes are not compared. It wrote this
table.

| guest | what is odd about it | converter | why that | convert | seen up by | the guest |
| --- | --- | --- | --- | --- | --- | --- |
"""


def render(results: Sequence[tuple[Recipe, dict[str, Any]]]) -> str:
    return HEAD + "".join(f"| {' | '.join(_row(recipe, result))} |\n" for recipe, result in results)


def _row(recipe: Recipe, result: dict[str, Any]) -> list[str]:
    verdict = result["verdict"].replace("|", "/").replace("\n", " ")
    if "converter" not in result:
        return [recipe.name, recipe.what, "", "", "", "", verdict]
    boot = f"{result['boot']['kind']}, {result['boot']['seconds']:.0f} s"
    return [
        recipe.name,
        recipe.what,
        result["converter"],
        result["reason"],
        f"{result['convert_s']:.0f} s",
        boot,
        verdict,
    ]
