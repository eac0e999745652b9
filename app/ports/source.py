"""What a move needs of the platform it leaves. One instance serves one registered source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from app.domain.models import VM, Check, PowerState

CancelCheck = Callable[[], None]  # raises Cancelled or Parked when the work shall stop


class ByteStream(Protocol):
    """Bytes from the source. A connection that breaks raises TransferInterrupted; b"" or 0 is a clean end."""

    def readinto(self, buffer: memoryview) -> int: ...
    def close(self) -> None: ...


class Export(Protocol):
    """An open lease over a powered-off VM's disks; kept alive by its own thread until the context ends.

    Leaving the context normally completes the lease, leaving it by an exception aborts it.
    """

    @property
    def disk_keys(self) -> Sequence[int]: ...
    def open(self, disk_key: int) -> ByteStream:
        """The disk as a streamOptimized VMDK. Raises LeaseExpired, TransferInterrupted, SourceDenied."""
        ...

    def report_percent(self, percent: int) -> None: ...


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
    def export(self, vm_id: str, *, cancel: CancelCheck) -> AbstractContextManager[Export]: ...
    def close(self) -> None: ...
