"""VMs that somebody else is about to move: a job that holds one, another plan that has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from app.services.planning.drafts import Draft
from app.services.planning.report import Findings
from app.services.planning.words import listed, said
from app.store.store import Store


def check_elsewhere(drafts: Sequence[Draft], plan_id: str, store: Store, found: Findings) -> None:
    """`plan_id`: of the plan that is checked, "" for a new one. Another plan is told once."""
    waiting = {draft.item.key: draft for draft in drafts if draft.open}
    for key, job in store.requests.holders().items():
        if (draft := waiting.get(key)) and draft.item.job != job:
            found.warning(
                draft.vm_place(),
                "vm_has_job",
                f"{draft.item.vm_name} belongs to job {job}",
                "It cannot start before that job has let it go: see vmferry job show.",
            )
    others: dict[str, list[Draft]] = defaultdict(list)
    for name, key in store.plans.planned_elsewhere(plan_id, list(waiting)):
        others[name].append(waiting[key])
    for name, shared in others.items():
        names = listed([draft.item.vm_name for draft in shared])
        found.warning(
            min(shared, key=lambda draft: draft.item.place).vm_place(),
            "vm_in_other_plan",
            f"the plan {said(name)} has {len(shared)} of these VMs, too: {names}",
            "Leave them out of one of the plans: each VM is moved by one.",
        )
