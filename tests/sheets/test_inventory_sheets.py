"""Sheets of inventory tools: the same VMs are found in each of an export's shapes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest

from app.domain.described import Described, differences
from app.domain.errors import UnreadableSheet
from app.domain.models import VM, Disk, Nic, PowerState
from app.domain.plan import WantedPlan
from app.sheets.formats import understand
from app.sheets.read import read
from tests.sheets.rvtools import VCENTER, Machine, Names, book, csv_files, csv_zip, machine, many, tabs, vlan, workbook

GIB = 1 << 30
MIB = 1 << 20
MACHINES = many(3)


def found(data: bytes, name: str = "export") -> WantedPlan:
    return understand(read(data, name))


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return file.getvalue()


def check_all(plan: WantedPlan, *, instance: bool = False) -> None:
    assert plan.kind == "rvtools"
    assert plan.problems == ()
    assert [(row.vm_name, row.vm_id) for row in plan.rows] == [(one.name, one.id) for one in MACHINES]
    assert {row.vcenter_uuid for row in plan.rows} == {VCENTER}
    assert all(row.include for row in plan.rows)
    for row, one in zip(plan.rows, MACHINES, strict=True):
        assert row.vm_uuid == ("" if instance else one.bios_uuid)
        assert row.described == Described(
            cpus=one.cpus,
            memory_bytes=one.memory_mib * MIB,
            disks=len(one.disks_mib),
            disk_bytes=sum(one.disks_mib) * MIB,
            networks={name: vlan(name) for name in one.networks},
        )


@pytest.mark.parametrize("names", ["new", "mb", "tab"])
def test_rvtools_of_any_age(names: Names) -> None:
    check_all(found(workbook(MACHINES, names=names)), instance=names == "mb")


@pytest.mark.parametrize("names", ["new", "mb", "tab"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("folder", ["", "export 2026/"])
def test_rvtools_as_zipped_csvs(names: Names, encoding: str, folder: str) -> None:
    check_all(found(csv_zip(MACHINES, names=names, encoding=encoding, folder=folder)), instance=names == "mb")


def test_places_in_each_shape() -> None:
    assert found(workbook(MACHINES)).rows[1].place("vm_name") == "vInfo!A3"
    assert found(workbook(MACHINES, names="tab")).rows[1].place("vm_name") == "tabvInfo!A3"
    # an annotation has a line break in it: a row is counted as one all the same
    assert found(csv_zip(MACHINES)).rows[1].place("vm_name") == "RVTools_tabvInfo.csv!A3"


def test_one_csv_alone_is_known_by_its_headers() -> None:
    plan = found(csv_files(tabs(MACHINES))["RVTools_tabvInfo.csv"], "list.csv")
    assert [row.vm_id for row in plan.rows] == ["vm-1", "vm-2", "vm-3"]
    described = plan.rows[2].described
    assert described is not None
    assert described.disks == len(MACHINES[2].disks_mib)
    assert described.networks == dict.fromkeys(MACHINES[2].networks)


def test_several_vcenters_in_one_workbook_and_in_folders() -> None:
    """The ids of two vCenters are the same; their VMs are not."""
    here = [Machine("web", "vm-1", disks_mib=(1024,), networks=("VM Network",))]
    there = [Machine("db", "vm-1", disks_mib=(2048, 2048), networks=("DMZ",))]
    one, other = tabs(here, "uuid-1"), tabs(there, "uuid-2")
    merged = {tab: one[tab] + other[tab] for tab in one}
    folders = {
        f"{folder}/{name}": data
        for folder, which in (("vc1", one), ("vc2", other))
        for name, data in csv_files(which).items()
    }
    for data in (book(merged), zipped(folders)):
        plan = found(data)
        assert [(row.vm_name, row.vcenter_uuid) for row in plan.rows] == [("web", "uuid-1"), ("db", "uuid-2")]
        assert [row.described and row.described.disks for row in plan.rows] == [1, 2]
        assert [row.described and set(row.described.networks) for row in plan.rows] == [{"VM Network"}, {"DMZ"}]
    assert found(zipped(folders)).rows[1].place("vm_name") == "vc2/RVTools_tabvInfo.csv!A2"


def test_what_is_none_to_move_stays_and_is_told() -> None:
    machines = [
        Machine("web", "vm-1"),
        Machine("golden", "vm-2", template=True),
        Machine("dr", "vm-3", srm_placeholder=True),
        Machine("lost", "vm-4", connection="orphaned"),
        Machine("vCLS-1f2e", "vm-5"),
        Machine("vCLStore", "vm-6"),
    ]
    plan = found(workbook(machines))
    assert [row.include for row in plan.rows] == [True, False, False, False, False, True]
    assert {(problem.severity, problem.code) for problem in plan.problems} == {("warning", "not_included")}
    assert [problem.place for problem in plan.problems] == ["vInfo!C3", "vInfo!D4", "vInfo!G5", "vInfo!A6"]
    assert "orphaned" in plan.problems[2].cause


def test_odd_names() -> None:
    machines = [
        Machine("VM", "vm-1"), Machine("a%2fb%25", "vm-2"), Machine("00123", "vm-3"), Machine(" x ", "vm-4"),
        Machine("=1+1", "vm-5"), Machine("ünï", "vm-6"),
    ]  # fmt: skip
    for data in (workbook(machines), csv_zip(machines)):
        plan = found(data)
        assert [row.vm_name for row in plan.rows] == ["VM", "a/b%", "00123", "x", "=1+1", "ünï"]
        assert plan.problems == ()


def test_headers_repeated_by_a_merge_are_no_vms() -> None:
    lines = csv_files(tabs(MACHINES))["RVTools_tabvInfo.csv"]
    plan = found(lines + lines, "RVTools_tabvInfo.csv")
    assert [row.vm_id for row in plan.rows] == ["vm-1", "vm-2", "vm-3"] * 2


def test_other_tabs_may_be_missing_or_empty() -> None:
    all_tabs = tabs(MACHINES)
    plan = found(book({"vInfo": all_tabs["vInfo"], "vDisk": [], "vPort": []}))
    assert plan.problems == ()
    assert [row.described and row.described.disks for row in plan.rows] == [len(one.disks_mib) for one in MACHINES]


def test_a_vinfo_that_is_none() -> None:
    (problem,) = found(book({"vInfo": [{"Something": 1, "Else": "x"}]})).problems
    assert (problem.place, problem.code) == ("vInfo!1", "column_missing")
    with pytest.raises(UnreadableSheet, match="no VM below") as caught:
        found(csv_files({"vInfo": tabs(MACHINES)["vInfo"]})["RVTools_tabvInfo.csv"].split(b"\n")[0])
    assert caught.value.code == "sheet_empty"


def test_the_plan_sheet_of_a_workbook_wins() -> None:
    plan = found(book(tabs(MACHINES) | {"Plan": [{"VM id": "vm-2", "wave": "1"}]}))
    assert plan.kind == "plan"
    assert [row.vm_id for row in plan.rows] == ["vm-2"]


def test_columns_of_a_plan_may_be_added_to_an_export() -> None:
    """The way of those who plan in the export itself: which VM, in which wave, and how."""
    written = tabs(many(4))
    wishes = [("1", "yes", "disk_only"), ("2", "x", ""), ("2", "", ""), ("3", "no", "warm")]
    for row, (wave, include, strategy) in zip(written["vInfo"], wishes, strict=True):
        row |= {"Wave": wave, "include": include, "Strategy": strategy, "target": "kvm01", "cutover at": "soon"}
    written["vInfo"][0]["Template"] = True
    written["Waves"] = [{"wave": "1", "at once": 5}, {"wave": "2", "gate": "manual"}]
    plan = found(book(written))
    assert plan.kind == "rvtools"
    assert [(row.wave, row.strategy, row.target) for row in plan.rows][:2] == [
        ("1", "disk_only", "kvm01"),
        ("2", "", "kvm01"),
    ]
    assert [row.include for row in plan.rows] == [False, True, False, False]
    assert [(wave.name, wave.at_once, wave.gate) for wave in plan.waves] == [("1", 5, "none"), ("2", None, "manual")]
    codes = [problem.code for problem in plan.problems]
    assert codes.count("column_added") == 5
    assert codes.count("include_missing") == 1
    soon = plan.rows[0].place("cutover_at").removesuffix("2")
    errors = [problem for problem in plan.problems if problem.severity == "error"]
    assert [problem.place for problem in errors] == [f"{soon}{row}" for row in range(2, 6)]
    assert plan.rows[1].place("wave").startswith("vInfo!")


def live_optics() -> bytes:
    rows = [
        {
            "VM Name": "web", "Power State": "poweredOn", "Template": False, "Virtual CPU": 2,
            "Provisioned Memory (MiB)": 4096, "Virtual Disk Size (MiB)": 20480.0, "VM OS": "Debian", "MOB ID": "vm-7",
            "UUID": "4203-7",
        },
        {"VM Name": "golden", "Template": "True", "MOB ID": "vm-8", "UUID": "4203-8"},
    ]  # fmt: skip
    return book(
        {"Details": [{"Project": "x"}], "ESX Hosts": [{"Host": "esx"}], "VMs": rows, "VM Disks": [{"VM Name": "w"}]}
    )


def test_live_optics() -> None:
    plan = found(live_optics())
    assert plan.kind == "live_optics"
    web, golden = plan.rows
    assert (web.vm_name, web.vm_id, web.vm_uuid, web.include) == ("web", "vm-7", "4203-7", True)
    assert web.described == Described(cpus=2, memory_bytes=4 * GIB, disk_bytes=20 * GIB)
    assert not golden.include
    assert [problem.place for problem in plan.problems] == ["VMs!C3"]


AZURE = (
    "*Server name,IP addresses,*Cores,*Memory (In MB),*OS name,OS version,OS architecture,Number of disks,"
    "Disk 1 size (In GB),Firmware type,MAC address\n"
    "web,192.0.2.1,2,4096,Debian,12,x64,1,20,BIOS,00:50:56:00:00:01\n"
    "db,,4.0,,,,,,,,\n"
)


@pytest.mark.parametrize("change", [str, lambda text: text.replace(",", ";"), lambda text: text.replace("*", "")])
def test_azure_migrate(change: Callable[[str], str]) -> None:
    plan = found(change(AZURE).encode("utf-8-sig"), "AzureMigrateimporttemplate.csv")
    assert plan.kind == "azure_migrate"
    assert plan.problems == ()
    assert [(row.vm_name, row.vm_id, row.include) for row in plan.rows] == [("web", "", True), ("db", "", True)]
    assert [row.described for row in plan.rows] == [Described(2, 4 * GIB, 1), Described(4)]


def test_what_changed_since_the_export() -> None:
    vm = VM(
        id="vm-1", name="web", uuid="u", power_state=PowerState.ON, cpus=2, memory_bytes=2 * GIB,
        disks=(Disk(key=2000, label="Hard disk 1", capacity_bytes=20 * GIB + 512),),
        nics=(Nic(key=4000, label="Network adapter 1", mac="00:50:56:00:00:01", network="VM Network", vlan=12),),
    )  # fmt: skip
    described = found(workbook([machine(vm)])).rows[0].described
    assert described is not None
    assert list(differences(described, vm)) == []
    assert list(differences(Described(), vm)) == []
    assert list(differences(Described(4, GIB, 2, 0, {"DMZ": None}), vm)) == [
        "2 CPUs, then 4",
        "2048 MiB of memory, then 1024",
        "1 disks, then 2",
        "cards in VM Network, then in DMZ",
    ]
    assert list(differences(Described(disks=1, disk_bytes=GIB, networks={"VM Network": 13}), vm)) == [
        "20480 MiB of disks, then 1024",
        "VLAN 12 in VM Network, then 13",
    ]
