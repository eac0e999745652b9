"""Sheets by what they are called: "vInfo", "tabvInfo", "RVTools_tabvInfo.csv" are the same one."""

from __future__ import annotations

import re

_SHEET = re.compile(r"(?:rvtools)?(?:tab)?(plan|waves|vinfo|vdisk|vnetwork|vport|dvport|vms)\d*")
_GROUPS = (("plan",), ("vinfo", "vdisk", "vnetwork", "vport", "dvport"), ("vms",))


def squeezed(text: str) -> str:
    """Lower case, letters and digits only: how headers and names of sheets are compared."""
    return re.sub(r"[\W_]+", "", text.casefold())


def role(name: str) -> str:
    """plan | waves | vinfo | vdisk | vnetwork | vport | dvport | vms, "" for any other. A CSV's path will do."""
    base = name.replace("\\", "/").rpartition("/")[2]
    found = _SHEET.fullmatch(squeezed(re.sub(r"\.(csv|txt)$", "", base, flags=re.IGNORECASE)))
    return found[1] if found else ""


def to_read(names: list[str]) -> list[str]:
    """Those that belong together; none where no name is known."""
    for group in _GROUPS:
        if any(role(name) == group[0] for name in names):
            return [name for name in names if role(name) in (*group, "waves")]
    return []
