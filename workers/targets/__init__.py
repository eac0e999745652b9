"""The registry of targets: one folder and one line here for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from app.domain.models import TargetSpec
from app.ports.target import Target
from workers.targets.libvirt.target import LibvirtTarget

KINDS: Mapping[str, Callable[[TargetSpec, Literal["auto", "kvm", "tcg"], Path | None], Target]] = {
    "libvirt": LibvirtTarget,
}


def open_target(
    spec: TargetSpec, *, accelerator: Literal["auto", "kvm", "tcg"] = "auto", virtio_win: Path | None = None
) -> Target:
    """The adapter for a registered target; it connects when first used.

    `accelerator`: "auto" finds out whether KVM works here. `virtio_win`: where Windows' drivers are.
    Raises InvalidRequest for a URI that this worker is not local to.
    """
    return KINDS[spec.kind](spec, accelerator, virtio_win)
