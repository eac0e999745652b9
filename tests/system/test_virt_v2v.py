"""The reference tool against the same lab: it takes the lab for a vCenter, and what it moves boots as well."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from converters import appliance
from converters.accelerator import probe
from tests.lab import Lab, build_guest
from tests.libvirt_host import LibvirtHost
from tests.system.demo import REPORT_TIMEOUT_S, wait_for_report

DOMAIN = """<domain type='qemu'>
  <name>{name}</name><memory unit='MiB'>1024</memory><vcpu>2</vcpu><cpu mode='maximum'/>
  <os><type machine='q35'>hvm</type></os><features><acpi/></features>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='{disks[0]}'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='{disks[1]}'/><target dev='vdb' bus='virtio'/></disk>
    <interface type='network'><mac address='{mac}'/><source network='{network}'/><model type='virtio'/></interface>
    <serial type='pty'><log file='{log}' append='off'/></serial>
    <graphics type='vnc' listen='127.0.0.1' autoport='yes'/><video><model type='vga'/></video>
  </devices>
</domain>"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_virt_v2v_moves_the_same_guest_from_the_lab(tmp_path: Path) -> None:
    guest = build_guest()
    name = f"vmferry-v2v-{os.getpid()}"
    with Lab(tmp_path / "lab") as lab, LibvirtHost() as host:
        lab.add(guest.vm(name, on=False))
        user = quote(lab.username, safe="")
        uri = f"vpx://{user}@{lab.host}:{lab.port}/DC0/DC0_C0/DC0_C0_H0?no_verify=1"
        subprocess.run(
            ["virt-v2v", "-ic", uri, "-ip", str(lab.password_file), name,
             "-o", "local", "-os", str(host.pool_path), "-of", "qcow2"],
            check=True, timeout=3000,
            env=os.environ | appliance.environment(probe()),
        )  # fmt: skip
        disks = sorted(host.pool_path.glob(f"{name}-sd*"))
        assert len(disks) == 2
        log = Path(f"/var/log/libvirt/qemu/{name}-serial.log")
        xml = DOMAIN.format(name=name, disks=disks, mac=guest.mac, network=host.network, log=log)
        domain = host.connection.defineXML(xml)
        try:
            domain.create()
            report = wait_for_report(log, REPORT_TIMEOUT_S)
        finally:
            domain.destroy()
            domain.undefine()
            log.unlink(missing_ok=True)
        assert report["hostname"] == guest.hostname
        assert report["checksums"] == guest.markers
        # What the reference tool leaves undone, and vmferry does not: the card is not ens192, the address is lost.
        assert guest.nic not in report["addresses"]
