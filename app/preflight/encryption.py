"""vSphere exports no encrypted VM, and what a virtual TPM keeps does not travel."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.models import Concern, TargetFacts
from app.domain.move import Move


def check(move: Move, facts: TargetFacts) -> Iterable[Concern]:
    if move.vm.encrypted:
        yield Concern(
            code="vm_is_encrypted",
            severity="blocker",
            cause=f"{move.vm.name} is encrypted by vSphere, which does not export it like this",
            remedy="Decrypt it: remove a virtual TPM, then give the VM a storage policy without encryption.",
        )
    if not move.vm.tpm:
        return
    cause = f"{move.vm.name} has a virtual TPM: the keys in it do not move, and it gets " + (
        "a new, empty one" if facts.tpm else "none: the target's host has no swtpm to emulate one"
    )
    if move.boots and not move.options.leave_tpm:
        yield Concern(
            code="tpm_may_hold_keys",
            severity="blocker",
            cause=f"{cause}. Disks that BitLocker or LUKS opens with it stay shut",
            remedy="Suspend BitLocker (manage-bde -protectors -disable C: -rebootcount 0), or see that LUKS has a"
            " passphrase; then say so: leave_tpm (--leave-tpm).",
        )
    else:
        yield Concern(
            code="tpm_is_left_behind",
            severity="warning",
            cause=cause,
            remedy="Have the BitLocker or LUKS recovery key at hand.",
        )
