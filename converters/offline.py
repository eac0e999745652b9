"""Looks at a guest, keeps who it was and, for the native converter, makes it boot: in one start of the appliance.

A process of its own, so that it can be stopped and its memory is not ours:

    python -m converters.offline    < {"disks": [path, …], "nics": [{"mac", "slot"}, …], "native": bool, "cpus": int,
                                       "keys": {device | LUKS UUID | "all": key}}
                                    > {"os", "hostname", "nic_names": {MAC: name}, "concerns": [{code, …}, …],
                                       "before": facts where it is native, else null}
                                    < {"disks": [path, …], "keys": …, "cpus": int, "look": true}, which changes nothing
                                    > {"before": facts}
                                    | {"error": {"kind": "unsupported" | "locked" | "failed", "message", "remedy"}}

Guests are hostile: their files are read, and their programs run, inside the appliance only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import guestfs

from converters import windows
from converters.before import facts
from converters.guest_files import Refused
from converters.linux import adapt
from converters.luks import no_system, unlock
from converters.nic_names import Card

AUGEAS = "/usr/share/augeas/lenses"  # in the appliance
LENSES = ("fstab", "mdadm_conf", "shellvars")  # what inspect_os reads by them: mounts, arrays, old RHEL's host name
BENEATH = ("build", "rx", "sep", "util")  # the modules that those lenses are made of
SYSTEM = ("/", "/boot", "/boot/efi", "/efi", "/etc", "/opt", "/usr", "/var")  # where something may have to be changed


def main() -> int:
    request = json.load(sys.stdin)
    try:
        if request.get("look"):
            answer = look(request["disks"], request["keys"], request["cpus"])
        else:
            cards = [Card(nic["mac"], nic["slot"]) for nic in request["nics"]]
            answer = work(request["disks"], cards, request["keys"], request["cpus"], native=request["native"])
    except Refused as refused:
        answer = {"error": {"kind": refused.kind, "message": refused.message, "remedy": refused.remedy}}
    except RuntimeError as error:  # what the guestfs bindings raise for everything
        message = f"the disks could not be worked on offline: {error}"
        answer = {"error": {"kind": "failed", "message": message, "remedy": "Retry; if it stays, report it."}}
    json.dump(answer, sys.stdout)
    return 0


def look(disks: Sequence[str], keys: Mapping[str, str], cpus: int) -> dict[str, Any]:
    with closing(guestfs.GuestFS(python_return_dict=True)) as g:
        root = mount(g, disks, keys, cpus, readonly=True)
        return {"before": facts(g, root)}


def work(
    disks: Sequence[str], cards: Sequence[Card], keys: Mapping[str, str], cpus: int, *, native: bool
) -> dict[str, Any]:
    with closing(guestfs.GuestFS(python_return_dict=True)) as g:
        root = mount(g, disks, keys, cpus, readonly=False)
        answer: dict[str, Any] = {
            "os": f"{g.inspect_get_distro(root)}{g.inspect_get_major_version(root)}",
            "hostname": g.inspect_get_hostname(root),
            "nic_names": {},
            "concerns": [],
            "before": facts(g, root) if native else None,
        }
        kind = g.inspect_get_type(root)
        if kind == "linux":
            answer |= adapt(g, cards, native=native)
        elif native:
            raise Refused("unsupported", f"the guest is no Linux but {kind}", "Use the converter compat.")
        elif kind == "windows":
            windows.check(g, root)
            answer["os"] = g.inspect_get_osinfo(root)
        g.umount_all()
        g.shutdown()  # says so when the last writes did not reach the disks
        return answer


def mount(g: Any, disks: Sequence[str], keys: Mapping[str, str], cpus: int, *, readonly: bool) -> str:
    """Start the appliance, open what the keys are for, and mount the first system on the disks; its root."""
    for disk in disks:
        g.add_drive_opts(disk, format="qcow2", readonly=readonly)
    g.set_smp(cpus)
    g.launch()
    keep_few_lenses(g)
    unlock(g, keys)
    roots = g.inspect_os()
    if not roots:
        raise no_system(g)
    root = str(roots[0])
    mount_all(g, root, readonly=readonly)
    return root


def keep_few_lenses(g: Any) -> None:
    """Take the lenses away that nobody here needs.

    inspect_os has augeas read all 230 of them for the sake of one file: 6 of its 10 s where the appliance is emulated.
    """
    kept = " ".join(f"! -name {name}.aug" for name in LENSES + BENEATH)
    g.debug("sh", [f"find {AUGEAS} -name '*.aug' {kept} -delete || :"])


def mount_all(g: Any, root: str, *, readonly: bool = False) -> None:
    """Mount what the guest does. What is not to be reached from here, such as an encrypted data disk, stays away."""
    points = g.inspect_get_mountpoints(root) | {"/": root}  # the guest's name of an encrypted root is not known here
    for point, device in sorted(points.items(), key=lambda item: len(item[0])):
        try:
            g.mount_ro(device, point) if readonly else g.mount(device, point)
        except RuntimeError:
            if point in SYSTEM:
                raise


if __name__ == "__main__":
    sys.exit(main())
