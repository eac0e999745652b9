"""Every error that vmferry raises on purpose.

VmferryError
├── InvalidRequest          the caller asked for something that cannot be
│   ├── PlanRefused         a sheet or a document asks for what cannot be (carries the problems)
│   ├── TooLarge            what was sent is more than is taken
│   └── UnreadableSheet     a file that is no sheet, is broken, or was made to do harm
├── Unauthorized            no valid token
├── NotFound                no such thing
├── Conflict                it clashes with what is there
├── PreflightFailed         blockers were found before anything was touched (carries the concerns)
├── TransientError          the same step may well succeed when tried again
│   ├── SourceUnavailable   vCenter, ESXi host or datastore did not answer
│   ├── LeaseExpired        the export lease ended before the copy did
│   ├── TransferInterrupted bytes stopped, or ended early
│   ├── TargetUnavailable   libvirt did not answer
│   └── ToolTimedOut        a tool did not end in its time
├── PermanentError          trying again changes nothing
│   ├── SourceDenied        wrong credential, missing privilege, untrusted certificate
│   ├── TransportRefused    this way to the disks does not work here, another one may
│   ├── ShutdownFailed      the guest did not shut down, and a hard power-off was not allowed
│   ├── SourceChanged       someone started or changed the source while it was being moved
│   ├── UnsafeImage         a disk image that may not be handed to any tool
│   ├── CopyMismatch        the target's bytes are not the source's
│   ├── UnsupportedGuest    no converter takes this guest
│   │   └── DiskLocked      its disk is encrypted, and no key opens it
│   ├── NoSpace             the pool or file system is full
│   ├── ConversionFailed    the converter failed (carries the end of its stderr)
│   ├── BootFailed          the moved guest was not seen to come up
│   ├── TargetDenied        libvirt refused, or the pool is not writable
│   ├── DomainExists        a domain of that name or UUID is there and is not ours
│   └── ToolFailed          an external tool failed (carries its exit code and the end of its stderr)
│       └── ToolMissing     it is not installed
├── Cancelled               the user asked to stop
└── CompensationFailed      an undo left something behind (carries the leftovers)

Parked and Paused are BaseExceptions: no handler of errors takes them for one. Parked, a worker's shutdown, passes
through the saga without compensation, and the job goes on later. Paused ends in the runner, which waits.

The class decides whether a step is retried (TransientError) and which HTTP status a caller sees (app/api/problems.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.domain.models import Concern, Leftover
    from app.domain.plan import Problem


class VmferryError(Exception):
    """Base of all: a stable `code`, what happened (`message`), what to do (`remedy`), and named `fields`."""

    code = "internal"
    retryable = False
    usual_remedy = ""  # where nothing better is known where it is raised

    def __init__(self, message: str, remedy: str = "", *, code: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy or self.usual_remedy
        self.fields = fields
        if code:
            self.code = code

    def to_dict(self) -> dict[str, Any]:
        """{code, message, hint, retryable, **fields}: the shape of a job's `error`."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.remedy,
            "retryable": self.retryable,
            **{key: value for key, value in self.fields.items() if value is not None},
        }


class InvalidRequest(VmferryError):
    code = "invalid_request"


class PlanRefused(InvalidRequest):
    code = "invalid_plan"

    def __init__(self, problems: Sequence[Problem]) -> None:
        wrong = [problem for problem in problems if problem.severity == "error"]
        first = f"{wrong[0].place}: {wrong[0].cause}" if wrong[0].place else wrong[0].cause
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        super().__init__(f"{first}{more}", wrong[0].fix if len(wrong) == 1 else "See `errors` for each.")
        self.problems = wrong


class TooLarge(InvalidRequest):
    code = "too_large"


class UnreadableSheet(InvalidRequest):
    code = "sheet_unreadable"


class Unauthorized(VmferryError):
    code = "unauthorized"


class NotFound(VmferryError):
    code = "not_found"


class Conflict(VmferryError):
    code = "conflict"


class PreflightFailed(VmferryError):
    code = "preflight_failed"

    def __init__(self, concerns: Sequence[Concern]) -> None:
        blockers = [c for c in concerns if c.severity == "blocker"]
        super().__init__(
            "; ".join(c.cause for c in blockers),
            " ".join(c.remedy for c in blockers),
            concerns=[c.to_dict() for c in concerns],
        )
        self.concerns = list(concerns)


class TransientError(VmferryError):
    code = "transient"
    retryable = True


class SourceUnavailable(TransientError):
    code = "source_unavailable"
    usual_remedy = "See whether it is up, and whether the worker reaches it on its port; then retry."


class LeaseExpired(TransientError):
    code = "lease_expired"
    usual_remedy = "The disks are read again under a new lease."


class TransferInterrupted(TransientError):
    code = "transfer_interrupted"
    usual_remedy = "It is read again: in ranges from where it was, a stream from its start."


class TargetUnavailable(TransientError):
    code = "target_unavailable"
    usual_remedy = "See whether libvirtd runs on the worker: virsh -c URI version."


class ToolTimedOut(TransientError):
    code = "tool_timed_out"


class PermanentError(VmferryError):
    code = "permanent"


class SourceDenied(PermanentError):
    code = "source_denied"
    usual_remedy = "Check the account and its privileges: vmferry source check."


class TransportRefused(PermanentError):
    code = "transport_refused"
    usual_remedy = "Another transport may work: leave the choice to vmferry, or name one."


class ShutdownFailed(PermanentError):
    code = "shutdown_failed"


class SourceChanged(PermanentError):
    code = "source_changed"


class UnsafeImage(PermanentError):
    code = "unsafe_image"


class CopyMismatch(PermanentError):
    code = "copy_mismatch"


class UnsupportedGuest(PermanentError):
    code = "unsupported_guest"


class DiskLocked(UnsupportedGuest):
    code = "disk_locked"


class NoSpace(PermanentError):
    code = "no_space"


class ConversionFailed(PermanentError):
    code = "conversion_failed"

    def __init__(self, message: str, remedy: str = "", *, stderr_tail: str = "", **fields: Any) -> None:
        super().__init__(message, remedy, stderr_tail=stderr_tail, **fields)


class BootFailed(PermanentError):
    code = "boot_failed"


class TargetDenied(PermanentError):
    code = "target_denied"
    usual_remedy = "See what libvirt's own log says: journalctl -u libvirtd."


class DomainExists(PermanentError):
    code = "domain_exists"


class ToolFailed(PermanentError):
    code = "tool_failed"


class ToolMissing(ToolFailed):
    code = "tool_missing"


class Cancelled(VmferryError):
    code = "cancelled"


class CompensationFailed(VmferryError):
    code = "compensation_failed"

    def __init__(self, leftovers: Sequence[Leftover]) -> None:
        super().__init__(
            "could not be undone: " + "; ".join(item.what for item in leftovers),
            "Run the command listed with each leftover, then roll the job back again.",
            leftovers=[item.to_dict() for item in leftovers],
        )
        self.leftovers = list(leftovers)


class Parked(BaseException):
    """The worker is stopping: nothing is undone, another worker goes on from the last finished step."""


class Paused(BaseException):
    """The user wants the job to rest: the step is left as it is, and done again when the job is resumed."""


def describe(error: BaseException) -> Mapping[str, Any]:
    """The `error` of a job or step, for any exception; what is not ours is named by its class."""
    if isinstance(error, VmferryError):
        return error.to_dict()
    return {
        "code": "internal",
        "message": f"{type(error).__name__}: {error}",
        "hint": "This is a fault of vmferry: report it with the job's log.",
        "retryable": False,
    }
