"""A libvirt host for tests and the demo: its own pool, and one network that runs at a time share.

Nothing but what bears our names is ever touched. On a machine without a running libvirtd (a container, CI) virtlogd and
libvirtd are started; they end by themselves when nobody has used them for a while.
"""

from __future__ import annotations

import fcntl
import grp
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from xml.etree import ElementTree

import libvirt

URI = "qemu:///system"
POOL_PREFIX = "vmferry-test-"
NETWORK = "vmferry-lab"
BRIDGE = "virbr-vmf"
GATEWAY = "192.168.50.1"
IMAGES = Path("/var/lib/libvirt/images")  # QEMU's user can enter it; /root and pytest's tmp_path it cannot
LOCKS = Path("/run/lock")
NETWORK_STATE = Path("/var/lib/libvirt/dnsmasq")
IDLE_SECONDS = 300

_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
)


class LibvirtHost:
    """A context manager. uri; pool and network: names; pool_path: the pool's folder."""

    def __init__(self, directory: Path | None = None) -> None:
        """`directory` is where the pool's folder is made; QEMU's user must be able to enter it."""
        self.uri = URI
        self.network = NETWORK
        self._parent = directory or IMAGES

    def __enter__(self) -> LibvirtHost:
        start_daemons()
        self._virtlogd = _connected("virtlogd-sock")  # it would end while a conversion lasts, and no domain start
        self.connection: Any = libvirt.open(self.uri)
        with _alone():
            _remove_dead_pools(self.connection)
            self.pool = _free_name(self.connection)
            self._life = _life(self.pool)
            fcntl.flock(self._life, fcntl.LOCK_EX)
            self.pool_path = self._parent / self.pool
            self.pool_path.mkdir(parents=True)
            self.pool_path.chmod(0o711)
            _make_pool(self.connection, self.pool, self.pool_path)
            self._users = (LOCKS / "vmferry-lab.users").open("w")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            _make_network(self.connection)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cleanup()

    def domains(self) -> list[Any]:
        """libvirt's domains with a disk in our pool."""
        return [domain for domain, _ in _domains_on(self.connection, self.pool_path)]

    def cleanup(self) -> None:
        """Remove the pool with everything in it, the domains on it, and the network when no other run uses it."""
        with _alone(), self._life, self._users:
            _remove_pool(self.connection, self.pool)
            if _lock(self._users):
                _remove_network(self.connection)
        self.connection.close()
        self._virtlogd.close()


def start_daemons() -> None:
    """Start virtlogd and libvirtd unless they answer."""
    with _alone():
        _let_qemu_open_kvm()
        for daemon, path in (("virtlogd", "virtlogd-sock"), ("libvirtd", "libvirt-sock")):
            deadline = time.monotonic() + 30
            while not _answers(path):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{daemon} was started, but does not answer")
                # It refuses to start while a former one is on its way out: hence again and again.
                subprocess.run([f"/usr/sbin/{daemon}", "--daemon", "--timeout", str(IDLE_SECONDS)], check=False)
                time.sleep(0.5)


def _let_qemu_open_kvm() -> None:
    """Give /dev/kvm the group that udev's rule gives it, where no udev runs.

    When QEMU's user cannot open it, libvirt 9.0 takes what it knows of QEMU for outdated at every call, and asks QEMU
    again: seconds each time, minutes for one domain.
    """
    with suppress(FileNotFoundError):
        os.chown("/dev/kvm", -1, grp.getgrnam("kvm").gr_gid)


def _answers(name: str) -> bool:
    try:
        _connected(name).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def _connected(name: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(f"/run/libvirt/{name}")
    except OSError:
        client.close()
        raise
    return client


@contextmanager
def _alone() -> Iterator[None]:
    with (LOCKS / "vmferry-lab.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _life(pool: str) -> IO[str]:
    """The file that a run keeps locked for as long as it lives."""
    return (LOCKS / f"{pool}.lock").open("w")


def _lock(file: IO[str]) -> bool:
    """Whether nobody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_name(connection: Any) -> str:
    names = {pool.name() for pool in connection.listAllStoragePools()}
    return next(name for n in range(100) if (name := f"{POOL_PREFIX}{os.getpid()}-{n}") not in names)


def _make_pool(connection: Any, name: str, path: Path) -> None:
    root = ElementTree.Element("pool", type="dir")
    ElementTree.SubElement(root, "name").text = name
    ElementTree.SubElement(ElementTree.SubElement(root, "target"), "path").text = str(path)
    connection.storagePoolDefineXML(ElementTree.tostring(root, encoding="unicode")).create()


def _make_network(connection: Any) -> None:
    """Isolated, without DHCP: the guest keeps its static address, and the host has one beside it."""
    # libvirt 9.0 notes the MACs of a network's guests there, but makes the folder only with its first dnsmasq.
    NETWORK_STATE.mkdir(exist_ok=True)
    networks = {network.name(): network for network in connection.listAllNetworks()}
    network = networks.get(NETWORK) or connection.networkDefineXML(
        f"<network><name>{NETWORK}</name><bridge name='{BRIDGE}' stp='off' delay='0'/><dns enable='no'/>"
        f"<ip address='{GATEWAY}' prefix='24'/></network>"
    )
    if not network.isActive():
        network.create()


def _remove_network(connection: Any) -> None:
    for network in connection.listAllNetworks():
        if network.name() == NETWORK:
            if network.isActive():
                network.destroy()
            network.undefine()


def _domains_on(connection: Any, path: Path) -> list[tuple[Any, str]]:
    """libvirt's domains with a disk in a pool's folder, and their XML. Those of others may go while they are read."""
    found = []
    for domain in connection.listAllDomains():
        with suppress(libvirt.libvirtError):
            if f"{path}/" in (xml := domain.XMLDesc()):
                found.append((domain, xml))
    return found


def _remove_pool(connection: Any, name: str) -> None:
    pool = connection.storagePoolLookupByName(name)
    path = Path(ElementTree.fromstring(pool.XMLDesc()).findtext("target/path", ""))
    for domain, xml in _domains_on(connection, path):
        with suppress(libvirt.libvirtError):  # it may go off by itself just now
            domain.destroy()
        domain.undefineFlags(_UNDEFINE)
        for log in ElementTree.fromstring(xml).iterfind("devices/serial/log"):
            Path(log.get("file", "")).unlink(missing_ok=True)
    if pool.isActive():
        pool.destroy()
    pool.undefine()
    shutil.rmtree(path, ignore_errors=True)


def _remove_dead_pools(connection: Any) -> None:
    """What a killed run left."""
    for pool in connection.listAllStoragePools():
        if pool.name().startswith(POOL_PREFIX):
            with _life(pool.name()) as life:
                if _lock(life):
                    _remove_pool(connection, pool.name())
