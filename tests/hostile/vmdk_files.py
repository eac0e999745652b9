"""Folders with a disk in them that must be refused, each with the lie it tells. All claim a disk of CAPACITY bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.domain.errors import NotFound, UnsafeImage, VmferryError
from tests.hostile.corpus import CAPACITY, DISK, SECTORS, WHOLE
from tests.hostile.sparse_files import Hosted, cowd, grains_of, text
from tests.hostile.sparse_lies import (
    Files,
    Hole,
    cowd_lies,
    header_lies,
    hosted,
    se_sparse_lies,
    stream_lies,
    table_lies,
)

OUTSIDE = "secret.vmdk"  # a pipe beside the folder: whoever opens it waits for ever


@dataclass(frozen=True)
class Link:
    target: str
    hard: bool = False


PIPE, FOLDER = object(), object()
Case = tuple[str, Files, type[VmferryError]]  # the disk is called disk.vmdk


def make(folder: Path, files: Files) -> None:
    os.mkfifo(folder.parent / OUTSIDE)
    for name, content in files.items():
        path = folder / name
        match content:
            case bytes() | bytearray():
                path.write_bytes(content)
            case Link(target=target, hard=True):
                path.hardlink_to(folder / target)
            case Link(target=target):
                path.symlink_to(target)
            case Hole(size=size, data=data):
                path.write_bytes(data)
                os.truncate(path, size)
            case _ if content is PIPE:
                os.mkfifo(path)
            case _:
                path.mkdir()


def cases() -> Iterator[Case]:
    missing = {"extent: missing", "parent: missing", "split: a part is missing"}
    for name, files in [
        *_extents(),
        *_parents(),
        *header_lies(),
        *table_lies(),
        *_split(),
        *cowd_lies(),
        *se_sparse_lies(),
        *stream_lies(),
        *_other_files(),
    ]:
        yield name, files, NotFound if name in missing else UnsafeImage


def flat(line: str = "", *, kind: str = "monolithicFlat", **keys: str) -> dict[str, object]:
    return {
        "disk.vmdk": text(kind, line or f'RW {SECTORS} FLAT "disk-flat.vmdk" 0', **keys),
        "disk-flat.vmdk": Hole(CAPACITY, DISK[:65536]),
    }


def _extents() -> Iterator[tuple[str, Files]]:
    lines = {
        "absolute": f'RW {SECTORS} FLAT "/etc/shadow" 0',
        "parent folder": f'RW {SECTORS} FLAT "../{OUTSIDE}" 0',
        "two dots": f'RW {SECTORS} FLAT ".." 0',
        "a folder under it": f'RW {SECTORS} FLAT "sub/disk-flat.vmdk" 0',
        "device": f'RW {SECTORS} FLAT "/dev/sda" 0',
        "backslashes": f'RW {SECTORS} FLAT "..\\{OUTSIDE}" 0',
        "protocol": f'RW {SECTORS} FLAT "nbd:unix:/run/x" 0',
        "json": f'RW {SECTORS} FLAT "json:{{}}" 0',
        "no name": f'RW {SECTORS} FLAT "" 0',
        "a name of 300 characters": f'RW {SECTORS} FLAT "{"x" * 300}" 0',
        "a raw device map": f'RW {SECTORS} VMFSRDM "disk-flat.vmdk"',
        "zeros": f"RW {SECTORS} ZERO",
        "sparse in a flat disk": f'RW {SECTORS} SPARSE "disk-flat.vmdk"',
        "two where one is due": f'RW 8 FLAT "disk-flat.vmdk" 0\nRW {SECTORS - 8} FLAT "b.vmdk" 0',
        "longer than its file": f'RW {SECTORS + 1} FLAT "disk-flat.vmdk" 0',
        "behind its file": f'RW {SECTORS} FLAT "disk-flat.vmdk" 1',
        "an absurd offset": f'RW {SECTORS} FLAT "disk-flat.vmdk" {10**17}',
        "no sectors": 'RW 0 FLAT "disk-flat.vmdk" 0',
        "absurdly many sectors": f'RW {10**17} FLAT "disk-flat.vmdk" 0',
        "itself": f'RW {SECTORS} FLAT "disk.vmdk" 0',
        "missing": f'RW {SECTORS} FLAT "nothing.vmdk" 0',
        "none": "",
    }
    for name, line in lines.items():
        yield f"extent: {name}", {**flat(line), "disk.vmdk": text("monolithicFlat", line)}
    for kind in ("fullDevice", "partitionedDevice", "custom", "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap", ""):
        yield f"type: {kind}", flat(kind=kind)
    yield "type: twice", flat(more='createType="vmfs"')
    yield "extent: a link out of the folder", {**flat(), "disk-flat.vmdk": Link(f"../{OUTSIDE}")}
    yield "extent: an absolute link", {**flat(), "disk-flat.vmdk": Link("/etc/passwd")}
    yield "extent: a link in the folder", {**flat(), "disk-flat.vmdk": Link("b"), "b": Hole(CAPACITY)}
    yield "extent: a pipe", {**flat(), "disk-flat.vmdk": PIPE}
    yield "extent: a folder", {**flat(), "disk-flat.vmdk": FOLDER}
    yield "extent: a link to a device", {**flat(), "disk-flat.vmdk": Link("/dev/zero")}
    half = SECTORS // 2
    twice = f'RW {half} FLAT "disk-flat.vmdk" 0\nRW {half} FLAT "disk-flat.vmdk" {half}'
    yield "extent: two in one file", flat(twice, kind="twoGbMaxExtentFlat")
    hard = f'RW {half} FLAT "disk-flat.vmdk" 0\nRW {half} FLAT "b.vmdk" 0'
    yield (
        "extent: one file with two names",
        {**flat(hard, kind="twoGbMaxExtentFlat"), "b.vmdk": Link("disk-flat.vmdk", hard=True)},
    )
    many = "\n".join(f'RW {2**36} FLAT "{n}" 0' for n in range(3))
    yield "extent: together larger than any disk", flat(many, kind="twoGbMaxExtentFlat")
    yield "descriptor: of 2 MiB", {"disk.vmdk": text("vmfs", f'RW {SECTORS} VMFS "a"') + b"# x\n" * 500_000}
    yield (
        "descriptor: an encoding like none",
        flat(more='Encoding="rot13"').copy()
        | {"disk.vmdk": text("monolithicFlat", f'RW {SECTORS} FLAT "disk-flat.vmdk" 0').replace(b"UTF-8", b"rot13")},
    )
    yield "descriptor: encrypted", flat(more='encryptionKeys="vmware:key/list/(pair/x)"')
    yield "descriptor: a line like none", flat(more="include /etc/passwd")


def _parents() -> Iterator[tuple[str, Files]]:
    def child(name: str, cid: str = "0000abcd", own: str = "7c3aeb11") -> bytes:
        return bytes(hosted(parent=name, parent_cid=cid, cid=own).write())

    base = bytes(hosted(cid="abcd").write())
    yield "parent: absolute", {"disk.vmdk": child("/etc/shadow")}
    yield "parent: in the folder above", {"disk.vmdk": child(f"../{OUTSIDE}")}
    yield "parent: a path of Windows", {"disk.vmdk": child("C:\\VMs\\base.vmdk")}
    yield "parent: a protocol", {"disk.vmdk": child("nbd://127.0.0.1/x")}
    yield "parent: no name", {"disk.vmdk": child("base.vmdk").replace(b'parentFileNameHint="base.vmdk"', b" " * 30)}
    yield "parent: an empty name", {"disk.vmdk": child("base.vmdk").replace(b'="base.vmdk"', b'=""' + b" " * 9)}
    yield "parent: no content id", {"disk.vmdk": child("base.vmdk", "ffffffff"), "base.vmdk": base}
    yield "parent: content id of a word", {"disk.vmdk": child("base.vmdk", "whatever"), "base.vmdk": base}
    yield "parent: changed since", {"disk.vmdk": child("base.vmdk", "0000abce"), "base.vmdk": base}
    yield "parent: missing", {"disk.vmdk": child("base.vmdk")}
    yield "parent: itself", {"disk.vmdk": child("disk.vmdk", "abcd", "abcd")}
    yield (
        "parent: a loop of two",
        {"disk.vmdk": child("b.vmdk", "abcd"), "b.vmdk": child("disk.vmdk", "7c3aeb11", "abcd")},
    )
    yield (
        "parent: the same file",
        {"disk.vmdk": child("b.vmdk", "abcd", "abcd"), "b.vmdk": Link("disk.vmdk", hard=True)},
    )
    yield "parent: a link out of the folder", {"disk.vmdk": child("b.vmdk"), "b.vmdk": Link(f"../{OUTSIDE}")}
    yield "parent: a pipe", {"disk.vmdk": child("b.vmdk"), "b.vmdk": PIPE}
    small = Hosted(SECTORS - 128, {}, text("monolithicSparse", f'RW {SECTORS - 128} SPARSE "b"', cid="abcd")).write()
    yield "parent: a smaller disk", {"disk.vmdk": child("b.vmdk"), "b.vmdk": small}
    deep = {f"{n}.vmdk": _link(n) for n in range(80)}
    yield "parent: a chain of 80", {**deep, "disk.vmdk": _link(-1)}
    yield "parent: of a flat disk", flat(parent="b.vmdk", parent_cid="abcd") | {"b.vmdk": base}
    shared = text("twoGbMaxExtentSparse", f'RW {SECTORS} SPARSE "s.vmdk"', cid="abcd")
    top = text("twoGbMaxExtentSparse", f'RW {SECTORS} SPARSE "s.vmdk"', parent="b.vmdk", parent_cid="abcd")
    yield "parent: shares its extent", {"disk.vmdk": top, "b.vmdk": shared, "s.vmdk": Hosted(SECTORS, {}).write()}


def _link(number: int) -> bytes:
    described = text(
        "monolithicSparse", 'RW 128 SPARSE "x"', parent=f"{number + 1}.vmdk", parent_cid="abcd", cid="abcd"
    )
    return bytes(Hosted(128, {}, described).write())


def _split() -> Iterator[tuple[str, Files]]:
    half = SECTORS // 2
    lines = f'RW {half} SPARSE "a.vmdk"', f'RW {half} SPARSE "b.vmdk"'
    files: dict[str, object] = {
        "disk.vmdk": text("twoGbMaxExtentSparse", *lines),
        "a.vmdk": Hosted(half, grains_of(DISK[: CAPACITY // 2])).write(),
        "b.vmdk": Hosted(half, {}).write(),
    }
    yield "split: a part is missing", {name: data for name, data in files.items() if name != "b.vmdk"}
    yield "split: a part is smaller", {**files, "b.vmdk": Hosted(half - 128, {}).write()}
    yield "split: a part is larger", {**files, "b.vmdk": Hosted(half + 128, {}).write()}
    yield "split: a part is compressed", {**files, "b.vmdk": WHOLE}
    yield "split: a part is COWD", {**files, "b.vmdk": cowd(half, {})}
    yield "split: a part is flat", {**files, "b.vmdk": Hole(CAPACITY // 2)}
    yield "split: a part is a descriptor", {**files, "b.vmdk": text("vmfs", f'RW {half} VMFS "c"')}
    yield "split: one part twice", {**files, "disk.vmdk": text("twoGbMaxExtentSparse", lines[0], lines[0])}
    yield (
        "split: an offset in a part",
        {**files, "disk.vmdk": text("twoGbMaxExtentSparse", lines[0], f"{lines[1]} 128")},
    )
    yield "split: the part alone", {"disk.vmdk": Hosted(SECTORS, {}).write()}


def _other_files() -> Iterator[tuple[str, Files]]:
    yield "file: empty", {"disk.vmdk": b""}
    yield "file: a qcow2", {"disk.vmdk": b"QFI\xfb" + bytes(1 << 16)}
    yield "file: zeros", {"disk.vmdk": bytes(1 << 20)}
    yield "file: 8 TiB of nothing", {"disk.vmdk": Hole(8 << 40)}
    yield "file: a pipe", {"disk.vmdk": PIPE}
    yield "file: a link", {"disk.vmdk": Link(f"../{OUTSIDE}")}
    yield "file: a folder", {"disk.vmdk": FOLDER}
    yield "file: a web page", {"disk.vmdk": b"<html>404 Not Found</html>"}
    yield "file: a sparse one for a descriptor", {
        "disk.vmdk": text("monolithicSparse", f'RW {SECTORS} SPARSE "a.vmdk"'), "a.vmdk": hosted().write(),
    }  # fmt: skip
