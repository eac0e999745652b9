"""What a move needs of the platform it arrives on. One instance serves one registered target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from app.domain.hardware.model import Hardware
from app.domain.models import Check, Domain, ImageOptions, TargetFacts
from app.ports.source import CancelCheck

PLAIN = ImageOptions()


class Target(Protocol):
    """Errors: TargetUnavailable is worth a retry; NoSpace, DomainExists, TargetDenied and NotFound are not.

    Volumes are files of a pool that is local to the worker. Removing what is not there is no error.
    """

    def check(self) -> list[Check]: ...
    def facts(self) -> TargetFacts: ...
    def create_volume(
        self, name: str, capacity_bytes: int, image: ImageOptions = PLAIN, *, cancel: CancelCheck | None = None
    ) -> Path:
        """A new, empty volume; one of that name is replaced. Raises NoSpace.

        To preallocate in full takes as long as to write it all: `cancel` is asked meanwhile, and stops it by raising.
        """
        ...

    def volume_path(self, name: str) -> Path | None: ...
    def volumes(self, prefix: str) -> list[str]:
        """Names in the pool as its folder has them now, not as libvirt last saw it."""
        ...

    def delete_volume(self, name: str) -> None: ...
    def serial_log(self, name: str) -> Path:
        """Where a domain of this target can have its serial port written, for a name without separators."""
        ...

    def find_domain(self, *, uuid: str = "", name: str = "") -> Domain | None: ...
    def define(self, hardware: Hardware) -> Domain:
        """Define it, or define it again if it is there with the same job id. Raises DomainExists otherwise."""
        ...

    def undefine(self, uuid: str) -> None:
        """Remove the definition with its NVRAM; the domain must be stopped. Disks stay."""
        ...

    def start(self, uuid: str, *, isolated: bool = False) -> tuple[str, ...]:
        """Start it, or let it go on; what is worth telling about that.

        `isolated`: its cards are on a network where they meet nobody, until `connect`. What runs already stays where
        it is; the definition names the real networks all the time.
        """
        ...

    def connect(self, uuid: str) -> None:
        """Put the cards of a running domain on the networks of its definition, with their links down and up again.

        Raises TargetDenied when they are not there in the end.
        """
        ...

    def shut_down(self, uuid: str, timeout_s: float) -> bool:
        """Ask the guest; True when it is off."""
        ...

    def stop(self, uuid: str) -> None:
        """Pull the plug."""
        ...

    def agent_answers(self, uuid: str) -> bool: ...
    def ask_agent(self, uuid: str) -> dict[str, Any]:
        """What the guest agent says of the guest, by command, for app/domain/guest_facts.py; {} without an answer."""
        ...

    def addresses(self, uuid: str, ask: Sequence[str] = ()) -> dict[str, list[str]]:
        """MAC → addresses: heard from the cards since `start` or `connect`, of DHCP leases, of the agent.

        `ask`: CIDRs whose owner, on the isolated network, is made to answer.
        """
        ...

    def screenshot(self, uuid: str) -> bytes:
        """A PNG of the console. Raises NotFound when the domain has none or is off."""
        ...

    def close(self) -> None: ...
