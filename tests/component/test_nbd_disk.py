"""Exports of real servers, nbdkit and qemu-nbd: read as they are, and every way in which they fail has its error."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.errors import TransferInterrupted, TransportRefused, UnsafeImage
from app.ports.disks import Area
from app.process import Process, run, spawn
from converters import nbd_disk
from converters.images import open_image
from converters.nbd_disk import NbdDisk, open_nbd_disk
from converters.nbd_uri import NbdUri
from tests.component.test_vmdk_disk import make_raw, read, read_areas

MIB = 1 << 20
ACCEPTS = 0x10000  # a flag in /proc/net/unix
SIZE = 40 * MIB


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("raw") / "disk.raw", SIZE)


@contextmanager
def served(folder: Path, *argv: str | Path) -> Iterator[Process]:
    """A server on the socket `s` in the folder."""
    path = folder / "s"
    with spawn([word if word != "SOCKET" else path for word in argv]) as server:
        deadline = time.monotonic() + 30
        while not _listens(path):
            assert server.alive(), server.stderr_tail()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield server
    path.unlink(missing_ok=True)


def _listens(socket: Path) -> bool:
    """Without a connection: some servers take one only. A socket is there a moment before anyone may connect to it."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any(words[-1] == str(socket) and int(words[3], 16) & ACCEPTS for words in lines[1:])


def at(folder: Path, export: str = "") -> NbdUri:
    return NbdUri(export, socket=str(folder / "s"))


def nbdkit(*words: str | Path) -> tuple[str | Path, ...]:
    return ("nbdkit", "-f", "-r", "-U", "SOCKET", *words)


def qemu_nbd(path: Path, format: str, *more: str) -> tuple[str | Path, ...]:
    return ("qemu-nbd", "-t", "-r", "-f", format, "-k", "SOCKET", *more, path)


def test_nbdkit(tmp_path: Path, raw: Path) -> None:
    with served(tmp_path, *nbdkit("file", raw)), open_nbd_disk(at(tmp_path)) as disk:
        assert disk.capacity == SIZE
        assert disk.connections > 1
        assert read(disk) == raw.read_bytes()
        areas = list(disk.areas())
        assert len(areas) > 5
        assert sum(area.length for area in areas) < SIZE // 2


def test_qemu_nbd(tmp_path: Path, raw: Path) -> None:
    path = tmp_path / "disk.qcow2"
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path])
    for clients, connections in (("1", 1), ("4", nbd_disk.CONNECTIONS)):
        with served(tmp_path, *qemu_nbd(path, "qcow2", "-e", clients)), open_nbd_disk(at(tmp_path)) as disk:
            assert disk.connections == connections
            assert read(disk) == raw.read_bytes()
            assert sum(area.length for area in disk.areas()) < SIZE // 2


def test_over_tcp_and_by_name(tmp_path: Path, raw: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["nbdkit", "-f", "-r", "-i", "127.0.0.1", "-p", str(port), "--filter=exportname", "file", str(raw)]
    with spawn([*words, "exportname=the disk", "exportname-strict=true"]):
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with open_image(f"nbd://127.0.0.1:{port}/the%20disk") as disk:
            assert read(disk) == raw.read_bytes()
        with pytest.raises(TransportRefused, match="other"), open_image(f"nbd://127.0.0.1:{port}/other"):
            pass
    with pytest.raises(TransferInterrupted, match="cannot be reached"), open_image(f"nbd://127.0.0.1:{port}/"):
        pass


def test_a_server_that_does_not_say_what_is_allocated(tmp_path: Path, raw: Path) -> None:
    with served(tmp_path, *nbdkit("--no-sr", "file", raw)), open_nbd_disk(at(tmp_path)) as disk:
        assert list(disk.areas()) == [Area(0, SIZE)]
        assert read(disk) == raw.read_bytes()


def test_a_server_of_one_connection(tmp_path: Path, raw: Path) -> None:
    """Readers take turns on it, in any threads."""
    words = nbdkit("--filter=multi-conn", "--filter=limit", "file", raw, "multi-conn-mode=disable", "limit=1")
    out = bytearray(SIZE)
    with served(tmp_path, *words), open_nbd_disk(at(tmp_path)) as disk:
        assert disk.connections == 1
        read_by_threads(disk, out)
    assert out == raw.read_bytes()


def test_a_server_of_many_connections(tmp_path: Path, raw: Path) -> None:
    out = bytearray(SIZE)
    with served(tmp_path, *nbdkit("file", raw)), open_nbd_disk(at(tmp_path)) as disk:
        read_by_threads(disk, out)
    assert out == raw.read_bytes()


def read_by_threads(disk: NbdDisk, out: bytearray) -> None:
    def work(part: int) -> None:
        reader = disk.open_reader()
        for start in range(part * MIB, SIZE, 4 * MIB):
            reader.start(start, MIB)
            reader.fill(memoryview(out)[start : start + MIB])
        reader.close()

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_server_with_large_blocks(tmp_path: Path, raw: Path) -> None:
    words = nbdkit("--filter=blocksize-policy", "file", raw, "blocksize-minimum=4096", "blocksize-error-policy=error")
    with served(tmp_path, *words), open_nbd_disk(at(tmp_path)) as disk:
        assert read(disk, chunk=512 * 333) == raw.read_bytes()
        assert read_areas(disk, [Area(512, 3 * 512), Area(MIB + 1, 77)])[512:2048] == raw.read_bytes()[512:2048]


def test_a_key_that_both_sides_know(tmp_path: Path, raw: Path) -> None:
    keys = tmp_path / "psk"
    keys.write_text("alice:8f0e9c4f7a6b5d3c2b1a0f9e8d7c6b5a\n")
    with served(tmp_path, *nbdkit("--tls=require", f"--tls-psk={keys}", "file", raw)):
        secret = NbdUri.parse(f"nbds+unix://alice@/?socket={tmp_path}/s&tls-psk-file={keys}")
        with open_nbd_disk(secret) as disk:
            assert read(disk) == raw.read_bytes()
        with pytest.raises(TransportRefused), open_nbd_disk(at(tmp_path)):
            pass
        other = tmp_path / "other"
        other.write_text("alice:00000000000000000000000000000000\n")
        with pytest.raises(TransportRefused), open_nbd_disk(replace(secret, psk=str(other))):
            pass


def test_nothing_in_clear_where_tls_was_asked_for(tmp_path: Path, raw: Path) -> None:
    with (
        served(tmp_path, *nbdkit("file", raw)),
        pytest.raises(TransportRefused),
        open_nbd_disk(NbdUri.parse(f"nbds+unix:///?socket={tmp_path}/s")),
    ):
        pass


def test_a_server_that_is_killed(tmp_path: Path, raw: Path) -> None:
    with served(tmp_path, *nbdkit("file", raw)) as server, open_nbd_disk(at(tmp_path)) as disk:
        reader = disk.open_reader()
        reader.start(0, SIZE)
        reader.fill(memoryview(bytearray(MIB)))
        server.stop(0)
        for _ in range(2):  # and it stays so
            with pytest.raises(TransferInterrupted):
                reader.fill(memoryview(bytearray(MIB)))
        with pytest.raises(TransferInterrupted):
            disk.open_reader()
        with pytest.raises(TransferInterrupted):
            list(disk.areas())


def test_a_read_that_fails(tmp_path: Path) -> None:
    words = nbdkit("--filter=error", "memory", "1M", "error-pread-rate=100%")
    with served(tmp_path, *words), open_nbd_disk(at(tmp_path)) as disk:
        reader = disk.open_reader()
        reader.start(0, MIB)
        with pytest.raises(TransferInterrupted, match="reading NBD export"):
            reader.fill(memoryview(bytearray(MIB)))


def test_silence_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nbd_disk, "SILENCE_SECONDS", 0.5)
    words = nbdkit("--filter=delay", "memory", "1M", "delay-read=20")
    with served(tmp_path, *words), open_nbd_disk(at(tmp_path)) as disk:
        reader = disk.open_reader()
        reader.start(0, MIB)
        begun = time.monotonic()
        with pytest.raises(TransferInterrupted, match="does not answer"):
            reader.fill(memoryview(bytearray(MIB)))
        assert time.monotonic() - begun < 5


def test_a_server_that_never_greets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nbd_disk, "CONNECT_SECONDS", 0.5)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with pytest.raises(TransferInterrupted, match="does not answer"), open_nbd_disk(at(tmp_path)):
            pass


def test_a_reader_can_be_interrupted(tmp_path: Path) -> None:
    words = nbdkit("--filter=delay", "memory", "1M", "delay-read=30")
    with served(tmp_path, *words), open_nbd_disk(at(tmp_path)) as disk:
        reader = disk.open_reader()
        reader.start(0, MIB)
        timer = threading.Timer(0.5, reader.interrupt)
        timer.start()
        begun = time.monotonic()
        with pytest.raises(TransferInterrupted, match="stopped"):
            reader.fill(memoryview(bytearray(MIB)))
        assert time.monotonic() - begun < 5
        timer.join()


def test_an_absurd_size(tmp_path: Path) -> None:
    with (
        served(tmp_path, *nbdkit("pattern", str(1 << 60))),
        pytest.raises(UnsafeImage, match="1152921504606846976"),
        open_nbd_disk(at(tmp_path)),
    ):
        pass


def test_an_export_that_grew(tmp_path: Path) -> None:
    """Each connection must find the same disk."""
    with served(tmp_path, *nbdkit("memory", "1M")), open_nbd_disk(at(tmp_path)) as disk:
        disk.capacity = 2 * MIB
        with pytest.raises(TransferInterrupted, match="now it has 1048576"):
            disk.open_reader()


def test_each_opening_is_another_content(tmp_path: Path) -> None:
    with served(tmp_path, *nbdkit("memory", "1M")):
        seen = set()
        for _ in range(2):
            with open_nbd_disk(at(tmp_path)) as disk:
                assert disk.identity == disk.identity
                seen.add(disk.identity)
        assert len(seen) == 2
        with open_nbd_disk(at(tmp_path), identity="known") as disk:
            assert disk.identity == "known"
