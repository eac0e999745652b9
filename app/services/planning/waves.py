"""The waves of a plan: what a sheet says of them, what its rows name, and what the plan had."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from app.domain.plan import Wanted, WantedPlan, Wave
from app.services.planning.drafts import DEFAULT_WAVE
from app.services.planning.report import Findings
from app.services.planning.words import Suggestions, listed, said

_NUMBER = re.compile(r"(\d+)")
MOST = 60  # characters of a name


def wave_of(row: Wanted, told: Sequence[Wave], suggest: Suggestions, found: Findings) -> str:
    """The name of a row's wave, which a sheet that describes waves must have described."""
    names = [wave.name for wave in told]
    if row.wave in names:
        return row.wave
    if row.wave and not names:
        if 0 < len(row.wave) <= MOST and row.wave.isprintable():
            return row.wave
        found.error(
            row.place("wave"), "wave_invalid", f"{said(row.wave)} cannot be the name of a wave",
            f"Use 1 to {MOST} characters.",
        )  # fmt: skip
        return DEFAULT_WAVE
    if row.wave:
        found.error(
            row.place("wave"),
            "wave_unknown",
            f"there is no wave {said(row.wave)}; waves: {listed(names)}",
            suggest.did_you_mean(row.wave, names) or "Use one of these, or describe it in the sheet Waves.",
        )
    elif len(names) > 1:
        found.error(
            row.place("wave"), "wave_missing", f"the row names no wave; waves: {listed(names)}", "Name one of them."
        )
    return names[0] if names else DEFAULT_WAVE


def waves_of(wanted: WantedPlan, used: Collection[str], before: Sequence[Wave], found: Findings) -> tuple[Wave, ...]:
    """The plan's waves, in their order: as the sheet lists them, else as the plan did, new ones by their names.

    Those that items still use stay, though the sheet no longer lists them, and all where it lists none; what was
    approved stays approved.
    """
    told = _once_each(wanted, found)
    if not told and wanted.kind == "document":  # which says all of a plan: its waves have no settings then
        told = [Wave(name=name) for name in sorted(used, key=natural)]
    known = {wave.name: wave for wave in before}
    told = [wave.instead_of(known.get(wave.name)) for wave in told]
    names = {wave.name for wave in told}
    kept = [wave for wave in before if wave.name not in names and (wave.name in used or not told)]
    names |= {wave.name for wave in kept}
    new = [Wave(name=name) for name in sorted(set(used) - names, key=natural)]
    return (*kept, *told, *new)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts "2" before "10", and numbers before words."""
    return [
        (0, int(part[:18]), "") if part.isdecimal() else (1, 0, part.casefold()) for part in _NUMBER.split(name) if part
    ]


def _once_each(wanted: WantedPlan, found: Findings) -> list[Wave]:
    told: dict[str, Wave] = {}
    for wave in wanted.waves:
        if wave.name in told:
            found.error(
                wanted.wave_places.get(f"{wave.name}/name", ""),
                "wave_twice",
                f"the wave {said(wave.name)} is described twice",
                "Leave one of them out.",
            )
        told.setdefault(wave.name, wave)
    return list(told.values())
