"""Plans as users ask for them: made of sheets and documents, started, stopped and looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from app.domain import plan_verbs
from app.domain.errors import Conflict, InvalidRequest, NotFound, PlanRefused
from app.domain.job import JobSummary
from app.domain.plan import Item, ItemState, Plan, WantedPlan
from app.domain.plan_run import decide
from app.domain.plan_state import Entry, is_locked
from app.domain.plan_words import waits_for
from app.services.jobs import next_action
from app.services.plan_check import PlanCheck
from app.services.plan_standing import Standing, item_action, standing
from app.services.planning.known import Known
from app.services.planning.report import Checked
from app.services.planning.rows import Asked, Before
from app.services.planning.sheets import choices, template_rows
from app.settings import Settings
from app.sheets.annotate import annotate
from app.sheets.export import export_csv, export_xlsx
from app.sheets.formats import understand
from app.sheets.outcome import downtime_s, outcome
from app.sheets.read import read
from app.sheets.template import template
from app.store.paging import Page, PageRequest
from app.store.plans import Verb
from app.store.rows import new_id, now
from app.store.store import Store

RESERVED = frozenset({"new", "template"})  # GET /v1/plans/template and the page /plans/new are no plans
MOST_KEYS = 500  # that are asked for by name; of more, all are read


NOTHING_MORE = Asked()


class Saved(NamedTuple):
    """`made`: there was none of this name. `changed`: it is not as it was before."""

    plan: Plan
    checked: Checked
    made: bool
    changed: bool


@dataclass(frozen=True)
class ItemStanding:
    """`downtime_s`: from the source's shutdown to the guest seen up, or to the end of a move that does not boot."""

    item: Item
    state: ItemState
    job: JobSummary | None
    downtime_s: float | None
    next_action: str


class Plans:
    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._check = PlanCheck(store, settings.max_jobs)

    # ---- sheets

    def read(self, data: bytes, filename: str) -> WantedPlan:
        """What a file asks for. Raises UnreadableSheet and TooLarge."""
        return understand(read(data, filename))

    def annotated(self, data: bytes, filename: str, name: str, asked: Asked = NOTHING_MORE) -> bytes:
        """The file as an xlsx with its problems marked. Raises as `read` and `check`."""
        workbook = read(data, filename)
        checked = self.check(name, understand(workbook), asked)
        return annotate(workbook, checked.problems, choices(Known(self._store), asked.source, asked.target))

    def template(self, source: str, target: str = "") -> bytes:
        """An xlsx with a row for each VM of a source. Raises NotFound."""
        from_, to = self._store.sources.get(source), self._store.targets.get(target) if target else None
        known = Known(self._store)
        rows = template_rows(known.vms(from_), to)
        return template(rows, choices(known, from_.name, to.name if to else ""))

    def export(self, ref: str, kind: Literal["xlsx", "csv"]) -> tuple[str, bytes]:
        """The plan's name, and it as a sheet with what became of each VM. Raises NotFound."""
        plan = self._store.plans.get(ref)
        items, jobs = self._store.plans.items(plan.id), self._store.plans.jobs_of(plan.id)
        outcomes = {item.key: outcome(item, jobs.get(item.job)) for item in items}
        if kind == "csv":
            return plan.name, export_csv(items, outcomes)
        return plan.name, export_xlsx(items, plan.waves, outcomes, choices(Known(self._store)))

    # ---- what is planned

    def check(self, name: str, wanted: WantedPlan, asked: Asked = NOTHING_MORE) -> Checked:
        """What saving it would do, and all that is wrong with it. "" is a plan that is not there yet.

        Raises NotFound for a source or target of `asked`.
        """
        return self._check.run(wanted, asked, self._before(name), now())

    def save(
        self,
        name: str,
        wanted: WantedPlan,
        asked: Asked = NOTHING_MORE,
        *,
        update: bool = True,
        description: str | None = None,
        expected: int | None = None,
    ) -> Saved:
        """Make a plan, or change it to what is wanted; the same again changes nothing.

        Raises PlanRefused for errors in what is wanted, NotFound for a source or target of `asked`, Conflict
        plan_exists without `update`, and plan_changed when it is not at version `expected`.
        """
        before = self._before(name)
        old = before.plan
        if old is None and name in RESERVED:
            raise InvalidRequest(f"a plan cannot be named {name}", "Choose another name.", pointer="plan")
        if old is not None and not update:
            raise Conflict(f"there is a plan {name} already", "Update it, or choose another name.", code="plan_exists")
        if expected is not None and (old is None or old.version != expected):
            raise Conflict(f"plan {name} is not at version {expected}", "Look at it as it is now.", code="plan_changed")
        checked = self._check.run(wanted, asked, before, now())
        if checked.errors:
            raise PlanRefused(checked.problems)
        if description is None:
            description = old.description if old else ""
        if old is not None and not checked.changes and old.description == description:
            return Saved(old, checked, made=False, changed=False)
        base = old or Plan(id=new_id(), name=name, created_at=now(), updated_at=now())
        plan = base.model_copy(update={"description": description, "waves": checked.waves})
        saved = self._store.plans.save(plan, checked.items, expected=old.version if old else None)
        return Saved(saved, checked, made=old is None, changed=True)

    def version(self, name: str) -> int:
        """0 for a plan that is not there."""
        try:
            return self._store.plans.get(name).version
        except NotFound:
            return 0

    def remove(self, ref: str) -> None:
        """Its jobs stay. Raises NotFound, and Conflict while something of it moves."""
        self._store.plans.remove(ref)

    # ---- what becomes of it

    def list(self, request: PageRequest) -> Page[Standing]:
        found = self._store.plans.list(request)
        return Page([self.get(plan.id) for plan in found.items], found.next)

    def get(self, ref: str) -> Standing:
        """By id or name. Raises NotFound."""
        plan, entries = self._store.plans.standing(ref)
        return standing(plan, entries, self._store.plans.glances(plan.id), now())

    def shown(
        self, ref: str, *, wave: str = "", states: Collection[ItemState] = (), text: str = ""
    ) -> tuple[Standing, Sequence[ItemStanding]]:
        """As get and items together answer, from one look."""
        plan, entries = self._store.plans.standing(ref)
        jobs = self._store.plans.jobs_of(plan.id)
        found = self._standing(plan, entries, self._chosen(plan, entries, wave, states, text), jobs)
        return standing(plan, entries, jobs, now()), found

    def changed(self, ref: str, jobs: Collection[str]) -> tuple[Standing, Sequence[ItemStanding]]:
        """Where the plan stands, and of its items those with one of these jobs."""
        plan, entries = self._store.plans.standing(ref)
        found: Sequence[ItemStanding] = ()
        if jobs:
            some = [entry for entry in entries if entry.job_id in jobs]
            found = self._standing(plan, entries, some, self._store.plans.jobs_of(plan.id, jobs))
        return standing(plan, entries, self._store.plans.glances(plan.id), now()), found

    def items(
        self,
        ref: str,
        *,
        wave: str = "",
        states: Collection[ItemState] = (),
        text: str = "",
        after: str = "",
        limit: int | None = None,
    ) -> Page[ItemStanding]:
        """In their order. `text`: a part of what its row says, whatever its case. `after`: the key of the last seen."""
        plan, entries = self._store.plans.standing(ref)
        chosen = self._chosen(plan, entries, wave, states, text)
        if after:
            chosen = _beyond(entries, chosen, after)
        shown = chosen if limit is None else chosen[:limit]
        more = len(shown) < len(chosen)
        found = self._standing(plan, entries, shown, self._store.plans.jobs_of(plan.id))
        return Page([*found], shown[-1].key if more else None)

    def item(self, ref: str, key: str) -> ItemStanding:
        """Raises NotFound."""
        plan, entries = self._store.plans.standing(ref)
        mine = [entry for entry in entries if entry.key == key]
        jobs = self._store.plans.jobs_of(plan.id, [entry.job_id for entry in mine])
        found = self._standing(plan, entries, mine, jobs)
        if not found:
            raise NotFound(f"plan {plan.name} has no item {key}", f"List them: GET /v1/plans/{plan.id}/items.")
        return found[0]

    # ---- what is asked of it: each raises NotFound, and Conflict where it cannot be now

    def start(self, ref: str) -> Standing:
        return self._ask(ref, lambda plan, entries: plan_verbs.start(plan, entries, now()))

    def would_start(self, ref: str) -> Sequence[Entry]:
        """What a start would start at once; nothing is done."""
        plan, entries = self._store.plans.standing(ref)
        change = plan_verbs.start(plan, entries, now())
        started = decide(change.plan, entries, now(), self._settings.max_jobs).start
        keys = [key for unit in started for key in unit]
        by_key = {entry.key: entry for entry in entries}
        return [by_key[key] for key in keys]

    def pause(self, ref: str) -> Standing:
        return self._ask(ref, lambda plan, entries: plan_verbs.pause(plan, entries, now()))

    def resume(self, ref: str) -> Standing:
        return self._ask(ref, lambda plan, entries: plan_verbs.resume(plan, entries, now()))

    def cancel(self, ref: str) -> Standing:
        return self._ask(ref, lambda plan, entries: plan_verbs.cancel(plan, entries, now()))

    def retry(self, ref: str, keys: Collection[str] = ()) -> Standing:
        """All that failed, was cancelled or is held; or those of `keys`."""
        return self._ask(ref, lambda plan, entries: plan_verbs.retry(plan, entries, now(), keys))

    def roll_back(
        self, ref: str, *, wave: str = "", keys: Collection[str] = (), confirm_data_loss: bool = False
    ) -> Standing:
        """The plan, one wave, or those of `keys`. What had succeeded is undone only when the loss is confirmed."""
        how = partial(plan_verbs.roll_back, wave=wave, keys=keys, confirm_data_loss=confirm_data_loss)
        return self._ask(ref, lambda plan, entries: how(plan, entries, now()))

    def approve(self, ref: str, wave: str) -> Standing:
        return self._ask(ref, lambda plan, entries: plan_verbs.approve(plan, entries, now(), wave))

    # ----

    def _ask(self, ref: str, verb: Verb) -> Standing:
        return self.get(self._store.plans.change(ref, verb).id)

    def _before(self, name: str) -> Before:
        try:
            plan, entries = self._store.plans.standing(name)
        except NotFound:
            return Before()
        if plan.name != name:
            raise InvalidRequest(
                f"{name} is the id of plan {plan.name}", "Name a plan by its name here.", pointer="plan"
            )
        locked = frozenset(entry.key for entry in entries if is_locked(entry.state))
        return Before(plan, self._store.plans.items(plan.id), locked)

    def _chosen(
        self, plan: Plan, entries: Sequence[Entry], wave: str, states: Collection[ItemState], text: str
    ) -> Sequence[Entry]:
        chosen = [entry for entry in entries if wave in ("", entry.wave) and (not states or entry.state in states)]
        if text:
            said = {item.key for item in self._store.plans.items(plan.id) if _says(item, text.casefold())}
            chosen = [entry for entry in chosen if entry.key in said]
        return chosen

    def _standing(
        self, plan: Plan, entries: Sequence[Entry], chosen: Sequence[Entry], jobs: Mapping[str, JobSummary]
    ) -> Sequence[ItemStanding]:
        """Of those that are chosen among all entries."""
        if not chosen:
            return []
        waits = waits_for(plan, entries, now())
        keys = [entry.key for entry in chosen] if len(chosen) <= MOST_KEYS else ()
        items = {item.key: item for item in self._store.plans.items(plan.id, keys=keys)}
        return [
            _item(items[entry.key], entry, jobs.get(entry.job_id), waits.get(entry.key, ""))
            for entry in chosen
            if entry.key in items
        ]


def _item(item: Item, entry: Entry, job: JobSummary | None, waits: str) -> ItemStanding:
    own = job if job is not None and entry.state.value == job.state.value else None  # else it waits to be started again
    return ItemStanding(
        item=item,
        state=entry.state,
        job=job,
        downtime_s=downtime_s(job) if job else None,
        next_action=next_action(own) if own else item_action(entry.state, item.held, item.error, waits),
    )


def _says(item: Item, text: str) -> bool:
    fields = ("vm_name", "vm_id", "vm_uuid", "source", "target", "group", "owner", "notes")
    return any(text in str(getattr(item, name)).casefold() for name in fields)


def _beyond(entries: Sequence[Entry], chosen: Sequence[Entry], last: str) -> Sequence[Entry]:
    """What comes after the item `last`, which may be no longer among those that are chosen."""
    position = {entry.key: place for place, entry in enumerate(entries)}
    if last not in position:
        raise InvalidRequest(
            "the cursor is not one of this list", "Use `next_cursor` of the page before.", pointer="cursor"
        )
    return [entry for entry in chosen if position[entry.key] > position[last]]
