"""The lab behaves as a vCenter does, seen through pyVmomi and by libvirt."""

import hashlib
import os
import ssl
import subprocess
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import requests
from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from tests.component.lab.support import SMALL, connect, find, lease_of, result_of, until
from tests.lab import DiskSpec, Lab, NicSpec, VmSpec

NAMES = ["../x", "-rf", "$(touch p)", "</name>", "ж€語" * 26 + "ab", 'a|"%2f\\', ".."]


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
    result_of(ready.PowerOn())
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
        result_of(vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation=text)))
        assert lab.vm(vm_id)["annotation"] == (vm.summary.config.annotation or "") == text
    result_of(vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[vim.option.OptionValue(key="k", value="v")])))
    assert lab.vm(vm_id)["extra_config"]["k"] == "v"


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
        result_of(vm.CreateSnapshot_Task(name="a", description="", memory=False, quiesce=False))
    result_of(vm.CreateSnapshot_Task(name="a", description="", memory=False, quiesce=False))
    result_of(vm.PowerOff())
    result_of(vm.PowerOn())
    with pytest.raises(vmodl.fault.HostCommunication):
        vm.PowerOff()
    result_of(vm.PowerOff())
    with pytest.raises(vim.fault.TaskInProgress):
        vm.ExportVm()
    lease_of(vm).HttpNfcLeaseAbort()
    assert lab.calls()["ExportVm"] == 2
    lab.fault("CurrentTime", delay_ms=600)
    start = time.monotonic()
    api.CurrentTime()
    assert time.monotonic() - start >= 0.6
    with pytest.raises(RuntimeError, match="NoSuchFault"):
        lab.fault("ExportVm", "NoSuchFault")


def test_password_is_not_in_arguments_or_environment(lab: Lab) -> None:
    for name in ("cmdline", "environ"):
        assert lab.password.encode() not in Path(f"/proc/{lab.pid}/{name}").read_bytes()
    assert lab.password not in lab.log.read_text()


def test_control_needs_its_token(lab: Lab) -> None:
    reply = requests.post(f"{lab._control}/vms", json={}, timeout=10)
    assert reply.status_code == 403


def test_libvirt_reads_it_too(lab: Lab, tmp_path: Path) -> None:
    """libvirt's ESX driver, written by others against real vCenters."""
    vm_id = lab.add(VmSpec("a </name> | b", [SMALL], [NicSpec(mac="00:50:56:01:02:04")], on=False))
    auth = tmp_path / "auth"
    auth.touch(0o600)
    login = f"[credentials-lab]\nusername={lab.username}\npassword={lab.password}\n"
    auth.write_text(f"{login}[auth-esx-{lab.host}]\ncredentials=lab\n")
    uri = f"vpx://{lab.host}:{lab.port}/DC0/DC0_C0/DC0_C0_H0?no_verify=1"
    environment = {**os.environ, "LIBVIRT_AUTH_FILE": str(auth), "LC_ALL": "C.UTF-8"}
    argv = ["virsh", "-c", uri, "dumpxml", "a </name> | b"]
    domain = ET.fromstring(subprocess.run(argv, env=environment, capture_output=True, check=True).stdout)
    assert domain.findtext("name") == "a </name> | b"
    assert domain.findtext("uuid") == lab.vm(vm_id)["uuid"]
    assert [disk.get("file") for disk in domain.iterfind("devices/disk/source")] == [lab.vm(vm_id)["disks"][0]["file"]]
    assert [mac.get("address") for mac in domain.iterfind("devices/interface/mac")] == ["00:50:56:01:02:04"]
