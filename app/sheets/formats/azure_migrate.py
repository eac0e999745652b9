"""Azure Migrate's CSV of servers: it knows them by name only."""

from __future__ import annotations

from app.domain.described import Described
from app.domain.plan import WantedPlan
from app.sheets.formats.inventories import MIB, enough, number, plan_of, table_of
from app.sheets.table import Record
from app.sheets.workbook import Workbook

_FIELDS = {  # a star before a header means that Azure needs it
    "servername": "vm_name",
    "cores": "cpus",
    "memory": "memory_mib",
    "memoryinmb": "memory_mib",
    "numberofdisks": "disks",
    "osname": "os",
    "osversion": "os_version",
    "ipaddress": "address",
    "ipaddresses": "address",
    "firmwaretype": "firmware",
}


def understand(workbook: Workbook) -> WantedPlan | None:
    for sheet in workbook.sheets:
        table = table_of(sheet, _FIELDS, enough(("cpus", "memory_mib", "disks", "os", "firmware", "address")))
        if table is not None:
            return plan_of("azure_migrate", workbook, [table], _describe)
    return None


def _describe(record: Record) -> Described:
    memory = number(record.cell("memory_mib"))
    return Described(
        cpus=number(record.cell("cpus")),
        memory_bytes=None if memory is None else memory * MIB,
        disks=number(record.cell("disks")),
    )
