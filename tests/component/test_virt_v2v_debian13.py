"""Debian 13's virt-v2v in a chroot, through our arguments, on the same guests as this machine's; boot unproven."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.virt_v2v import VirtV2vInPlace
from tests.component import test_windows_conversion as windows
from tests.contract import test_converter as contract
from tests.lab import debian13
from tests.lab.cache import cache_directory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)  # keys are in /dev/shm then, which the chroot sees
    return str(debian13.tool(tmp_path / "virt-v2v-in-place", debian13.chroot(), "virt-v2v-in-place", cache_directory()))


def test_it_says_its_version(tool: str) -> None:
    (check,) = VirtV2vInPlace(tool).check()
    assert check.ok
    assert check.detail.startswith("2.6.")


def test_it_converts_windows(tool: str, tmp_path: Path) -> None:
    made = windows.convert(tmp_path, tool)
    assert made.report.converter.startswith("virt-v2v 2.6.")
    windows.test_the_drivers_of_its_own_version_are_in_the_guest(made)
    windows.test_windows_starts_the_disk_driver_at_boot(made)
    assert made.start["firstboot"] == 2
    assert "qemu-ga" in "\n".join(made.files["/Program Files/Guestfs/Firstboot/scripts"])
    assert {concern.code for concern in made.report.concerns} <= {"virt_v2v_note"}


def test_it_converts_the_rpm_guest_with_its_key(tool: str, tmp_path: Path) -> None:
    made = contract.convert(VirtV2vInPlace(tool), tmp_path)
    assert made.report.converter.startswith("virt-v2v 2.6.")
    contract.test_the_guest_is_ready_for_its_new_hardware(made)
    contract.test_virt_v2v_has_dracut_make_the_initramfs_anew(made)
