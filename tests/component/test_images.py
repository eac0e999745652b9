"""Any image by its path: found out by its content, never by a tool, and raw only when it is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.domain.errors import InvalidRequest, NotFound, UnsafeImage
from app.process import run
from converters import qcow2
from converters.images import RawDisk, ServedImage, open_image
from converters.vmdk_disk import VmdkDisk
from tests.component.test_qcow2 import servers_of
from tests.component.test_vmdk_disk import make_raw, read, vmdk_of

MIB = 1 << 20


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return make_raw(tmp_path / "disk.raw", 20 * MIB + 512)


def test_by_content(tmp_path: Path, raw: Path) -> None:
    image = tmp_path / "looks-like.vmdk"
    run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, image])
    with open_image(image) as disk:
        assert isinstance(disk, ServedImage)
        assert read(disk) == raw.read_bytes()
        assert len(list(disk.areas())) > 2
    assert servers_of(image) == []
    for subformat in ("monolithicSparse", "twoGbMaxExtentFlat"):
        named = vmdk_of(raw, tmp_path, subformat)
        with open_image(named) as disk:
            assert isinstance(disk, VmdkDisk)
            assert read(disk) == raw.read_bytes()


def test_a_raw_image_must_be_called_so(tmp_path: Path, raw: Path) -> None:
    with pytest.raises(UnsafeImage, match="neither a VMDK nor a qcow2") as caught, open_image(raw):
        pass
    assert "raw" in caught.value.remedy
    with open_image(raw, "raw") as disk:
        assert isinstance(disk, RawDisk)
        assert read(disk) == raw.read_bytes()
        assert sum(area.length for area in disk.areas()) < 12 * MIB
    looks = tmp_path / "looks"
    looks.write_bytes(b"QFI\xfb".ljust(MIB, b"\0"))
    with open_image(looks, "raw") as disk:
        assert read(disk)[:4] == b"QFI\xfb"


def test_a_link_leads_to_the_folder_of_the_disk(tmp_path: Path, raw: Path) -> None:
    vmdk_of(raw, tmp_path, "monolithicFlat")
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "monolithicFlat.vmdk")
    with open_image(link) as disk:
        assert read(disk) == raw.read_bytes()


@pytest.mark.parametrize("options", [["-b", "/etc/hostname", "-F", "raw"], ["-o", "data_file=other.raw"]])
def test_a_qcow2_that_leans_on_others(tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / "crafted.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, "1M"], cwd=tmp_path)
    with pytest.raises(UnsafeImage), open_image(path):
        pass
    assert servers_of(path) == []


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"COWD" + bytes(4096))
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafeImage, match="only a part"), open_image(tmp_path / "part"):
        pass
    for name, format in (("empty", None), ("empty", "raw"), ("pipe", "raw"), (".", None)):
        with pytest.raises(UnsafeImage), open_image(tmp_path / name, format):  # type: ignore[arg-type]
            pass
    with pytest.raises(NotFound), open_image(tmp_path / "missing"):
        pass
    huge = tmp_path / "huge"
    huge.touch()
    os.truncate(huge, 8 << 40)
    with open_image(huge, "raw") as disk:
        assert list(disk.areas()) == []


def test_a_format_that_it_is_not(tmp_path: Path, raw: Path) -> None:
    for format in ("vmdk", "qcow2"):
        with pytest.raises(UnsafeImage), open_image(raw, format):  # type: ignore[arg-type]
            pass
    with pytest.raises(InvalidRequest), open_image("nbd://127.0.0.1/x", "vmdk"):
        pass


def test_identity(tmp_path: Path, raw: Path) -> None:
    image = tmp_path / "a.qcow2"
    qcow2.create(image, MIB)
    for path, format in ((image, None), (raw, "raw")):
        seen = set()
        for time in (1, 1, 2):
            os.utime(path, ns=(time, time))
            with open_image(path, format) as disk:  # type: ignore[arg-type]
                seen.add(disk.identity)
        assert len(seen) == 2
