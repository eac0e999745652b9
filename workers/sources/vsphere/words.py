"""Names as people typed them."""

from __future__ import annotations

import re


def unescape(name: str) -> str:
    """vSphere gives '/', '\\' and '%' as %2f, %5c and %25, and nothing else."""
    return re.sub(r"%(2f|5c|25)", lambda match: chr(int(match[1], 16)), name, flags=re.IGNORECASE)
