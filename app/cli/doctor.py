"""vmferry doctor: whether this machine has what a move needs."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from app.cli import output
from app.cli.exits import CliError, Exit
from app.cli.output import Output, OutputOption
from app.domain.errors import ToolFailed, ToolTimedOut, VmferryError
from app.domain.models import Check
from app.settings import Settings, load_settings

TOOL_TIMEOUT_S = 30.0
LEAST_FREE_BYTES = 1 << 30  # converting makes overlays and an appliance of some hundred MiB

_TOOLS = {
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "virt-v2v-in-place": "virt-v2v",
    "setpriv": "util-linux",
    "prlimit": "util-linux",
}
_BINDINGS = {"guestfs": "python3-guestfs", "nbd": "python3-libnbd", "libvirt": ""}


def doctor(form: OutputOption = Output.TABLE) -> None:
    """Look at the tools, their versions, libvirt, the accelerator, space, settings and permissions here."""
    rows = list(_checks())
    failed = [row for row in rows if not row.ok]
    if form is Output.JSON:
        output.show_json({"ok": not failed, "checks": [row.to_dict() for row in rows]})
    else:
        output.stdout().print(output.checks(row.to_dict() for row in rows))
    if failed:
        names = ", ".join(row.name for row in failed)
        raise CliError(Exit.INVALID, "doctor", f"{len(failed)} of {len(rows)} checks failed: {names}")


def _checks() -> Iterator[Check]:
    try:
        settings = load_settings()
    except VmferryError as error:
        yield Check(name="settings", ok=False, detail=error.message, remedy=error.remedy)
    else:
        yield Check(name="settings", ok=True, detail=f"home {settings.home}, bind {settings.bind}")
        yield _home(settings)
        yield from _private(settings)
    for tool, package in _TOOLS.items():
        yield _tool(tool, package)
    for module, package in _BINDINGS.items():
        yield _binding(module, package)
    yield _appliance_kernel()
    yield _accelerator()
    yield _libvirt()


def _home(settings: Settings) -> Check:
    there = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return Check(name="home", ok=False, detail=f"{there} is not writable", remedy="Set VMFERRY_HOME, or its owner.")
    free = shutil.disk_usage(there).free
    return Check(
        name="home",
        ok=free >= LEAST_FREE_BYTES,
        detail=f"{output.size(free)} free in {there}",
        remedy="" if free >= LEAST_FREE_BYTES else f"Free {output.size(LEAST_FREE_BYTES)}, or set VMFERRY_HOME.",
    )


def _private(settings: Settings) -> Iterator[Check]:
    """What holds a secret is readable by its owner only."""
    for file in (settings.secret_key_file, settings.token_file, settings.home / "vmferry.db"):
        if file.exists():
            mode = stat.S_IMODE(file.stat().st_mode)
            private = not mode & 0o077
            remedy = "" if private else f"chmod 600 {file}"
            yield Check(name=f"permissions of {file.name}", ok=private, detail=f"{mode:04o}", remedy=remedy)


def _tool(tool: str, package: str) -> Check:
    from app import process

    try:
        said = process.run([tool, "--version"], timeout=TOOL_TIMEOUT_S)
    except (ToolFailed, ToolTimedOut) as error:
        return Check(name=tool, ok=False, detail=error.message, remedy=error.remedy or f"apt install {package}")
    return Check(name=tool, ok=True, detail=said.text.strip().partition("\n")[0])


def _binding(module: str, package: str) -> Check:
    """In another process: an import that crashes is a finding, too."""
    from app import process

    name = f"python module {module}"
    try:
        process.run([sys.executable, "-c", f"import {module}"], timeout=TOOL_TIMEOUT_S)
    except (ToolFailed, ToolTimedOut) as error:
        remedy = f"apt install {package}, and use a virtual environment of /usr/bin/python3 that sees it."
        return Check(name=name, ok=False, detail=error.message, remedy=remedy if package else "Install vmferry again.")
    return Check(name=name, ok=True, detail="can be imported")


def _appliance_kernel() -> Check:
    """libguestfs builds its appliance from a kernel in /boot that has its modules and that it may read."""
    kernels = [
        kernel
        for kernel in sorted(Path("/boot").glob("vmlinuz-*"))
        if os.access(kernel, os.R_OK) and Path("/lib/modules", kernel.name.removeprefix("vmlinuz-")).is_dir()
    ]
    if not kernels:
        return Check(
            name="appliance kernel",
            ok=False,
            detail="no readable kernel with modules in /boot",
            remedy="apt install linux-image-amd64; if one is there: chmod 0644 /boot/vmlinuz-*",
        )
    return Check(name="appliance kernel", ok=True, detail=kernels[-1].name)


def _accelerator() -> Check:
    from converters.accelerator import probe

    try:
        found = probe()
    except VmferryError as error:
        return Check(name="accelerator", ok=False, detail=error.message, remedy=error.remedy)
    slow = "tcg: guests and conversions run without hardware help, slowly"
    return Check(name="accelerator", ok=True, detail="kvm" if found == "kvm" else slow)


def _libvirt() -> Check:
    from app import process

    argv = ["virsh", "--connect", "qemu:///system", "--readonly", "version"]
    try:
        said = process.run(argv, timeout=TOOL_TIMEOUT_S)
    except (ToolFailed, ToolTimedOut) as error:
        return Check(
            name="libvirt",
            ok=False,
            detail=error.message,
            remedy="Install libvirt-daemon-system and start it: systemctl start libvirtd",
        )
    lines = [
        line.partition(":")[2].strip()
        for line in said.text.splitlines()
        if line.startswith(("Using library", "Running"))
    ]
    return Check(name="libvirt", ok=True, detail=", ".join(lines))
