"""What is no conversion is not taken for one: virt-v2v lies, fails, or meets a disk without a system.

That it changes nothing and says that all is well is in tests/faults/test_guest_faults.py.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from app.domain.errors import ConversionFailed, ToolMissing, UnsupportedGuest
from app.domain.models import Disk
from converters import qcow2
from converters.accelerator import boot_seconds
from converters.virt_v2v import VirtV2vInPlace
from tests.unit.moves import make_vm

MIB = 1 << 20


def go_on() -> None:
    """A cancel check of a job that nobody stops."""


def fake(folder: Path, script: str) -> str:
    tool = folder / "virt-v2v-in-place"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return str(tool)


def empty_disk(folder: Path) -> Path:
    qcow2.create(folder / "0.qcow2", 64 * MIB)
    qcow2.create_overlay(folder / "0.overlay.qcow2", folder / "0.qcow2", "qcow2")
    return folder / "0.overlay.qcow2"


def test_disks_without_a_system_are_unsupported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedGuest) as caught:
        VirtV2vInPlace(fake(tmp_path, "exit 0")).convert(make_vm(), [empty_disk(tmp_path)], cancel=go_on, log=print)
    assert "compat" in caught.value.remedy


def test_virt_v2v_itself_says_so_too(tmp_path: Path) -> None:
    log: list[str] = []
    with pytest.raises(UnsupportedGuest, match="virt-v2v: ") as caught:
        VirtV2vInPlace().convert(make_vm(), [empty_disk(tmp_path)], cancel=go_on, log=log.append)
    assert "compat" in caught.value.remedy
    assert any("error" in line for line in log)


def test_a_failure_carries_the_last_words(tmp_path: Path) -> None:
    message = json.dumps({"message": "a warning", "timestamp": "t", "type": "warning"})
    tool = fake(tmp_path, f"echo '{message}'; echo 'virt-v2v-in-place: error: it broke' >&2; exit 1")
    with pytest.raises(ConversionFailed, match="virt-v2v: virt-v2v-in-place: error: it broke") as caught:
        VirtV2vInPlace(tool, accelerator="tcg").convert(make_vm(), [tmp_path / "none"], cancel=go_on, log=print)
    assert "it broke" in caught.value.fields["stderr_tail"]


def test_it_is_given_each_disk_as_qcow2_in_order(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    tool = fake(tmp_path, f'for xml; do :; done; cp "$xml" {seen}; env > {seen}.env; exit 1')
    vm = make_vm(
        firmware="efi", disks=(Disk(key=1, label="a", capacity_bytes=1), Disk(key=2, label="b", capacity_bytes=1))
    )
    paths = [tmp_path / "b.qcow2", tmp_path / "a & b.qcow2"]
    with pytest.raises(ConversionFailed):
        VirtV2vInPlace(tool, accelerator="tcg", virtio_win=Path("/vw")).convert(vm, paths, cancel=go_on, log=print)
    text = seen.read_text()
    assert text.index("b.qcow2") < text.index("a &amp; b.qcow2")
    assert text.count('type="qcow2"') == 2
    assert "<name>guest</name>" in text
    assert 'firmware="efi"' in text
    environment = Path(f"{seen}.env").read_text()
    assert "LIBGUESTFS_BACKEND=direct\n" in environment
    assert "LIBGUESTFS_BACKEND_SETTINGS=force_tcg\n" in environment
    assert "LIBGUESTFS_APPEND=norandmaps\n" in environment
    assert "/vmferry-emulator\n" in environment
    assert "VIRTIO_WIN=/vw\n" in environment


def test_a_missing_tool_is_named() -> None:
    converter = VirtV2vInPlace("/nowhere/virt-v2v-in-place", accelerator="tcg")
    assert [check.ok for check in converter.check()] == [False]
    with pytest.raises(ToolMissing, match="not installed"):
        converter.convert(make_vm(), [], cancel=go_on, log=print)


def test_the_probe_runs_a_boot_sector() -> None:
    assert boot_seconds("tcg", 60)
    started = time.monotonic()
    assert boot_seconds("no-such-accelerator") is None
    assert time.monotonic() - started < 20
