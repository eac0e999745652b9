"""The descriptor of an OVF package, read as hostile input: which VMs it holds, and which file each disk is in.

Layout: DMTF DSP0243, OVF 1 and 2, as vSphere, ovftool, VirtualBox and vCloud Director write it. One descriptor may hold
several VMs (VirtualSystemCollection). Disks are streamOptimized VMDKs; anything else is refused with what to do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from converters import ovf_xml as xml
from converters.ovf_system import DiskEntry, System, read_system
from converters.ovf_xml import attribute, child, children, local, refuse, unit, whole
from converters.package_names import is_plain, unsupported
from converters.vmdk import MAX_CAPACITY, SECTOR

MAX_SYSTEMS = 500
MAX_FILES = 1000

_FORMATS = ("streamoptimized", "compressed")  # the second is what writers before 2009 called the first


@dataclass(frozen=True)
class Envelope:
    """What a descriptor says. `files`: each referenced file's size in bytes, None where that is not said."""

    systems: tuple[System, ...]
    files: Mapping[str, int | None]


def parse(data: bytes) -> Envelope:
    """Read a descriptor. The VMs have their OVF id as id, and no UUID unless the writer put one in.

    Raises UnsafeImage for what is malformed, ambiguous or reaches outside the package, and PermanentError
    (unsupported_package) for what is honest and not read by vmferry; both say what to do.
    """
    root = xml.read(data)
    names, files = _references(root)
    disks = dict(_disks(root, names))
    default = _default_configuration(root)
    systems = tuple(read_system(element, disks, default) for element in _systems(root))
    if not systems:
        raise refuse("it holds no VM")
    if len({system.vm.id for system in systems}) != len(systems):
        raise refuse("two VMs of one id")
    used = [name for system in systems for name in system.files.values()]
    if len(set(used)) != len(used):
        raise refuse("one file for two disks")
    return Envelope(systems, files)


def _references(root: Element) -> tuple[dict[str, str], dict[str, int | None]]:
    """(file name by id, said size by file name)."""
    names: dict[str, str] = {}
    sizes: dict[str, int | None] = {}
    section = child(root, "References")
    for file in () if section is None else children(section, "File"):
        key, href, size = attribute(file, "id"), attribute(file, "href"), attribute(file, "size")
        name = _file_name(href)
        if not key or key in names or name in sizes:
            raise refuse(f"the file {name[:80]!r} comes twice, or without an id")
        if attribute(file, "compression") not in ("", "identity") or attribute(file, "chunkSize"):
            raise unsupported(
                f"the file {name!r} of the package is compressed as a whole, or in chunks",
                "Export it again without (ovftool: no --compress and no --chunkSize).",
            )
        names[key] = name
        sizes[name] = whole(size, f"the size of {name!r}") if size else None
        if len(names) > MAX_FILES:
            raise refuse(f"more than {MAX_FILES} files")
    return names, sizes


def _file_name(href: str) -> str:
    """Where a reference leads; it is a URL, so a name with a blank may be written with %20."""
    if "://" in href:
        raise unsupported(
            f"a file of the package is elsewhere: {href[:80]!r}", "Download it beside the descriptor, and name it so."
        )
    name = unquote(href, errors="strict") if "%" in href and _decodes(href) else href
    if not is_plain(href) or not is_plain(name):
        raise refuse(f"a file outside the package: {href[:80]!r}")
    return name


def _decodes(href: str) -> bool:
    try:
        unquote(href, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _disks(root: Element, names: Mapping[str, str]) -> Iterator[tuple[str, DiskEntry]]:
    seen: set[str] = set()
    section = child(root, "DiskSection")
    for disk in () if section is None else children(section, "Disk"):
        key, file = attribute(disk, "diskId"), attribute(disk, "fileRef")
        if not key or key in seen:
            raise refuse(f"the disk {key[:80]!r} comes twice, or without an id")
        seen.add(key)
        what = f"the capacity of disk {key[:80]!r}"
        capacity = whole(attribute(disk, "capacity"), what) * unit(attribute(disk, "capacityAllocationUnits"))
        if not 0 < capacity <= MAX_CAPACITY or capacity % SECTOR:
            raise refuse(f"{what} is {capacity} bytes")
        if attribute(disk, "parentRef"):
            raise unsupported(
                f"the disk {key!r} of the package depends on another one",
                "Export it again: a full clone of the VM has disks that stand alone.",
            )
        if file:
            if file not in names:
                raise refuse(f"the disk {key[:80]!r} is in a file that is not listed")
            _require_format(key, attribute(disk, "format"))
        yield key, DiskEntry(names.get(file, ""), capacity)


def _require_format(key: str, said: str) -> None:
    place, _, form = said.lower().partition("#")
    if form not in _FORMATS or "vmdk" not in place:
        raise unsupported(
            f"the disk {key!r} of the package is of the format {said[:120]!r}",
            "vmferry reads streamOptimized VMDKs: export it again with ovftool, or convert it with"
            " qemu-img convert -O vmdk -o subformat=streamOptimized, and describe it so.",
        )


def _default_configuration(root: Element) -> str:
    """The deployment option that is taken: the one marked so, else the first. Empty where there are none."""
    section = child(root, "DeploymentOptionSection")
    options = [] if section is None else list(children(section, "Configuration"))
    marked = [option for option in options if attribute(option, "default").lower() in ("true", "1")]
    return attribute((marked or options)[0], "id") if options else ""


def _systems(root: Element) -> Iterator[Element]:
    waiting, count = deque(root), 0
    while waiting:
        element = waiting.popleft()
        if local(element) == "VirtualSystem":
            count += 1
            if count > MAX_SYSTEMS:
                raise refuse(f"more than {MAX_SYSTEMS} VMs")
            yield element
        elif local(element) == "VirtualSystemCollection":
            waiting.extendleft(reversed(element))
        elif local(element) == "EncryptionSection":
            raise unsupported("the package is encrypted", "Export it again without encryption.")
