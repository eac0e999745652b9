"""What an import asks for, checked against what is registered: all at once, before anything is stored or moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from app.domain.plan import Difference, Item, WantedPlan, Wave
from app.domain.registered import RegisteredTarget
from app.domain.space import reservations
from app.services.assessments import Assessments
from app.services.planning.capacity import check_capacity
from app.services.planning.differences import difference, same_waves
from app.services.planning.drafts import Draft, in_order
from app.services.planning.elsewhere import check_elsewhere
from app.services.planning.judge import Size, judge
from app.services.planning.known import Known
from app.services.planning.names import check_names
from app.services.planning.order import check_order, linked
from app.services.planning.report import Checked, Findings
from app.services.planning.rows import Asked, Before, RowReader
from app.services.planning.waves import waves_of
from app.services.planning.windows import Times, check_windows
from app.store.store import Store


class PlanCheck:
    def __init__(self, store: Store, slots: int) -> None:
        """`slots`: how many moves workers carry out at the same time, as far as is known."""
        self._store = store
        self._assessments = Assessments(store)
        self._slots = slots

    def run(self, wanted: WantedPlan, asked: Asked, before: Before, now: datetime) -> Checked:
        """Never raises for what rows say, that is in `problems`. Raises NotFound for the source or target asked for."""
        known, found = self._known(asked), Findings(wanted.problems)
        reader = RowReader(wanted, asked, before, known, found)
        rows = reader.read()
        drafts = linked([*rows.drafts, *reader.kept(rows)], rows.lost, known.suggestions, found)
        staying = [draft for draft in drafts if not (asked.remove_missing and draft.kept and not draft.locked)]
        before_waves = before.plan.waves if before.plan else ()
        waves = waves_of(wanted, {draft.item.wave for draft in staying}, before_waves, found)
        sizes = judge(staying, known, self._store, found)
        check_names(staying, found)
        check_elsewhere(staying, before.plan.id if before.plan else "", self._store, found)
        check_order(staying, waves, wanted.wave_places, found)
        ordered = _by_wave(staying, waves)
        pools = check_capacity(ordered, sizes, self._reserved, found)
        forecasts = check_windows(waves, ordered, sizes, self._times(staying, now), wanted.wave_places, found)
        differences = _differences(drafts, before, asked)
        return Checked(
            kind=wanted.kind,
            rows=len(wanted.rows),
            waves=waves,
            items=tuple(_sized(draft, sizes) for draft in staying),
            problems=found.problems(),
            differences=differences,
            vms=sum(forecast.vms for forecast in forecasts),
            bytes=sum(forecast.bytes for forecast in forecasts),
            seconds=sum(forecast.seconds for forecast in forecasts),
            forecasts=forecasts,
            pools=pools,
            changes=before.plan is None
            or len(staying) < len(drafts)
            or not same_waves(waves, before_waves)
            or any(item.change in ("added", "changed") for item in differences),
        )

    def _known(self, asked: Asked) -> Known:
        for ref, registered in ((asked.source, self._store.sources), (asked.target, self._store.targets)):
            if ref:
                registered.get(ref)
        return Known(self._store)

    def _reserved(self, to: RegisteredTarget, pool: str) -> int:
        return sum(item.bytes for item in reservations(self._store.requests.sharing_pool(to.id, pool)))

    def _times(self, drafts: Sequence[Draft], now: datetime) -> Times:
        targets = {draft.to.id: draft.to for draft in drafts if draft.to}
        return Times(now, {key: self._assessments.pace(to) for key, to in targets.items()}, self._slots)


def _by_wave(drafts: Sequence[Draft], waves: Sequence[Wave]) -> list[Draft]:
    """As they would start."""
    position = {wave.name: place for place, wave in enumerate(waves)}
    return sorted(in_order(drafts), key=lambda draft: position[draft.item.wave])


def _sized(draft: Draft, sizes: Mapping[str, Size]) -> Item:
    size = sizes.get(draft.item.key)
    if size is None or draft.locked:
        return draft.item
    return draft.item.model_copy(update={"bytes": size.disk_bytes})


def _differences(drafts: Sequence[Draft], before: Before, asked: Asked) -> tuple[Difference, ...]:
    old = {item.key: item for item in before.items}
    names = {item.key: item.vm_name for item in before.items} | {d.item.key: d.item.vm_name for d in drafts}
    return tuple(difference(draft, old, names, remove=asked.remove_missing) for draft in drafts)
