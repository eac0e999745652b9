"""The machine that a target's domains run on, as far as hardware asks for it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from app.domain.value import Value


class HostNode(Value):
    """A NUMA node of a target's host."""

    id: int
    cpus: tuple[int, ...]
    memory_bytes: int
    huge_pages: dict[int, int] = Field(default_factory=dict)  # size in KiB → how many are free


class Host(Value):
    """The machine that a target's domains run on."""

    nodes: tuple[HostNode, ...] = ()  # none where it was not looked at
    bridges: dict[str, int] = Field(default_factory=dict)  # of Linux: name → MTU
    ovs_bridges: dict[str, int] = Field(default_factory=dict)
    cards: dict[str, int] = Field(default_factory=dict)  # other network devices, which macvtap can take
    devices: dict[str, bool] = Field(default_factory=dict)  # of PCI and mediated ones: whether a guest can have it
    ksm: Literal["on", "off", "missing"] = "missing"  # whether it merges equal pages of memory


class WindowsTools(Value):
    """What is at hand for Windows guests where the worker runs: see app/domain/windows.py for the names."""

    drivers: tuple[str, ...] = ()  # of disks and network cards: "2k19/amd64", "w10/amd64", …
    agents: tuple[str, ...] = ()  # "amd64", "x86": for which a guest agent can be installed
    runner: bool = False  # whether virt-v2v's scripts for the first boot can be run
