"""The native converter against virt-v2v in place, on the same disks: without and with an initramfs to make anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from app.domain.models import VM, Nic
from converters import appliance, qcow2
from converters.accelerator import resolve
from converters.native import Native
from converters.virt_v2v import TOOL, guest_xml
from tests.bench.measure import in_turns, tool
from tests.bench.results import Outcome
from tests.bench.stats import Run, figure, ratios
from tests.lab import Guest, build_guest
from tests.lab.recipes import DEBIAN12, RECIPES
from tests.unit.moves import make_vm

TITLE = "A Debian 12 with two disks, converted"
HAS_VIRTIO = next(recipe for recipe in RECIPES if recipe.name == "debian12-virtio")
CASES = (("its initramfs has virtio", HAS_VIRTIO, 0.35), ("its initramfs is made anew", DEBIAN12, 0.8))

Convert = Callable[[VM, list[Path], Path], None]


def prepare() -> None:
    resolve("auto")  # a worker asks once, at its start
    for _, recipe, _ in CASES:
        build_guest(recipe)


def measure(runs: int, folder: Path) -> Outcome:
    figures = []
    sides: dict[str, list[Run]] = {}
    for what, recipe, bar in CASES:
        guest = build_guest(recipe)
        ours, theirs = f"vmferry, native: {what}", f"virt-v2v-in-place: {what}"
        both = {ours: partial(_run, _native, guest, folder), theirs: partial(_run, _virt_v2v, guest, folder)}
        found = in_turns(both, runs, warm=guest.disks, warm_up=False)
        sides |= found
        figures.append(figure(f"of virt-v2v's time, {what}", ratios(found[ours], found[theirs]), bar=bar, bound="most"))
    return Outcome(figures, sides)


def _run(convert: Convert, guest: Guest, folder: Path) -> Mapping[str, float] | None:
    vm = make_vm(nics=(Nic(key=1, label="card", mac=guest.mac, network="VM Network", slot=guest.slot),))
    overlays = [folder / f"{number}.qcow2" for number in range(len(guest.disks))]
    for disk, overlay in zip(guest.disks, overlays, strict=True):
        overlay.unlink(missing_ok=True)
        qcow2.create_overlay(overlay, disk, "raw")
    convert(vm, overlays, folder)
    return None


def _native(vm: VM, overlays: list[Path], _folder: Path) -> None:
    Native().convert(vm, overlays, cancel=lambda: None, log=lambda line: None)


def _virt_v2v(vm: VM, overlays: list[Path], folder: Path) -> None:
    xml = folder / "guest.xml"
    xml.write_text(guest_xml(vm, overlays))
    tool(TOOL, "-i", "libvirtxml", xml, env=os.environ | appliance.environment(resolve("auto")))
