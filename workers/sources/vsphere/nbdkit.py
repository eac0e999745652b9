"""nbdkit with one of the plugins that reach a VM's disks: a child whose command line never holds a secret.

vddk: VMware's own library, over the hosts' port 902; proprietary, so that the user brings it and the plugin.
nfc: the same protocol from free code; named and used as virt-v2v does it.
ssh: the files of an ESXi host that lets the account log in over SSH, with a host key that is known beforehand.
"""

from __future__ import annotations

import errno
import hashlib
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbd

from app.domain.errors import ToolFailed, ToolTimedOut, TransferInterrupted, TransportRefused, UnsafeImage
from app.domain.models import Disk, SourceSpec
from app.process import Process, run, spawn
from converters.nbd_disk import NbdDisk
from converters.nbd_uri import NbdUri
from workers.sources.vsphere.facts import Place
from workers.sources.vsphere.tls import Endpoint

ANSWER_SECONDS = 30.0
LAST_WORDS_SECONDS = 0.5
START_SECONDS = 60.0  # until nbdkit listens; it logs in only when it is connected to


@dataclass(frozen=True)
class NbdkitOptions:
    """What of nbdkit's plugins is set up on this worker, see docs/settings.md."""

    vddk_libdir: Path | None = None
    ssh_known_hosts: Path | None = None
    ssh_identity: Path | None = None
    ssh_port: int = 22
    volumes: str = "/vmfs/volumes"  # on the host


@dataclass(frozen=True)
class Choice:
    """The plugin that works for a source; empty: none does, for these reasons."""

    plugin: str
    reason: str


def choose(spec: SourceSpec, options: NbdkitOptions) -> Choice:
    """The first that works of vddk, nfc and, to an ESXi host, ssh."""
    missing: list[str] = []
    for plugin, look in (("vddk", _vddk), ("nfc", _nfc), ("ssh", _ssh)):
        lacks = look(spec, options)
        if not lacks:
            return Choice(plugin, "")
        missing.append(f"{plugin}: {lacks}")
    return Choice("", "; ".join(missing))


@dataclass(frozen=True)
class Served:
    """An nbdkit and the disk that it serves."""

    server: Process
    disk: NbdDisk


@contextmanager
def serve(plugin: str, words: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Start nbdkit on a Unix socket in a folder that only we can enter, and connect to it; it ends with the block.

    Raises TransportRefused with what it said where the plugin does not open the disk.
    """
    with (
        tempfile.TemporaryDirectory(prefix="vmferry-nbdkit-") as folder,
        spawn([*server_words(plugin, Path(folder, "s")), *words], env=env) as server,
        closing(_connect(server, plugin, Path(folder, "s"))) as disk,
    ):
        yield Served(server, disk)


def server_words(plugin: str, socket: Path) -> list[str]:
    return ["nbdkit", "--foreground", "--readonly", "--unix", str(socket), plugin]


def vsphere_words(
    spec: SourceSpec, endpoint: Endpoint, leaf: bytes, password: Path, vm_id: str, disk: Disk, snapshot: str
) -> list[str]:
    """What vddk and nfc understand alike. `leaf`: the server's certificate (DER), which was trusted just now."""
    words = [
        f"server={endpoint.host}",
        *([f"port={endpoint.port}"] if endpoint.port != 443 else []),
        f"user={spec.username}",
        f"password=+{password}",
        f"thumbprint={hashlib.sha1(leaf).digest().hex(':')}",  # noqa: S324 - the form that VDDK takes
        f"vm=moref={vm_id}",
        f"file={disk.path}",
    ]
    return [*words, f"snapshot={snapshot}"] if snapshot else words


def vddk_words(options: NbdkitOptions) -> list[str]:
    return [f"libdir={options.vddk_libdir}"] if options.vddk_libdir else []


def nfc_words(spec: SourceSpec) -> list[str]:
    return ["insecure=true"] if spec.tls.insecure and not spec.tls.thumbprint else []


def ssh_words(
    spec: SourceSpec, endpoint: Endpoint, options: NbdkitOptions, password: Path, place: Place, name: str
) -> list[str]:
    """For one file in the folder of a disk."""
    words = [
        "config=",  # not what the worker's user has set for himself
        f"host={endpoint.host}",
        f"port={options.ssh_port}",
        f"user={spec.username}",
        f"password=+{password}",
        f"known-hosts={_expanded(options.ssh_known_hosts)}",
        f"path={options.volumes}/{place.datastore}/{place.folder}{name}",
    ]
    return [*words, f"identity={_expanded(options.ssh_identity)}"] if options.ssh_identity else words


def _connect(server: Process, plugin: str, socket: Path) -> NbdDisk:
    deadline = time.monotonic() + START_SECONDS
    while True:
        while not socket.exists() and server.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            return NbdDisk(NbdUri(export="", socket=str(socket)), "")
        except (TransferInterrupted, TransportRefused, UnsafeImage) as error:
            early = isinstance(error.__cause__, nbd.Error) and error.__cause__.errnum == errno.ECONNREFUSED
            if early and server.alive() and time.monotonic() < deadline:
                time.sleep(0.02)  # the socket is there before it is listened at
                continue
            server.stop()
            raise TransportRefused(
                f"nbdkit's {plugin} plugin does not open the disk: {last_words(server) or error.message}"
            ) from error


def ended(server: Process) -> bool:
    """Whether it has ended or is about to: its connections close first."""
    try:
        server.wait(LAST_WORDS_SECONDS)
    except ToolTimedOut:
        return False
    return True


def last_words(server: Process) -> str:
    """The last line that nbdkit printed."""
    return (server.stderr_tail().strip().splitlines() or [""])[-1]


def _expanded(path: Path | None) -> str:
    return str(path).replace("%", "%%")  # libssh expands %h and the like


def _vddk(spec: SourceSpec, options: NbdkitOptions) -> str:
    if _dump("vddk", []) is None:
        return "nbdkit's vddk plugin is not installed"
    if not re.search(r"^vddk_library_version=\d", _dump("vddk", vddk_words(options)) or "", re.MULTILINE):
        return "VMware's library is not found: VMFERRY_VDDK_LIBDIR says where it is"
    return ""


def _nfc(spec: SourceSpec, options: NbdkitOptions) -> str:
    return "nbdkit's nfc plugin is not installed" if _dump("nfc", []) is None else ""


def _ssh(spec: SourceSpec, options: NbdkitOptions) -> str:
    if spec.kind != "esxi":
        return "only to an ESXi host itself"
    if options.ssh_known_hosts is None:
        return "VMFERRY_SSH_KNOWN_HOSTS is not set"
    if not options.ssh_known_hosts.is_file():
        return f"{options.ssh_known_hosts} is missing"
    return "nbdkit's ssh plugin is not installed" if _dump("ssh", []) is None else ""


def _dump(plugin: str, words: Sequence[str]) -> str | None:
    """What a plugin says of itself; None when it cannot be loaded, or nbdkit is missing."""
    try:
        return run(["nbdkit", plugin, "--dump-plugin", *words], timeout=ANSWER_SECONDS).text
    except (ToolFailed, ToolTimedOut):
        return None
