"""VM names that are code, paths or options somewhere: moved, or refused clearly, and nothing else happens."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.faults.world import World

LONG = "ü€𝄞x" * 20
SHARED = [Path(), Path("/"), Path("/tmp"), Path("/var/lib/libvirt"), Path("/var/lib/libvirt/images")]


def listing(world: World, name: str) -> set[Path]:
    """All in our own places; in those where others work meanwhile, what a path or a shell might make of the name."""
    own = (world.host.pool_path, world.service.home, world.lab.directory)
    made = {place / part for place in SHARED for part in (name, *re.findall(r"[\w-]+", name))}
    return {path for place in own for path in place.iterdir()} | {path for path in made if os.path.lexists(path)}


@pytest.mark.parametrize("name", ["../x", "-rf", "</name>"])
def test_a_name_that_libvirt_or_a_shell_would_stumble_over_is_refused(world: World, name: str) -> None:
    vm_id = world.add_vm(name)
    before, seen = world.look(vm_id), listing(world, name)
    refused = world.submit(vm_id, expect=422)
    assert refused["code"] == "preflight_failed"
    assert name in refused["detail"]
    assert "name" in refused["hint"]
    assert world.look(vm_id) == before
    assert listing(world, name) == seen

    job = world.finish(world.submit(vm_id, target_name=f"vmferry-renamed-{vm_id}")["id"])
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job["id"])


@pytest.mark.parametrize("name", ["$(touch p)", "a; touch p #", "%s%n {0}", LONG])
def test_a_name_that_is_only_odd_is_moved(world: World, name: str) -> None:
    vm_id = world.add_vm(name)
    seen = listing(world, name)
    job = world.finish(world.submit(vm_id)["id"])
    assert job["state"] == "succeeded", job["error"]
    world.assert_moved(vm_id, job["id"])
    assert world.domain(world.lab.vm(vm_id)["uuid"]).name() == name
    new = {path.name for path in listing(world, name) - seen}
    assert all(job["id"] in path for path in new - {"jobs"}), new
    assert not Path("p").exists()
