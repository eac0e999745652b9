"""The vSphere lab: a vCenter with real disks, for tests and for trying things out. See README.md."""

from tests.lab.guest import Guest, build_guest
from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, NicSpec, VmSpec

__all__ = ["DiskSpec", "Guest", "Lab", "NicSpec", "VmSpec", "build_guest"]
