"""The sources that vmferry can move from: a new one is a folder beside vsphere/ and a line in _KINDS."""

from __future__ import annotations

from collections.abc import Callable

from app.domain.models import SourceSpec
from app.ports.source import Source
from workers.sources.ova.source import OvaSource
from workers.sources.vmx import VmxSource
from workers.sources.vsphere.nbdkit import NbdkitOptions
from workers.sources.vsphere.source import VsphereSource

_KINDS: dict[str, Callable[[SourceSpec, NbdkitOptions], Source]] = {
    "vcenter": VsphereSource,
    "esxi": VsphereSource,
    "ova": lambda spec, _nbdkit: OvaSource(spec),
    "vmx": lambda spec, _nbdkit: VmxSource(spec),
}


def open_source(spec: SourceSpec, nbdkit: NbdkitOptions | None = None) -> Source:
    """The adapter for a registered source. Nothing is connected before the first call; the caller closes it.

    Raises InvalidRequest for a host, path, URL, thumbprint or CA bundle that cannot be read.
    """
    return _KINDS[spec.kind](spec, nbdkit or NbdkitOptions())
