"""Alembic's entry: in the caller's transaction (app/store/schema.py), or alone for `alembic` on the command line."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context

from app.settings import load_settings
from app.store.engine import make_engine, writing
from app.store.tables import metadata


def _ours(name: str | None, kind: str, _parents: Any) -> bool:
    """The engine keeps its own tables in the same database."""
    return kind != "table" or name in metadata.tables


def _run(connection: sa.Connection) -> None:
    context.configure(connection, target_metadata=metadata, include_name=_ours, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with writing(make_engine(load_settings().database_url)) as own:
        _run(own)
