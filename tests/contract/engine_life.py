"""A worker's life for tests/contract/test_engine.py, in a process of its own, so that it can be killed."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from app.domain.errors import Parked
from app.store.engine import make_engine
from workers.engine import DbosEngine


def main(folder: Path, executor: str) -> None:
    url = f"sqlite:///{folder}/engine.db"
    database: sa.Engine = make_engine(url)
    engine = DbosEngine(url, executor, poll_s=0.1)
    stopping = threading.Event()

    def note(word: str) -> None:
        with (folder / "diary").open("a") as diary:
            diary.write(word + "\n")

    def saga(run: Any, spec: dict[str, Any]) -> None:
        for name in spec["steps"]:
            run(name, lambda name=name: step(name, spec))

    def step(name: str, spec: dict[str, Any]) -> str:
        if name == spec.get("breaks") and executor == spec["first"]:
            note(f"{name}!")
            raise OSError("the database is away")
        if name == spec.get("blocks") and executor == spec["first"]:
            note(f"{name}?")
            stopping.wait()
            raise Parked
        note(name)
        return name

    engine.start(saga)
    print("ready", flush=True)
    for line in sys.stdin:
        what, *words = json.loads(line)
        if what == "enqueue":
            with database.execution_options(writes=True).begin() as transaction:
                engine.enqueue(transaction, *words)
        elif what == "recover":
            engine.recover(*words)
        elif what == "park":
            stopping.set()
            engine.stop(10)
            print("ok", flush=True)
            return
        print("ok", flush=True)


main(Path(sys.argv[1]), sys.argv[2])
