"""Exports as RVTools writes them, made from a list of VMs: the workbook with its tabs, or the folder of CSVs, zipped.

data = workbook([machine(vm) for vm in vms], vcenter_uuid=source_identity)
data = workbook(many(10_000))
"""

from __future__ import annotations

import csv
import io
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import xlsxwriter

from app.domain.models import VM, PowerState

VCENTER = "8e7d6c5b-0000-4000-8000-000000000001"
MIB = 1 << 20

Value = str | int | float | bool
Names = Literal["new", "mb", "tab"]
Tabs = Mapping[str, list[dict[str, Value]]]


@dataclass(frozen=True)
class Machine:
    name: str
    id: str
    bios_uuid: str = ""
    instance_uuid: str = ""
    cpus: int = 2
    memory_mib: int = 2048
    disks_mib: tuple[int, ...] = (20480,)
    networks: tuple[str, ...] = ("VM Network",)
    running: bool = True
    template: bool = False
    srm_placeholder: bool = False
    connection: str = "connected"
    os: str = "Debian GNU/Linux 12 (64-bit)"
    annotation: str = ""


def machine(vm: VM) -> Machine:
    return Machine(
        name=vm.name,
        id=vm.id,
        bios_uuid=vm.uuid,
        instance_uuid=vm.instance_uuid,
        cpus=vm.cpus,
        memory_mib=vm.memory_bytes // MIB,
        disks_mib=tuple(disk.capacity_bytes // MIB for disk in vm.disks),
        networks=tuple(nic.network for nic in vm.nics),
        running=vm.power_state is PowerState.ON,
        template=vm.template,
        os=vm.guest_name,
        annotation=vm.annotation,
    )


def many(count: int, prefix: str = "vm") -> list[Machine]:
    """So many that differ: app0001 … with one to three disks and cards on a few networks."""
    return [
        Machine(
            name=f"{prefix}{n:05}",
            id=f"vm-{n}",
            bios_uuid=str(uuid.UUID(int=n)),
            instance_uuid=str(uuid.UUID(int=n + (1 << 64))),
            cpus=1 + n % 8,
            memory_mib=1024 * (1 + n % 16),
            disks_mib=tuple(10240 * (k + 1) for k in range(1 + n % 3)),
            networks=tuple(("VM Network", "DMZ", "dv-backup")[: 1 + n % 3]),
            running=n % 5 > 0,
            annotation=f"Application {n % 40}, owned by team {n % 12}\nticket OPS-{n}",
        )
        for n in range(1, count + 1)
    ]


def workbook(machines: Sequence[Machine], *, vcenter_uuid: str = VCENTER, names: Names = "new") -> bytes:
    """An .xlsx. names: "new", as RVTools 4.4 has them; "mb", as 3.x had: MB for MiB, and no SMBIOS UUID; "tab": sheets
    and headers as of its CSVs, "tabvInfo" and "vInfoVMName".
    """
    return book(tabs(machines, vcenter_uuid), names)


def book(tabs: Tabs, names: Names = "new") -> bytes:
    """The workbook of any tabs: name → rows of header → value."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as written:
        for tab, rows in tabs.items():
            sheet = written.add_worksheet(f"tab{tab}" if names == "tab" else tab)
            for number, row in enumerate(_table(tab, rows, names)):
                for column, value in enumerate(row):
                    if isinstance(value, str):
                        sheet.write_string(number, column, value)
                    elif isinstance(value, bool):
                        sheet.write_boolean(number, column, value)
                    else:
                        sheet.write_number(number, column, value)
    return file.getvalue()


def csv_zip(
    machines: Sequence[Machine],
    *,
    vcenter_uuid: str = VCENTER,
    names: Names = "tab",
    encoding: str = "utf-8",
    folder: str = "",
) -> bytes:
    """The folder of CSVs that `RVTools -c ExportAll2csv` writes, in a zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in csv_files(tabs(machines, vcenter_uuid), names, encoding).items():
            packed.writestr(f"{folder}{name}", data)
    return file.getvalue()


def csv_files(tabs: Tabs, names: Names = "tab", encoding: str = "utf-8") -> dict[str, bytes]:
    """File name → its bytes, of each tab."""
    files = {}
    for tab, rows in tabs.items():
        text = io.StringIO()
        csv.writer(text).writerows(_table(tab, rows, names))
        files[f"RVTools_tab{tab}.csv"] = text.getvalue().encode(encoding)
    return files


def tabs(machines: Sequence[Machine], vcenter_uuid: str = VCENTER) -> dict[str, list[dict[str, Value]]]:
    """Header → value of each row of each tab, for whoever wants to change some before they are written."""
    server: dict[str, Value] = {"VI SDK Server": "vc01.example", "VI SDK UUID": vcenter_uuid}
    networks = sorted({network for one in machines for network in one.networks})
    standard = [name for name in networks if not name.startswith("dv")]
    return {
        "vInfo": [_info(one) | server for one in machines],
        "vDisk": [row | server for one in machines for row in _disks(one)],
        "vNetwork": [row | server for one in machines for row in _networks(one)],
        "vTools": [_common(one) | {"Tools": "toolsOk", "Tools Version": 12389} | server for one in machines],
        "vPort": [
            {
                "Host": host,
                "Datacenter": "DC0",
                "Cluster": "C0",
                "Port Group": name,
                "Switch": "vSwitch0",
                "VLAN": vlan(name),
            }
            | server
            for host in ("esx01.example", "esx02.example")
            for name in standard
        ],
        "dvPort": [
            {"Port": name, "Switch": "dvs1", "Type": "earlyBinding", "VLAN": vlan(name)} | server
            for name in networks
            if name not in standard
        ],
        "vMetaData": [
            {"RVTools version": "4.4.1.0", "xlsx creation datetime": "2026-11-20 08:00:00", "Server": "vc01.example"}
        ],
    }


def vlan(network: str) -> int:
    """Of a port group, as these exports tell it."""
    return 0 if network == "VM Network" else 100 + sum(network.encode()) % 900


def _info(one: Machine) -> dict[str, Value]:
    numbered = {f"Network #{n}": network for n, network in enumerate((*one.networks, *[""] * 8)[:8], 1)}
    head: dict[str, Value] = {
        "VM": one.name,
        "Powerstate": "poweredOn" if one.running else "poweredOff",
        "Template": one.template,
        "SRM Placeholder": one.srm_placeholder,
        "Config status": "green",
        "DNS Name": f"{one.name}.example",
        "Connection state": one.connection,
        "Guest state": "running" if one.running else "notRunning",
        "Heartbeat": "green",
        "Consolidation Needed": False,
        "PowerOn": "2026-10-01 06:00:00",
        "Suspended To Memory": False,
        "Suspend time": "",
        "Suspend Interval": 0,
        "Creation date": "2024-02-29 12:00:00",
        "Change Version": "2026-10-01T06:00:00.000000Z",
        "CPUs": one.cpus,
        "Overall Cpu Readiness": 0,
        "Memory": one.memory_mib,
        "Active Memory": one.memory_mib // 10,
        "NICs": len(one.networks),
        "Disks": len(one.disks_mib),
        "Total disk capacity MiB": sum(one.disks_mib),
        "Fixed Passthru HotPlug": False,
        "min Required EVC Mode Key": "intel-broadwell",
        "Latency Sensitivity": "normal",
        "Op Notification Timeout": "",
        "EnableUUID": True,
        "CBT": False,
        "Primary IP Address": "192.0.2.10",
    }
    tail: dict[str, Value] = {
        **numbered,
        **dict.fromkeys(("Num Monitors", "Video Ram KiB"), 1),
        "Resource pool": "/DC0/C0/Resources",
        "Folder ID": "group-v3",
        "Folder": "/DC0/vm/prod",
        **dict.fromkeys(("vApp", "DAS protection"), ""),
        "FT State": "notConfigured",
        **dict.fromkeys(("FT Role", "FT Latency", "FT Bandwidth", "FT Sec. Latency", "Vm Failover In Progress"), ""),
        "Provisioned MiB": sum(one.disks_mib) + one.memory_mib,
        "In Use MiB": sum(one.disks_mib) // 2,
        "Unshared MiB": sum(one.disks_mib) // 2,
        "HA Restart Priority": "medium",
        **dict.fromkeys(("HA Isolation Response", "HA VM Monitoring", "Cluster rule(s)", "Cluster rule name(s)"), ""),
        "Boot Required": False,
        "Boot delay": 0,
        "Boot retry delay": 10000,
        **dict.fromkeys(("Boot retry enabled", "Boot BIOS setup", "Reboot PowerOff", "EFI Secure boot"), False),
        "Firmware": "bios",
        "HW version": 19,
        **dict.fromkeys(("HW upgrade status", "HW upgrade policy", "HW target"), ""),
        "Path": f"[ds1] {one.name}/{one.name}.vmx",
        **dict.fromkeys(("Log directory", "Snapshot directory", "Suspend directory"), f"[ds1] {one.name}/"),
        "Annotation": one.annotation,
        **{f"Custom {n}": "" for n in range(1, 5)},
    }
    return head | tail | _where() | _system(one) | {"Customization Info": "", "Guest Detailed Data": ""} | _ids(one) | {
        "VI SDK Server type": "VMware vCenter Server 8.0.2",
        "VI SDK API Version": "8.0.2.0",
    }  # fmt: skip


def _disks(one: Machine) -> Iterator[dict[str, Value]]:
    for number, capacity in enumerate(one.disks_mib):
        yield _common(one) | {
            "Disk": f"Hard disk {number + 1}",
            "Disk Key": 2000 + number,
            "Disk UUID": f"6000C29{number}-{one.id}",
            "Disk Path": f"[ds1] {one.name}/{one.name}_{number}.vmdk",
            "Capacity MiB": capacity,
            "Raw": False,
            "Disk Mode": "persistent",
            "Sharing mode": "sharingNone",
            "Thin": True,
            "Controller": "SCSI controller 0",
            "Label": f"SCSI controller 0:{number}",
            "SCSI Unit #": number,
            "Unit #": number,
            "Shared Bus": "noSharing",
            "Path": f"[ds1] {one.name}/{one.name}_{number}.vmdk",
            "Raw LUN ID": "",
            "Raw Comp. Mode": "",
        } | _where() | _system(one) | _ids(one)  # fmt: skip


def _networks(one: Machine) -> Iterator[dict[str, Value]]:
    for number, network in enumerate(one.networks):
        yield _common(one) | {
            "NIC label": f"Network adapter {number + 1}",
            "Adapter": "Vmxnet3",
            "Network": network,
            "Switch": "dvs1" if network.startswith("dv") else "vSwitch0",
            "Connected": one.running,
            "Starts Connected": True,
            "Mac Address": f"00:50:56:00:00:{number:02x}",
            "Type": "assigned",
            "IPv4 Address": "192.0.2.10",
            "IPv6 Address": "",
            "Direct Path IO": False,
        } | _where() | _system(one) | _ids(one)  # fmt: skip


def _common(one: Machine) -> dict[str, Value]:
    state = "poweredOn" if one.running else "poweredOff"
    return {"VM": one.name, "Powerstate": state, "Template": one.template, "SRM Placeholder": one.srm_placeholder}


def _where() -> dict[str, Value]:
    return {"Datacenter": "DC0", "Cluster": "C0", "Host": "esx01.example"}


def _system(one: Machine) -> dict[str, Value]:
    return dict.fromkeys(("OS according to the configuration file", "OS according to the VMware Tools"), one.os)


def _ids(one: Machine) -> dict[str, Value]:
    return {"VM ID": one.id, "SMBIOS UUID": one.bios_uuid, "VM UUID": one.instance_uuid}


def _table(tab: str, rows: Iterable[Mapping[str, Value]], names: Names) -> Iterator[list[Value]]:
    """The headers, then the rows under them; what a row does not have is empty."""
    headers = list(dict.fromkeys(header for row in rows for header in row))
    if names == "mb":
        headers = [header for header in headers if header != "SMBIOS UUID"]
    yield [_NAMED[names](tab, header) for header in headers]
    yield from ([row.get(header, "") for header in headers] for row in rows)


_RENAMED = {"VM": "VM Name", "VI SDK UUID": "VISDKUUID"}
_NAMED: Mapping[Names, Callable[[str, str], str]] = {
    "new": lambda _tab, header: header,
    "mb": lambda _tab, header: header.replace("MiB", "MB"),
    "tab": lambda tab, header: tab + "".join(char for char in _RENAMED.get(header, header) if char.isalnum()),
}
