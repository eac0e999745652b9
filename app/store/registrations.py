"""Credentials, sources and targets. Secrets go in, and come out only within a SourceSpec or TargetSpec."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict, InvalidRequest, NotFound
from app.domain.models import ImageOptions, SourceSpec, TargetSpec, Tls
from app.domain.registered import Credential, RegisteredSource, RegisteredTarget
from app.store import rows
from app.store.engine import reading, writing
from app.store.limits import forget_source
from app.store.paging import Page, PageRequest, fetch
from app.store.secretbox import SecretBox
from app.store.tables import credentials, jobs, sources, targets


def source_spec(connection: sa.Connection, box: SecretBox, source_id: str) -> SourceSpec:
    """Raises NotFound, SecretUnreadable."""
    row = _one(connection, sources, "source", source_id)
    username, password = _login(connection, box, row.credential_id) if row.credential_id else ("", "")
    return SourceSpec(
        id=row.id,
        name=row.name,
        kind=row.kind,
        host=row.host,
        username=username,
        password=password,
        tls=Tls.model_validate(row.tls),
    )


def target_spec(connection: sa.Connection, box: SecretBox, target_id: str) -> TargetSpec:
    """Raises NotFound, SecretUnreadable."""
    row = _one(connection, targets, "target", target_id)
    username, password = _login(connection, box, row.credential_id) if row.credential_id else ("", "")
    return TargetSpec(
        id=row.id,
        name=row.name,
        kind=row.kind,
        uri=row.uri,
        pool=row.pool,
        image=ImageOptions.model_validate(row.image),
        networks=row.networks,
        username=username,
        password=password,
    )


class Credentials:
    def __init__(self, engine: sa.Engine, box: SecretBox) -> None:
        self._engine = engine
        self._box = box

    def add(self, name: str, username: str, password: str) -> Credential:
        with writing(self._engine) as connection, _unique_name("credential", name):
            return self.insert(connection, name, username, password)

    def insert(self, connection: sa.Connection, name: str, username: str, password: str, owner: str = "") -> Credential:
        made = Credential(id=rows.new_id(), name=name, username=username, created_at=rows.now())
        secret = self._box.seal(_row_of(made.id), password)
        connection.execute(credentials.insert().values(**dict(made), secret=secret, owner=owner))
        return made

    def get(self, ref: str) -> Credential:
        with reading(self._engine) as connection:
            return _credential(_one(connection, credentials, "credential", ref))

    def list(self, request: PageRequest) -> Page[Credential]:
        with reading(self._engine) as connection:
            return _by_name(connection, credentials, request, _credential)

    def set_password(self, ref: str, password: str) -> Credential:
        with writing(self._engine) as connection:
            row = _one(connection, credentials, "credential", ref)
            secret = self._box.seal(_row_of(row.id), password)
            connection.execute(credentials.update().where(credentials.c.id == row.id).values(secret=secret))
            return _credential(row)

    def remove(self, ref: str) -> None:
        with writing(self._engine) as connection:
            row = _one(connection, credentials, "credential", ref)
            for table, kind in ((sources, "source"), (targets, "target")):
                query = sa.select(table.c.name).where(table.c.credential_id == row.id)
                if user := connection.execute(query.limit(1)).scalar_one_or_none():
                    raise Conflict(f"credential {row.name} is used by {kind} {user}", f"Remove the {kind} first.")
            connection.execute(credentials.delete().where(credentials.c.id == row.id))


class Sources:
    def __init__(self, engine: sa.Engine, credentials: Credentials) -> None:
        self._engine = engine
        self._credentials = credentials

    def add(
        self, *, name: str, kind: str, host: str, tls: Tls, credential: str = "", username: str = "", password: str = ""
    ) -> RegisteredSource:
        """With the id or name of a credential, a username and password that get one of their own, or no login."""
        source_id = rows.new_id()
        with writing(self._engine) as connection, _unique_name("source", name):
            credential_id = None
            if credential:
                credential_id = _one(connection, credentials, "credential", credential).id
            elif username:
                of = f"source {name}"
                credential_id = self._credentials.insert(connection, of, username, password, owner=source_id).id
            connection.execute(
                sources.insert().values(
                    id=source_id,
                    name=name,
                    kind=kind,
                    host=host,
                    credential_id=credential_id,
                    tls=tls.to_dict(),
                    identity="",
                    checks=[],
                    created_at=rows.now(),
                )
            )
            return _source(_one_source(connection, source_id))

    def get(self, ref: str) -> RegisteredSource:
        """By id or name."""
        with reading(self._engine) as connection:
            return _source(_one_source(connection, ref))

    def list(self, request: PageRequest) -> Page[RegisteredSource]:
        with reading(self._engine) as connection:
            return _by_name(connection, sources, request, _source, _WITH_USERNAME)

    def remove(self, ref: str) -> None:
        """Raises Conflict while a job that is not done uses it."""
        with writing(self._engine) as connection:
            row = _one(connection, sources, "source", ref)
            _unused(connection, jobs.c.source_id, "source", row)
            forget_source(connection, row.id)
            connection.execute(sources.delete().where(sources.c.id == row.id))
            connection.execute(credentials.delete().where(credentials.c.owner == row.id))


class Targets:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(
        self,
        *,
        name: str,
        kind: str,
        uri: str,
        pool: str,
        image: ImageOptions,
        networks: dict[str, str],
        credential: str = "",
    ) -> RegisteredTarget:
        with writing(self._engine) as connection, _unique_name("target", name):
            credential_id = _one(connection, credentials, "credential", credential).id if credential else None
            target_id = rows.new_id()
            connection.execute(
                targets.insert().values(
                    id=target_id,
                    name=name,
                    kind=kind,
                    uri=uri,
                    pool=pool,
                    image=image.to_dict(),
                    networks=networks,
                    credential_id=credential_id,
                    checks=[],
                    created_at=rows.now(),
                )
            )
            return _target(_one(connection, targets, "target", target_id))

    def get(self, ref: str) -> RegisteredTarget:
        """By id or name."""
        with reading(self._engine) as connection:
            return _target(_one(connection, targets, "target", ref))

    def only(self) -> RegisteredTarget:
        """The target when there is just one. Raises InvalidRequest."""
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(targets).limit(2)).all()
        if len(found) != 1:
            remedy = "Name one: GET /v1/targets lists them." if found else "Register a target first: POST /v1/targets."
            raise InvalidRequest("no target was named", remedy, pointer="/target")
        return _target(found[0])

    def list(self, request: PageRequest) -> Page[RegisteredTarget]:
        with reading(self._engine) as connection:
            return _by_name(connection, targets, request, _target)

    def remove(self, ref: str) -> None:
        """Raises Conflict while a job that is not done uses it."""
        with writing(self._engine) as connection:
            row = _one(connection, targets, "target", ref)
            _unused(connection, jobs.c.target_id, "target", row)
            connection.execute(targets.delete().where(targets.c.id == row.id))


_USERNAME = sa.func.coalesce(credentials.c.username, "").label("username")
_WITH_USERNAME = sa.select(sources, _USERNAME).outerjoin(credentials)


def _one_source(connection: sa.Connection, ref: str) -> sa.Row[Any]:
    return _one(connection, sources, "source", ref, _WITH_USERNAME)


def _one(
    connection: sa.Connection, table: sa.Table, kind: str, ref: str, query: sa.Select[Any] | None = None
) -> sa.Row[Any]:
    """By id, else by name."""
    query = sa.select(table) if query is None else query
    for column in (table.c.id, table.c.name):
        if row := connection.execute(query.where(column == ref)).one_or_none():
            return row
    raise NotFound(f"no {kind} {ref}", f"List them: GET /v1/{table.name}.")


def _by_name(
    connection: sa.Connection, table: sa.Table, request: PageRequest, make: Any, query: sa.Select[Any] | None = None
) -> Page[Any]:
    sorts = {"name": table.c.name, "created_at": table.c.created_at}
    query = sa.select(table) if query is None else query
    return fetch(connection, query, request, sorts=sorts, default="name", unique=[table.c.id], make=make)


def _unused(connection: sa.Connection, column: sa.Column[Any], kind: str, row: sa.Row[Any]) -> None:
    query = sa.select(jobs.c.id).where(column == row.id, jobs.c.active_key.is_not(None)).limit(5)
    if found := list(connection.execute(query).scalars()):
        raise Conflict(
            f"{kind} {row.name} is in use by job {', '.join(found)}",
            "Wait until these have ended; retry or roll back those that failed.",
            jobs=found,
        )


@contextmanager
def _unique_name(kind: str, name: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise Conflict(f"a {kind} named {name} is there already", "Choose another name.", pointer="/name") from error


def _login(connection: sa.Connection, box: SecretBox, credential_id: str) -> tuple[str, str]:
    row = _one(connection, credentials, "credential", credential_id)
    return row.username, box.open(_row_of(row.id), row.secret)


def _row_of(credential_id: str) -> str:
    return f"credentials/{credential_id}"


def _credential(row: sa.Row[Any]) -> Credential:
    return Credential.model_validate({name: row._mapping[name] for name in Credential.model_fields})


def _source(row: sa.Row[Any]) -> RegisteredSource:
    return RegisteredSource.model_validate(dict(row._mapping))


def _target(row: sa.Row[Any]) -> RegisteredTarget:
    return RegisteredTarget.model_validate(dict(row._mapping))
