"""Who a guest is by its disks, before anything in it is changed: one side of the contract."""

from __future__ import annotations

import re
from typing import Any

from converters.boot_files import kernel_version
from converters.guest_config import mounts, network, services
from converters.guest_files import read_all
from converters.linux import GRUB_CONFIGS, boot_default
from converters.nic_names import CONFIGURATION

UNITS = "/etc/systemd/system"
RESOLVED = ("/etc/systemd/resolved.conf", "/etc/systemd/resolved.conf.d/*.conf")


def facts(g: Any, root: str) -> dict[str, Any]:
    """The fields of GuestFacts that can be read; the guest is mounted."""
    hostname = g.inspect_get_hostname(root)
    known = {"hostname": hostname if hostname != "unknown" else None}
    return known | _linux(g) if g.inspect_get_type(root) == "linux" else known


def _linux(g: Any) -> dict[str, Any]:
    configured = network(read_all(g, CONFIGURATION + RESOLVED), _resolv_conf(g))
    machine_id = _text(g, "/etc/machine-id").strip()
    grub = "\n".join(read_all(g, GRUB_CONFIGS).values())
    return {
        "addresses": {"": configured.addresses} if configured.addresses else None,
        "routes": configured.routes or None,
        "dns": configured.dns or None,
        "static": configured.static,
        "mounts": mounts(_text(g, "/etc/fstab")) or None,
        "services": _services(g) or None,
        "kernel": kernel_version(boot_default(g, grub)) or None,
        "machine_id": machine_id if re.fullmatch("[0-9a-f]{32}", machine_id) else None,
    }


def _resolv_conf(g: Any) -> str | None:
    path = "/etc/resolv.conf"
    return None if g.is_symlink(path) else _text(g, path) or None


def _services(g: Any) -> tuple[str, ...]:
    wanted = (path for kind in ("wants", "requires") for path in g.glob_expand(f"{UNITS}/*.{kind}/*"))
    links = (path for path in g.glob_expand(f"{UNITS}/*") if g.is_symlink(path))
    return services(
        [path.rpartition("/")[2] for path in wanted],
        {path.rpartition("/")[2]: target for path in links if (target := g.readlink(path)) != "/dev/null"},
    )


def _text(g: Any, path: str) -> str:
    return read_all(g, [path]).get(path, "")
