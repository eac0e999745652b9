"""A guest watched while it boots: what is seen of it goes to the job, rung by rung, each with a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from app.domain.boot import LIMITS, Boot, RungName, Sight, State, climb, dead, evidence, late, marked, next_rung, seen
from app.domain.contract import Contract
from app.domain.errors import BootFailed, NotFound, TargetUnavailable
from workers.steps.context import StepContext

POLL_S = 2.0
SETTLE_S = 45.0
SETTLE_POLL_S = 5.0
SERIAL_TAIL = 256 << 10
PLACEHOLDER = (640, 480)  # QEMU's picture before the firmware has chosen a mode


class Ladder:
    """One attempt at the ladder; `boot` is what the job has of it."""

    def __init__(self, ctx: StepContext) -> None:
        self._ctx = ctx
        self._started = ctx.clock.monotonic()
        self._modes: list[tuple[int, int]] = []
        self.boot = Boot()

    @property
    def seconds(self) -> float:
        return self._ctx.clock.monotonic() - self._started

    def watch(self) -> None:
        """Until the guest is seen to be up. Raises BootFailed when it dies, or is not seen in time."""
        timeout_s = self._ctx.job.options.boot_timeout_s
        while True:
            sight = self.look()
            if found := seen(sight):
                self.reach(found)
            if up := evidence(sight):
                self._keep(self.boot.model_copy(update={**up._asdict(), "seconds": self.seconds}))
                return
            for name in late(self.boot, self.seconds, timeout_s):
                detail = f"not seen within {LIMITS[name] * timeout_s:.0f} s"
                self._keep(marked(self.boot, name, "not_seen", detail=detail, picture=self._picture(name)))
                self._ctx.event(f"boot: {name} {detail}", level="warning")
            if self.seconds > timeout_s:
                raise self.failed(f"it was not seen to be up within {timeout_s} s")
            self._ctx.clock.sleep(POLL_S)

    def look(self, aim: RungName | None = None) -> Sight:
        """What is to be seen of it now, on its way to a rung: the next one, unless another is named.

        Raises BootFailed when it is off, or says that it will not boot.
        """
        ctx = self._ctx
        ctx.cancel()
        uuid = ctx.job.domain_uuid
        domain = ctx.target.find_domain(uuid=uuid)
        if domain is None or not domain.running:
            raise self.failed("it stopped by itself", aim)
        serial = self.serial()
        if words := dead(serial):
            self.reach({name: said for name, said in seen(Sight(serial)).items() if name != "seen"})
            raise self.failed(f"it says: {words}", aim)
        ask = [cidr for nic in ctx.vm.nics for cidr in nic.addresses]
        return Sight(serial, ctx.target.agent_answers(uuid), ctx.target.addresses(uuid, ask), self._mode_changed())

    def serial(self) -> str:
        return _tail(self._ctx.target.serial_log(f"vmferry-{self._ctx.job.id}")).decode(errors="replace")

    def reach(self, found: Mapping[RungName, str]) -> None:
        """Say, record and picture what is new in what is found."""
        before = self.boot.last
        boot = climb(self.boot, found, self.seconds)
        top = boot.last
        if top is None or top == before:
            return
        picture = "" if top == "defined" else self._picture(top)  # it does not run yet
        self._keep(climb(self.boot, found, self.seconds, picture))
        self._ctx.event(f"boot: {top} after {self.seconds:.0f} s: {self.boot.rung(top).detail}")

    def hold(self, contract: Contract) -> None:
        """The verdict on the contract. A guest that is not as it was runs on."""
        states: dict[str, State] = {"same": "reached", "changed": "failed", "not_seen": "not_seen"}
        picture = self._picture("contract")
        boot = self.boot.model_copy(update={"contract": contract})
        values = {"seconds": self.seconds, "detail": contract.told, "picture": picture}
        self._keep(marked(boot, "contract", states[contract.verdict], **values))
        level = "warning" if contract.verdict == "changed" else "info"
        said = ", ".join(f"{finding.field} {finding.verdict}" for finding in contract.findings)
        self._ctx.event(f"boot: contract {contract.told}; {said}", level=level)

    def skip(self, name: RungName, detail: str) -> None:
        self._keep(marked(self.boot, name, "skipped", detail=detail))

    def failed(self, why: str, rung: RungName | None = None) -> BootFailed:
        """The error for a boot that ended below the top."""
        last, name = self.boot.last, rung or next_rung(self.boot) or "port"
        picture = self._picture(name)
        self._keep(marked(self.boot, name, "failed", seconds=self.seconds, detail=why, picture=picture))
        reached = f"the last rung that it reached is {last}" if last else "it reached no rung"
        where = f"console picture {picture}, " if picture else ""
        return BootFailed(
            f"{self._ctx.move.domain_name} did not get to {name}: {why}; {reached}",
            f"Look at its {where}serial.log in the job's folder ({self._ctx.job.id}); the source is untouched.",
            rung=name,
            last_rung=last,
        )

    def settle(self) -> None:
        """Wait for a console that stands still, for a picture that says more than the middle of a boot."""
        clock, last = self._ctx.clock, b""
        deadline = clock.monotonic() + SETTLE_S
        while clock.monotonic() < deadline:
            self._ctx.cancel()
            seen = self._screen()
            if seen == last:
                break
            last = seen
            clock.sleep(SETTLE_POLL_S)
        self._picture("seen")

    def _mode_changed(self) -> bool:
        """Whether a BIOS's text mode was left: by a boot loader or a system, as firmware with UEFI does by itself."""
        if self._ctx.vm.firmware == "efi" or self.boot.rung("firmware").state == "reached":
            return False
        if (size := _size(self._screen())) and (self._modes or size != PLACEHOLDER) and size not in self._modes:
            self._modes.append(size)
        return len(self._modes) > 1

    def _screen(self) -> bytes:
        with suppress(NotFound, TargetUnavailable):
            return self._ctx.target.screenshot(self._ctx.job.domain_uuid)
        return b""

    def _picture(self, name: RungName) -> str:
        """The file's name, in the job's folder; empty when there is no picture to be had."""
        folder, file = self._ctx.folder, f"console-{name}.png"
        (folder / "serial.log").write_bytes(_tail(self._ctx.target.serial_log(f"vmferry-{self._ctx.job.id}")))
        try:
            (folder / file).write_bytes(self._ctx.target.screenshot(self._ctx.job.domain_uuid))
        except (NotFound, TargetUnavailable) as error:
            self._ctx.event(f"no picture of the console: {error.message}", level="warning")
            return ""
        return file

    def _keep(self, boot: Boot) -> None:
        self.boot = boot
        self._ctx.store.record(self._ctx.job.id, boot=boot)
        (self._ctx.folder / "boot.json").write_text(json.dumps(boot.to_dict(), indent=2) + "\n")


def _tail(path: Path) -> bytes:
    """The end of the serial log; nothing where libvirt keeps it from us, as other evidence may do."""
    with suppress(FileNotFoundError, PermissionError), path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - SERIAL_TAIL))
        return log.read()
    return b""


def _size(png: bytes) -> tuple[int, int] | None:
    return (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) if len(png) > 24 else None
