"""All of the store, opened together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from app.store.engine import make_engine
from app.store.events import Events
from app.store.idempotency import IdempotencyKeys
from app.store.inventory import Inventory
from app.store.jobs import SqlJobStore
from app.store.limits import Limits
from app.store.operations import Operations
from app.store.plans import Plans
from app.store.registrations import Credentials, Sources, Targets
from app.store.requests import JobRequests
from app.store.secretbox import load_box
from app.store.sessions import Sessions
from app.store.tokens import Tokens
from app.store.workers import SqlWorkerStore


@dataclass(frozen=True)
class Store:
    """`jobs` and `workers` serve workers; the others serve the API."""

    engine: sa.Engine
    jobs: SqlJobStore
    workers: SqlWorkerStore
    requests: JobRequests
    plans: Plans
    credentials: Credentials
    sources: Sources
    targets: Targets
    inventory: Inventory
    operations: Operations
    limits: Limits
    events: Events
    tokens: Tokens
    sessions: Sessions
    idempotency: IdempotencyKeys

    def close(self) -> None:
        self.engine.dispose()


def open_store(database_url: str, secret_key_file: Path) -> Store:
    """The schema must be there: schema.upgrade(). Raises InvalidRequest for a wrong URL or an unsafe key file."""
    box = load_box(secret_key_file)
    engine = make_engine(database_url)
    credentials = Credentials(engine, box)
    return Store(
        engine=engine,
        jobs=SqlJobStore(engine, box),
        workers=SqlWorkerStore(engine),
        requests=JobRequests(engine, box),
        plans=Plans(engine, box),
        credentials=credentials,
        sources=Sources(engine, credentials),
        targets=Targets(engine),
        inventory=Inventory(engine),
        operations=Operations(engine),
        limits=Limits(engine),
        events=Events(engine),
        tokens=Tokens(engine),
        sessions=Sessions(engine),
        idempotency=IdempotencyKeys(engine, box),
    )
