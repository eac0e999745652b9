"""Network cards, in the guest's order."""

from __future__ import annotations

from typing import Any

from app.domain.errors import InvalidRequest
from app.domain.hardware.case import Case
from app.domain.hardware.model import TargetNic
from app.domain.models import Nic
from app.domain.networks import GRAMMAR

MOST_QUEUES = 8  # of a card: more gain nothing, and each costs a kernel thread of the host


def cards(case: Case) -> dict[str, Any]:
    """In the source's order, with MACs and limits: virtio-net with a queue for each CPU; e1000e without virtio."""
    return {"nics": tuple(_nic(case, nic) for nic in case.vm.nics)}


def _nic(case: Case, nic: Nic) -> TargetNic:
    attachment = case.move.attachment_for(nic)
    if attachment is None:
        raise InvalidRequest(
            f"the network {nic.network!r} of {nic.label} is not mapped",
            f"Map it on the target, or for this job: --network {nic.network!r}=…, the {GRAMMAR}.",
        )
    model = case.buses.nic
    queues = min(MOST_QUEUES, case.vm.cpus) if model == "virtio" and case.accelerator == "kvm" else 1
    return TargetNic(
        mac=nic.mac.lower(),
        attachment=attachment,
        model=model,
        link_up=nic.connected,
        queues=queues,
        sends=nic.sends,
        receives=nic.receives,
    )
