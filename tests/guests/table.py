"""The matrix as a page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

HEAD = """\
# Guests that were moved

`make guests` builds each of these in the lab, boots it on VMware's devices and asks it who it is, moves it, boots it on
virtio, and asks again: host name, machine id, kernel, enabled services; names, MACs and addresses of its cards, routes,
DNS; what is mounted where, by UUID; the order of the disks, by what is on them; checksums of a file on each. Of an
unconverted guest addresses, MACs, routes and DNS are not compared: its cards are others. A guest with an encrypted root
is not booted: its disks are opened and looked at. Two guests are moved by virt-v2v and by native from the same disks.
`make guests` wrote this table, and says of each guest with which version and when; a guest is moved again when code
that changes guests has changed.

| guest | what is odd about it | converter | why that | convert | seen up by | the guest | moved |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def render(moves: Iterable[tuple[str, str, dict[str, Any]]]) -> str:
    """Of each move its name, what is odd about its guest, and what came of it."""
    return HEAD + "".join(f"| {' | '.join(_row(*move))} |\n" for move in moves)


def _row(name: str, what: str, result: dict[str, Any]) -> list[str]:
    verdict = result["verdict"].replace("|", "/").replace("\n", " ")
    moved = f"{result['version']}, {result['date']}"
    if "converter" not in result:
        return [name, what, "", "", "", "", verdict, moved]
    boot = f"{result['boot']['kind']}, {result['boot']['seconds']:.0f} s" if result["boot"] else "not booted"
    convert = f"{result['convert_s']:.0f} s"
    return [name, what, result["converter"], result["reason"], convert, boot, verdict, moved]
