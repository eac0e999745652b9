"""qemu-img and qemu-nbd: formats are said, foreign files are refused, failures have their own errors."""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from app.domain.errors import NoSpace, TransferInterrupted, UnsafeImage, VmferryError
from app.process import run
from converters import qcow2
from converters.qemu_nbd import open_nbd

MIB = 1 << 20


def test_create_and_info(tmp_path: Path) -> None:
    path = tmp_path / "-rf $(id) nbd:x.qcow2"
    qcow2.create(path, 64 * MIB)
    assert qcow2.info(path)["virtual-size"] == 64 * MIB
    assert qcow2.check(path) == qcow2.ImageCheck(0, 0)
    assert qcow2.allocated(path) < MIB


def test_a_relative_path_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    qcow2.create(Path("nbd:localhost:1"), MIB)
    assert (tmp_path / "nbd:localhost:1").is_file()


def test_overlay_and_commit(tmp_path: Path) -> None:
    base, overlay = tmp_path / "base.qcow2", tmp_path / "overlay.qcow2"
    qcow2.create(base, 8 * MIB)
    qcow2.create_overlay(overlay, base, "qcow2")
    qcow2.check_plain(overlay, backing=base)
    with pytest.raises(UnsafeImage, match="backing file"):
        qcow2.check_plain(overlay)
    with open_nbd(overlay, writable=True) as image:
        image.write(b"x" * MIB, 2 * MIB)
        image.flush()
    with open_nbd(base) as image:
        assert image.read(MIB, 2 * MIB) == bytes(MIB)
    qcow2.commit(overlay)
    qcow2.commit(overlay)
    with open_nbd(base) as image:
        assert image.read(MIB, 2 * MIB) == b"x" * MIB


@pytest.mark.parametrize(
    "options",
    [
        ["-b", "/etc/hostname", "-F", "raw"],
        ["-o", "data_file=other.raw,data_file_raw=on"],
        ["-u", "-b", "nbd://127.0.0.1:1/x", "-F", "raw"],
    ],
    ids=["backing", "data file", "network"],
)
def test_images_that_lean_on_others_are_refused(tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / "crafted.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "1M"], cwd=tmp_path)
    for look in (qcow2.check_plain, qcow2.info):
        with pytest.raises(UnsafeImage):
            look(path)


def test_encrypted_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    qcow2.create(path, MIB)
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, 32, 2)
    path.write_bytes(data)
    with pytest.raises(UnsafeImage):
        qcow2.check_plain(path)
    path.write_bytes(b"KDMV" + bytes(600))
    with pytest.raises(UnsafeImage):
        qcow2.check_plain(path)
    path.write_bytes(b"")
    with pytest.raises(UnsafeImage):
        qcow2.check_plain(path)


def test_a_raw_disk_that_looks_like_qcow2_stays_raw(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"QFI\xfb\0\0\0\3".ljust(MIB, b"\0"))
    assert qcow2.info(path, "raw")["virtual-size"] == MIB
    with open_nbd(path, format="raw") as image:
        assert image.read(4, 0) == b"QFI\xfb"


def test_extents_and_threads(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    qcow2.create(path, 3 << 30)
    with open_nbd(path, writable=True, connections=3) as image:
        assert list(image.extents()) == [(0, 3 << 30, True)]
        threads = [threading.Thread(target=image.write, args=(b"y" * MIB, n * MIB)) for n in range(2, 12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        image.flush()
        assert list(image.extents()) == [
            (0, 2 * MIB, True),
            (2 * MIB, 10 * MIB, False),
            (12 * MIB, (3 << 30) - 12 * MIB, True),
        ]


def test_read_only_means_it(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    qcow2.create(path, MIB)
    before = path.read_bytes()
    with pytest.raises(TransferInterrupted), open_nbd(path) as image:
        image.write(b"x" * 512, 0)
    assert path.read_bytes() == before


def test_an_image_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    path.write_bytes(b"x" * 4096)
    with pytest.raises(VmferryError, match="not in qcow2 format"), open_nbd(path):
        pass


def fill(path: Path, before: Callable[[int], None] = lambda n: None) -> None:
    with open_nbd(path, writable=True) as image:
        for n in range(64):
            before(n)
            image.write(os.urandom(MIB), n * MIB)
        image.flush()


def test_a_full_file_system(small_file_system: Path) -> None:
    path = small_file_system / "a.qcow2"
    qcow2.create(path, 64 * MIB)
    with pytest.raises(NoSpace, match=str(path)) as caught:
        fill(path)
    assert caught.value.fields["path"] == str(path)
    with pytest.raises(OSError, match="No space"):
        (small_file_system / "rest").write_bytes(bytes(64 * MIB))
    with pytest.raises(NoSpace):
        qcow2.create(small_file_system / "b.qcow2", 64 * MIB)


def test_a_server_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    qcow2.create(path, 64 * MIB)
    with pytest.raises(TransferInterrupted, match="qemu-nbd has ended"):
        fill(path, lambda n: os.kill(servers_of(path)[0], signal.SIGKILL) if n == 5 else None)


def test_no_server_outlives_its_block(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    qcow2.create(path, MIB)

    def use(error: type[Exception] | None) -> None:
        with open_nbd(path):
            assert len(servers_of(path)) == 1
            if error:
                raise error

    use(None)
    assert servers_of(path) == []
    with pytest.raises(KeyError):
        use(KeyError)
    assert servers_of(path) == []


def servers_of(path: Path) -> list[int]:
    """The process ids of every qemu-nbd that serves `path`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            words = entry.read_bytes().split(b"\0")
            if words[0].endswith(b"qemu-nbd") and os.fsencode(path) in words:
                found.append(int(entry.parent.name))
    return found
