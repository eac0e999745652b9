"""A look at what a converter left, in an appliance."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import guestfs

from converters.accelerator import probe


@contextmanager
def opened(disk: Path, mounts: Sequence[tuple[str, str]], luks: tuple[str, str] = ("", "")) -> Iterator[Any]:
    """A guest's disk with its file systems at their points; `luks`: device and key, opened as /dev/mapper/root."""
    with closing(guestfs.GuestFS(python_return_dict=True)) as g:
        g.set_backend("direct")
        if probe() == "tcg":
            g.set_backend_setting("force_tcg", "1")
        g.add_drive_opts(str(disk), format="qcow2", readonly=True)
        g.launch()
        if luks[0]:
            g.cryptsetup_open(*luks, "root")
        for device, point in mounts:
            g.mount_ro(device, point)
        yield g
