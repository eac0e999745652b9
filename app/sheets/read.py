"""A user's file → a workbook. It is parsed in a process of its own, under limits, for it may be made to do harm."""

from __future__ import annotations

import sys
import threading

from app import process
from app.domain.errors import TooLarge, ToolFailed, ToolMissing, ToolTimedOut, TransientError, UnreadableSheet
from app.sheets.limits import MAX_BYTES, MAX_CPU_S, MAX_MEMORY, MAX_WAIT_S, MIB, READERS
from app.sheets.wire import Answer, too_large
from app.sheets.workbook import TAKEN, Workbook

_MOST_NAME = 60
_LIMITS = process.Limits(address_space=MAX_MEMORY, cpu_seconds=MAX_CPU_S)
_KILLED_BY_LIMIT = {-9, -24, 137, 152}  # SIGKILL, SIGXCPU
_turns = threading.BoundedSemaphore(READERS)


def read(data: bytes, filename: str) -> Workbook:
    """What the file holds, decided by its bytes. Blocks for seconds where the file is large.

    Raises UnreadableSheet and TooLarge; what has a place has it as `fields["cell"]`. Raises TransientError when others
    are being read all the time.
    """
    if not data.strip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"):
        raise UnreadableSheet("the file is empty", TAKEN)
    if len(data) > MAX_BYTES:
        raise TooLarge(
            f"the file is larger than {MAX_BYTES // MIB} MiB", "Leave out what is not needed, or send it in parts."
        )
    name = _shown(filename)
    answer = Answer()
    if not _turns.acquire(timeout=MAX_WAIT_S):  # who waits holds a thread of the service
        raise TransientError(f"{READERS} other sheets have been read for {MAX_WAIT_S} s", "Send it again.", code="busy")
    try:
        _ask(data, name, answer)
    finally:
        _turns.release()
    return Workbook(name, tuple(answer.sheets))


def _ask(data: bytes, name: str, answer: Answer) -> None:
    argv = [sys.executable, "-I", "-m", "app.sheets.child", name]
    try:
        process.run(argv, stdin=data, limits=_LIMITS, timeout=MAX_WAIT_S, on_line=answer.hear)
    except ToolMissing:
        raise
    except ToolTimedOut as error:
        raise TooLarge(f"reading it takes longer than {MAX_WAIT_S} s", "Send it in parts.") from error
    except ToolFailed as error:
        raise _ended(error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableSheet("what it holds could not be understood", TAKEN) from error
    if not answer.whole:
        raise too_large()


def _ended(error: ToolFailed) -> TooLarge | UnreadableSheet:
    """calamine ends its process where it gets no memory, and raises where it fails by a fault of its own."""
    tail = error.fields.get("stderr_tail") or ""
    if error.fields.get("exit_code") in _KILLED_BY_LIMIT:
        return TooLarge(f"reading it takes longer than {MAX_CPU_S} s", "Send it in parts.")
    if "allocat" in tail or "MemoryError" in tail:
        return too_large()
    return UnreadableSheet(
        "the file is broken in a way that its reader did not expect",
        "Open it in a spreadsheet program, save it as .xlsx, and send that.",
    )


def _shown(filename: str) -> str:
    """Without folders and what cannot be printed: it becomes part of places."""
    base = filename.replace("\\", "/").rpartition("/")[2]
    kept = "".join(char for char in base if char.isprintable() and char != "!").strip()
    return kept[-_MOST_NAME:] or "sheet"
