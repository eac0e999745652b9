"""The other side: what a competent user would call instead, each ending with its data on the disk.

nbdkit and nbdcopy come from Debian 12, as this machine has them, where nbdkit-curl serialises its requests, and from
Debian 13 in a chroot. There they get the flags that turned out to be their best against the lab: with nbdkit's own 16
connections libcurl keeps closing and opening them again, and nbdcopy's own requests of 256 KiB cost both more.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyVim.connect import Disconnect, SmartConnect

from tests.bench import data
from tests.bench.measure import flush, tool
from tests.lab.lab import Lab

SUITE = "trixie"
START_S = 30.0
STOP_S = 60.0
QEMU_IMG = ("-m", "16", "-W")  # sixteen requests at a time, in any order
NBDCOPY = ("--destination-is-zero", "--flush")
BEST_NBDCOPY = (*NBDCOPY, "--request-size=1048576")
BEST_NBDKIT = ("connections=4",)
CURL = ("curl", "--silent", "--show-error", "--fail", "--noproxy", "*")


@dataclass(frozen=True)
class Remote:
    """A file of the lab's datastore: its URL, the cookie of a session, the CA that vouches for the host, its bytes."""

    url: str
    cookie: str
    ca_file: Path
    size: int


@contextmanager
def remote_disk(lab: Lab, vm: str) -> Iterator[Remote]:
    """The first disk of a VM as /folder serves it, for as long as the session lasts."""
    disk = lab.vm(vm)["disks"][0]
    path = disk["file"].partition("] ")[2].removesuffix(".vmdk")
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    session = SmartConnect(host=lab.host, port=lab.port, user=lab.username, pwd=lab.password, sslContext=context)
    try:
        cookie = session._stub.cookie.partition(";")[0]
        url = f"{lab.url}/folder/{path}-flat.vmdk?dcPath=DC0&dsName=lab"
        yield Remote(url, cookie, lab.ca_file, disk["capacity"])
    finally:
        Disconnect(session)


def qemu_img(source: Path, target: Path) -> None:
    """qemu-img convert of a VMDK with its best flags, and the flush that it leaves out."""
    target.unlink(missing_ok=True)
    tool("qemu-img", "convert", *QEMU_IMG, "-f", "vmdk", "-O", "qcow2", source, target)
    flush(target)


def chroot() -> Path:
    """Debian 13 with nbdkit and nbdcopy, for root."""

    def make(path: Path) -> None:
        tool("mmdebstrap", "--variant=essential", "--include=nbdkit,libnbd-bin,ca-certificates", SUITE, path)

    return data.made(f"{SUITE}-nbdkit", make)


def nbdcopy_12(remote: Remote, target: Path) -> None:
    """nbdkit-curl and nbdcopy of this machine, as they come, into a qcow2 behind qemu-nbd."""
    _nbdcopy(remote, target, Path("/"), (), NBDCOPY)


def nbdcopy_13(remote: Remote, target: Path) -> None:
    """Those of Debian 13 with their best flags, into a qcow2 behind this machine's qemu-nbd."""
    _nbdcopy(remote, target, chroot(), BEST_NBDKIT, BEST_NBDCOPY)


def _nbdcopy(remote: Remote, target: Path, root: Path, plugin: Sequence[str], flags: Sequence[str]) -> None:
    target.unlink(missing_ok=True)
    inside = () if root == Path("/") else ("chroot", str(root))
    with tempfile.TemporaryDirectory(dir=root / "tmp", prefix="vmferry-bench-") as folder, ExitStack() as servers:
        place = Path("/", Path(folder).relative_to(root))
        Path(folder, "cookie").write_text(remote.cookie)
        shutil.copy(remote.ca_file, Path(folder, "ca.pem"))
        curl = (f"url={remote.url}", f"cookie=+{place}/cookie", f"cainfo={place}/ca.pem", *plugin)
        reading = ("nbdkit", "-f", "-r", "-U", f"{place}/in", "curl", *curl)
        servers.enter_context(_server(Path(folder, "in"), *inside, *reading))
        tool("qemu-img", "create", "-q", "-f", "qcow2", target, str(remote.size))
        writing = ("qemu-nbd", "-t", "-e", "16", "-f", "qcow2", "--cache=writeback", "--discard=unmap")
        servers.enter_context(_server(Path(folder, "out"), *writing, "-k", f"{folder}/out", str(target)))
        tool(*inside, "nbdcopy", *flags, f"nbd+unix:///?socket={place}/in", f"nbd+unix:///?socket={place}/out")
    flush(target)


def curls(remote: Remote, connections: int, folder: Path) -> None:
    """As many curls, each with its part of the file, into files of `folder`."""
    with tempfile.TemporaryDirectory(dir=folder) as parts:
        step = -(-remote.size // connections)
        words = [*CURL, "--cacert", str(remote.ca_file), "--cookie", remote.cookie]
        running = [
            subprocess.Popen([*words, "-r", f"{at}-{at + step - 1}", "-o", f"{parts}/{at}", remote.url])
            for at in range(0, remote.size, step)
        ]
        if any(process.wait() for process in running):
            raise RuntimeError("a curl failed")
        found = sorted(Path(parts).iterdir())
        if sum(part.stat().st_size for part in found) != remote.size:
            raise RuntimeError("the curls did not fetch all")
        flush(*found)
        # removing them is not what is measured, but waiting for it would be
        kept = folder / "parts"
        shutil.rmtree(kept, ignore_errors=True)
        os.rename(parts, kept)
        Path(parts).mkdir()


def curl(url: str, ca_file: Path) -> dict[str, float]:
    """One curl to nowhere; the bytes it fetched and its own duration."""
    told = ("--write-out", "%{size_download} %{time_total}")
    size, seconds = tool(*CURL, "--cacert", ca_file, "-o", "/dev/null", *told, url).split()
    return {"wire_bytes": float(size), "seconds": float(seconds)}


@contextmanager
def _server(socket: Path, *words: str) -> Iterator[None]:
    """Run a server for as long as the block lasts; it takes connections on `socket`, and ends in order."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{words} did not start")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait(STOP_S)
