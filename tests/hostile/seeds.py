"""What fuzzing begins with: honest files, and the hostile ones of the corpus.

python -m tests.hostile.seeds TARGET FOLDER      a process of its own: the corpus takes more memory than a parser may
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.hostile import corpus, sparse_lies, vmdk_files
from tests.hostile.streams import descriptor
from tests.unit import test_ovf, test_package_digests, test_tar_index, test_vmx

LARGEST = 4 << 20


def streams() -> Iterator[bytes]:
    yield corpus.WHOLE
    for _, data, _ in corpus.cases():
        yield data


def sparse_files() -> Iterator[bytes]:
    """The disks of the corpus that are one file."""
    yield bytes(sparse_lies.hosted().write())
    for _, files, _ in vmdk_files.cases():
        content = files.get("disk.vmdk")
        if len(files) == 1 and isinstance(content, bytes | bytearray):
            yield bytes(content)


SEEDS: dict[str, Callable[[], Iterable[bytes]]] = {
    "stream": streams,
    "sparse": sparse_files,
    "descriptor": lambda: [descriptor(2048)],
    "archive": lambda: [test_tar_index.tar(test_tar_index.FILES)],
    "manifest": lambda: [test_package_digests.GOOD],
    "ovf": lambda: [test_ovf.PLAIN, test_ovf.VBOX],
    "vmx": lambda: [test_vmx.WORKSTATION, test_vmx.ESXI],
    "uri": lambda: [b"nbd://host:10809/disk", b"nbds+unix:///x?socket=/s&tls-psk-file=/k"],
}


if __name__ == "__main__":
    for number, seed in enumerate(SEEDS[sys.argv[1]]()):
        if len(seed) <= LARGEST:
            Path(sys.argv[2], str(number)).write_bytes(seed)
