"""Which URL of an export lease is which disk. Guessing wrong gives a guest another disk's bytes: no guesses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from app.domain.disk_order import family
from app.domain.errors import PermanentError
from app.domain.models import Disk

_BY_KEY = re.compile(r"VirtualDisk:(?P<key>\d+)")
_BY_PLACE = re.compile(r"(?P<controller>[A-Za-z]+)(?P<bus>\d+):(?P<unit>\d+)")
_FAMILIES = (("SCSI", "scsi"), ("LsiLogic", "scsi"), ("BusLogic", "scsi"), ("AHCI", "sata"), ("SATA", "sata"))


def map_urls(urls: Sequence[Any], disks: Sequence[Disk]) -> dict[int, Any]:
    """Disk key → HttpNfcLeaseDeviceUrl, in the order of `disks`. Raises PermanentError unless it is one to one.

    A key ends as "VirtualDisk:2000" or as "VirtualLsiLogicController0:0": the controller's class and bus, and the unit.
    """
    offered = [url for url in urls if url.disk or (url.disk is None and url.url.endswith(".vmdk"))]
    found: dict[int, Any] = {}
    for url in offered:
        matching = [disk.key for disk in disks if _is(url.key, disk)]
        if len(matching) != 1 or matching[0] in found:
            raise _refused(f"its {url.key!r} is none of the VM's disks, or one of several", offered, disks)
        found[matching[0]] = url
    if len(found) != len(disks):
        missing = ", ".join(disk.label for disk in disks if disk.key not in found)
        raise _refused(f"it leaves out {missing}", offered, disks)
    return {disk.key: found[disk.key] for disk in disks}


def _is(url_key: str, disk: Disk) -> bool:
    name = url_key.rpartition("/")[2]
    if match := _BY_KEY.fullmatch(name):
        return int(match["key"]) == disk.key
    if match := _BY_PLACE.fullmatch(name):
        place = (_family_of(match["controller"]), int(match["bus"]), int(match["unit"]))
        return place == (family(disk.controller), disk.bus, disk.unit)
    return False


def _family_of(controller: str) -> str:
    """scsi for ParaVirtualSCSIController, VirtualLsiLogicSASController, …; nvme, sata, ide likewise."""
    for part, name in (*_FAMILIES, ("NVME", "nvme"), ("IDE", "ide")):
        if part in controller:
            return name
    return controller


def _refused(why: str, offered: Sequence[Any], disks: Sequence[Disk]) -> PermanentError:
    return PermanentError(
        f"the export lease does not match the VM's {len(disks)} disks ({len(offered)} offered): {why}",
        "Independent and raw device disks are not exported: detach them or change their mode.",
        code="export_mismatch",
        offered=[url.key for url in offered],
    )
