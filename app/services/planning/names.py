"""Names on the target, each of which one VM can have."""

from __future__ import annotations

from collections.abc import Sequence

from app.services.planning.drafts import Draft
from app.services.planning.report import Findings
from app.services.planning.words import said


def check_names(drafts: Sequence[Draft], found: Findings) -> None:
    """Those that a domain has already are preflight's."""
    taken: dict[tuple[str, str], Draft] = {}
    for draft in sorted(drafts, key=lambda draft: (not draft.locked, not draft.kept, draft.item.place)):
        if not draft.item.include or draft.to is None:
            continue
        name = draft.item.options.target_name or draft.item.vm_name
        first = taken.setdefault((draft.to.uri, name), draft)
        if first is not draft and draft.open:
            where = f" ({first.row.place()})" if first.row.place() else ""
            found.error(
                draft.place("target_name") if draft.item.options.target_name else draft.vm_place(),
                "target_name_twice",
                f"{draft.item.vm_name} and {first.item.vm_name}{where} would both be named {said(name)} on"
                f" {draft.to.name}",
                "Give one of them another 'target name'.",
            )
