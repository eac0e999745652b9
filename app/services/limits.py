"""Limits as users name what they are for: a source by id or name, a job by its id."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.limits import Limit, Scope, ScopedLimit, rate_at
from app.store.paging import Page, PageRequest
from app.store.rows import now
from app.store.store import Store


@dataclass(frozen=True)
class NamedLimit:
    """A limit, the name of its subject ("" for the service), and the bytes a second that it allows at this moment."""

    limit: ScopedLimit
    name: str
    rate_now: int | None


class Limits:
    """Every method with a subject raises NotFound for an unknown one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self, request: PageRequest) -> Page[NamedLimit]:
        found = self._store.limits.list(request)
        return Page([self._named(limit) for limit in found.items], found.next)

    def get(self, scope: Scope, ref: str = "") -> NamedLimit:
        """Raises NotFound also where none is set."""
        return self._named(self._store.limits.get(scope, self._subject(scope, ref)))

    def set(self, limit: Limit, scope: Scope, ref: str = "") -> NamedLimit:
        scoped = ScopedLimit(scope=scope, subject=self._subject(scope, ref), **dict(limit))
        self._store.limits.set(scoped)
        return self._named(scoped)

    def clear(self, scope: Scope, ref: str = "") -> None:
        self._store.limits.clear(scope, self._subject(scope, ref))

    def _subject(self, scope: Scope, ref: str) -> str:
        if scope == "source":
            return self._store.sources.get(ref).id
        return self._store.jobs.job(ref).id if scope == "job" else ""

    def _named(self, limit: ScopedLimit) -> NamedLimit:
        name = ""
        if limit.scope == "source":
            name = self._store.sources.get(limit.subject).name
        elif limit.scope == "job":
            name = self._store.jobs.job(limit.subject).vm_name
        return NamedLimit(limit, name, rate_at(limit, now()))
