"""Debian 13 in a folder, for its virt-v2v: a newer one than this machine's, with a libguestfs of its own."""

import hashlib
import shlex
import tempfile
from pathlib import Path

from tests.lab.cache import cache_directory, locked
from tests.lab.toolchain import run

PACKAGES = ("virt-v2v", "linux-image-amd64")
SHARED = ("/dev", "/proc", "/sys", "/tmp")


def chroot(cache: Path | None = None) -> Path:
    """From the cache, made first when it is not there; for root."""
    cache = cache or cache_directory()
    path = cache / f"trixie-{hashlib.sha256(repr(PACKAGES).encode()).hexdigest()[:16]}"
    with locked(cache / "trixie.lock"):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="trixie-build-") as work:
                made = Path(work) / "root"
                recommends = '--aptopt=Apt::Install-Recommends "false"'
                run(
                    [
                        "mmdebstrap",
                        "--variant=minbase",
                        f"--include={','.join(PACKAGES)}",
                        recommends,
                        "trixie",
                        str(made),
                    ]
                )
                made.rename(path)
    return path


def tool(path: Path, root: Path, name: str, *folders: Path) -> Path:
    """An executable at `path` that runs the chroot's tool, with `folders` where they are here.

    It has a QEMU of its own: the one that our environment names for the appliance is this machine's.
    """
    shared = [*SHARED, *map(str, folders)]
    binds = "\n".join(
        f"mkdir -p {shlex.quote(str(root) + folder)}\n"
        f"mount --rbind {shlex.quote(folder)} {shlex.quote(str(root) + folder)}"
        for folder in shared
    )
    script = path.with_suffix(".inside")
    script.write_text(f'set -e\n{binds}\nexec env -u LIBGUESTFS_HV chroot {shlex.quote(str(root))} {name} "$@"\n')
    path.write_text(f'#!/bin/sh\nexec unshare --mount --propagation private sh {shlex.quote(str(script))} "$@"\n')
    path.chmod(0o755)
    return path
