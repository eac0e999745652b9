"""Every package that lies is refused for its lie, without memory growing with it and without a look elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app.domain.errors import PermanentError, VmferryError
from app.ports.source import Source
from app.process import run
from converters.vmdk_stream import StreamReader
from tests.hostile import packages
from tests.hostile.packages import Case
from tests.hostile.watching import peak
from tests.packages import spec
from workers.sources import open_source

CASES = list(packages.cases())


@contextmanager
def opened(case: Case, folder: Path) -> Iterator[Source]:
    case.write(folder)
    source = open_source(spec(folder / ("web.ovf" if case.folder else "web.ova")))
    try:
        yield source
    finally:
        source.close()


def read_all(source: Source) -> None:
    """As a move does it: all VMs, all disks, all bytes."""
    for vm in source.inventory():
        with source.access(vm.id, "file", cancel=lambda: None) as access:
            for disk in vm.disks:
                stream = access.disk(disk.key).open_stream()  # type: ignore[union-attr]
                for grain in (reader := StreamReader(stream, disk.capacity_bytes)):
                    reader.inflate(grain)


@pytest.mark.parametrize("case", packages.HONEST_CASES, ids=["archive", "folder"])
def test_the_honest_package_is_read(case: Case, tmp_path: Path) -> None:
    with opened(case, tmp_path) as source:
        assert all(row.ok for row in source.check())
        read_all(source)


def test_the_corpus_is_large_and_named() -> None:
    assert len(CASES) >= 150
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_refused(case: Case, tmp_path: Path) -> None:
    with opened(case, tmp_path) as source:
        with pytest.raises(PermanentError, match=case.reason) as caught:
            read_all(source)
        assert caught.value.remedy
        late = "SHA256 is" in case.reason or case.name.endswith(("another capacity", "of zeros"))
        rows = source.check()
        assert rows[-1].ok is late, rows  # what is in a disk shows when it is read
    if "/etc/shadow" in case.name:
        assert "root:" not in str(caught.value.to_dict())


def test_memory_stays_bounded_and_nothing_else_is_opened() -> None:
    """In a process of its own, which notes what it opens and whom it calls."""
    done = run([sys.executable, "-m", "tests.hostile.test_packages"], timeout=600)
    seen = json.loads(done.text)
    assert seen["outside"] == []
    assert seen["peak"] < 512 << 20
    assert seen["grown"] < 200 << 20, seen
    assert seen["refused"] == len(CASES)


def main() -> None:
    outside: list[str] = []
    folder = Path()
    watching = False

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if not watching:
            return
        if event == "open":
            path = arguments[0]
            # a plain name is opened in a folder that is held open
            if not isinstance(path, str) or ("/" in path and not Path(path).is_relative_to(folder)) or path == "..":
                outside.append(str(path))
        elif event.startswith(("socket.connect", "socket.getaddrinfo", "subprocess", "os.exec", "os.posix_spawn")):
            outside.append(f"{event} {arguments}")

    for case in packages.HONEST_CASES:  # so that nothing is imported while we watch
        with TemporaryDirectory() as name, opened(case, Path(name)) as source:
            read_all(source)
    before = peak()
    sys.addaudithook(watch)
    refused = 0
    for case in CASES:
        with TemporaryDirectory() as name:
            folder = Path(name)
            case.write(folder)
            watching = True
            source = open_source(spec(folder / ("web.ovf" if case.folder else "web.ova")))
            try:
                read_all(source)
            except VmferryError:
                refused += 1
            finally:
                source.close()
                watching = False
    most = peak()  # of this process: ru_maxrss is the parent's at first
    result = {"outside": outside, "peak": most, "grown": most - before, "refused": refused}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
