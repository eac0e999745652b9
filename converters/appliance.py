"""The libguestfs appliance: how it is to be started, and the work in it."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from app.domain.errors import ConversionFailed, DiskLocked, PermanentError, ToolFailed, ToolMissing, UnsupportedGuest
from app.domain.models import VM, GuestFacts, GuestReport
from app.process import run
from converters import emulator

OFFLINE_SECONDS = 3600.0
MOST_CPUS = 8
REFUSALS: Mapping[str, type[PermanentError]] = {
    "unsupported": UnsupportedGuest,
    "locked": DiskLocked,
    "failed": ConversionFailed,
}


def environment(accelerator: Literal["kvm", "tcg"]) -> dict[str, str]:
    """Without libvirt in between; without KVM where it does not work: the appliance would hang on it.

    Emulated, programs are loaded to the same addresses each time, so that QEMU need not translate them anew for each of
    their starts: an initramfs of Debian 12 is made in 26 s instead of 64. What else is done then is in emulator.py.
    """
    emulated = {
        "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg",
        "LIBGUESTFS_APPEND": "norandmaps",
        "LIBGUESTFS_HV": os.path.join(sysconfig.get_path("scripts"), emulator.COMMAND),
    }
    return {"LIBGUESTFS_BACKEND": "direct", **(emulated if accelerator == "tcg" else {})}


def cpus() -> int:
    """How many to ask for; emulated, it has one all the same."""
    return min(len(os.sched_getaffinity(0)), MOST_CPUS)


def adapt(
    vm: VM,
    disks: Sequence[Path],
    accelerator: Literal["kvm", "tcg"],
    cancel: Callable[[], None],
    *,
    keys: Mapping[str, str],
    converter: str,
    native: bool = False,
) -> GuestReport:
    """Have converters/offline.py keep who the guest is and, if `native`, make it boot; `converter` is only reported.

    Raises UnsupportedGuest (DiskLocked among them) and ConversionFailed.
    """
    request = {
        "disks": [str(disk) for disk in disks],
        "nics": [{"mac": nic.mac, "slot": nic.slot} for nic in vm.nics],
        "native": native,
        "keys": dict(keys),
    }
    return GuestReport(converter=converter, **_offline(request, accelerator, cancel))


def look(
    disks: Sequence[Path],
    accelerator: Literal["kvm", "tcg"],
    cancel: Callable[[], None],
    log: Callable[[str], None],
    *,
    keys: Mapping[str, str],
) -> GuestFacts | None:
    """Who the guest is by its disks, which stay as they are; None, with a word in the log, where that is not seen.

    It costs a start of the appliance, for the contract alone: a guest that cannot be read is moved all the same.
    """
    log("looking at who the guest is")
    try:
        request = {"disks": [str(disk) for disk in disks], "look": True, "keys": dict(keys)}
        answer = _offline(request, accelerator, cancel)
    except (ConversionFailed, UnsupportedGuest) as error:
        log(f"who the guest is was not seen on its disks: {error.message}")
        return None
    return GuestFacts(**answer["before"])


def _offline(request: dict[str, Any], accelerator: Literal["kvm", "tcg"], cancel: Callable[[], None]) -> dict[str, Any]:
    """Raises UnsupportedGuest (DiskLocked among them) and ConversionFailed."""
    request["cpus"] = cpus()
    try:
        done = run(
            [sys.executable, "-I", "-m", "converters.offline"],
            stdin=json.dumps(request).encode(),
            env=environment(accelerator),
            cancel=cancel,
            timeout=OFFLINE_SECONDS,
            contained=True,
        )
    except ToolMissing:
        raise
    except ToolFailed as error:
        raise ConversionFailed(
            f"the disks could not be worked on offline: {error.message}",
            "Does libguestfs-test-tool succeed where the worker runs?",
            stderr_tail=error.fields.get("stderr_tail") or "",
        ) from error
    answer: dict[str, Any] = json.loads(done.stdout)
    if refused := answer.get("error"):
        raise REFUSALS[refused["kind"]](refused["message"], refused["remedy"])
    return answer
