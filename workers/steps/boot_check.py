"""Start the moved guest and see it come up: its agent answers, it speaks on the serial port, or it has an address."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app.domain.errors import BootFailed, NotFound, TargetUnavailable
from app.domain.models import Artefact, BootEvidence, Leftover
from workers.steps.context import StepContext

UP = re.compile(rb"login: |Reached target \S*multi-user|Reached target \S*Multi-User|^VMFERRY-REPORT \{.*\}", re.M)
DEAD = re.compile(
    rb"Kernel panic - not syncing[^\r\n]*|\(initramfs\)|Entering emergency mode|Give root password for maintenance"
    rb"|dracut-emergency|No bootable device|grub rescue>"
)
POLL_S = 2.0
SETTLE_S = 45.0
SETTLE_POLL_S = 5.0
SERIAL_TAIL = 256 << 10
SHUTDOWN_S = 60.0


def do(ctx: StepContext) -> str:
    job, move = ctx.job, ctx.move
    if not move.runs_after():
        return "not started: the source was off, and no one asked for more"
    domain = ctx.target.find_domain(uuid=job.domain_uuid)
    if domain is None:
        raise NotFound(f"domain {job.domain_uuid} is gone from {job.target_name}", "Retry the job.", code="domain_gone")
    ctx.store.keep(job.id, Artefact(kind="running", name=job.domain_uuid))
    ctx.require_source_off()
    ctx.fence()
    if not domain.running:
        ctx.target.start(job.domain_uuid)
    started = ctx.clock.monotonic()
    evidence: BootEvidence | None = None
    while evidence is None:
        ctx.cancel()
        evidence = _look(ctx, ctx.clock.monotonic() - started)
        if evidence is None:
            if ctx.clock.monotonic() - started > job.options.boot_timeout_s:
                _picture(ctx, "boot-failed")
                raise BootFailed(
                    f"{move.domain_name} was started and not seen to be up within {job.options.boot_timeout_s} s",
                    f"Look at the picture of its console and at its serial log (job folder of {job.id}).",
                )
            ctx.clock.sleep(POLL_S)
    ctx.store.record(job.id, boot=evidence)
    _settle(ctx)
    _picture(ctx, "boot")
    ctx.store.keep(job.id, Artefact(kind="running", name=job.domain_uuid, made=True))
    return f"up after {evidence.seconds:.0f} s: {evidence.kind}, {evidence.detail}"


def _look(ctx: StepContext, seconds: float) -> BootEvidence | None:
    uuid = ctx.job.domain_uuid
    domain = ctx.target.find_domain(uuid=uuid)
    if domain is None or not domain.running:
        raise BootFailed(f"{ctx.move.domain_name} stopped by itself while it booted", "Look at its log in libvirt.")
    serial = _tail(ctx.target.serial_log(f"vmferry-{ctx.job.id}"))
    if dead := DEAD.search(serial):
        _picture(ctx, "boot-failed")
        raise BootFailed(
            f"{ctx.move.domain_name} did not boot: {dead.group().decode(errors='replace')}",
            f"Look at its serial log (job folder of {ctx.job.id}); the source is untouched.",
        )
    if seen := UP.search(serial):
        detail = seen.group().decode(errors="replace").split("{")[0].strip()
        return BootEvidence(kind="serial", detail=detail, seconds=seconds)
    if ctx.target.agent_answers(uuid):
        return BootEvidence(kind="agent", detail="the guest agent answers", seconds=seconds)
    _knock(ctx)
    for mac, addresses in ctx.target.addresses(uuid).items():
        if addresses:
            return BootEvidence(kind="address", detail=f"{mac} has {', '.join(addresses)}", seconds=seconds)
    return None


def _knock(ctx: StepContext) -> None:
    """Make the host ask for the guest's addresses, so that its neighbour table can name the MAC that answers."""
    for nic in ctx.vm.nics:
        for address in nic.addresses:
            with suppress(OSError), socket.create_connection((address.split("/")[0], 22), timeout=0.3):
                continue


def _tail(path: Path) -> bytes:
    """The end of the serial log; nothing where libvirt keeps it from us, as other evidence may do."""
    with suppress(FileNotFoundError, PermissionError), path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - SERIAL_TAIL))
        return log.read()
    return b""


def _settle(ctx: StepContext) -> None:
    """Wait for a console that stands still, for a picture that says more than the middle of a boot."""
    deadline = ctx.clock.monotonic() + SETTLE_S
    last = b""
    while ctx.clock.monotonic() < deadline:
        ctx.cancel()
        with suppress(NotFound):
            seen = ctx.target.screenshot(ctx.job.domain_uuid)
            if seen == last:
                return
            last = seen
        ctx.clock.sleep(SETTLE_POLL_S)


def _picture(ctx: StepContext, name: str) -> None:
    try:
        (ctx.folder / f"console-{name}.png").write_bytes(ctx.target.screenshot(ctx.job.domain_uuid))
    except (NotFound, TargetUnavailable) as error:
        ctx.event(f"no picture of the console: {error.message}", level="warning")
    (ctx.folder / "serial.log").write_bytes(_tail(ctx.target.serial_log(f"vmferry-{ctx.job.id}")))


def undo(ctx: StepContext) -> None:
    """Stop the target, kindly first."""
    job = ctx.job
    if job.artefact("running", job.domain_uuid) is None:
        return
    ctx.fence()
    domain = ctx.target.find_domain(uuid=job.domain_uuid)
    if (
        domain is not None
        and domain.job == job.id
        and domain.running
        and not (job.boot is not None and ctx.target.shut_down(domain.uuid, SHUTDOWN_S))
    ):
        ctx.target.stop(domain.uuid)
    ctx.store.drop(job.id, "running", job.domain_uuid)


def leftovers(ctx: StepContext, cause: str) -> Sequence[Leftover]:
    job, spec = ctx.job, ctx.target_spec
    if job.artefact("running", job.domain_uuid) is None:
        return ()
    return (
        Leftover(
            what=f"domain {job.domain_uuid} on {spec.name} may still run",
            cause=cause,
            command=f"virsh -c {spec.uri} destroy {job.domain_uuid}",
        ),
    )
