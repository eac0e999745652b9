"""Disks through a real nbdkit: its ssh plugin, to a real sshd that has the lab's files, as an ESXi host has them."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.errors import LeaseExpired, NotFound, SourceChanged, TransferInterrupted, TransportRefused, VmferryError
from app.ports.disks import Area
from app.ports.source import Source
from tests.component.test_vsphere_folder import part
from tests.component.test_vsphere_source import raw
from tests.contract.source_platforms import MIB, lab_spec
from tests.contract.test_source import content, go_on
from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, VmSpec
from tests.sshd import Sshd, sshd, write_known_hosts
from workers.sources import open_source
from workers.sources.vsphere.nbdkit import NbdkitOptions

SIZE = 8 * MIB
DATASTORE = "NFS 1+2 ü"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A host's user is the same for the API and for SSH."""
    with Lab(Path(tmp_path_factory.mktemp("lab")), username=getpass.getuser(), datastore=DATASTORE) as lab:
        yield lab


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory, lab: Lab) -> Iterator[Sshd]:
    with sshd(Path(tmp_path_factory.mktemp("ssh")), lab.host) as server:
        yield server


@pytest.fixture
def options(lab: Lab, ssh: Sshd, tmp_path: Path) -> NbdkitOptions:
    (tmp_path / DATASTORE).symlink_to(lab.directory / "datastore")
    return NbdkitOptions(
        ssh_known_hosts=ssh.known_hosts, ssh_identity=ssh.identity, ssh_port=ssh.port, volumes=str(tmp_path)
    )


@pytest.fixture
def open_with(lab: Lab) -> Iterator[Callable[[NbdkitOptions], Source]]:
    opened: list[Source] = []

    def make(options: NbdkitOptions) -> Source:
        opened.append(open_source(lab_spec(lab, kind="esxi"), options))
        return opened[-1]

    yield make
    lab.clear()
    for source in opened:
        source.close()


@pytest.fixture
def source(open_with: Callable[[NbdkitOptions], Source], options: NbdkitOptions) -> Source:
    return open_with(options)


def make(lab: Lab, **changes: object) -> str:
    disks = [DiskSpec(size_mib=8, fill_mib=4, seed=1)]
    return lab.add(VmSpec("over ssh", disks, on=False, **changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def vm_id(lab: Lab) -> str:
    return make(lab, folder="Mein Server + ü")


def children() -> list[int]:
    """The nbdkits that run for us."""
    found = subprocess.run(["pgrep", "-P", str(os.getpid()), "nbdkit"], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_the_disk_is_as_the_host_has_it(lab: Lab, source: Source, vm_id: str) -> None:
    way = next(way for way in source.ways(source.vm(vm_id)) if way.transport == "nbd")
    assert way.usable
    assert "ssh plugin" in way.reason
    with source.access(vm_id, "nbd", cancel=go_on) as access:
        assert (access.transport, list(access.disk_keys)) == ("nbd", [2000])
        access.report_percent(50)
        disk = access.disk(2000)
        assert list(disk.areas()) == [Area(0, SIZE)]  # SFTP tells of no holes
        assert content(disk, SIZE) == raw(lab, vm_id)
        with pytest.raises(NotFound):
            access.disk(2009)


def test_several_connections_at_once(lab: Lab, source: Source, vm_id: str) -> None:
    with source.access(vm_id, "nbd", cancel=go_on) as access, ThreadPoolExecutor(access.connections) as pool:
        disk = access.disk(2000)
        readers = [disk.open_reader() for _ in range(access.connections)]
        found = [pool.submit(part, reader, i * MIB, MIB) for i, reader in enumerate(readers)]
        assert b"".join(future.result() for future in found) == raw(lab, vm_id)[: access.connections * MIB]


def test_several_disks(lab: Lab, source: Source) -> None:
    vm_id = lab.add(VmSpec("two", [DiskSpec(size_mib=4, fill_mib=2, seed=i) for i in range(2)], on=False))
    with source.access(vm_id, "nbd", cancel=go_on) as access:
        for disk in lab.vm(vm_id)["disks"]:
            assert content(access.disk(disk["key"]), 4 * MIB) == Path(disk["path"]).read_bytes()


def test_another_content_has_another_identity(lab: Lab, source: Source) -> None:
    vm_id = make(lab)
    with source.access(vm_id, "nbd", cancel=go_on) as access:
        before = access.disk(2000).identity
    with source.access(vm_id, "nbd", cancel=go_on) as access:
        assert access.disk(2000).identity == before
    lab.power_on(vm_id)
    lab.power_off(vm_id)
    with source.access(vm_id, "nbd", cancel=go_on) as access:
        assert access.disk(2000).identity != before


def test_nothing_is_left_and_nothing_can_be_read_after_the_end(source: Source, vm_id: str) -> None:
    folders = set(Path(tempfile.gettempdir()).glob("vmferry-nbdkit-*"))
    with source.access(vm_id, "nbd", cancel=go_on) as access:
        assert len(children()) == 1
        disk = access.disk(2000)
        reader = disk.open_reader()
        reader.start(0, MIB)
    assert children() == []
    assert set(Path(tempfile.gettempdir()).glob("vmferry-nbdkit-*")) == folders
    for late in (lambda: reader.fill(memoryview(bytearray(512))), lambda: reader.start(0, 512), disk.open_reader):
        with pytest.raises(LeaseExpired):
            late()


def test_an_interrupted_reader_reads_no_more(source: Source, vm_id: str) -> None:
    with source.access(vm_id, "nbd", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
        reader.start(0, MIB)
        reader.interrupt()
        with pytest.raises(TransferInterrupted):
            reader.fill(memoryview(bytearray(512)))
        with pytest.raises(TransferInterrupted):
            reader.start(0, 512)


def test_a_blocked_read_wakes_up(source: Source, vm_id: str) -> None:
    seen: list[BaseException] = []
    with source.access(vm_id, "nbd", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
        part(reader, 0, 512)
        (server,) = children()
        os.kill(server, signal.SIGSTOP)

        def read() -> None:
            try:
                part(reader, 0, MIB)
            except VmferryError as error:
                seen.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        time.sleep(0.3)
        reader.interrupt()
        thread.join(5)
        os.kill(server, signal.SIGCONT)
    assert [type(error) for error in seen] == [TransferInterrupted]


def test_an_nbdkit_that_dies(source: Source, vm_id: str) -> None:
    with source.access(vm_id, "nbd", cancel=go_on) as access, closing(access.disk(2000).open_reader()) as reader:
        part(reader, 0, 512)
        os.kill(children()[0], signal.SIGKILL)
        with pytest.raises(LeaseExpired, match="nbdkit has ended"):
            part(reader, MIB, MIB)


def test_a_host_that_goes_away(
    lab: Lab, open_with: Callable[[NbdkitOptions], Source], options: NbdkitOptions, tmp_path: Path
) -> None:
    vm_id = make(lab)
    with sshd(tmp_path, lab.host) as server:
        here = replace(options, ssh_known_hosts=server.known_hosts, ssh_identity=server.identity, ssh_port=server.port)
        with open_with(here).access(vm_id, "nbd", cancel=go_on) as access:
            reader = access.disk(2000).open_reader()
            part(reader, 0, 512)
            server.stop()
            with pytest.raises((TransferInterrupted, LeaseExpired)):
                part(reader, MIB, MIB)


def test_a_host_with_another_key_is_refused(
    lab: Lab,
    ssh: Sshd,
    open_with: Callable[[NbdkitOptions], Source],
    options: NbdkitOptions,
    vm_id: str,
    tmp_path: Path,
) -> None:
    wrong = tmp_path / "wrong"
    write_known_hosts(wrong, ssh.address, ssh.port, ssh.identity.with_suffix(".pub"))
    empty = tmp_path / "empty"
    empty.touch()
    for known_hosts in (wrong, empty):
        source = open_with(replace(options, ssh_known_hosts=known_hosts))
        with pytest.raises(TransportRefused, match="ssh plugin") as caught, source.access(vm_id, "nbd", cancel=go_on):
            pass
        assert "host" in caught.value.message.lower()
    assert children() == []


def test_a_login_that_is_refused(
    ssh: Sshd, open_with: Callable[[NbdkitOptions], Source], options: NbdkitOptions, vm_id: str
) -> None:
    source = open_with(replace(options, ssh_identity=None))
    with pytest.raises(TransportRefused, match="ssh plugin"), source.access(vm_id, "nbd", cancel=go_on):
        pass


def test_no_secret_is_seen_from_outside(lab: Lab, source: Source, vm_id: str) -> None:
    with source.access(vm_id, "nbd", cancel=go_on):
        (server,) = children()
        seen = b"".join(Path(f"/proc/{server}/{name}").read_bytes() for name in ("cmdline", "environ"))
        assert b"password=+/" in seen
        assert lab.password.encode() not in seen
        file = Path(seen.split(b"password=+")[1].split(b"\0")[0].decode())
        assert file.read_text() == lab.password
        assert file.stat().st_mode & 0o777 == 0o600
    assert not file.exists()


def test_what_is_not_read_over_ssh(lab: Lab, source: Source) -> None:
    vm_id = make(lab)
    lab.power_on(vm_id)
    with pytest.raises(SourceChanged), source.access(vm_id, "nbd", cancel=go_on):
        pass
    vm_id = make(lab, snapshots=1)
    with pytest.raises(TransportRefused, match="snapshots"), source.access(vm_id, "nbd", cancel=go_on):
        pass
    vm_id = make(lab)
    lab.set_datastore_type("vsan")
    with pytest.raises(TransportRefused, match="vsan"), source.access(vm_id, "nbd", cancel=go_on):
        pass
    lab.clear()
    flat = Path(lab.vm(vm_id)["disks"][0]["path"])
    with flat.open("r+b") as file:
        file.truncate(SIZE - 512)
    with pytest.raises(TransportRefused, match="8388096 bytes"), source.access(vm_id, "nbd", cancel=go_on):
        pass
    flat.with_name(flat.name.replace("-flat", "")).write_text("# Disk DescriptorFile\n")
    with pytest.raises(TransportRefused, match="descriptor"), source.access(vm_id, "nbd", cancel=go_on):
        pass
    assert children() == []
