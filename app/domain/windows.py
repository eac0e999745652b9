"""Which drivers of virtio-win a Windows needs: from VMware's guest id to the folder, such as 2k19/amd64. Pure."""

from __future__ import annotations

from app.domain.models import VM

BLOCK_DRIVER_SINCE = (2, 4)  # virt-v2v before it has Windows boot from virtio-blk, and from nothing else
# VMware's id without what follows from the architecture and the edition → the versions that it may stand for.
# Older vSphere has no id of its own for a newer Windows: people take the next older one.
_SYSTEMS = {
    "winxp": ("xp",),
    "winnet": ("2k3",),
    "winvista": ("vista",),
    "winlonghorn": ("2k8",),
    "windows7server": ("2k8r2",),
    "windows7": ("w7",),
    "windows8server": ("2k12", "2k12r2"),
    "windows8": ("w8", "w8.1"),
    "windows9server": ("2k16", "2k19", "2k22"),
    "windows9": ("w10", "w11"),
    "windows11": ("w11",),
    "windows2019srvnext": ("2k22", "2k25"),
    "windows2019srv": ("2k19",),
    "windows2022srvnext": ("2k25",),
}
SYSTEMS = frozenset(name for names in _SYSTEMS.values() for name in names)
# virt-v2v before that version takes this one for an older Windows, whose drivers it can use
_TAKEN_FOR = {"w11": ((2, 4), "w10"), "2k25": ((2, 8), "2k16")}


def drivers_for(vm: VM, virt_v2v: tuple[int, ...]) -> tuple[str, ...]:
    """The folders of which one must be there; () for a Windows whose drivers are not known."""
    guest = vm.guest_id.lower()
    known = max((prefix for prefix in _SYSTEMS if guest.startswith(prefix)), key=len, default="")
    names = [_taken_for(name, virt_v2v) for name in _SYSTEMS.get(known, ())]
    return tuple(f"{name}/{architecture(vm)}" for name in dict.fromkeys(names))


def architecture(vm: VM) -> str:
    """As virtio-win calls it."""
    return "amd64" if "64" in vm.guest_id else "x86"


def _taken_for(name: str, virt_v2v: tuple[int, ...]) -> str:
    since, older = _TAKEN_FOR.get(name, ((), name))
    return older if virt_v2v < since else name
