"""The sheets that are understood: a file each, tried in this order."""

from __future__ import annotations

from app.domain.errors import UnreadableSheet
from app.domain.plan import WantedPlan
from app.sheets.formats import azure_migrate, live_optics, names, plan, rvtools
from app.sheets.workbook import Workbook

_FORMATS = (
    rvtools.understand,
    live_optics.understand,
    azure_migrate.understand,
    plan.understand,
    names.understand,
)


def understand(workbook: Workbook) -> WantedPlan:
    """What the sheets ask for, row by row, with all that could not be read. Raises UnreadableSheet for none of ours."""
    for understand in _FORMATS:
        found = understand(workbook)
        if found is not None:
            if not found.rows and not found.problems:
                raise UnreadableSheet(
                    f"{workbook.filename} has headers, and no VM below them", "Give each VM a row.", code="sheet_empty"
                )
            return found
    seen = ", ".join(sheet.name for sheet in workbook.sheets[:5])
    raise UnreadableSheet(
        f"no VMs are found in {seen or workbook.filename}: there is no column VM name or VM id",
        "Start from the template (vmferry plan template -o plan.xlsx); a list of names has one a line.",
        code="sheet_unknown",
    )
