"""The first disk of a lab's VM into a fresh qcow2, in a process of its own.

python -m tests.bench.driver HOST:PORT USER PASSWORD_FILE CA_FILE VM TRANSPORT TARGET

Prints wire_bytes, data_bytes and seconds as JSON. The seconds are those of the copy alone: from before the first
question to the closed image, flushed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from app.domain.models import SourceSpec, Tls
from app.settings import Settings
from converters import qcow2
from workers.sources import open_source
from workers.transfer.copy import Pace, copy_disk
from workers.transfer.journal import Journal


def copy(
    host: str, user: str, password_file: str, ca_file: str, vm: str, transport: str, target: str
) -> dict[str, float]:
    password = Path(password_file).read_text()
    tls = Tls(ca_pem=Path(ca_file).read_text())
    path = Path(target)
    journal_path = path.with_suffix(".journal")
    spec = SourceSpec(id="bench", name="bench", kind="vcenter", host=host, username=user, password=password, tls=tls)
    source = open_source(spec)
    capacity = source.vm(vm).disks[0].capacity_bytes
    with source.access(vm, transport, cancel=nothing) as access:
        disk = access.disk(access.disk_keys[0])
        started = time.monotonic()
        qcow2.create(path, capacity)
        with Journal.create(journal_path, disk.identity, capacity) as journal:
            manifest = copy_disk(disk, path, journal, pace=_pace(), progress=nothing, cancel=nothing)
        seconds = time.monotonic() - started
    source.close()
    return {"seconds": seconds, "wire_bytes": manifest.wire_bytes, "data_bytes": manifest.data_bytes}


def _pace() -> Pace:
    """As a service runs that nobody configured."""
    defaults = Settings.model_fields
    return Pace(connections=defaults["disk_connections"].default, threads=defaults["transfer_workers"].default)


def nothing(*_: object) -> None: ...


if __name__ == "__main__":
    print(json.dumps(copy(*sys.argv[1:])))
