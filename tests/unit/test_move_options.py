"""What a move asks for instead of the target's own and the source's own, and that a worker's steps work with that."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest

from app.domain.job import Job
from app.domain.models import ImageOptions, TargetSpec
from app.domain.move import MoveOptions
from tests.contract.memory.store import MemoryStore
from tests.unit.moves import make_vm
from workers.steps.context import Adapters, StepContext

OVERRIDES = MoveOptions(pool="ssd", format="raw", cpus=6, memory_bytes=3 << 30)
TARGET = TargetSpec(id="t", name="kvm1", image=ImageOptions(discard=False))


def test_with_nothing_asked_for_all_is_as_it_was() -> None:
    vm = make_vm(cpu_shares=5000, memory_reservation_bytes=2 << 30)
    assert MoveOptions().for_vm(vm) == vm
    assert MoveOptions().for_target(TARGET) == TARGET
    assert MoveOptions(format="qcow2").for_target(TARGET) == TARGET


@pytest.mark.parametrize(
    ("own", "wanted", "image"),
    [
        ({"compressed": True, "cluster_kib": 1024}, "raw", {"format": "raw"}),
        ({"preallocation": "metadata"}, "raw", {"format": "raw"}),
        (
            {"preallocation": "full", "discard": False},
            "raw",
            {"format": "raw", "preallocation": "full", "discard": False},
        ),
        ({"format": "raw", "preallocation": "falloc"}, "qcow2", {"preallocation": "falloc"}),
    ],
)
def test_a_format_leaves_out_what_only_the_other_has(
    own: dict[str, Any], wanted: Literal["qcow2", "raw"], image: dict[str, Any]
) -> None:
    target = TARGET.model_copy(update={"image": ImageOptions.model_validate(own)})
    assert MoveOptions(format=wanted).for_target(target).image == ImageOptions.model_validate(image)


def test_the_steps_of_a_worker_see_what_was_asked_for(tmp_path: Path) -> None:
    store = MemoryStore()
    store.targets["t"] = TARGET
    opened: list[TargetSpec] = []

    def open_target(spec: TargetSpec) -> Any:
        opened.append(spec)
        return _Closed()

    vm = make_vm()
    made = Job(
        id="j1",
        vm_id=vm.id,
        vm_name=vm.name,
        source_id="s",
        source_name="vc",
        target_id="t",
        target_name="kvm1",
        options=OVERRIDES,
        vm=vm,
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
    )
    store.submit(made)
    adapters = Adapters(
        open_source=_no_source,
        open_target=open_target,
        converters={},
        clock=_Closed(),  # type: ignore[arg-type]
        home=tmp_path,
    )
    with StepContext("j1", store, adapters, attempt=1, cancel=lambda: None, fence=lambda: None) as ctx:
        assert ctx.target
        assert ctx.move.volume_name(0) == "vmferry-j1-0.raw"
        assert (ctx.move.vm.cpus, ctx.move.vm.memory_bytes) == (6, 3 << 30)
        assert ctx.vm == vm
    assert [(spec.pool, spec.image) for spec in opened] == [("ssd", ImageOptions(format="raw", discard=False))]


def _no_source(_spec: Any) -> Any:
    raise AssertionError("nothing of this asks the source")


class _Closed:
    def close(self) -> None:
        pass
