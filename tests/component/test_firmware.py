"""Firmware as real machines have it: UEFI with an empty NVRAM, Secure Boot with Microsoft's keys, a TPM."""

from __future__ import annotations

import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from app.domain.hardware import hardware_for
from app.domain.hardware.model import Hardware
from app.domain.models import TargetSpec
from tests.efi_program import MIB, make_disk
from tests.libvirt_host import LibvirtHost
from tests.unit.moves import make_move, make_vm
from workers.targets import open_target
from workers.targets.libvirt.target import LibvirtTarget

FIRMWARE_SECONDS = 300  # in software emulation, on a busy machine


@pytest.fixture(scope="module")
def host() -> Iterator[LibvirtHost]:
    with LibvirtHost() as host:
        yield host


@pytest.fixture
def target(host: LibvirtHost) -> Iterator[LibvirtTarget]:
    target = open_target(TargetSpec(id="t", name="t", uri=host.uri, pool=host.pool), accelerator="tcg")
    assert isinstance(target, LibvirtTarget)
    yield target
    target.serial_log(f"vmferry-{host.pool}").unlink(missing_ok=True)
    target.close()


def firmware_says(target: LibvirtTarget, host: LibvirtHost, words: str, **vm: Any) -> tuple[str, Hardware]:
    """Start a VM whose disk has an unsigned program to boot: what it says on its serial port until it says `words`."""
    raw = host.pool_path / "disk.raw"
    make_disk(raw)
    path = target.create_volume("vmferry-firmware-0.qcow2", 64 * MIB)
    subprocess.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", raw, path], check=True)
    machine = make_vm(
        disks=make_vm().disks[:1], nics=(), memory_bytes=256 * MIB, cpus=1, cores_per_socket=1, firmware="efi", **vm
    )
    hw = hardware_for(
        make_move(machine, target_name=f"vmferry-firmware-{host.pool}"),
        disk_paths=[str(path)],
        domain_uuid=str(uuid.uuid4()),
        accelerator="tcg",
        serial_log=str(target.serial_log(f"vmferry-{host.pool}")),
        has_tpm=target.facts().tpm,
    )
    target.define(hw)
    target.start(hw.uuid)
    log, deadline = Path(hw.serial_log), time.monotonic() + FIRMWARE_SECONDS
    while not re.search(words, text := log.read_text(errors="replace")):
        assert time.monotonic() < deadline, text
        time.sleep(0.5)
    return text, hw


def stop(target: LibvirtTarget, hw: Hardware) -> None:
    target.stop(hw.uuid)
    target.undefine(hw.uuid)
    target.delete_volume("vmferry-firmware-0.qcow2")


@pytest.mark.slow  # the matrix of guests has it, too: here it shows that the program is one
def test_an_empty_nvram_boots_what_is_at_the_fallback_path(host: LibvirtHost, target: LibvirtTarget) -> None:
    text, hw = firmware_says(target, host, "BdsDxe: starting Boot[0-9A-F]{4}")
    assert "failed to load" not in text
    stop(target, hw)


def test_secure_boot_refuses_what_is_not_signed_and_has_a_tpm(host: LibvirtHost, target: LibvirtTarget) -> None:
    _, hw = firmware_says(target, host, "BdsDxe: failed to load .*: Access Denied", secure_boot=True, tpm=True)
    domain = ElementTree.fromstring(host.connection.lookupByUUIDString(hw.uuid).XMLDesc())
    nvram, loader = domain.find("os/nvram"), domain.find("os/loader")
    assert nvram is not None
    assert loader is not None
    assert loader.get("secure") == "yes"
    assert "ms" in nvram.get("template", "")  # Microsoft's keys are enrolled
    assert domain.find("devices/tpm/backend[@type='emulator']") is not None
    stop(target, hw)
    assert not Path(nvram.text or "").exists()
