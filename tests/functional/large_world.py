"""A plan of many VMs in the middle of its run."""

from __future__ import annotations

from app.domain.plan import PlanState, Wave
from app.domain.states import JobState
from app.settings import Settings
from app.store.store import Store
from tests.functional.world import World

WAVES = 10


def large_plan(settings: Settings, store: Store, vms: int) -> None:
    """The plan "large": the first half of its VMs moved, failed or queued in turns, one moves, the others wait."""
    world = World(settings, store, vms=vms)
    plan = world.plan("large", [Wave(name=f"w{n}") for n in range(WAVES)], PlanState.RUNNING, started_at=world.now)
    ends = {JobState.SUCCEEDED: "finalise", JobState.FAILED: "verify_copy", JobState.QUEUED: ""}
    for number in range(1, vms // 2):
        state = list(ends)[number % 3]
        world.move(number, state, done=ends[state])
    world.move(vms // 2, JobState.RUNNING, done="shutdown")
    each = vms // WAVES
    for wave in range(WAVES):
        world.put(plan, f"w{wave}", range(wave * each + 1, (wave + 1) * each + 1))
