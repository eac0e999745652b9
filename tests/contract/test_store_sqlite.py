"""What is SQLite's alone: the file, the schema, secrets at rest, idempotency keys that grow old."""

from __future__ import annotations

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.domain.errors import Conflict, InvalidRequest
from app.store import idempotency, rows, schema
from app.store.engine import DatabaseUnavailable, make_engine, reading, writing
from app.store.idempotency import Answer, IdempotencyKeys
from app.store.secretbox import SecretBox, SecretUnreadable, load_box
from app.store.tables import metadata

BOX = SecretBox(b"k" * 32)


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path}/db/vmferry.db"
    schema.upgrade(made)
    return made


def test_migrations_make_what_the_tables_say(url: str) -> None:
    with make_engine(url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_every_migration_can_be_undone(url: str) -> None:
    with writing(make_engine(url)) as connection:
        config = schema.alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert not metadata.tables.keys() & set(sa.inspect(connection).get_table_names())


def test_upgrading_twice_is_once_also_at_the_same_time(tmp_path: Path) -> None:
    made = f"sqlite:///{tmp_path}/new.db"
    assert schema.current(made) == ""
    threads = [threading.Thread(target=schema.upgrade, args=(made,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert schema.current(made) == schema.newest() != ""


def test_the_file_is_for_its_owner_only_and_in_wal_mode(url: str, tmp_path: Path) -> None:
    with writing(make_engine(url)) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        for path in (tmp_path / "db").iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://user:passw0rd@db/vmferry", "mysql://x", "sqlite://", "sqlite:///:memory:", "nonsense"]
)
def test_other_databases_are_refused_clearly(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_engine(url)
    assert "VMFERRY_DATABASE_URL" in caught.value.message
    assert "passw0rd" not in str(caught.value.to_dict())


def test_a_writer_that_raises_leaves_nothing(url: str) -> None:
    engine = make_engine(url)

    def write() -> None:
        with writing(engine) as connection:
            rows.add_event(connection, "j", "job.log", "lost")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    with reading(engine) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM events")).scalar() == 0


def test_a_database_that_stays_locked_is_a_transient_error(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.engine.BUSY_TIMEOUT_MS", 50)
    holder = sqlite3.connect(tmp_path / "db" / "vmferry.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable) as caught, writing(make_engine(url)):
        pass
    assert caught.value.retryable
    holder.close()


def test_readers_do_not_wait_for_a_writer(url: str) -> None:
    engine = make_engine(url)
    with writing(engine) as writer:
        rows.add_event(writer, "j", "job.log", "soon")
        with reading(engine) as reader:
            assert reader.execute(sa.text("SELECT count(*) FROM events")).scalar() == 0


def test_a_secret_opens_in_its_row_with_its_key_only() -> None:
    sealed = BOX.seal("credentials/1", "pä55")
    assert BOX.open("credentials/1", sealed) == "pä55"
    assert "pä55".encode() not in sealed
    assert BOX.seal("credentials/1", "pä55") != sealed
    for box, row, data in (
        (BOX, "credentials/2", sealed),
        (SecretBox(b"x" * 32), "credentials/1", sealed),
        (BOX, "credentials/1", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (BOX, "credentials/1", b"\x02" + sealed[1:]),
        (BOX, "credentials/1", b"\x01"),
    ):
        with pytest.raises(SecretUnreadable):
            box.open(row, data)


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret.key"
    sealed = load_box(path).seal("r", "s")
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_box(path).open("r", sealed) == "s"
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(InvalidRequest, match="can be read or changed by others"):
            load_box(path)
    path.chmod(0o600)
    path.write_text("abcd\n")
    with pytest.raises(InvalidRequest, match="no key"):
        load_box(path)


def test_a_key_that_is_under_way_or_was_used(url: str) -> None:
    keys = IdempotencyKeys(make_engine(url), BOX)
    assert keys.begin("t", "k", b"one") is None
    with pytest.raises(Conflict):
        keys.begin("t", "k", b"one")
    answer = Answer(201, "/v1/jobs/1", b"{}")
    keys.keep("t", "k", answer)
    assert keys.begin("t", "k", b"one") == answer
    with pytest.raises(InvalidRequest):
        keys.begin("t", "k", b"two")


def test_keys_grow_old(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = IdempotencyKeys(make_engine(url), BOX)
    keys.begin("t", "dead", b"x")
    keys.begin("t", "done", b"x")
    keys.keep("t", "done", Answer(201, "", b"{}"))
    now = rows.now()
    monkeypatch.setattr(rows, "now", lambda: now + idempotency.ABANDONED + timedelta(seconds=1))
    assert keys.begin("t", "dead", b"x") is None
    assert keys.begin("t", "done", b"x") is not None
    monkeypatch.setattr(rows, "now", lambda: now + idempotency.KEPT + timedelta(seconds=1))
    assert keys.begin("t", "done", b"x") is None
