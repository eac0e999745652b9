"""The VMs of every source, as they were last seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from app.domain.errors import Conflict, NotFound
from app.domain.models import VM
from app.domain.registered import KnownVM, ListedVM
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

    def known(self, source_id: str) -> Sequence[KnownVM]:
        """Who is in a source's inventory: all of it at once, for those who look up many."""
        body = vms.c.body
        columns = (
            vms.c.id,
            vms.c.name,
            body["uuid"].as_string(),
            body["folder"].as_string(),
            body["template"].as_boolean(),
        )
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(*columns).where(vms.c.source_id == source_id).order_by(vms.c.id))
            return [KnownVM(row[0], row[1], row[2] or "", row[3] or "", bool(row[4])) for row in rows]

    def networks(self, source_id: str) -> Sequence[str]:
        """Those that cards of a source's VMs are on."""
        query = sa.select(vms.c.body["nics"]).where(vms.c.source_id == source_id)
        with reading(self._engine) as connection:
            found = {nic["network"] for nics in connection.execute(query).scalars() for nic in nics or ()}
        return sorted(found)

    def cards(self, source_id: str) -> dict[str, tuple[str, ...]]:
        """The id of each VM of a source → the networks that its cards are on."""
        query = sa.select(vms.c.id, vms.c.body["nics"]).where(vms.c.source_id == source_id)
        with reading(self._engine) as connection:
            return {row[0]: tuple(nic["network"] for nic in row[1] or ()) for row in connection.execute(query)}

    def whole(self, source_id: str, ids: Sequence[str]) -> dict[str, VM]:
        """id → VM of those that are there; at most 500 are asked for at once."""
        query = sa.select(vms.c.id, vms.c.body).where(vms.c.source_id == source_id, vms.c.id.in_(ids))
        with reading(self._engine) as connection:
            return {row.id: VM.model_validate(row.body) for row in connection.execute(query)}

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
