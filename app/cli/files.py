"""Files that a command is given, and files that it is told to write."""

from __future__ import annotations

from pathlib import Path

from app.cli.exits import CliError, Exit

MAX_SHEET = 50 << 20  # what the service takes


def read(file: Path) -> bytes:
    """A sheet's or a document's bytes. Raises CliError."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_SHEET + 1)
    except OSError as error:
        raise CliError(Exit.USAGE, "unreadable_file", f"{file} could not be read: {error.strerror}") from error
    if len(content) > MAX_SHEET:
        raise CliError(
            Exit.INVALID,
            "sheet_too_large",
            f"{file} is larger than {MAX_SHEET >> 20} MiB",
            "Leave out tabs that describe no VMs, or split it: a plan takes more than one sheet.",
        )
    return content


def write(content: bytes, to: Path) -> None:
    """Raises CliError."""
    try:
        to.write_bytes(content)
    except OSError as error:
        raise CliError(Exit.FAILED, "unwritable_file", f"{to} could not be written: {error.strerror}") from error
