"""The tables. Alembic makes them (migrations/); a test says that both agree."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """An aware datetime in UTC, also where the database keeps no time zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NULL_JSON = JSON(none_as_null=True)
SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself for INTEGER only

credentials = Table(
    "credentials",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("username", String(200), nullable=False),
    Column("secret", LargeBinary, nullable=False),  # see secretbox.py
    Column("owner", String(32), nullable=False),  # the source it was made for and goes with; "" stands alone
    Column("created_at", Moment, nullable=False),
)

sources = Table(
    "sources",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("kind", String(20), nullable=False),
    Column("host", String(300), nullable=False),
    Column("credential_id", String(32), ForeignKey("credentials.id")),
    Column("tls", JSON, nullable=False),
    Column("identity", String(100), nullable=False),  # the platform's own UUID; "" until it was seen
    Column("checks", JSON, nullable=False),
    Column("checked_at", Moment),
    Column("refreshed_at", Moment),
    Column("created_at", Moment, nullable=False),
)

targets = Table(
    "targets",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("kind", String(20), nullable=False),
    Column("uri", String(500), nullable=False),
    Column("pool", String(200), nullable=False),
    Column("image", JSON, nullable=False),
    Column("networks", JSON, nullable=False),
    Column("credential_id", String(32), ForeignKey("credentials.id")),
    Column("facts", NULL_JSON),
    Column("checks", JSON, nullable=False),
    Column("checked_at", Moment),
    Column("created_at", Moment, nullable=False),
)

vms = Table(
    "vms",
    metadata,
    Column("source_id", String(32), ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True),
    Column("id", String(100), primary_key=True),
    Column("name", String(500), nullable=False, index=True),
    Column("body", JSON, nullable=False),  # a whole VM
    Column("seen_at", Moment, nullable=False),
)

jobs = Table(  # they outlive the source and target that they name
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("run", Integer, nullable=False),
    Column("purpose", String(20), nullable=False),
    Column("vm_id", String(100), nullable=False),
    Column("vm_name", String(500), nullable=False),
    Column("source_id", String(32), nullable=False, index=True),
    Column("source_name", String(200), nullable=False),
    Column("target_id", String(32), nullable=False, index=True),
    Column("target_name", String(200), nullable=False),
    Column("plan_id", String(32), nullable=False),
    Column("options", JSON, nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("phase", String(40), nullable=False),
    Column("stop_requested", Boolean, nullable=False),
    Column("pause", NULL_JSON),
    Column("vm", NULL_JSON),
    Column("before", NULL_JSON),
    Column("off_since", Moment),
    Column("domain_uuid", String(36), nullable=False),
    Column("steps", JSON, nullable=False),
    Column("disks", JSON, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("concerns", JSON, nullable=False),
    Column("artefacts", JSON, nullable=False),
    Column("guest", NULL_JSON),
    Column("boot", NULL_JSON),
    Column("leftovers", JSON, nullable=False),
    Column("error", NULL_JSON),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("ended_at", Moment),
    Column("data", JSON, nullable=False),
    Column("vm_key", String(250), nullable=False),  # "<source's identity>:<vm id>"
    Column("active_key", String(250), unique=True),  # the same while the job holds its VM, else NULL
    Column("admitted", Boolean, nullable=False),  # whether this run was handed to the engine
    Column("waiting_since", Moment, nullable=False),  # the order of admission
)
Index("ix_jobs_created_at", jobs.c.created_at, jobs.c.id)

plans = Table(
    "plans",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("description", String, nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("reason", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("waves", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("ended_at", Moment),
)

plan_items = Table(
    "plan_items",
    metadata,
    Column("plan_id", String(32), ForeignKey("plans.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(250), primary_key=True),
    Column("place", Integer, nullable=False),
    Column("include", Boolean, nullable=False),
    Column("wave", String(60), nullable=False),
    Column("order", Integer, nullable=False),
    Column("source", String(200), nullable=False),
    Column("vm_id", String(100), nullable=False),
    Column("vm_name", String(500), nullable=False),
    Column("vm_uuid", String(36), nullable=False),
    Column("target", String(200), nullable=False),
    Column("options", JSON, nullable=False),
    Column("cutover_at", Moment),
    Column("group", String, nullable=False),
    Column("depends_on", JSON, nullable=False),
    Column("owner", String, nullable=False),
    Column("notes", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("job", String(32), nullable=False),
    Column("unit", String(32), nullable=False),
    Column("held", String, nullable=False),
    Column("error", NULL_JSON),
    Column("again", Integer, nullable=False),
    Column("forgiven", Integer, nullable=False),
)

disk_keys = Table(  # of encrypted disks, until their job is through
    "disk_keys",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("device", String(250), primary_key=True),
    Column("secret", LargeBinary, nullable=False),  # see secretbox.py
)

limits = Table(
    "limits",
    metadata,
    Column("scope", String(20), primary_key=True),
    Column("subject", String(32), primary_key=True),  # a source's or a job's id; "" for the service
    Column("bytes_per_second", BigInteger),
    Column("windows", JSON, nullable=False),
    Column("zone", String(64), nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False),
    Column("job_id", String(32), nullable=False),
    Column("plan_id", String(32), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("level", String(10), nullable=False),
    Column("message", String, nullable=False),
    Column("data", JSON, nullable=False),
    Index("ix_events_job_id", "job_id", "id"),
    Index("ix_events_plan_id", "plan_id", "id"),
    sqlite_autoincrement=True,  # an id is never given twice: streams resume by it
)

operations = Table(
    "operations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("subject_id", String(32), nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("executor", String(40), nullable=False),
    Column("result", NULL_JSON),
    Column("error", NULL_JSON),
    Column("created_at", Moment, nullable=False),
    Column("ended_at", Moment),
)

beats = Table(
    "beats",
    metadata,
    Column("executor", String(40), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("boot_id", String(40), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_started", BigInteger, nullable=False),
    Column("left", Boolean, nullable=False),
    Column("at", Moment, nullable=False),  # for people and health checks: takeover counts beats, not clocks
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),  # SHA-256 of the token, hex
    Column("created_at", Moment, nullable=False),
)

sessions = Table(  # of the pages: a session ends with its token
    "sessions",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of what the cookie carries, hex
    Column("token_id", String(32), ForeignKey("tokens.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("token_id", String(32), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("digest", String(64), nullable=False),  # keyed hash of method, path and body
    Column("status", Integer),  # NULL while the first request is under way
    Column("location", String(500), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
)
