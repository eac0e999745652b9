"""API tokens: kept as SHA-256 only. A token is 256 random bits, so a fast hash is enough."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

import sqlalchemy as sa

from app.domain.errors import Conflict, NotFound
from app.domain.registered import Token
from app.store import rows
from app.store.engine import reading, writing
from app.store.paging import Page, PageRequest, fetch
from app.store.tables import tokens


class Tokens:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(self, name: str) -> tuple[Token, str]:
        """The token as it is listed, and its text, which cannot be had again."""
        with writing(self._engine) as connection:
            return self._insert(connection, name)

    def create_first(self, name: str, deliver: Callable[[str], None]) -> None:
        """A token when there is none; it counts only when `deliver` could hand its text over."""
        with writing(self._engine) as connection:
            if connection.execute(sa.select(tokens.c.id).limit(1)).first() is None:
                deliver(self._insert(connection, name)[1])

    def check(self, text: str) -> Token | None:
        digest = _digest(text)
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(tokens).where(tokens.c.digest == digest)).one_or_none()
        return _token(row) if row is not None and hmac.compare_digest(row.digest, digest) else None

    def list(self, request: PageRequest) -> Page[Token]:
        sorts = {"name": tokens.c.name, "created_at": tokens.c.created_at}
        with reading(self._engine) as connection:
            return fetch(
                connection,
                sa.select(tokens),
                request,
                sorts=sorts,
                default="created_at",
                unique=[tokens.c.id],
                make=_token,
            )

    def revoke(self, token_id: str) -> None:
        """Raises Conflict for the last one: without any, nobody could make another."""
        with writing(self._engine) as connection:
            known = set(connection.execute(sa.select(tokens.c.id)).scalars())
            if token_id not in known:
                raise NotFound(f"no token {token_id}", "List them: GET /v1/tokens.")
            if len(known) == 1:
                raise Conflict("this is the last token", "Create another one first, then revoke this one with it.")
            connection.execute(tokens.delete().where(tokens.c.id == token_id))

    @staticmethod
    def _insert(connection: sa.Connection, name: str) -> tuple[Token, str]:
        text = "vmf_" + secrets.token_urlsafe(32)
        made = Token(id=rows.new_id(), name=name, created_at=rows.now())
        connection.execute(tokens.insert().values(**dict(made), digest=_digest(text)))
        return made, text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _token(row: sa.Row[object]) -> Token:
    return Token.model_validate({name: row._mapping[name] for name in Token.model_fields})
