"""RVTools: vInfo says which VMs there are; vDisk, vNetwork, vPort and dvPort are joined to it by vCenter and VM id.

The headers differ between its versions (MB, MiB) and ways to export (vInfoVMName); several vCenters may be in one
file, or a folder a vCenter in a zip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from app.domain.described import Described
from app.domain.plan import Problem, WantedPlan
from app.sheets.formats.inventories import MIB, enough, number, plan_of, prefixed, table_of, word
from app.sheets.known import role
from app.sheets.table import Record, find
from app.sheets.workbook import Sheet, Workbook

_WHO = {
    "vm": "vm_name",
    "vmname": "vm_name",
    "vmid": "vm_id",
    "vmuuid": "instance_uuid",
    "smbiosuuid": "vm_uuid",
    "visdkuuid": "vcenter_uuid",
    "vcenteruuid": "vcenter_uuid",
    "visdkserver": "server",
}
_INFO = _WHO | {
    "powerstate": "power",
    "template": "template",
    "srmplaceholder": "srm_placeholder",
    "connectionstate": "connection",
    "ftrole": "ft_role",
    "cpus": "cpus",
    "numcpu": "cpus",
    "memory": "memory_mib",
    "memorymib": "memory_mib",
    "memorymb": "memory_mib",
    "disks": "disks",
    "totaldiskcapacitymib": "disk_mib",
    "totaldiskcapacitymb": "disk_mib",
    **{f"network{n}": f"network{n}" for n in range(1, 9)},
}
_DISK = _WHO | {"capacitymib": "capacity_mib", "capacitymb": "capacity_mib"}
_NETWORK = _WHO | {"network": "network", "switch": "switch"}
_PORT = {"portgroup": "port", "port": "port", "vlan": "vlan", "vlanid": "vlan", "visdkuuid": "vcenter_uuid"}
_PORT |= {"vcenteruuid": "vcenter_uuid", "visdkserver": "server"}
_MARKS = ("vcenter_uuid", "server", "srm_placeholder")  # that no other tool's sheet has

Vlans = Mapping[tuple[str, str], int | None]


def understand(workbook: Workbook) -> WantedPlan | None:
    """None where there is a sheet Plan, or no vInfo. A sheet of another name is one by its headers."""
    if any(role(sheet.name) == "plan" for sheet in workbook.sheets):
        return None
    named = [sheet for sheet in workbook.sheets if role(sheet.name) == "vinfo"]
    needed = enough(_MARKS, 0 if named else 1)
    tables = [table_of(sheet, prefixed(_INFO, "vinfo"), needed) for sheet in named or workbook.sheets]
    known = [table for table in tables if table is not None]
    if not known:
        return WantedPlan("rvtools", (), problems=tuple(map(_without_columns, named))) if named else None
    return plan_of("rvtools", workbook, known, _Extras(workbook).describe)


def _without_columns(sheet: Sheet) -> Problem:
    row = sheet.rows[0].number if sheet.rows else 1
    cause = f"{sheet.name} has no column VM"
    return Problem(sheet.place(row), cause, "Send the export as RVTools wrote it.", code="column_missing")


class _Extras:
    """What the other tabs tell of each VM, in so far as they are there."""

    def __init__(self, workbook: Workbook) -> None:
        self._disks: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._networks: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for record in _records(workbook, "vdisk", _DISK, "capacity_mib"):
            self._disks[_key(record)].append(number(record.cell("capacity_mib")) or 0)
        for record in _records(workbook, "vnetwork", _NETWORK, "network"):
            self._networks[_key(record)].append(word(record.cell("network")))
        self._vlans = {
            (_vcenter(record), word(record.cell("port"))): number(record.cell("vlan"))
            for tab in ("vport", "dvport")
            for record in _records(workbook, tab, _PORT, "port")
        }

    def describe(self, record: Record) -> Described:
        key = _key(record)
        memory = number(record.cell("memory_mib"))
        sizes = self._disks.get(key)
        total = sum(sizes) if sizes else number(record.cell("disk_mib"))
        networks = self._networks.get(key) or [word(record.cell(f"network{n}")) for n in range(1, 9)]
        return Described(
            cpus=number(record.cell("cpus")),
            memory_bytes=None if memory is None else memory * MIB,
            disks=len(sizes) if sizes else number(record.cell("disks")),
            disk_bytes=None if total is None else total * MIB,
            networks={name: self._vlans.get((key[0], name)) for name in networks if name},
        )


def _records(workbook: Workbook, tab: str, fields: Mapping[str, str], needed: str) -> Iterator[Record]:
    for sheet in workbook.sheets:
        if role(sheet.name) == tab:
            table = find(sheet, prefixed(fields, tab), lambda columns: needed in columns)
            if table is not None:
                yield from table.records()


def _vcenter(record: Record) -> str:
    return word(record.cell("vcenter_uuid")) or word(record.cell("server"))


def _key(record: Record) -> tuple[str, str]:
    """A VM's id is its vCenter's own; an old export has its name only."""
    return _vcenter(record), word(record.cell("vm_id")) or word(record.cell("vm_name"))
