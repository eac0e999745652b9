"""A file read as the child reads it, in this process."""

from __future__ import annotations

import mmap
import tempfile

from app.sheets.child import sheets
from app.sheets.workbook import Workbook


def read_here(data: bytes, name: str) -> Workbook:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # left to whoever still looks at it, as there
        return Workbook(name, tuple(sheets(mapped, name, file.name)))
