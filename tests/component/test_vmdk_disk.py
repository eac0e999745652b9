"""VMDKs in files, read in ranges: the same bytes that `qemu-img convert` reads from them."""

from __future__ import annotations

import itertools
import os
import random
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.domain.errors import InvalidRequest, TransferInterrupted, UnsafeImage
from app.ports.disks import Area, RangeDisk
from app.process import run
from converters.folder import Folder
from converters.vmdk_disk import VmdkDisk, open_vmdk
from tests.hostile.sparse_files import Hosted, cowd, grains_of, se_sparse, text

MIB = 1 << 20
SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")
SIZES = {"one sector": 512, "odd": 33 * MIB + 5 * 512, "no multiple of a grain": 64 * MIB + 1024, "round": 96 * MIB}


def make_raw(path: Path, size: int, seed: int = 5) -> Path:
    """Noise, text, written zeros, single sectors and holes; data in the first and the last sector."""
    source = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size)
        for start in range(0, size - MIB, 3 * MIB // 2):
            file.seek(start + source.randrange(MIB // 512) * 512)
            kind = source.randrange(4)
            data = (source.randbytes(300_032), b"%020d" % start * 9_000, bytes(100_352), b"x" * 512)[kind]
            file.write(data[: size - file.tell()])
        for place in (0, size - 512):
            file.seek(place)
            file.write(b"edge" * 128)
    return path


def qemu_raw(path: Path, format: str = "vmdk") -> bytes:
    out = path.with_name(f"{path.name}.raw")
    run(["qemu-img", "convert", "-f", format, "-O", "raw", path, out])
    data = out.read_bytes()
    out.unlink()
    return data


def vmdk_of(raw: Path, folder: Path, subformat: str, *options: str) -> Path:
    path = folder / f"{subformat}.vmdk"
    more = ",".join((f"subformat={subformat}", *options))
    run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", more, raw, path])
    return path


def read(disk: RangeDisk, chunk: int = 777_216, areas: bool = True) -> bytes:
    """Everything, in one range; and what `areas` leaves out must be zeros."""
    out = bytearray(disk.capacity)
    whole = memoryview(out)
    reader = disk.open_reader()
    reader.start(0, len(out))
    for start in range(0, len(out), chunk):
        reader.fill(whole[start : start + chunk])
    if areas:
        found = list(disk.areas())
        assert read_areas(disk, found) == out
        assert all(a.offset + a.length < b.offset for a, b in itertools.pairwise(found))
    reader.close()
    return bytes(out)


def read_areas(disk: RangeDisk, areas: list[Area]) -> bytes:
    out = bytearray(disk.capacity)
    reader = disk.open_reader()
    for offset, length in areas:
        reader.start(offset, length)
        reader.fill(memoryview(out)[offset : offset + length])
    return bytes(out)


def read_file(path: Path, chunk: int = 777_216) -> bytes:
    with Folder(path.parent) as folder, open_vmdk(folder, path.name) as disk:
        return read(disk, chunk)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_every_subformat_that_qemu_writes(tmp_path: Path, subformat: str, size: int) -> None:
    raw = make_raw(tmp_path / "raw", size)
    path = vmdk_of(raw, tmp_path, subformat)
    assert read_file(path) == raw.read_bytes()
    assert read_file(path, chunk=512 * 131) == qemu_raw(path)


@pytest.mark.parametrize("subformat", ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "monolithicSparse"])
def test_a_disk_larger_than_an_extent(tmp_path: Path, subformat: str) -> None:
    """5 GiB and a bit, with data at the extents' borders; compared in pieces, for it is mostly holes."""
    size, edges = 5 * 1024 * MIB + 3584, (0, 2048 * MIB - 4096, 4096 * MIB - 512, 5 * 1024 * MIB + 1024)
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        file.truncate(size)
        for number, edge in enumerate(edges):
            file.seek(edge)
            file.write(random.Random(number).randbytes(2560 if number == 3 else 200_192))
    path = vmdk_of(raw, tmp_path, subformat)
    with Folder(tmp_path) as folder, open_vmdk(folder, path.name) as disk, raw.open("rb") as file:
        assert disk.capacity == size
        areas = list(disk.areas())
        assert sum(area.length for area in areas) < 2 * MIB
        reader = disk.open_reader()
        for edge in edges:
            assert any(area.offset <= edge < area.offset + area.length for area in areas)
            start = max(edge - MIB, 0)
            buffer = bytearray(min(3 * MIB, size - start))
            reader.start(start, len(buffer))
            reader.fill(memoryview(buffer))
            file.seek(start)
            assert buffer == file.read(len(buffer))


def test_grains_that_are_said_to_be_zeros(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", 70 * MIB)
    path = vmdk_of(raw, tmp_path, "monolithicSparse", "zeroed_grain=on")
    run(["qemu-io", "-f", "vmdk", "-c", f"write -z {4 * MIB} {4 * MIB}", path])
    data = read_file(path)
    assert data == qemu_raw(path)
    assert not any(data[4 * MIB : 8 * MIB])


def write_with_qemu(path: Path, *writes: tuple[int, int, int]) -> None:
    commands = [word for pattern, at, length in writes for word in ("-c", f"write -P {pattern} {at} {length}")]
    run(["qemu-io", "-f", "vmdk", *commands, path])


def chain(folder: Path, subformat: str, size: int) -> Path:
    """A base and three disks on top of it, each with writes of its own, over each other too."""
    base = folder / "disk.vmdk"
    run(["qemu-img", "create", "-q", "-f", "vmdk", "-o", f"subformat={subformat}", base, str(size)])
    write_with_qemu(base, (1, 0, 3 * MIB), (2, 20 * MIB, 65536), (3, size - 512, 512))
    below = base
    for number in (1, 2, 3):
        path = folder / f"disk-00000{number}.vmdk"
        kind = "subformat=twoGbMaxExtentSparse" if subformat.startswith("two") else "subformat=monolithicSparse"
        run(["qemu-img", "create", "-q", "-f", "vmdk", "-o", kind, "-b", below.name, "-F", "vmdk", path], cwd=folder)
        write_with_qemu(path, (10 + number, number * MIB + 512, 2048), (20 + number, (30 + number) * MIB, 3 * MIB))
        below = path
    return below


@pytest.mark.parametrize("subformat", ["monolithicSparse", "twoGbMaxExtentSparse", "monolithicFlat"])
def test_a_chain_of_snapshots(tmp_path: Path, subformat: str) -> None:
    top = chain(tmp_path, subformat, 2100 * MIB if subformat == "twoGbMaxExtentSparse" else 50 * MIB)
    with Folder(tmp_path) as folder, open_vmdk(folder, top.name) as disk:
        assert disk.depth == 4
        areas = list(disk.areas())
        assert sum(area.length for area in areas) < 12 * MIB
        ours = read_areas(disk, areas)
        if subformat != "twoGbMaxExtentSparse":
            assert read(disk) == ours
    assert ours == qemu_raw(top)


def test_a_parent_that_was_written_to_afterwards(tmp_path: Path) -> None:
    top = chain(tmp_path, "monolithicSparse", 50 * MIB)
    write_with_qemu(tmp_path / "disk-000001.vmdk", (9, 0, 512))
    with pytest.raises(UnsafeImage, match=r"disk-000001\.vmdk was changed after disk-000002\.vmdk"):
        read_file(top)


DISK = 80 * MIB


def snapshot(folder: Path, base: bytes, kind: str, line: str, name: str, delta: bytes) -> Path:
    """A flat disk of ESXi, and a snapshot of it whose delta is given."""
    sectors = DISK // 512
    (folder / "vm-flat.vmdk").write_bytes(base)
    (folder / "vm.vmdk").write_bytes(text("vmfs", f'RW {sectors} VMFS "vm-flat.vmdk"', cid="0badcafe"))
    (folder / name).write_bytes(delta)
    path = folder / "vm-000001.vmdk"
    extent = f'RW {sectors} {line} "{name}"'
    path.write_bytes(text(kind, extent, cid="12345678", parent="vm.vmdk", parent_cid="badcafe"))
    return path


@pytest.fixture
def base(tmp_path: Path) -> bytes:
    return make_raw(tmp_path / "raw", DISK).read_bytes()


def patched(base: bytes, size: int, numbers: dict[int, bytes]) -> bytes:
    out = bytearray(base)
    for number, data in numbers.items():
        out[number * size : (number + 1) * size] = data
    return bytes(out)


@pytest.mark.parametrize("grain", [1, 8])
def test_esxis_snapshots_of_small_disks(tmp_path: Path, base: bytes, grain: int) -> None:
    size = grain * 512
    source = random.Random(2)
    last = DISK // size - 1
    grains = {number: source.randbytes(size) for number in (0, 1, 2, 9, 4095, 4096, 9000, 20, 3, last)}
    top = snapshot(tmp_path, base, "vmfsSparse", "VMFSSPARSE", "vm-000001-delta.vmdk", cowd(DISK // 512, grains, grain))
    assert read_file(top) == patched(base, size, grains) == qemu_raw(top)


def test_esxis_snapshots_of_large_disks(tmp_path: Path, base: bytes) -> None:
    source = random.Random(3)
    grains = {number: source.randbytes(4096) for number in (0, 1, 2, 4095, 4096, 5000, 77, 20479)}
    delta = se_sparse(DISK // 512, grains, zeros=(3, 4097), unmapped=(10, 11))
    top = snapshot(tmp_path, base, "seSparse", "SESPARSE", "vm-000001-sesparse.vmdk", delta)
    assert read_file(top) == patched(base, 4096, grains | dict.fromkeys((3, 4097, 10, 11), bytes(4096)))
    assert read_file(top) == qemu_raw(top)


def test_a_disk_of_our_own_writer(tmp_path: Path, base: bytes) -> None:
    """So that what the corpus of hostile files starts from is honest."""
    described = text("monolithicSparse", f'RW {DISK // 512} SPARSE "x.vmdk"')
    path = tmp_path / "renamed.vmdk"
    path.write_bytes(Hosted(DISK // 512, grains_of(base), described).write())
    assert read_file(path) == base == qemu_raw(path)


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_what_is_cut_is_refused(tmp_path: Path, subformat: str) -> None:
    """qemu-img converts a sparse or flat file that was cut, with wrong data, and exits 0."""
    raw = make_raw(tmp_path / "raw", 20 * MIB)
    path = vmdk_of(raw, tmp_path, subformat)
    data = max(tmp_path.glob(f"{subformat}*.vmdk"), key=lambda file: file.stat().st_size)
    size = data.stat().st_size
    if subformat == "streamOptimized":  # what it ends with is only padding
        size = len(data.read_bytes().rstrip(b"\0"))
    for left in (size - 1, size - 512, size // 2, 70_000, 512, 3, 0):
        os.truncate(data, left)
        with pytest.raises(UnsafeImage):
            read_file(path)
    data.unlink()


def test_threads_share_a_disk(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", 90 * MIB)
    for subformat in ("monolithicSparse", "streamOptimized"):
        path = vmdk_of(raw, tmp_path, subformat)
        out = bytearray(90 * MIB)
        with Folder(tmp_path) as folder, open_vmdk(folder, path.name) as disk:

            def work(part: int, disk: VmdkDisk = disk, out: bytearray = out) -> None:
                reader = disk.open_reader()
                for start in range(part * MIB, 90 * MIB, 6 * MIB):
                    reader.start(start, MIB)
                    reader.fill(memoryview(out)[start : start + MIB])

            threads = [threading.Thread(target=work, args=(part,)) for part in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert out == raw.read_bytes()


def test_identity(tmp_path: Path) -> None:
    """It outlives reopening and shows every change, of the parents too."""
    top = chain(tmp_path, "twoGbMaxExtentSparse", 50 * MIB)

    def known() -> str:
        with Folder(tmp_path) as folder, VmdkDisk(folder, top.name) as disk:
            return disk.identity

    seen = {known()}
    assert known() in seen
    changes: list[Callable[[], object]] = [
        lambda: os.utime(tmp_path / "disk-s001.vmdk", ns=(1, 1)),
        lambda: os.truncate(
            tmp_path / "disk-000002-s001.vmdk", (tmp_path / "disk-000002-s001.vmdk").stat().st_size + 1
        ),
        lambda: write_with_qemu(top, (1, 0, 512)),
    ]
    for change in changes:
        change()
        assert known() not in seen
        seen.add(known())


def test_a_file_that_is_changed_while_it_is_open(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", 20 * MIB)
    path = vmdk_of(raw, tmp_path, "monolithicFlat")
    with Folder(tmp_path) as folder, open_vmdk(folder, path.name) as disk:
        before = disk.identity
        reader = disk.open_reader()
        os.truncate(tmp_path / "monolithicFlat-flat.vmdk", 10 * MIB)
        reader.start(9 * MIB, 2 * MIB)
        with pytest.raises(TransferInterrupted, match="ends before"):
            reader.fill(memoryview(bytearray(2 * MIB)))
        assert disk.identity != before


def test_what_no_reader_may_ask(tmp_path: Path) -> None:
    path = vmdk_of(make_raw(tmp_path / "raw", MIB), tmp_path, "monolithicSparse")
    with Folder(tmp_path) as folder, open_vmdk(folder, path.name) as disk:
        reader = disk.open_reader()
        for offset, length in ((-1, 512), (0, MIB + 1), (MIB, 1)):
            with pytest.raises(InvalidRequest):
                reader.start(offset, length)
        reader.start(0, 512)
        with pytest.raises(InvalidRequest):
            reader.fill(memoryview(bytearray(513)))
        reader.fill(memoryview(bytearray(512)))
        reader.interrupt()
        reader.start(0, 512)
        with pytest.raises(TransferInterrupted):
            reader.fill(memoryview(bytearray(512)))


def test_places_that_are_not_in_step_are_read(tmp_path: Path) -> None:
    """Tables may lie between the grains: then these do not begin at multiples of their size."""
    disk = random.Random(4).randbytes(40 * MIB)
    hosted = Hosted(80 * MIB // 512, grains_of(disk), text("monolithicSparse", f'RW {80 * MIB // 512} SPARSE "x"'))
    image = hosted.write()
    end = len(image) // 512
    for number in (1, 3, 500):  # moved to the end, by one sector, then by two
        data = disk[number * 65536 : (number + 1) * 65536]
        image += b"?" * 512 + data
        hosted.place(image, number, end + 1)
        end += 129
    path = tmp_path / "x.vmdk"
    path.write_bytes(image)
    assert read_file(path) == disk + bytes(40 * MIB)
    assert struct.unpack_from("<I", image, hosted.entry(3))[0] % 128 == 2
