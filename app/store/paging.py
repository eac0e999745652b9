"""Lists in pages: an opaque cursor names the last row seen, so that rows that come or go shift nothing."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from app.domain.errors import InvalidRequest
from app.store.tables import Moment

T = TypeVar("T")
MAX_LIMIT = 500


@dataclass(frozen=True)
class PageRequest:
    """`sort` is a field's name, with "-" before it for descending order; "" is the list's own order."""

    limit: int = 50
    cursor: str = ""
    sort: str = ""


@dataclass(frozen=True)
class Page(Generic[T]):
    """`next` is the cursor of the following page, None on the last one."""

    items: list[T]
    next: str | None


def fetch(
    connection: sa.Connection,
    query: sa.Select[Any],
    request: PageRequest,
    *,
    sorts: dict[str, sa.Column[Any]],
    default: str,
    unique: Sequence[sa.Column[Any]],
    make: Callable[[sa.Row[Any]], T],
) -> Page[T]:
    """One page of `query`, ordered by one of `sorts` and then by `unique`. Raises InvalidRequest."""
    sort = request.sort or default
    name = sort.removeprefix("-")
    if name not in sorts:
        raise InvalidRequest(f"cannot sort by {name!r}", f"Sort by one of: {', '.join(sorts)}.", pointer="sort")
    keys = [sorts[name], *unique]
    descending = sort.startswith("-")
    if request.cursor:
        last = sa.tuple_(
            *(sa.literal(v, k.type) for k, v in zip(keys, _decode(request.cursor, sort, keys), strict=True))
        )
        query = query.where(sa.tuple_(*keys) < last if descending else sa.tuple_(*keys) > last)
    ordered = query.order_by(*(key.desc() if descending else key.asc() for key in keys))
    found = connection.execute(ordered.limit(request.limit + 1)).all()
    shown = found[: request.limit]
    more = len(found) > len(shown)
    return Page([make(row) for row in shown], _encode(sort, shown[-1], keys) if more else None)


def _encode(sort: str, row: sa.Row[Any], keys: Sequence[sa.Column[Any]]) -> str:
    values = [row._mapping[key] for key in keys]
    text = json.dumps([sort, *(v.isoformat() if isinstance(v, datetime) else v for v in values)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, sort: str, keys: Sequence[sa.Column[Any]]) -> list[Any]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        made_for, *values = json.loads(text)
        if made_for != sort or len(values) != len(keys) or not all(isinstance(value, str) for value in values):
            raise ValueError("made for another list")
        return [
            datetime.fromisoformat(value) if isinstance(key.type, Moment) else value
            for key, value in zip(keys, values, strict=True)
        ]
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise InvalidRequest(
            "the cursor is not one of this list", "Use `next` of the page before, with the same sort.", pointer="cursor"
        ) from error
