"""Sessions of the pages: a browser that showed a token once. Kept as SHA-256 only; they end with their token."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

import sqlalchemy as sa

from app.domain.registered import Token
from app.store import rows
from app.store.engine import reading, writing
from app.store.tables import sessions, tokens

IDLE = timedelta(hours=8)
LONGEST = timedelta(hours=24)
TOUCHED = timedelta(minutes=1)  # a session in use is written down so often, not at every request


class Sessions:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(self, token: Token) -> str:
        """The text that its cookie carries. What has expired is swept out."""
        text, now = secrets.token_urlsafe(32), rows.now()
        with writing(self._engine) as connection:
            connection.execute(sessions.delete().where(sa.not_(_alive())))
            connection.execute(
                sessions.insert().values(digest=_digest(text), token_id=token.id, created_at=now, seen_at=now)
            )
        return text

    def check(self, text: str) -> Token | None:
        """Whose session it is, None for one that has expired or never was; it counts as use."""
        query = sa.select(tokens, sessions.c.seen_at).join(sessions, sessions.c.token_id == tokens.c.id)
        mine = sessions.c.digest == _digest(text)
        with reading(self._engine) as connection:
            row = connection.execute(query.where(mine, _alive())).one_or_none()
        if row is None:
            return None
        if rows.now() - row.seen_at > TOUCHED:
            with writing(self._engine) as connection:
                connection.execute(sessions.update().where(mine).values(seen_at=rows.now()))
        return Token.model_validate({name: row._mapping[name] for name in Token.model_fields})

    def end(self, text: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(sessions.delete().where(sessions.c.digest == _digest(text)))


def _alive() -> sa.ColumnElement[bool]:
    now = rows.now()
    return sa.and_(sessions.c.seen_at > now - IDLE, sessions.c.created_at > now - LONGEST)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
