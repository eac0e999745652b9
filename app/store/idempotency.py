"""Idempotency keys: the answer to a POST is kept for a day and given again to whoever repeats it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from app.domain.errors import Conflict, InvalidRequest
from app.store import rows
from app.store.engine import writing
from app.store.secretbox import SecretBox
from app.store.tables import idempotency_keys as keys

KEPT = timedelta(days=1)
ABANDONED = timedelta(minutes=2)  # no POST takes this long: its process died


@dataclass(frozen=True)
class Answer:
    status: int
    location: str
    body: bytes


class IdempotencyKeys:
    def __init__(self, engine: sa.Engine, box: SecretBox) -> None:
        self._engine = engine
        self._box = box

    def begin(self, token_id: str, key: str, request: bytes) -> Answer | None:
        """The kept answer, or None: carry the request out, then `keep` or `abandon`.

        Raises Conflict while the first request is under way, InvalidRequest when the key was used for another one.
        """
        now, digest = rows.now(), self._box.mac(request)
        with writing(self._engine) as connection:
            connection.execute(
                keys.delete().where(
                    sa.or_(
                        keys.c.created_at < now - KEPT,
                        sa.and_(keys.c.status.is_(None), keys.c.created_at < now - ABANDONED),
                    )
                )
            )
            row = connection.execute(
                sa.select(keys).where(keys.c.token_id == token_id, keys.c.key == key)
            ).one_or_none()
            if row is None:
                connection.execute(
                    keys.insert().values(
                        token_id=token_id, key=key, digest=digest, location="", body=b"", created_at=now
                    )
                )
                return None
        if row.digest != digest:
            raise InvalidRequest(
                "this Idempotency-Key was used for another request",
                "Use a new key for each new request.",
                code="idempotency_key_reused",
            )
        if row.status is None:
            raise Conflict(
                "a request with this Idempotency-Key is under way", "Try again in a moment.", code="request_under_way"
            )
        return Answer(row.status, row.location, row.body)

    def keep(self, token_id: str, key: str, answer: Answer) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                keys.update()
                .where(keys.c.token_id == token_id, keys.c.key == key)
                .values(status=answer.status, location=answer.location, body=answer.body)
            )

    def abandon(self, token_id: str, key: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                keys.delete().where(keys.c.token_id == token_id, keys.c.key == key, keys.c.status.is_(None))
            )
