"""Secrets of a user: from a file, an environment variable or a prompt; never from an argument, which `ps` shows."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from app.cli.exits import CliError, Exit

PASSWORD_VARIABLE = "VMFERRY_SOURCE_PASSWORD"  # noqa: S105 - the name of a variable


def read_password(file: Path | None, prompt: str) -> str:
    """The password in `file` ("-": standard input), else of the environment, else asked for on a terminal."""
    if file is not None:
        return _first_line(file)
    if given := os.environ.get(PASSWORD_VARIABLE):
        return given
    if sys.stdin.isatty():
        answer: str = typer.prompt(prompt, hide_input=True, err=True)
        return answer
    raise CliError(
        Exit.USAGE,
        "no_password",
        "a password is needed, and there is no terminal to ask on",
        f"Give --password-file FILE, or set {PASSWORD_VARIABLE}.",
    )


LUKS_HELP = (
    "The key of an encrypted disk: the first line of FILE, or asked for. DEVICE is as libguestfs counts (/dev/sda2), a"
    " LUKS UUID, or all. May be repeated."
)


def read_disk_keys(given: list[str]) -> dict[str, str]:
    """Device → key of "DEVICE=FILE" and, asked for on a terminal, "DEVICE"."""
    keys = {}
    for word in given:
        device, _, file = word.partition("=")
        if file:
            keys[device] = _first_line(Path(file))
        elif sys.stdin.isatty():
            keys[device] = typer.prompt(f"Key of {device}", hide_input=True, err=True)
        else:
            raise CliError(
                Exit.USAGE,
                "no_disk_key",
                f"the key of {device} is needed, and there is no terminal to ask on",
                f"Give --luks-key {device}=FILE.",
            )
    return keys


def _first_line(file: Path) -> str:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(Exit.USAGE, "unreadable_file", f"{file} could not be read: {error}") from error
    password = text.split("\n", 1)[0].removesuffix("\r")
    if not password:
        raise CliError(Exit.USAGE, "no_password", f"the first line of {file} is empty")
    return password
