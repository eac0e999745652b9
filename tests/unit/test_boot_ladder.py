"""The rungs of a boot: what each is seen by, what implies it, when it is late."""

from __future__ import annotations

import pytest

from app.domain.boot import LIMITS, Boot, Sight, climb, dead, evidence, late, marked, next_rung, seen


def states(boot: Boot) -> dict[str, str]:
    return {rung.name: rung.state for rung in boot.rungs}


@pytest.mark.parametrize(
    ("serial", "rungs"),
    [
        ("", []),
        ("SeaBIOS (version 1.16)\r\n", []),
        ("Welcome to GRUB!\r\n", ["firmware"]),
        ('BdsDxe: starting Boot0001 "debian"\r\n', ["firmware"]),
        ("[    0.000000] Linux version 6.1.0-18-amd64\r\n", ["kernel"]),
        ("EFI stub: Loaded initrd\r\n", ["kernel"]),
        ("systemd[1]: Hostname set\r\n", ["userland"]),
        ("Welcome to \x1b[1mDebian GNU/Linux\x1b[0m!\r\n", ["userland"]),
        ("[  OK  ] Reached target \x1b[0;1;39mmulti-user.target\r\n", ["userland", "seen"]),
        ("web01 login: ", ["seen"]),
        ('VMFERRY-REPORT {"hostname": "web01"}\n', ["seen"]),
        ("echo VMFERRY-REPORT {}\n", []),
    ],
)
def test_what_the_serial_port_says(serial: str, rungs: list[str]) -> None:
    assert list(seen(Sight(serial=serial))) == rungs


def test_what_else_is_seen() -> None:
    assert list(seen(Sight(mode_changed=True))) == ["firmware"]
    assert seen(Sight(agent=True)) == {"seen": "agent: the guest agent answers"}
    heard = Sight(addresses={"00:50:56:8a:50:10": ["192.0.2.10"], "00:50:56:8a:50:11": []})
    assert seen(heard) == {"seen": "address: 00:50:56:8a:50:10 has 192.0.2.10"}
    assert evidence(Sight(addresses={"00:50:56:8a:50:11": []})) is None
    assert str(evidence(Sight("web01 login: ", agent=True)).kind) == "serial"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "said",
    [
        "Kernel panic - not syncing: VFS: Unable to mount root fs",
        "(initramfs)",
        "No bootable device",
        "BdsDxe: No bootable option or device was found.",
        "grub rescue>",
        "Entering emergency mode",
    ],
)
def test_a_guest_that_says_that_it_will_not_boot(said: str) -> None:
    assert dead(f"noise\r\n{said}\r\nmore").startswith(said[:12])
    assert dead("Linux version 6.1") == ""


def test_a_rung_implies_those_below() -> None:
    boot = climb(Boot(), {"defined": "x", "running": "y"}, 1.0, "console-running.png")
    assert boot.last == "running"
    assert next_rung(boot) == "firmware"
    boot = climb(boot, {"userland": "serial: systemd"}, 9.0, "console-userland.png")
    kernel = boot.rung("kernel")
    assert (kernel.state, kernel.detail, kernel.seconds) == ("reached", "implied by userland", 9.0)
    assert kernel.picture == "console-userland.png"
    assert boot.rung("running").seconds == 1.0
    assert next_rung(boot) == "seen"


def test_no_rung_implies_the_contract() -> None:
    boot = climb(marked(climb(Boot(), {"seen": "x"}, 5), "contract", "failed", detail="hostname"), {"port": "x"}, 6)
    assert states(boot) == dict.fromkeys(LIMITS, "reached") | {"contract": "failed"}
    assert boot.last == "port"


def test_a_rung_is_late_once_and_may_be_seen_later() -> None:
    boot = climb(Boot(), {"running": "x"}, 1.0)
    assert late(boot, 239, 600) == []
    assert late(boot, 241, 600) == ["firmware"]
    boot = marked(boot, "firmware", "not_seen", detail="not seen within 240 s")
    assert late(boot, 241, 600) == []
    assert late(boot, 599, 600) == ["kernel", "userland"]
    assert climb(boot, {"seen": "x"}, 400).rung("firmware").detail == "implied by seen"


def test_a_ladder_survives_the_database() -> None:
    boot = climb(Boot(), {"seen": "x"}, 5)
    assert Boot.model_validate(boot.to_dict()) == boot
