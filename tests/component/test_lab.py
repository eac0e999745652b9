"""The lab behaves as a vCenter does, seen through pyVmomi and HTTPS."""

import hashlib
import ssl
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.lab import DiskSpec, Lab, NicSpec, VmSpec

NAMES = ["../x", "-rf", "$(touch p)", "</name>", "ж€語" * 26 + "ab", 'a|"%2f\\', ".."]
SMALL = DiskSpec(size_mib=8, fill_mib=4, seed=7)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab"), lease_timeout=60) as running:
        yield running


@pytest.fixture(autouse=True)
def _undisturbed(lab: Lab) -> Iterator[None]:
    yield
    lab.clear()


def connect(lab: Lab) -> Any:
    """A session whose certificate is checked against the lab's CA."""
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    return SmartConnect(host=lab.host, port=lab.port, user=lab.username, pwd=lab.password, sslContext=context)


@pytest.fixture
def api(lab: Lab) -> Iterator[Any]:
    instance = connect(lab)
    yield instance
    Disconnect(instance)


def find(api: Any, vm_id: str) -> Any:
    return vim.VirtualMachine(vm_id, api._stub)


def until(condition: Callable[[], Any], timeout: float = 15) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def lease_of(vm: Any) -> Any:
    lease = vm.ExportVm()
    until(lambda: lease.state != "initializing")
    assert lease.state == "ready"
    return lease


def download(lab: Lab, url: str) -> bytes:
    return requests.get(url, verify=str(lab.ca_file), timeout=30).content


def decode(stream: bytes) -> bytes:
    """The raw disk in a streamOptimized VMDK, read without the code under test."""
    capacity, grain = struct.unpack_from("<QQ", stream, 12)
    raw = bytearray(capacity * 512)
    at = struct.unpack_from("<Q", stream, 64)[0] * 512
    while at < len(stream):
        sector, size = struct.unpack_from("<QI", stream, at)
        if size:
            data = zlib.decompress(stream[at + 12 : at + 12 + size])
            assert len(data) == grain * 512
            raw[sector * 512 : sector * 512 + len(data)] = data
            at += (12 + size + 511) // 512 * 512
        else:
            kind = struct.unpack_from("<I", stream, at + 12)[0]
            at += 512 + sector * 512
            if kind == 0:
                break
    assert at == len(stream)
    return bytes(raw[: capacity * 512])


def test_refuses_a_wrong_password(lab: Lab) -> None:
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    with pytest.raises(vim.fault.InvalidLogin):
        SmartConnect(host=lab.host, port=lab.port, user=lab.username, pwd="wrong", sslContext=context)


def test_certificate_is_untrusted_without_the_ca(lab: Lab) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        SmartConnect(host=lab.host, port=lab.port, user="u", pwd="p", sslContext=ssl.create_default_context())
    leaf = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((lab.host, lab.port)))
    assert lab.thumbprint.replace(":", "").lower() == hashlib.sha256(leaf).hexdigest()


def test_inventory_through_a_container_view(lab: Lab, api: Any) -> None:
    nics = [NicSpec(mac="00:50:56:01:02:03", ip="192.168.50.10"), NicSpec(network="backup", slot=224)]
    disks = [SMALL, DiskSpec(size_mib=16, mode="independent_persistent")]
    vm_id = lab.add(VmSpec("inventory", disks, nics, hostname="inv.example", annotation="notes", cpus=3))
    view = api.content.viewManager.CreateContainerView(api.content.rootFolder, [vim.VirtualMachine], True)
    traversal = vmodl.query.PropertyCollector.TraversalSpec(type=type(view), path="view", skip=False)
    start = vmodl.query.PropertyCollector.ObjectSpec(obj=view, skip=True, selectSet=[traversal])
    paths = ["name", "config", "runtime", "guest", "summary", "network", "layoutEx", "datastore", "snapshot"]
    wanted = vmodl.query.PropertyCollector.PropertySpec(type=vim.VirtualMachine, pathSet=paths)
    query = vmodl.query.PropertyCollector.FilterSpec(objectSet=[start], propSet=[wanted])
    answer = api.content.propertyCollector.RetrievePropertiesEx(
        [query], vmodl.query.PropertyCollector.RetrieveOptions()
    )
    vms = {entry.obj._moId: {p.name: p.val for p in entry.propSet} for entry in answer.objects}
    vm = vms[vm_id]
    assert vm["name"] == "inventory"
    assert vm["config"].hardware.numCPU == 3
    assert vm["config"].annotation == vm["summary"].config.annotation == "notes"
    assert vm["config"].uuid != vm["config"].instanceUuid
    extra = {option.key: option.value for option in vm["config"].extraConfig}
    assert extra["ethernet0.pciSlotNumber"] == "192"
    assert extra["ethernet1.pciSlotNumber"] == "224"
    devices = vm["config"].hardware.device
    found = [d for d in devices if isinstance(d, vim.vm.device.VirtualDisk)]
    assert [(d.deviceInfo.label, d.capacityInBytes, d.backing.diskMode) for d in found] == [
        ("Hard disk 1", 8 << 20, "persistent"),
        ("Hard disk 2", 16 << 20, "independent_persistent"),
    ]
    cards = [d for d in devices if isinstance(d, vim.vm.device.VirtualEthernetCard)]
    assert cards[0].macAddress == "00:50:56:01:02:03"
    assert cards[1].backing.deviceName == "backup"
    assert cards[0].slotInfo.pciSlotNumber == 192
    guest = vm["guest"]
    assert (guest.hostName, guest.ipAddress) == ("inv.example", "192.168.50.10")
    assert (guest.toolsStatus, guest.toolsRunningStatus) == ("toolsOk", "guestToolsRunning")
    assert guest.net[0].ipConfig.ipAddress[0].prefixLength == 24
    assert guest.net[0].deviceConfigId == cards[0].key
    assert vm["runtime"].bootTime


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names(lab: Lab, api: Any, name: str) -> None:
    vm_id = lab.add(VmSpec(name, [SMALL], on=False, snapshots=1))
    vm = find(api, vm_id)
    escaped = name.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")
    assert vm.name == vm.config.name == vm.summary.config.name == escaped
    assert lab.vm(name)["id"] == vm_id
    assert Path(lab.vm(vm_id)["disks"][0]["path"]).resolve().is_relative_to(lab.directory / "datastore")


def test_same_name_and_disks_are_told_apart(lab: Lab) -> None:
    first, second = (lab.vm(lab.add(VmSpec("twin", [DiskSpec(size_mib=1, fill_mib=1, seed=n)]))) for n in (1, 2))
    assert len({first["uuid"], second["uuid"], first["instance_uuid"], second["instance_uuid"]}) == 4
    contents = [Path(vm["disks"][0]["path"]).read_bytes() for vm in (first, second)]
    assert contents[0] != contents[1]


@pytest.mark.parametrize("mode", ["chunked", "length", "close"])
def test_export(lab: Lab, api: Any, tmp_path: Path, mode: str) -> None:
    vm_id = lab.add(VmSpec(f"export-{mode}", [SMALL, DiskSpec(size_mib=3)], on=False))
    lab.set_export_mode(mode)
    lease = lease_of(find(api, vm_id))
    assert lab.vm(vm_id)["open_leases"] == 1
    assert lease.info.leaseTimeout == 60
    lease.HttpNfcLeaseProgress(10)
    for url, disk in zip(lease.info.deviceUrl, lab.vm(vm_id)["disks"], strict=True):
        assert urlsplit(url.url).netloc == f"127.0.0.3:{lab.host_port}"
        host = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.3", lab.host_port)))
        assert url.sslThumbprint.replace(":", "").lower() == hashlib.sha1(host, usedforsecurity=False).hexdigest()
        reply = requests.get(url.url, verify=str(lab.ca_file), timeout=30)
        assert ("Content-Length" in reply.headers) == (mode == "length")
        assert ("Transfer-Encoding" in reply.headers) == (mode == "chunked")
        assert decode(reply.content) == Path(disk["path"]).read_bytes()
        stream = tmp_path / "stream.vmdk"
        stream.write_bytes(reply.content)
        argv = ["qemu-img", "compare", "-f", "vmdk", "-F", "raw", str(stream), disk["path"]]
        subprocess.run(argv, check=True)
    lease.HttpNfcLeaseComplete()
    assert lease.state == "done"
    assert lab.vm(vm_id)["open_leases"] == 0


def test_export_needs_a_powered_off_vm_and_keeps_it_off(lab: Lab, api: Any) -> None:
    vm_id = lab.add(VmSpec("running", [SMALL]))
    vm = find(api, vm_id)
    with pytest.raises(vim.fault.InvalidPowerState):
        vm.ExportVm()
    lab.power_off(vm_id)
    lease = lease_of(vm)
    with pytest.raises(vim.fault.InvalidState):
        WaitForTask(vm.PowerOn())
    with pytest.raises(RuntimeError, match="export"):
        lab.power_on(vm_id)
    assert lab.vm(vm_id)["power_state"] == "poweredOff"
    lab.power_on(vm_id, force=True)
    assert lab.vm(vm_id)["power_state"] == "poweredOn"
    lease.HttpNfcLeaseAbort()
    assert lease.state == "error"


@pytest.mark.parametrize("where", ["vcenter", "star"])
def test_lease_names_other_hosts(lab: Lab, api: Any, where: str) -> None:
    vm_id = lab.add(VmSpec(f"host-{where}", [SMALL], on=False))
    lab.set_lease_host(where)
    lease = lease_of(find(api, vm_id))
    url = lease.info.deviceUrl[0].url
    assert url.startswith("https://*/" if where == "star" else lab.url)
    disk = Path(lab.vm(vm_id)["disks"][0]["path"]).read_bytes()
    assert decode(download(lab, url.replace("https://*", lab.url))) == disk
    lease.HttpNfcLeaseAbort()


@pytest.mark.parametrize("mode", ["chunked", "length", "close"])
def test_cut_bodies(lab: Lab, api: Any, mode: str) -> None:
    vm_id = lab.add(VmSpec(f"cut-{mode}", [SMALL], on=False))
    lab.set_export_mode(mode)
    lease = lease_of(find(api, vm_id))
    url = lease.info.deviceUrl[0].url
    whole = download(lab, url)
    lab.http_fault("/nfc/", cut_percent=50)
    if mode == "close":  # where a cut looks like an end
        assert download(lab, url) == whole[: len(whole) // 2]
    else:
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            download(lab, url)
    assert download(lab, url) == whole
    lease.HttpNfcLeaseAbort()


def test_http_faults(lab: Lab, api: Any) -> None:
    lease = lease_of(find(api, lab.add(VmSpec("http-faults", [SMALL], on=False))))
    url = lease.info.deviceUrl[0].url
    whole = download(lab, url)
    lab.http_fault("/nfc/", status=503, skip=1)
    statuses = [requests.get(url, verify=str(lab.ca_file), timeout=30).status_code for _ in range(3)]
    assert statuses == [200, 503, 200]
    lab.http_fault("/nfc/", flip_at=100_000)
    altered = download(lab, url)
    assert [i for i, (a, b) in enumerate(zip(whole, altered, strict=True)) if a != b] == [100_000]
    lab.http_fault("/nfc/", rate=len(whole))
    start = time.monotonic()
    assert download(lab, url) == whole
    assert time.monotonic() - start > 0.9
    lease.HttpNfcLeaseAbort()


def test_an_expired_lease_cuts_its_bodies(lab: Lab, api: Any) -> None:
    lease = lease_of(find(api, lab.add(VmSpec("expiry", [SMALL], on=False))))
    url = lease.info.deviceUrl[0].url
    lab.http_fault("/nfc/", rate=1 << 20)
    with requests.get(url, verify=str(lab.ca_file), timeout=30, stream=True) as reply:
        body = reply.iter_content(1 << 16)
        next(body)
        assert lab.expire_leases() == 1
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(body)
    assert lease.state == "error"
    assert isinstance(lease.error, vim.fault.Timedout)
    with pytest.raises(vim.fault.Timedout):
        lease.HttpNfcLeaseProgress(50)
    assert requests.get(url, verify=str(lab.ca_file), timeout=30).status_code == 404


def test_a_lease_without_heartbeat_times_out(tmp_path: Path) -> None:
    with Lab(tmp_path, [VmSpec("a", [SMALL], on=False)], lease_timeout=1.5, host_self_signed=True) as short:
        instance = connect(short)
        lease = lease_of(find(instance, short.ids[0]))
        with pytest.raises(requests.exceptions.SSLError):
            download(short, lease.info.deviceUrl[0].url)
        for _ in range(3):
            time.sleep(0.7)
            lease.HttpNfcLeaseProgress(1)
        until(lambda: lease.state == "error")
        Disconnect(instance)


def test_expired_sessions_are_refused(lab: Lab) -> None:
    vm_id = lab.add(VmSpec("sessions", [SMALL], on=False))
    instance = connect(lab)
    vm = find(instance, vm_id)
    assert vm.name == "sessions"
    assert lab.expire_sessions() >= 1
    with pytest.raises(vim.fault.NotAuthenticated):
        instance.CurrentTime()
    with pytest.raises(vim.fault.NotAuthenticated):
        assert vm.name
    instance.content.sessionManager.Login(lab.username, lab.password)
    assert vm.name == "sessions"
    Disconnect(instance)


def test_shutdown_works_through_tools(lab: Lab, api: Any) -> None:
    ready, bare, stuck = (
        find(api, lab.add(VmSpec(name, [SMALL], tools=tools, shutdown=shutdown, hostname="h")))
        for name, tools, shutdown in (("ready", True, "ok"), ("bare", False, "ok"), ("stuck", True, "hangs"))
    )
    with pytest.raises(vim.fault.ToolsUnavailable):
        bare.ShutdownGuest()
    begin = api.CurrentTime()
    stuck.ShutdownGuest()
    ready.ShutdownGuest()
    assert ready.runtime.powerState == "poweredOn"
    until(lambda: ready.runtime.powerState == "poweredOff")
    assert stuck.runtime.powerState == "poweredOn"
    assert ready.runtime.bootTime is None
    assert (ready.guest.net, ready.guest.toolsRunningStatus) == ([], "guestToolsNotRunning")
    with pytest.raises(vim.fault.InvalidPowerState):
        ready.ShutdownGuest()
    WaitForTask(ready.PowerOn())
    assert ready.guest.hostName == "h"
    entity = vim.event.EventFilterSpec.ByEntity(entity=ready, recursion="self")
    query = vim.event.EventFilterSpec(entity=entity, time=vim.event.EventFilterSpec.ByTime(beginTime=begin))
    kinds = [type(event).__name__.rpartition(".")[2] for event in api.content.eventManager.QueryEvents(query)]
    assert {"VmGuestShutdownEvent", "VmPoweredOffEvent", "VmPoweredOnEvent"} <= set(kinds)


def test_somebody_else_leaves_traces(lab: Lab, api: Any) -> None:
    vm_id = lab.add(VmSpec("else", [SMALL], on=False))
    begin = api.CurrentTime()
    lab.power_on(vm_id)
    query = vim.event.EventFilterSpec(
        eventTypeId=["VmPoweredOnEvent"], time=vim.event.EventFilterSpec.ByTime(beginTime=begin)
    )
    (event,) = api.content.eventManager.QueryEvents(query)
    assert (event.vm.vm._moId, event.userName) == (vm_id, "VSPHERE.LOCAL\\someone")
    assert find(api, vm_id).runtime.bootTime >= begin


def test_annotation_is_set_and_cleared(lab: Lab, api: Any) -> None:
    vm_id = lab.add(VmSpec("notes", [SMALL], on=False))
    vm = find(api, vm_id)
    for text in ("moved <to> & fro", ""):
        WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation=text)))
        assert lab.vm(vm_id)["annotation"] == (vm.summary.config.annotation or "") == text
    WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[vim.option.OptionValue(key="k", value="v")])))
    assert lab.vm(vm_id)["extra_config"]["k"] == "v"


def test_snapshots_move_the_disks(lab: Lab, api: Any) -> None:
    vm_id = lab.add(VmSpec("snaps", [SMALL], on=True, change_tracking=True))
    vm = find(api, vm_id)

    def files(devices: list[Any]) -> list[str]:
        return [d.backing.fileName for d in devices if isinstance(d, vim.vm.device.VirtualDisk)]

    def snapshot(name: str) -> Any:
        task = vm.CreateSnapshot_Task(name=name, description="", memory=False, quiesce=False)
        WaitForTask(task)
        return task.info.result

    def change(offset: int) -> None:
        with Path(lab.vm(vm_id)["disks"][0]["path"]).open("r+b") as file:
            file.seek(offset)
            file.write(b"changed")

    base = Path(lab.vm(vm_id)["disks"][0]["path"])
    before = base.read_bytes()
    first = snapshot("one")
    change(1 << 20)
    assert base.read_bytes() == before
    second = snapshot("two")
    assert files(vm.config.hardware.device) == ["[lab] snaps/snaps-000002.vmdk"]
    assert files(first.config.hardware.device) == ["[lab] snaps/snaps.vmdk"]
    assert files(second.config.hardware.device) == ["[lab] snaps/snaps-000001.vmdk"]
    (disk,) = [d for d in second.config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk)]
    (old,) = [d for d in first.config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk)]
    areas = vm.QueryChangedDiskAreas(second, disk.key, 0, old.backing.changeId)
    assert [(a.start, a.length) for a in areas.changedArea] == [(1 << 20, 64 << 10)]
    assert areas.length == 8 << 20
    lab.set_max_areas(3)
    part = vm.QueryChangedDiskAreas(second, disk.key, 0, "*")
    assert len(part.changedArea) == 3
    assert part.length < 8 << 20
    with pytest.raises(vmodl.fault.InvalidArgument):
        vm.QueryChangedDiskAreas(second, disk.key, 8 << 20, "*")
    with pytest.raises(vim.fault.FileFault):
        vm.QueryChangedDiskAreas(None, disk.key, 0, "*")
    lease = first.ExportSnapshot()
    until(lambda: lease.state == "ready")
    assert decode(download(lab, lease.info.deviceUrl[0].url)) == before
    lease.HttpNfcLeaseComplete()
    change(2 << 20)
    after = Path(lab.vm(vm_id)["disks"][0]["path"]).read_bytes()
    WaitForTask(first.RemoveSnapshot_Task(removeChildren=False))
    assert files(second.config.hardware.device) == ["[lab] snaps/snaps.vmdk"]
    assert [s["name"] for s in lab.vm(vm_id)["snapshots"]] == ["two"]
    WaitForTask(second.RemoveSnapshot_Task(removeChildren=False))
    assert lab.vm(vm_id)["snapshots"] == []
    assert vm.snapshot is None
    assert files(vm.config.hardware.device) == ["[lab] snaps/snaps.vmdk"]
    assert base.read_bytes() == after
    assert sorted(path.name for path in base.parent.glob("*.vmdk")) == ["snaps-flat.vmdk", "snaps.vmdk"]
    lab.power_off(vm_id)
    lab.clear()
    whole = vm.QueryChangedDiskAreas(None, disk.key, 0, disk.backing.changeId)
    assert [(a.start, a.length) for a in whole.changedArea] == [(2 << 20, 64 << 10)]


def test_folder(lab: Lab, api: Any) -> None:
    vm_id = lab.add(VmSpec("folder", [SMALL]))
    url = f"{lab.url}/folder/folder/folder-flat.vmdk?dcPath=DC0&dsName=lab"
    with requests.Session() as session:
        session.verify, session.trust_env = str(lab.ca_file), False
        assert session.get(url, timeout=30).status_code == 401
        session.auth = (lab.username, lab.password)
        busy = session.get(url, timeout=30)
        assert (busy.status_code, "Device or resource busy" in busy.text) == (500, True)
        lab.set_lenient(True)
        assert session.get(url, timeout=30).status_code == 200
        lab.set_lenient(False)
        lab.power_off(vm_id)
        part = session.get(url, headers={"Range": "bytes=512-1023"}, timeout=30)
        disk = Path(lab.vm(vm_id)["disks"][0]["path"]).read_bytes()
        assert (part.status_code, part.content) == (206, disk[512:1024])
        assert part.headers["Accept-Ranges"] == "bytes"
        lab.set_ranges(False)
        full = session.get(url, headers={"Range": "bytes=512-1023"}, timeout=30)
        assert (full.status_code, full.content) == (200, disk)
        assert "Accept-Ranges" not in full.headers
        vmx = session.get(url.replace("-flat.vmdk", ".vmx"), timeout=30)
        assert 'displayName = "folder"' in vmx.text


def test_privileges(lab: Lab, api: Any) -> None:
    vm = find(api, lab.add(VmSpec("privileges", [SMALL], on=False)))
    manager = api.content.authorizationManager
    session = api.content.sessionManager.currentSession.key
    wanted = ["VApp.Export", "VirtualMachine.Interact.PowerOff"]

    def held() -> dict[str, bool]:
        (entry,) = manager.HasPrivilegeOnEntities([vm], session, wanted)
        return {p.privId: p.isGranted for p in entry.privAvailability}

    assert held() == dict.fromkeys(wanted, True)
    lab.deny("VApp.Export")
    assert held() == {"VApp.Export": False, "VirtualMachine.Interact.PowerOff": True}
    (result,) = manager.FetchUserPrivilegeOnEntities([vm], lab.username)
    assert "VApp.Export" not in result.privileges
    assert wanted[1] in result.privileges
    with pytest.raises(vim.fault.NoPermission) as refused:
        vm.ExportVm()
    assert refused.value.privilegeId == "VApp.Export"
    lab.grant("VApp.Export")
    lease_of(vm).HttpNfcLeaseAbort()


def test_call_and_task_faults(lab: Lab, api: Any) -> None:
    vm = find(api, lab.add(VmSpec("faults", [SMALL])))
    lab.fault("PowerOffVM_Task", "HostCommunication", skip=1)
    lab.fault("ExportVm", "TaskInProgress", message="busy")
    lab.fault("CreateSnapshot_Task", "FileFault", task=True)
    with pytest.raises(vim.fault.FileFault):
        WaitForTask(vm.CreateSnapshot_Task(name="a", description="", memory=False, quiesce=False))
    WaitForTask(vm.CreateSnapshot_Task(name="a", description="", memory=False, quiesce=False))
    WaitForTask(vm.PowerOff())
    WaitForTask(vm.PowerOn())
    with pytest.raises(vmodl.fault.HostCommunication):
        vm.PowerOff()
    WaitForTask(vm.PowerOff())
    with pytest.raises(vim.fault.TaskInProgress):
        vm.ExportVm()
    lease_of(vm).HttpNfcLeaseAbort()
    assert lab.calls()["ExportVm"] == 2
    with pytest.raises(RuntimeError, match="NoSuchFault"):
        lab.fault("ExportVm", "NoSuchFault")


def test_password_is_not_in_arguments_or_environment(lab: Lab) -> None:
    for name in ("cmdline", "environ"):
        assert lab.password.encode() not in Path(f"/proc/{lab.pid}/{name}").read_bytes()
    assert lab.password not in lab.log.read_text()


def test_control_needs_its_token(lab: Lab) -> None:
    reply = requests.post(f"{lab._control}/vms", json={}, timeout=10)
    assert reply.status_code == 403
