"""OVA archives, OVF descriptors and manifests that must be refused, each with the lie it tells."""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.packages import (
    CPU,
    MEMORY,
    MIB,
    PVSCSI,
    Members,
    PackagedDisk,
    descriptor,
    disk,
    disk_entry,
    disk_items,
    envelope,
    file_entry,
    item,
    manifest,
    package,
    system,
    tar,
)

DISK = disk("disk1.vmdk", random.Random(1).randbytes(MIB // 4) + bytes(MIB // 4))
HONEST = package([DISK])
TEXT = HONEST[0][1]
BLOCK = 512


@dataclass(frozen=True)
class Case:
    """`write` makes web.ova, or web.ovf and what is beside it, in a folder. `reason` is in the refusal's message."""

    name: str
    reason: str
    write: Callable[[Path], None]
    folder: bool = False


def cases() -> Iterator[Case]:
    for name, reason, archive in [*_tars(), *_members()]:
        yield Case(f"tar: {name}", reason, _archive(archive))
    for name, reason, text in _descriptors():
        yield Case(f"ovf: {name}", reason, _archive(tar([("web.ovf", text), (DISK.file, DISK.vmdk)])))
        yield Case(f"ovf folder: {name}", reason, _folder([("web.ovf", text), (DISK.file, DISK.vmdk)]), folder=True)
    for name, reason, text in _manifests():
        yield Case(f"mf: {name}", reason, _archive(tar([HONEST[0], ("web.mf", text), HONEST[2]])))
    yield from _large()
    yield from _links()


def _archive(data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "web.ova").write_bytes(data)

    return write


def _folder(members: Members) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name, data in members:
            (folder / name).write_bytes(data)

    return write


def entry(name: str, data: bytes = b"", **fields: object) -> bytes:
    """One member with its header; `fields` are TarInfo's."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(data))
        end = archive.offset
    return out.getvalue()[:end]


def pax(*records: tuple[str, str], kind: bytes = b"x") -> bytes:
    body = b""
    for key, value in records:
        record = f" {key}={value}\n".encode()
        length = len(record) + 1
        while len(record) + len(str(length)) != length:
            length = len(record) + len(str(length))
        body += str(length).encode() + record
    return entry("pax", body, type=kind)


def patched(member: bytes, place: int, data: bytes, *, checked: bool = True) -> bytes:
    """A member with other bytes in its header, and the checksum right or as it was."""
    header = bytearray(member[:BLOCK])
    header[place : place + len(data)] = data
    if checked:
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + member[BLOCK:]


OVF = entry("web.ovf", TEXT)
VMDK = entry(DISK.file, DISK.vmdk)
END = bytes(2 * BLOCK)


def _tars() -> Iterator[tuple[str, str, bytes]]:
    whole = OVF + VMDK + END
    yield "nothing", "cut", b""
    yield "only zeros", "first member", END
    yield "noise", "no tar", random.Random(2).randbytes(20 * BLOCK)
    yield "a web page", "no tar", b"<html>404</html>".ljust(4 * BLOCK)
    yield "gzip", "no tar", b"\x1f\x8b\x08" + random.Random(3).randbytes(8 * BLOCK)
    yield "no end mark", "cut", OVF + VMDK
    yield "half an end mark", "cut", OVF + VMDK + bytes(BLOCK)
    yield "cut in a body", "cut", whole[: len(OVF) + 40 * BLOCK]
    yield "cut in a header", "cut", whole[: len(OVF) + 100]
    yield "a member behind the end", "behind|after", whole + entry("x.vmdk", b"x")
    yield "an archive behind the end", "after its end|behind", whole + whole
    yield "2 MiB behind the end", "after its end", whole + bytes(2 << 20)
    yield "wrong checksum", "checksum", patched(OVF, 0, b"x", checked=False) + VMDK + END
    yield "size beyond the file", "cut", OVF + patched(VMDK, 124, b"77777777777\0") + END
    yield "binary size beyond the file", "cut", OVF + patched(VMDK, 124, b"\x80" + bytes(5) + b"\x01" * 6) + END
    yield "absurd size", "size of", OVF + patched(VMDK, 124, b"\x80" + b"\xff" * 11) + END
    yield "negative size", "number", OVF + patched(VMDK, 124, b"\xff" * 12) + END
    yield "size is no number", "number", OVF + patched(VMDK, 124, b"0x12\0\0\0\0\0\0\0\0") + END
    yield "size is empty", "number", OVF + patched(VMDK, 124, bytes(12)) + END
    yield "descriptor comes second", "first member", VMDK + OVF + END
    yield "no descriptor", "first member", VMDK + END
    yield "two descriptors", "another one", OVF + entry("other.ovf", TEXT) + VMDK + END
    yield "two manifests", "files .mf", OVF + entry("a.mf", b"") + entry("b.mf", b"") + VMDK + END
    yield "the disk is missing", "not in it", OVF + END
    yield "the disk is empty", "descriptor says|empty", OVF + entry(DISK.file) + END
    yield "a disk of another size", "descriptor says", OVF + entry(DISK.file, DISK.vmdk + bytes(BLOCK)) + END
    yield "too many members", "more than", OVF + b"".join(entry(f"{i}.txt") for i in range(1001)) + END
    yield "extensions without end", "without end", OVF + pax(("comment", "x"), kind=b"g") * 4000 + END


def _members() -> Iterator[tuple[str, str, bytes]]:
    kinds = {
        "hard link": b"1",
        "symbolic link": b"2",
        "character device": b"3",
        "block device": b"4",
        "folder": b"5",
        "FIFO": b"6",
        "contiguous": b"7",
        "GNU sparse": b"S",
        "volume": b"M",
        "long link": b"K",
        "unknown type": b"Z",
    }
    for name, kind in kinds.items():
        yield name, "tar refused", OVF + entry(DISK.file, type=kind, linkname="/etc/shadow") + END
    for name in ("/etc/shadow", "../disk1.vmdk", "a/disk1.vmdk", "./disk1.vmdk", "..", "a\\b", "a\nb", "\x1b[2J"):
        yield f"named {name!r}", "outside its folder", OVF + entry(name, b"x") + END
    yield "named in bytes that are no text", "no UTF-8", OVF + patched(entry("x", b"x"), 0, b"\xff\xfe") + END
    yield "named with a prefix", "in a folder", OVF + patched(_ustar("x"), 345, b"etc") + END
    yield "twice", "twice", OVF + VMDK + VMDK + END
    long = entry("long", b"../../etc/shadow\0", type=b"L")
    yield "long name outside", "outside its folder", OVF + long + VMDK + END
    yield "two long names", "two long names", OVF + long + long + VMDK + END
    yield "long name of 1 MiB", "extended header of", OVF + entry("x", bytes(1 << 20), type=b"L") + VMDK + END
    yield "long name without a member", "without its member", OVF + VMDK + long + END
    yield "pax: name outside", "outside its folder", OVF + pax(("path", "/etc/shadow")) + VMDK + END
    yield "pax: link", "linkpath", OVF + pax(("linkpath", "/etc/shadow")) + VMDK + END
    yield "pax: sparse", "GNU.sparse", OVF + pax(("GNU.sparse.major", "1")) + VMDK + END
    yield "pax: other characters", "hdrcharset", OVF + pax(("hdrcharset", "BINARY")) + VMDK + END
    yield "pax: two sizes", "size of", OVF + pax(("size", "5")) + VMDK + END
    yield "pax: size beyond the file", "cut", OVF + pax(("size", str(9 << 30))) + VMDK + END
    yield "pax: absurd size", "size", OVF + pax(("size", "9" * 19)) + VMDK + END
    yield "pax: negative size", "size", OVF + pax(("size", "-1")) + VMDK + END
    yield "pax: a key twice", "malformed", OVF + pax(("path", "a"), ("path", "b")) + VMDK + END
    yield "pax: length lies", "malformed", OVF + entry("x", b"99 path=a\n", type=b"x") + VMDK + END
    yield "pax: garbage", "malformed", OVF + entry("x", b"\xff" * 40, type=b"x") + VMDK + END
    yield "pax: two of them", "two extended", OVF + pax(("mtime", "1")) * 2 + VMDK + END
    yield "pax: a name for all", "for all", pax(("path", "web.ovf"), kind=b"g") + OVF + VMDK + END
    yield "pax: path and long name", "two long names", OVF + long + pax(("path", "x")) + VMDK + END


def _ustar(name: str) -> bytes:
    return tarfile.TarInfo(name).tobuf(format=tarfile.USTAR_FORMAT)


def _descriptors() -> Iterator[tuple[str, str, bytes]]:
    declaration, _, body = TEXT.partition(b"\n")

    def with_dtd(dtd: str) -> bytes:
        return declaration + f"\n{dtd}\n".encode() + body

    billion = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    yield "a DTD", "DTDForbidden", with_dtd("<!DOCTYPE Envelope>")
    yield "a DTD from elsewhere", "DTDForbidden", with_dtd('<!DOCTYPE Envelope SYSTEM "http://127.0.0.1:1/x.dtd">')
    yield "an entity of a file", "DTDForbidden", with_dtd('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/shadow">]>')
    yield "a billion laughs", "DTDForbidden", with_dtd(f'<!DOCTYPE x [<!ENTITY l0 "ha">{billion}]>')
    yield "a parameter entity", "DTDForbidden", with_dtd('<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/shadow"> %p;]>')
    yield "an entity that is not there", "ParseError", TEXT.replace(b">web<", b">&web;<")
    yield "no XML", "ParseError", b"[package]\nname = web\n"
    yield "cut", "ParseError", TEXT[: len(TEXT) // 2]
    yield "another encoding", "encoding", TEXT.replace(b"UTF-8", b"utf-7")
    yield "another encoding in UTF-16", "UTF-8", TEXT.decode().replace("UTF-8", "rot13").encode("utf-16")
    yield "of 3 MiB", "bytes", TEXT + b" " * (3 << 20)
    yield "too many elements", "more than", body.replace(b"<References>", b"<References>" + b"<a/>" * 60_000)
    yield (
        "too deep",
        "inside each other",
        body.replace(b"<References>", b"<a>" * 5000 + b"</a>" * 5000 + b"<References>"),
    )
    yield "another root", "no Envelope", b"<domain type='kvm'><name>x</name></domain>"
    yield "another namespace", "no Envelope", TEXT.replace(b"schemas.dmtf.org/ovf/envelope/1", b"evil.example/1")
    for href in ("/etc/shadow", "../disk1.vmdk", "..%2f..%2fetc%2fshadow", "%2fetc%2fshadow", "a/b", "..", "a\\b", ""):
        changed = TEXT.replace(b'ovf:href="disk1.vmdk"', f'ovf:href="{href}"'.encode())
        yield f"a file {href!r}", "outside the package", changed
    for href in ("http://127.0.0.1:1/x.vmdk", "file:///etc/shadow", "nbd://127.0.0.1:1/x"):
        changed = TEXT.replace(b'ovf:href="disk1.vmdk"', f'ovf:href="{href}"'.encode())
        yield f"a file {href!r}", "elsewhere", changed
    changes = {
        "a file twice": ("comes twice", b"</References>", file_entry(9, DISK.file, 1).encode() + b"</References>"),
        "a file id twice": ("comes twice", b"</References>", file_entry(1, "b.vmdk", 1).encode() + b"</References>"),
        "a disk twice": ("comes twice", b"</DiskSection>", disk_entry(1, 512).encode() + b"</DiskSection>"),
        "a disk in no file": ("not listed", b'ovf:fileRef="file1"', b'ovf:fileRef="file7"'),
        "no such disk": ("not there", b"ovf:/disk/vmdisk1", b"ovf:/disk/vmdisk7"),
        "capacity 0": ("capacity", b'ovf:capacity="524288"', b'ovf:capacity="0"'),
        "capacity is negative": ("capacity", b'ovf:capacity="524288"', b'ovf:capacity="-512"'),
        "capacity is absurd": ("capacity", b'ovf:capacity="524288"', b'ovf:capacity="999999999999999999"'),
        "capacity is no number": ("capacity", b'ovf:capacity="524288"', b'ovf:capacity="1e9"'),
        "capacity is no sectors": ("capacity", b'ovf:capacity="524288"', b'ovf:capacity="524289"'),
        "another capacity": ("capacity", b'ovf:capacity="524288"', b'ovf:capacity="1048576"'),
        "absurd unit": ("unit", b'Units="byte"', b'Units="byte * 2^99"'),
        "no memory": ("memory", b"<rasd:ResourceType>4<", b"<rasd:ResourceType>99<"),
        "absurd memory": ("memory", b"<rasd:VirtualQuantity>1024<", b"<rasd:VirtualQuantity>999999999999999<"),
        "absurd CPUs": ("CPUs", b"<rasd:VirtualQuantity>2<", b"<rasd:VirtualQuantity>99999<"),
        "CPUs are no number": ("amount", b"<rasd:VirtualQuantity>2<", b"<rasd:VirtualQuantity>two<"),
        "no hardware": ("no hardware", b"VirtualHardwareSection", b"SoftwareSection"),
        "no VM": ("no VM", b"VirtualSystem", b"VirtualNothing"),
        "a VM without an id": ("without an id", b'<VirtualSystem ovf:id="vm">', b"<VirtualSystem>"),
        "encrypted": ("encrypted", b"<References>", b"<EncryptionSection/><References>"),
        "compressed": ("compressed", b"ovf:size=", b'ovf:compression="gzip" ovf:size='),
        "in chunks": ("chunks", b"ovf:size=", b'ovf:chunkSize="1000" ovf:size='),
        "a raw disk": ("format", b"vmdk.html#streamOptimized", b"vmdk.html#sparse"),
        "a parent": ("depends on", b"ovf:diskId=", b'ovf:parentRef="vmdisk0" ovf:diskId='),
        "a disk of the host": ("no disk of it", b"ovf:/disk/vmdisk1", b"/dev/sda"),
    }
    for name, (reason, old, new) in changes.items():
        assert old in TEXT
        yield name, reason, TEXT.replace(old, new)
    twice = CPU + MEMORY + PVSCSI + disk_items(1) + disk_items(1).replace(">20<", ">21<")
    files, disks = file_entry(1, DISK.file, len(DISK.vmdk)), disk_entry(1, DISK.capacity)
    yield "one disk attached twice", "taken", envelope(files, disks, system("web", twice))
    two = disks + disk_entry(2, DISK.capacity).replace("file2", "file1")
    both = system("web", CPU + MEMORY + PVSCSI + disk_items(2))
    yield "one file for two disks", "two disks", envelope(files, two, both)
    one = system("web", CPU + MEMORY)
    yield "two VMs of one id", "one id", envelope("", "", one + one)
    yield (
        "501 VMs",
        "more than",
        envelope("", "", "".join(system("web", CPU + MEMORY, key=f"v{i}") for i in range(501))),
    )
    controllers = CPU + MEMORY + PVSCSI + item(Address=1, InstanceID=3, ResourceType=5) + disk_items(1)
    yield "two controllers of one id", "two controllers", envelope(files, disks, system("web", controllers))


def _manifests() -> Iterator[tuple[str, str, bytes]]:
    good = HONEST[1][1]
    line = good.splitlines()[1]
    digits = line.rpartition(b" ")[2]
    yield "empty", "empty", b""
    yield "binary", "no text|the line", random.Random(4).randbytes(300)
    yield "a line of nonsense", "the line", good + b"include /etc/passwd\n"
    yield "MD5", "algorithm", good.replace(b"SHA256", b"MD5")
    yield "CRC32", "algorithm", good.replace(b"SHA256", b"CRC32")
    yield "too short a digest", "digits", good.replace(digits, digits[:40])
    yield "a digest twice", "two digests", good + line + b"\n"
    yield "a file that is not there", "not in the package", good + line.replace(b"disk1", b"disk9") + b"\n"
    yield "a file outside", "outside the package", good + line.replace(b"disk1.vmdk", b"../../etc/shadow") + b"\n"
    yield "an absolute file", "outside the package", good + line.replace(b"disk1.vmdk", b"/etc/shadow") + b"\n"
    yield "the disk left out", "leaves out", good.splitlines()[0] + b"\n"
    yield "the descriptor left out", "leaves out", line + b"\n"
    yield "another descriptor", "not those", manifest([("web.ovf", TEXT + b" "), HONEST[2]])
    yield "another disk", "SHA256 is", manifest([HONEST[0], (DISK.file, DISK.vmdk + b" ")])
    yield "2 MiB", "bytes", good + b"\n" * (2 << 20)


def _large() -> Iterator[Case]:
    """Files that are large where a small one is due: sparse here, and never to be read into memory."""

    def large(first: bytes, name: str, size: int, after: bytes = b"") -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            header = tarfile.TarInfo(name)
            header.size = size
            with (folder / "web.ova").open("wb") as file:
                file.write(first + header.tobuf(format=tarfile.GNU_FORMAT))
                file.seek(-(-size // BLOCK) * BLOCK, os.SEEK_CUR)
                file.write(after + END)

        return write

    yield Case("large: descriptor of 3 GiB", "bytes", large(b"", "web.ovf", 3 << 30, VMDK))
    yield Case("large: manifest of 20 GiB", "bytes", large(OVF, "web.mf", 20 << 30, VMDK))
    text = entry(
        "web.ovf", descriptor([PackagedDisk(DISK.file, bytes(0), DISK.capacity)]).replace(b' ovf:size="0"', b"")
    )
    yield Case("large: disk of 9 GiB of zeros", "signature", large(text, DISK.file, 9 << 30))

    def endless(folder: Path) -> None:
        (folder / "web.ovf").write_bytes(TEXT)
        os.truncate(folder / "web.ovf", 8 << 30)

    yield Case("large: descriptor file of 8 GiB", "bytes", endless, folder=True)


def _links() -> Iterator[Case]:
    """A folder whose files lead out of it."""

    def linked(name: str, place: str) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            _folder(HONEST)(folder)
            (folder / name).unlink()
            (folder / name).symlink_to(place)

        return write

    for name in ("web.ovf", "web.mf", DISK.file):
        yield Case(f"link: {name}", "symbolic link", linked(name, "/etc/shadow"), folder=True)

    def piped(folder: Path) -> None:
        _folder(HONEST)(folder)
        (folder / DISK.file).unlink()
        os.mkfifo(folder / DISK.file)

    yield Case("link: a FIFO for a disk", "no plain file", piped, folder=True)


HONEST_CASES = (
    Case("archive", "", _archive(tar(HONEST))),
    Case("folder", "", _folder(HONEST), folder=True),
)
