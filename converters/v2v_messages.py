"""virt-v2v's messages as concerns and errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from app.domain.errors import ConversionFailed, DiskLocked, NoSpace, PermanentError, UnsupportedGuest
from app.domain.models import Concern


class Known(NamedTuple):
    pattern: str
    kind: type[PermanentError]
    remedy: str


_COMPAT = "Move it with the converter compat: its disks stay as they are, on SATA."
# The first that matches wins. Written after the messages of virt-v2v 2.2 to 2.12 and of libguestfs below it.
KNOWN = (
    Known(
        r"hibernat|Fast Restart|Fast Startup|unclean file system|unsafe state|Metadata kept in Windows cache",
        UnsupportedGuest,
        "Windows did not shut down fully. Start it, turn fast start-up off (powercfg /h off), shut it down, retry.",
    ),
    Known(
        r"LUKS|BitLocker|passphrase|encrypted|could not read key",
        DiskLocked,
        "A disk is encrypted: give its key (--luks-key all=FILE); of BitLocker, decrypt it before the move. Or use the"
        " converter compat.",
    ),
    Known(
        r"rhsrvany|pvvxsvc",
        UnsupportedGuest,
        "Put rhsrvany.exe (github.com/rwmjones/rhsrvany) into /usr/share/virt-tools where the worker runs.",
    ),
    Known(
        r"virtio-win|no virtio drivers|virtio drivers? .*not (found|available)",
        UnsupportedGuest,
        "Install virtio-win where the worker runs, and name it in VMFERRY_VIRTIO_WIN.",
    ),
    Known(
        r"/dev/mapper/\S+: No such file",
        UnsupportedGuest,
        f"Its /etc/fstab names an encrypted disk in a way that virt-v2v does not follow: take native. {_COMPAT}",
    ),
    Known(
        r"detected errors on the XFS",
        UnsupportedGuest,
        "Start the guest, repair that file system (xfs_repair), shut it down, retry.",
    ),
    Known(
        r"not cleanly unmounted|mounted read-only",
        UnsupportedGuest,
        "The guest did not shut down fully. Start it, shut it down from within, retry.",
    ),
    Known(
        r"not enough (free space|available inodes)",
        NoSpace,
        "A file system in the guest is too full for the new drivers: free space in it, then retry.",
    ),
    Known(
        r"No space left on device|insufficient free space",
        NoSpace,
        "Free space in the pool and in the worker's temporary folder.",
    ),
    Known(r"multi-?boot|dual-? ?boot", UnsupportedGuest, f"It has several operating systems. {_COMPAT}"),
    Known(
        r"could not detect the source guest|no root device|no operating system|root filesystem.*not found",
        UnsupportedGuest,
        f"No operating system that virt-v2v knows was found on the disks. {_COMPAT}",
    ),
    Known(
        r"no bootloader|bootloader mount point|grub2-mkconfig|no installed kernel|no kernels? (were|was)? ?found",
        UnsupportedGuest,
        "Older virt-v2v find none in Debian 12 and later with UEFI: leave the choice to vmferry, or take native.",
    ),
    Known(
        r"unable to rebuild initrd|package database failed|only Xen kernels",
        UnsupportedGuest,
        f"The guest's packages are not as virt-v2v expects them: take the converter native. {_COMPAT}",
    ),
    Known(r"unable to convert|not supported|unsupported|unknown guest", UnsupportedGuest, _COMPAT),
)


# The first that matches says what a warning of virt-v2v is; its text becomes the cause.
WARNINGS = (
    (
        r"no virtio (drivers|block device driver|network driver)",
        Concern(
            code="windows_lacks_virtio",
            severity="warning",
            cause="",
            remedy="Set VMFERRY_VIRTIO_WIN to a virtio-win that has viostor and NetKVM for this version of Windows.",
        ),
    ),
    (
        r"QEMU Guest Agent",
        Concern(
            code="guest_agent_missing",
            severity="info",
            cause="",
            remedy="In the guest, install qemu-guest-agent; on Windows, qemu-ga-x86_64.msi of virtio-win.",
        ),
    ),
    (
        r"Group Policy|Anti-Virus",
        Concern(
            code="windows_driver_may_be_stopped",
            severity="warning",
            cause="",
            remedy="If Windows stops with 7B (inaccessible boot device), roll back, turn it off, move the guest again.",
        ),
    ),
    (
        r"VMware tools was detected|cannot uninstall VMware Tools",
        Concern(
            code="vmware_tools_left",
            severity="info",
            cause="",
            remedy="In the guest, remove VMware's tools.",
        ),
    ),
    (
        r"no initrd was found|configuration of Grub2|rebuild grub2|ignoring kernel",
        Concern(
            code="boot_configuration_kept",
            severity="warning",
            cause="",
            remedy="See after the move that the guest starts the kernel that it should.",
        ),
    ),
    (
        r"references unknown device|/etc/crypttab",
        Concern(
            code="mount_by_device",
            severity="warning",
            cause="",
            remedy="After the move, look at that line of its /etc/fstab or /etc/crypttab.",
        ),
    ),
    (
        r"fstrim|Balloon Server|serial console|random seed",
        Concern(code="virt_v2v_note", severity="info", cause="", remedy="There is nothing to do."),
    ),
    (
        r"",
        Concern(
            code="virt_v2v_warning",
            severity="warning",
            cause="",
            remedy="The conversion went on. See after the move whether it matters to this guest.",
        ),
    ),
)


class Messages:
    """Fed with the lines of `virt-v2v-in-place --machine-readable`: JSON objects, and the same in plain text."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.concerns: list[Concern] = []
        self.errors: list[str] = []
        self._log = log

    def line(self, text: str) -> None:
        kind, message = _parse(text)
        if not message:
            return
        if kind == "error":
            self.errors.append(message)
        elif kind == "warning":
            self.concerns.append(_concern(message))
        self._log(f"virt-v2v {kind}: {message}" if kind != "message" else f"virt-v2v: {message}")


def failure(errors: list[str], stderr_tail: str) -> PermanentError:
    """The error for a virt-v2v that failed, with what to do where that is known."""
    lines = [line.strip() for line in stderr_tail.splitlines()]
    reasons = [*errors, *(line for line in lines if "error:" in line), *lines[-1:]]
    reason = reasons[0] if reasons else "it printed no reason"
    for known in KNOWN:
        if re.search(known.pattern, "\n".join(reasons), re.IGNORECASE):
            return known.kind(f"virt-v2v: {reason}", known.remedy, stderr_tail=stderr_tail)
    return ConversionFailed(
        f"virt-v2v: {reason}", "The verified copy is unchanged. Its last lines say more.", stderr_tail=stderr_tail
    )


def _concern(message: str) -> Concern:
    known = next(known for pattern, known in WARNINGS if re.search(pattern, message, re.IGNORECASE))
    return known.model_copy(update={"cause": f"virt-v2v warns: {message}"})


def _parse(text: str) -> tuple[str, str]:
    """(message | info | warning | error, text). Other lines say the same for people: ("", "")."""
    try:
        value = json.loads(text)
    except ValueError:
        return "", ""
    if not isinstance(value, dict):
        return "", ""
    return str(value.get("type", "message")), str(value.get("message", "")).strip()
