"""A Windows guest after virt-v2v: whether it can reach its disks by virtio, looked up in the libguestfs appliance."""

from __future__ import annotations

from typing import Any

from converters.guest_files import Refused

BLOCK_DRIVERS = ("viostor", "vioscsi")
STARTED_BY_THE_LOADER = 0  # a service's `Start`


def check(g: Any, root: str) -> None:
    """Raise Refused unless a virtio disk driver is there and started at boot. The root is mounted."""
    folder = g.case_sensitive_path(f"{g.inspect_get_windows_systemroot(root)}/System32/drivers")
    files = {name.lower() for name in g.ls(folder)}
    there = [driver for driver in BLOCK_DRIVERS if f"{driver}.sys" in files]
    if not there:
        raise Refused(
            "failed",
            "virt-v2v reported success, but Windows has no virtio disk driver (viostor.sys)",
            "See that VMFERRY_VIRTIO_WIN has viostor for this version of Windows, then retry.",
        )
    services = (g.inspect_get_windows_current_control_set(root), "Services")
    hive = g.inspect_get_windows_system_hive(root)
    if all(number(g, hive, (*services, driver), "Start") != STARTED_BY_THE_LOADER for driver in there):
        raise Refused(
            "failed",
            f"virt-v2v reported success, but Windows does not start {there[0]} at boot",
            "Retry; if it stays, report it with the job's log.",
        )


def number(g: Any, hive: str, path: tuple[str, ...], name: str) -> int | None:
    """A DWORD in the registry, None where it is not there."""
    g.hivex_open(hive)
    try:
        node = g.hivex_root()
        for key in path:
            node = g.hivex_node_get_child(node, key)
            if not node:
                return None
        value = g.hivex_node_get_value(node, name)
        return int.from_bytes(g.hivex_value_value(value)[:4], "little") if value else None
    finally:
        g.hivex_close()
