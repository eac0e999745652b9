"""Network cards, in the guest's order."""

from __future__ import annotations

from typing import Any

from app.domain.errors import InvalidRequest
from app.domain.hardware.case import Case
from app.domain.hardware.model import TargetNic
from app.domain.models import Nic

MOST_QUEUES = 8  # of a card: more gain nothing, and each costs a kernel thread of the host


def cards(case: Case) -> dict[str, Any]:
    """In the source's order, with their MACs: virtio-net with a queue for each CPU; e1000e without virtio."""
    return {"nics": tuple(_nic(case, nic) for nic in case.vm.nics)}


def _nic(case: Case, nic: Nic) -> TargetNic:
    network = case.move.network_for(nic)
    if network is None:
        raise InvalidRequest(
            f"the network {nic.network!r} of {nic.label} is not mapped",
            f"Map it on the target, or for this job: --network {nic.network!r}=NAME.",
        )
    model = case.buses.nic
    queues = min(MOST_QUEUES, case.vm.cpus) if model == "virtio" and case.accelerator == "kvm" else 1
    return TargetNic(mac=nic.mac.lower(), network=network, model=model, link_up=nic.connected, queues=queues)
