"""The ladder that a moved guest climbs: what each rung is seen by, and how long it is waited for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from app.domain.contract import Contract
from app.domain.value import Value

RungName = Literal["defined", "running", "firmware", "kernel", "userland", "seen", "contract", "port"]
State = Literal["reached", "skipped", "failed", "not_seen"]

LIMITS: dict[RungName, float] = {
    "defined": 0.1,
    "running": 0.1,
    "firmware": 0.4,
    "kernel": 0.5,
    "userland": 0.8,
    "seen": 1.0,
    "contract": 0.5,
    "port": 0.2,
}
"""By when a rung has to be seen, as a part of boot_timeout_s: up to `seen` from the start, then from the rung before.

Only `seen` ends a boot that is late: a guest without a serial console climbs unseen, and what is seen later implies it.
"""

_UP = r"login: |Reached target \S*[Mm]ulti-[Uu]ser|^VMFERRY-REPORT \{.*\}"
_SPOKEN: dict[RungName, re.Pattern[str]] = {
    "firmware": re.compile(
        r"GRUB|Welcome to systemd-boot|BdsDxe: starting Boot|Booting from Hard Disk|Booting `|ISOLINUX|Loading Linux"
    ),
    "kernel": re.compile(r"Linux version \d|EFI stub: |Decompressing Linux|\[ +\d+\.\d{6}\] |FreeBSD/SMP"),
    "userland": re.compile(r"systemd\[1\]: |Welcome to (?!GRUB|systemd-boot)|Reached target |INIT: version|OpenRC \d"),
    "seen": re.compile(_UP, re.M),
}
_DEAD = re.compile(
    r"Kernel panic - not syncing[^\r\n]*|\(initramfs\)|Entering emergency mode|Give root password for maintenance"
    r"|dracut-emergency|No bootable (?:device|option)|grub rescue>|BdsDxe: No bootable option[^\r\n]*"
)


class Rung(Value):
    """`seconds`: since the start; `picture`: the console then, a file in the job's folder."""

    name: RungName
    state: State = "not_seen"
    seconds: float | None = None
    detail: str = ""
    picture: str = ""


class Boot(Value):
    """How a moved guest came up. `kind` and `detail`: what it was first seen up by; None while it was not."""

    kind: Literal["agent", "serial", "address"] | None = None
    detail: str = ""
    seconds: float | None = None
    rungs: tuple[Rung, ...] = tuple(Rung(name=name) for name in LIMITS)
    contract: Contract | None = None

    def rung(self, name: RungName) -> Rung:
        return next(rung for rung in self.rungs if rung.name == name)

    @property
    def last(self) -> RungName | None:
        """The highest rung that was reached."""
        return next((rung.name for rung in reversed(self.rungs) if rung.state == "reached"), None)


class Sight(NamedTuple):
    """What one look at a guest shows. `mode_changed`: the console is not in the mode that the BIOS gave it."""

    serial: str = ""
    agent: bool = False
    addresses: Mapping[str, list[str]] = {}
    mode_changed: bool = False


class Evidence(NamedTuple):
    kind: Literal["agent", "serial", "address"]
    detail: str


def evidence(sight: Sight) -> Evidence | None:
    """What shows that the guest is up."""
    if spoken := _SPOKEN["seen"].search(sight.serial):
        return Evidence("serial", _short(spoken[0].partition("{")[0]))
    if sight.agent:
        return Evidence("agent", "the guest agent answers")
    for mac, addresses in sight.addresses.items():
        if addresses:
            return Evidence("address", f"{mac} has {', '.join(addresses)}")
    return None


def seen(sight: Sight) -> dict[RungName, str]:
    """Rung → what shows that it was reached."""
    found: dict[RungName, str] = {
        name: f"serial: {_short(spoken[0])}"
        for name, pattern in _SPOKEN.items()
        if (spoken := pattern.search(sight.serial))
    }
    if "firmware" not in found and sight.mode_changed:
        found["firmware"] = "the console left the mode that the BIOS gave it"
    if up := evidence(sight):
        found["seen"] = f"{up.kind}: {up.detail}"
    return found


def dead(serial: str) -> str:
    """What a guest says that will not boot; empty while it says no such thing."""
    match = _DEAD.search(serial)
    return _short(match[0]) if match else ""


def climb(boot: Boot, found: Mapping[RungName, str], seconds: float, picture: str = "") -> Boot:
    """The rungs that are found are reached, and the boot's below them; what was reached stays as it was."""
    names = list(LIMITS)
    top = max((names.index(name) for name in found), default=-1)
    rungs = []
    for index, rung in enumerate(boot.rungs):
        implied = index < top and rung.name != "contract"
        if (implied or rung.name in found) and rung.state != "reached":
            detail = found.get(rung.name) or f"implied by {names[top]}"
            rung = Rung(name=rung.name, state="reached", seconds=seconds, detail=detail, picture=picture)
        rungs.append(rung)
    return boot.model_copy(update={"rungs": tuple(rungs)})


def marked(boot: Boot, name: RungName, state: State, **values: object) -> Boot:
    """With one rung in another state."""
    rungs = tuple(
        rung.model_copy(update={"state": state, **values}) if rung.name == name else rung for rung in boot.rungs
    )
    return boot.model_copy(update={"rungs": rungs})


def next_rung(boot: Boot) -> RungName | None:
    """The lowest rung above the highest that was reached."""
    names = list(LIMITS)
    above = names.index(boot.last) + 1 if boot.last else 0
    return names[above] if above < len(names) else None


def late(boot: Boot, seconds: float, timeout_s: float) -> list[RungName]:
    """The rungs that ought to be seen by now, and of which nothing was said yet."""
    return [
        rung.name
        for rung in boot.rungs
        if rung.name not in ("seen", "contract", "port")
        and rung.state == "not_seen"
        and not rung.detail
        and seconds > LIMITS[rung.name] * timeout_s
    ]


def _short(text: str) -> str:
    return "".join(character for character in text if character.isprintable()).strip()[:80]
