"""What a move needs of the platform it leaves. One instance serves one registered source."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from app.domain.models import VM, Check, PowerState, Way
from app.ports.disks import DiskAccess

CancelCheck = Callable[[], None]  # raises Cancelled, Paused or Parked when the work shall stop


class Source(Protocol):
    """Errors: SourceUnavailable and LeaseExpired are worth a retry, SourceDenied and NotFound are not."""

    def check(self) -> list[Check]:
        """Reachable, certificate, login, version, and each privilege that a cold move needs, by name."""
        ...

    def identity(self) -> str:
        """The platform's own UUID: two registrations of one vCenter have the same."""
        ...

    def inventory(self) -> list[VM]: ...
    def vm(self, vm_id: str) -> VM: ...
    def now(self) -> datetime: ...
    def power_state(self, vm_id: str) -> PowerState: ...
    def shut_down(self, vm_id: str, *, force: bool, timeout_s: float, cancel: CancelCheck) -> None:
        """Ask the guest through Tools and wait until it is off; a hard power-off only when `force`."""
        ...

    def power_on(self, vm_id: str) -> None: ...
    def started_since(self, vm_id: str, when: datetime) -> bool:
        """Whether it is on, or was on at any time after `when` on the source's clock."""
        ...

    def annotate(self, vm_id: str, text: str) -> None: ...
    def ways(self, vm: VM) -> list[Way]:
        """How its disks could be read, the best first, with what speaks for each or against it."""
        ...

    def access(
        self, vm_id: str, transport: str, *, snapshot: str = "", cancel: CancelCheck
    ) -> AbstractContextManager[DiskAccess]:
        """Open one of `ways` to the disks as they are, or as they were in a snapshot (its id).

        Leaving the context normally says that all was read, leaving it by an exception that it was not.
        Raises TransportRefused where this way does not work and another one may.
        """
        ...

    def close(self) -> None: ...
