"""Exit codes, and what decides them: the only place that knows the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from app.domain import errors


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    INVALID = 3  # validation failed, or preflight found a blocker
    AUTH = 4
    NOT_FOUND = 5
    CONFLICT = 6
    TIMED_OUT = 7  # the wait ended, the job goes on
    PARTIAL = 8
    INTERRUPTED = 130


_BY_STATUS = {
    400: Exit.INVALID,
    401: Exit.AUTH,
    403: Exit.AUTH,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    413: Exit.INVALID,
    422: Exit.INVALID,
}

_BY_CLASS: Sequence[tuple[type[errors.VmferryError], Exit]] = (
    (errors.InvalidRequest, Exit.INVALID),
    (errors.PreflightFailed, Exit.INVALID),
    (errors.Unauthorized, Exit.AUTH),
    (errors.NotFound, Exit.NOT_FOUND),
    (errors.Conflict, Exit.CONFLICT),
)

_HINTS = {  # where the API's hint names a call, and there is a command for it
    "confirmation_needed": "Repeat it with --yes if that is what you want.",
    "plan_exists": "Change it so with: vmferry plan apply; see how with: vmferry plan diff",
    "unauthorized": "Set VMFERRY_TOKEN, or VMFERRY_HOME to the service's own: its file `token` has the first one.",
    "vm_not_found": "If it is new, read the inventory again: vmferry inventory SOURCE --refresh",
}


class CliError(Exception):
    """What ends a command: `exit_code`, a stable `code`, the cause, a hint, and details such as a field's fault."""

    def __init__(
        self, exit_code: Exit, code: str, cause: str, hint: str = "", *, details: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(cause)
        self.exit_code = exit_code
        self.code = code
        self.cause = cause
        self.hint = hint
        self.details = details


def from_problem(status: int, problem: Mapping[str, Any]) -> CliError:
    """The error for an answer of the API that is RFC 9457 problem+json."""
    code = str(problem.get("code", f"http_{status}"))
    return CliError(
        _BY_STATUS.get(status, Exit.FAILED),
        code,
        str(problem.get("detail") or problem.get("title") or f"the service answered {status}"),
        _HINTS.get(code) or str(problem.get("hint", "")),
        details=problem.get("errors") or (),
    )


def from_error(error: errors.VmferryError) -> CliError:
    """The error for one raised in this process, by a command that is a composition root."""
    code = next((code for kind, code in _BY_CLASS if isinstance(error, kind)), Exit.FAILED)
    return CliError(code, error.code, error.message, error.remedy)


def from_ended_job(job: Mapping[str, Any], *, wanted: Sequence[str]) -> CliError | None:
    """None for a job that ended in a wanted state; else why it did not, a blocker told from a failure."""
    if job["state"] in wanted:
        return None
    error = job.get("error") or {}
    code = str(error.get("code", job["state"]))
    return CliError(
        Exit.INVALID if code == errors.PreflightFailed.code else Exit.FAILED,
        code,
        f"job {job['id']} {job['state']}: {error.get('message', 'no reason was recorded')}",
        str(error.get("hint") or job.get("next_action") or ""),
        details=job.get("leftovers") or (),
    )
