"""The lab's disks as a vCenter serves them: export leases, snapshots, changed blocks, /folder."""

import hashlib
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from pyVim.connect import Disconnect
from pyVmomi import vim, vmodl

from tests.component.lab.support import SMALL, connect, decode, download, find, lease_of, result_of, until
from tests.lab import DiskSpec, Lab, VmSpec


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
        result_of(vm.PowerOn())
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


def test_snapshots_move_the_disks(lab: Lab, api: Any) -> None:
    vm_id = lab.add(VmSpec("snaps", [SMALL], on=True, change_tracking=True))
    vm = find(api, vm_id)

    def files(devices: list[Any]) -> list[str]:
        return [d.backing.fileName for d in devices if isinstance(d, vim.vm.device.VirtualDisk)]

    def snapshot(name: str) -> Any:
        return result_of(vm.CreateSnapshot_Task(name=name, description="", memory=False, quiesce=False))

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
    result_of(first.RemoveSnapshot_Task(removeChildren=False))
    assert files(second.config.hardware.device) == ["[lab] snaps/snaps.vmdk"]
    assert [s["name"] for s in lab.vm(vm_id)["snapshots"]] == ["two"]
    result_of(second.RemoveSnapshot_Task(removeChildren=False))
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
        lab.http_fault("/folder/", cut_percent=50)
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            session.get(url, timeout=30)
        lab.clear()
        lab.set_datastore_type("vsan")
        assert session.get(url, timeout=30).status_code == 404
        lab.clear()
        assert session.get(url.replace("dsName=lab", "dsName=other"), timeout=30).status_code == 404
        assert session.get(url.replace("dcPath=DC0", "dcPath=%2544%43%30"), timeout=30).status_code == 200
        vmx = session.get(url.replace("-flat.vmdk", ".vmx"), timeout=30)
        assert 'displayName = "folder"' in vmx.text


@pytest.mark.parametrize(
    ("how", "status", "span"),
    [
        ("other", 206, "bytes 66048-66559/8388608"),
        ("total", 206, "bytes 512-1023/8389120"),
        ("less", 206, "bytes 512-767/8388608"),
        ("all", 200, None),
    ],
)
def test_lies_about_ranges(lab: Lab, how: str, status: int, span: str | None) -> None:
    vm_id = lab.add(VmSpec(f"lies-{how}", [SMALL], on=False))
    disk = Path(lab.vm(vm_id)["disks"][0]["path"]).read_bytes()
    lab.set_range_lie(how)
    url = f"{lab.url}/folder/lies-{how}/lies-{how}-flat.vmdk?dcPath=DC0&dsName=lab"
    login = (lab.username, lab.password)
    reply = requests.get(url, auth=login, headers={"Range": "bytes=512-1023"}, verify=str(lab.ca_file), timeout=30)
    assert (reply.status_code, reply.headers.get("Content-Range")) == (status, span)
    start, end = (int(n) for n in span[6:].split("/")[0].split("-")) if span else (0, len(disk) - 1)
    assert reply.content == disk[start : end + 1]


def test_a_flip_at_an_offset_of_the_file(lab: Lab) -> None:
    vm_id = lab.add(VmSpec("flipped", [SMALL], on=False))
    disk = Path(lab.vm(vm_id)["disks"][0]["path"]).read_bytes()
    lab.http_fault("/folder/", flip_at=5000)

    def part(start: int) -> bytes:
        url = f"{lab.url}/folder/flipped/flipped-flat.vmdk?dcPath=DC0&dsName=lab"
        login, span = (lab.username, lab.password), {"Range": f"bytes={start}-{start + 511}"}
        return requests.get(url, auth=login, headers=span, verify=str(lab.ca_file), timeout=30).content

    assert part(0) == disk[:512]
    assert part(4900) == disk[4900:5000] + bytes([disk[5000] ^ 0xFF]) + disk[5001:5412]
    assert part(4900) == disk[4900:5412]


def test_a_vm_that_is_off_tells_what_is_allocated(lab: Lab, api: Any) -> None:
    spec = VmSpec("tracked", [DiskSpec(size_mib=8, fill_mib=1)], on=False, change_tracking=True)
    vm = find(api, lab.add(spec))
    (disk,) = [d for d in vm.config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk)]
    assert disk.backing.changeId
    lab.set_max_areas(3)
    found: list[tuple[int, int]] = []
    at = 0
    while at < 8 << 20:
        answer = vm.QueryChangedDiskAreas(None, disk.key, at, "*")
        assert (answer.startOffset, len(answer.changedArea) <= 3) == (at, True)
        found += [(area.start, area.length) for area in answer.changedArea]
        at += answer.length
    assert at == 8 << 20
    assert found == [(i << 19, 64 << 10) for i in range(16)]


def test_a_start_leaves_its_marks(lab: Lab, api: Any) -> None:
    vm_id = lab.add(VmSpec("marked", [SMALL], on=False, change_tracking=True))
    vm = find(api, vm_id)

    def marks() -> tuple[str, str, str]:
        (disk,) = [d for d in vm.config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk)]
        descriptor = Path(lab.vm(vm_id)["disks"][0]["path"].replace("-flat", "")).read_text()
        return disk.backing.changeId, vm.config.changeVersion, descriptor.split("CID=")[1][:8]

    before = marks()
    assert marks() == before
    lab.power_on(vm_id)
    lab.power_off(vm_id)
    assert all(new != old for new, old in zip(marks(), before, strict=True))


def test_a_datacenter_in_a_folder(tmp_path: Path) -> None:
    names = {"datacenter": "Büro 1+2/50%25 Süd", "datastore": "NFS 1+2 ü"}
    with Lab(tmp_path, [VmSpec("x", [SMALL], on=False)], **names) as named:
        (disk,) = named.vm(named.ids[0])["disks"]
        assert disk["file"] == "[NFS 1+2 ü] x/x.vmdk"
        login = (named.username, named.password)
        twice = {"dcPath": quote(names["datacenter"], safe=""), "dsName": quote(names["datastore"], safe="")}

        def ask(params: dict[str, str]) -> requests.Response:
            url = f"{named.url}/folder/x/x-flat.vmdk"
            return requests.get(url, params=params, auth=login, verify=str(named.ca_file), timeout=30)

        assert ask(twice).content == Path(disk["path"]).read_bytes()
        assert ask(names).status_code == 404


def test_another_client_reads_the_same(lab: Lab, tmp_path: Path) -> None:
    """As virt-v2v does: nbdkit's curl plugin, which asks for ranges."""
    vm_id = lab.add(VmSpec("by nbdkit", [SMALL], on=False))
    (disk,) = lab.vm(vm_id)["disks"]
    file = quote(disk["file"].removeprefix("[lab] ").replace(".vmdk", "-flat.vmdk"))
    argv = ["nbdkit", "--readonly", "--unix", "-", "curl", f"url={lab.url}/folder/{file}?dcPath=DC0&dsName=lab"]
    argv += [f"user={lab.username}", f"password=+{lab.password_file}", f"cainfo={lab.ca_file}"]
    subprocess.run([*argv, "--run", f'nbdcopy "$uri" {tmp_path}/copy'], check=True, capture_output=True)
    assert (tmp_path / "copy").read_bytes() == Path(disk["path"]).read_bytes()
    assert lab.calls()["range"] > 0
