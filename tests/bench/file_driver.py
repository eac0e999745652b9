"""What `vmferry image convert` does with a VMDK, in a process that loads no more than that command does.

python -m tests.bench.file_driver IN OUT

Prints verify_s as JSON: how much of it was reading the copy back.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from app.cli.image import THREADS
from app.domain.models import ImageOptions
from workers import image


def convert(source: str, target: str) -> dict[str, float]:
    begun: dict[str, float] = {}

    def progress(stage: str, _done: int, _of: int) -> None:
        begun.setdefault(stage, time.monotonic())

    image.convert(
        source,
        Path(target),
        source_format="vmdk",
        image=ImageOptions(),
        threads=THREADS,
        second_read="none",
        progress=progress,
    )
    return {"verify_s": time.monotonic() - begun["verify"]}


if __name__ == "__main__":
    print(json.dumps(convert(*sys.argv[1:])))
