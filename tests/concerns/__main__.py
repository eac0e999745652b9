"""Raise all concerns, and write docs/concerns.md."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from tests.concerns.page import PAGE, render
from tests.concerns.raised import raise_all

if __name__ == "__main__":
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(render(raise_all(Path(folder))))
