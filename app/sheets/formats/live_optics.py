"""LiveOptics: its sheet VMs."""

from __future__ import annotations

from app.domain.described import Described
from app.domain.plan import WantedPlan
from app.sheets.formats.inventories import MIB, enough, number, plan_of, table_of
from app.sheets.known import role
from app.sheets.table import Record
from app.sheets.workbook import Workbook

_FIELDS = {
    "vmname": "vm_name",
    "mobid": "vm_id",
    "uuid": "vm_uuid",
    "vmuuid": "vm_uuid",
    "template": "template",
    "istemplate": "template",
    "powerstate": "power",
    "virtualcpu": "cpus",
    "provisionedmemorymib": "memory_mib",
    "provisionedmemorymb": "memory_mib",
    "virtualdisksizemib": "disk_mib",
    "virtualdisksizemb": "disk_mib",
}


def understand(workbook: Workbook) -> WantedPlan | None:
    named = [sheet for sheet in workbook.sheets if role(sheet.name) == "vms"]
    for sheet in named or workbook.sheets:
        table = table_of(sheet, _FIELDS, enough(("vm_id", "power", "cpus", "memory_mib", "disk_mib")))
        if table is not None:
            return plan_of("live_optics", workbook, [table], _describe)
    return None


def _describe(record: Record) -> Described:
    memory, disk = number(record.cell("memory_mib")), number(record.cell("disk_mib"))
    return Described(
        cpus=number(record.cell("cpus")),
        memory_bytes=None if memory is None else memory * MIB,
        disk_bytes=None if disk is None else disk * MIB,
    )
