"""The libguestfs appliance, as the lab makes guests in it and tests look into what a converter left."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import guestfs

from converters import appliance
from converters.accelerator import probe


@contextmanager
def started(disks: Sequence[Path], kind: str, *, readonly: bool = False) -> Iterator[Any]:
    """A handle of one that runs, its disks labelled diska, diskb, and so on; RuntimeError as the bindings raise it.

    A program in it finds them below /dev/disk/guestfs: what libguestfs calls /dev/sda may have another name there.
    """
    settings = appliance.environment(probe())
    with closing(guestfs.GuestFS(python_return_dict=True)) as g:
        g.set_backend(settings["LIBGUESTFS_BACKEND"])
        if emulated := settings.get("LIBGUESTFS_BACKEND_SETTINGS"):
            g.set_backend_setting(emulated, "1")
            g.set_hv(settings["LIBGUESTFS_HV"])
        g.set_append(settings.get("LIBGUESTFS_APPEND"))
        g.set_smp(appliance.cpus())
        for number, disk in enumerate(disks):
            g.add_drive_opts(str(disk), format=kind, readonly=readonly, label=f"disk{ascii_lowercase[number]}")
        g.launch()
        yield g
