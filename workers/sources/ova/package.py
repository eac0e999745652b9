"""One package: its descriptor and manifest held against each other, and its VMs as a source lists them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator

from app.domain.errors import NotFound, UnsafeImage
from app.domain.models import VM, Concern
from converters import ovf, package_digests
from converters.ovf_system import System
from converters.package_digests import Digest
from workers.sources.ova.storage import Contents

_NAMESPACE = uuid.UUID("5ee6be4c-6d4c-4cd0-8b7e-2f8a3d2b8d0a")  # ours, for what a package gives no name of its own
_LOCAL_MAC = "52:54:00"  # as QEMU's and libvirt's


def place_uuid(place: str) -> str:
    """A UUID for a path or URL: the same for whoever registers it."""
    return str(uuid.uuid5(_NAMESPACE, place))


def package_id(name: str) -> str:
    return f"ova-{_short(name, 12)}"


class Package:
    """A package that was read and found in order. `name` is what it is called among the others of its source."""

    def __init__(self, name: str, contents: Contents) -> None:
        """Takes `contents` over, also when this raises UnsafeImage, PermanentError or what reading raises."""
        self.name = name
        self.contents = contents
        try:
            text = contents.read_descriptor()
            self.digests = contents.digests()
            if self.digests is not None:
                package_digests.require_equal(self.digests, contents.descriptor, text)
            self._envelope = ovf.parse(text)
            self._origin = hashlib.sha256(text).hexdigest()
            self._wrong_sizes = [
                file for system in self._envelope.systems for file in system.files.values() if self._is_misstated(file)
            ]
        except BaseException:
            contents.close()
            raise

    def vms(self) -> list[VM]:
        return [self._vm(system) for system in self._envelope.systems]

    def system(self, vm_id: str) -> System:
        """The VM with its files. Raises NotFound."""
        for system in self._envelope.systems:
            if self._id(system) == vm_id:
                return System(self._vm(system), system.files)
        raise NotFound(f"{self.name} has no VM {vm_id!r}", "List the inventory.")

    def expected(self, file: str) -> Digest | None:
        """What the bytes of a file must hash to; None without a manifest. Ask again when the file was read."""
        if self.digests is None:
            self.digests = self.contents.digests()
        return None if self.digests is None else package_digests.expected(self.digests, file)

    def said_size(self, file: str) -> int | None:
        """What the descriptor says: believed only where no digest tells more."""
        return self._envelope.files.get(file)

    def _is_misstated(self, file: str) -> bool:
        """Whether the descriptor is wrong about a file's size. Many writers are: a digest makes up for it."""
        found, said = self.contents.size(file), self.said_size(file)
        if self.digests is not None:
            package_digests.expected(self.digests, file)
        if found is None or said is None or found == said:
            return False
        if self.digests is None:
            raise wrong_size(file, found, said)
        return True

    def _id(self, system: System) -> str:
        return f"{package_id(self.name)}-{_short(system.vm.id, 8)}"

    def _vm(self, system: System) -> VM:
        vm = system.vm
        own = vm.uuid or str(uuid.uuid5(_NAMESPACE, f"{self._origin} {vm.id}"))
        nics = tuple(
            nic if nic.mac else nic.model_copy(update={"mac": _made_mac(f"{own} {nic.key}")}) for nic in vm.nics
        )
        disks = tuple(disk.model_copy(update={"path": f"{self.name}: {disk.path or 'empty'}"}) for disk in vm.disks)
        return vm.model_copy(
            update={
                "id": self._id(system),
                "uuid": own,
                "folder": self.name,
                "nics": nics,
                "disks": disks,
                "concerns": (*vm.concerns, *self._concerns(system)),
            }
        )

    def _concerns(self, system: System) -> Iterator[Concern]:
        if self.digests is None:
            where = " before its disks" if self.contents.manifest_is_ahead else ""
            yield Concern(
                code="manifest_missing",
                severity="info",
                cause=f"{self.name} has no manifest (.mf){where}: damage shows only where a disk contradicts itself",
                remedy="Make one with sha256sum --tag, where the package was made.",
            )
        if self.contents.certificate:
            yield Concern(
                code="certificate_ignored",
                severity="info",
                cause=f"{self.name} is signed (.cert): the signature is not checked",
                remedy="Check it with ovftool if it matters who made the package.",
            )
        if wrong := [file for file in system.files.values() if file in self._wrong_sizes]:
            yield Concern(
                code="ovf_size_wrong",
                severity="info",
                cause=f"the descriptor of {self.name} is wrong about the size of {', '.join(wrong)}",
                remedy="Nothing to do: its manifest tells what is right.",
            )


def wrong_size(file: str, found: int, said: int) -> UnsafeImage:
    return UnsafeImage(
        f"{file} refused: it has {found} bytes, its descriptor says {said}",
        "Copy the package again; if the descriptor is wrong, correct it or add a manifest (sha256sum --tag).",
    )


def _made_mac(seed: str) -> str:
    digits = _short(seed, 6)
    return ":".join((_LOCAL_MAC, digits[:2], digits[2:4], digits[4:]))


def _short(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
