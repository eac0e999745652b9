"""Our side, in a process of its own; what it found is printed as JSON.

python -m tests.bench.driver file IN OUT
    What `vmferry image convert` does. Prints verify_s: how much of it was reading the copy back.
python -m tests.bench.driver vm HOST:PORT USER PASSWORD_FILE CA_FILE VM TRANSPORT TARGET
    The first disk of a lab's VM into a fresh qcow2. Prints wire_bytes, data_bytes and seconds, which are those of the
    copy alone: from before the first question to the closed image, flushed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from app.domain.models import ImageOptions, SourceSpec, Tls
from app.settings import Settings
from converters import qcow2
from workers import image
from workers.sources import open_source
from workers.transfer.copy import Pace, copy_disk
from workers.transfer.journal import Journal


def of_file(source: str, target: str) -> dict[str, float]:
    begun: dict[str, float] = {}

    def progress(stage: str, _done: int, _of: int) -> None:
        begun.setdefault(stage, time.monotonic())

    options = ImageOptions()
    pace = _pace()
    image.convert(
        source,
        Path(target),
        source_format="vmdk",
        image=options,
        threads=pace.threads,
        second_read="none",
        progress=progress,
    )
    return {"verify_s": time.monotonic() - begun["verify"]}


def of_vm(
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
    kind, *words = sys.argv[1:]
    print(json.dumps({"file": of_file, "vm": of_vm}[kind](*words)))
