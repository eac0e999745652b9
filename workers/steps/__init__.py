"""The steps of a move, one file each, by the names that STEPS and the API use."""

from __future__ import annotations

from collections.abc import Mapping

from workers.steps import boot_check, convert, define, finalise, preflight, shutdown, transfer, verify_copy
from workers.steps.context import Step

ALL: Mapping[str, Step] = {
    "preflight": preflight,
    "shutdown": shutdown,
    "transfer": transfer,
    "verify_copy": verify_copy,
    "convert": convert,
    "define": define,
    "boot_check": boot_check,
    "finalise": finalise,
}
