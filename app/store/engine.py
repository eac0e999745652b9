"""Connections. SQLite in WAL mode; who will write says so at the start, so that no transaction fails half-way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, OperationalError

from app.domain.errors import InvalidRequest, TransientError

BUSY_TIMEOUT_MS = 30_000


class DatabaseUnavailable(TransientError):
    code = "database_unavailable"


def make_engine(url: str) -> sa.Engine:
    """An engine for `sqlite:///FILE`; a new file is made readable by its owner only. Raises InvalidRequest."""
    path = sqlite_path(url)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, pool_size=20, max_overflow=40)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def sqlite_path(url: str) -> Path:
    """The database's file. Raises InvalidRequest for any other kind of database; the URL's password is not shown."""
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        raise InvalidRequest(
            "VMFERRY_DATABASE_URL is no database URL",
            "Write sqlite:////absolute/path/vmferry.db.",
            code="invalid_settings",
        ) from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise InvalidRequest(
            f"VMFERRY_DATABASE_URL: {parsed.drivername} is not supported yet, only a SQLite file is",
            "Leave it unset, or write sqlite:////absolute/path/vmferry.db.",
            code="invalid_settings",
        )
    return Path(parsed.database)


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    with _translated(), engine.begin() as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that holds the write lock from its first statement on; committed unless the block raises."""
    with _translated(), engine.execution_options(writes=True).begin() as connection:
        yield connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise DatabaseUnavailable(f"the database does not answer: {error.orig}") from error


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3 begins no transactions of its own: _begin does
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
