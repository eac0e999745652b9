"""Fuzzing of every parser of foreign bytes, guided by coverage (atheris, which is libFuzzer).

python -m tests.hostile.fuzz TARGET [libFuzzer's options and folders]

It begins with honest files and with the hostile ones of the corpus. An input may be refused by an error of ours and
do nothing else; libFuzzer ends at anything other, and writes the input into a file `crash-…`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

import atheris

with atheris.instrument_imports(include=["converters"]):
    from converters import ovf, package_digests, tar_index
    from converters.folder import Folder
    from converters.nbd_uri import NbdUri
    from converters.vmdk import parse_descriptor
    from converters.vmdk_disk import open_vmdk
    from converters.vmdk_stream import StreamReader
    from converters.vmx import DiskFacts, read_vm
    from converters.vmx_config import Config

from app.domain.errors import VmferryError
from tests.hostile.streams import Memory

CAPACITY = 80 << 20  # of the disk that the corpus of streams describes
READ_AT_MOST = 4 << 20  # of a disk that an input describes


def stream(data: bytes) -> None:
    reader = StreamReader(Memory(data), CAPACITY)
    for grain in reader:
        reader.inflate(grain)


def sparse(data: bytes) -> None:
    """A disk in one file, whichever kind its magic says it is."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "disk.vmdk").write_bytes(data)
        with closing(Folder(Path(name))) as folder, open_vmdk(folder, "disk.vmdk") as disk:
            left = READ_AT_MOST
            with closing(disk.open_reader()) as reader:
                for area in disk.areas():
                    length = min(area.length, left)
                    reader.start(area.offset, length)
                    reader.fill(memoryview(bytearray(length)))
                    left -= length
                    if not left:
                        break


def archive(data: bytes) -> None:
    def read(offset: int, length: int) -> bytes:
        assert offset + length <= len(data), "a read beyond the archive"
        return data[offset : offset + length]

    for member in tar_index.members(read, len(data)):
        assert "/" not in member.name
        assert 0 <= member.offset <= member.offset + member.size <= len(data)


def vmx(data: bytes) -> None:
    def look(name: str) -> DiskFacts:
        return DiskFacts(1 << 30, "sparse")

    read_vm(Config.parse(data), look, vm_id="a/a.vmx", uuid="00000000-0000-5000-8000-0000000000ff")


def package(data: bytes) -> None:
    for found in ovf.parse(data).systems:
        assert all("/" not in name for name in found.files.values())


def uri(data: bytes) -> None:
    NbdUri.parse(data.decode(errors="surrogateescape"))


TARGETS: dict[str, Callable[[bytes], object]] = {
    "stream": stream,
    "sparse": sparse,
    "descriptor": parse_descriptor,
    "archive": archive,
    "manifest": package_digests.parse,
    "ovf": package,
    "vmx": vmx,
    "uri": uri,
}


def one(parse: Callable[[bytes], object], data: bytes) -> None:
    with suppress(VmferryError):
        parse(data)


def main() -> NoReturn:
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "tests.hostile.seeds", name, folder], check=True)
        atheris.Setup([sys.argv[0], *sys.argv[2:], folder], partial(one, TARGETS[name]))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
