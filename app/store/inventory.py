"""The VMs of every source, as they were last seen."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.domain.errors import Conflict, NotFound
from app.domain.registered import ListedVM
from app.store.engine import reading
from app.store.paging import Page, PageRequest, fetch
from app.store.tables import sources, vms

_WITH_SOURCE = sa.select(vms, sources.c.name.label("source_name")).join(sources)


class Inventory:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def find(self, source_id: str, ref: str) -> ListedVM:
        """By id, else by name. Raises NotFound, and Conflict with the candidates for a name that several have."""
        of_source = _WITH_SOURCE.where(vms.c.source_id == source_id)
        with reading(self._engine) as connection:
            if row := connection.execute(of_source.where(vms.c.id == ref)).one_or_none():
                return _listed(row)
            found = [_listed(row) for row in connection.execute(of_source.where(vms.c.name == ref).order_by(vms.c.id))]
        if not found:
            raise NotFound(
                f"no VM {ref} in the inventory of this source",
                f"If it is new, read the inventory again: POST /v1/sources/{source_id}/refresh.",
                code="vm_not_found",
                pointer="/vm",
            )
        if len(found) > 1:
            raise Conflict(
                f"{len(found)} VMs of this source are named {ref}",
                "Name the one you mean by its id.",
                code="ambiguous_vm",
                pointer="/vm",
                candidates=[{"id": item.vm.id, "folder": item.vm.folder, "uuid": item.vm.uuid} for item in found],
            )
        return found[0]

    def list(self, request: PageRequest, *, source: str = "", name: str = "", text: str = "") -> Page[ListedVM]:
        """`source` is an id or name, `name` exact, `text` a part of the name whatever its case."""
        query = _WITH_SOURCE
        if source:
            query = query.where(sa.or_(sources.c.id == source, sources.c.name == source))
        if name:
            query = query.where(vms.c.name == name)
        if text:
            query = query.where(vms.c.name.icontains(text, autoescape=True))
        unique = [vms.c.source_id, vms.c.id]
        with reading(self._engine) as connection:
            return fetch(
                connection, query, request, sorts={"name": vms.c.name}, default="name", unique=unique, make=_listed
            )

    def counts(self) -> dict[str, int]:
        """The id of each source that has any → how many VMs."""
        query = sa.select(vms.c.source_id, sa.func.count().label("number")).group_by(vms.c.source_id)
        with reading(self._engine) as connection:
            return {row.source_id: row.number for row in connection.execute(query)}


def _listed(row: sa.Row[Any]) -> ListedVM:
    return ListedVM.model_validate(
        {"source_id": row.source_id, "source_name": row.source_name, "seen_at": row.seen_at, "vm": row.body}
    )
