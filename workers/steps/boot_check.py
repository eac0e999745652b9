"""Start the moved guest apart from all others, see it come up as who it was, and only then put it on its networks."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

from app.domain.boot import LIMITS
from app.domain.contract import CONTRACT_CHANGED, compare, concern_of
from app.domain.errors import NotFound
from app.domain.guest_facts import merged, of_agent, of_serial, of_tools
from app.domain.models import Artefact, GuestFacts, Leftover
from workers.steps.boot_ladder import POLL_S, Ladder
from workers.steps.context import StepContext

SHUTDOWN_S = 60.0
LEAST_CONTRACT_S = 15.0
CONNECT_S = 3.0


def do(ctx: StepContext) -> str:
    job, move = ctx.job, ctx.move
    if not move.runs_after():
        return "not started: the source was off, and no one asked for more"
    if ctx.target.find_domain(uuid=job.domain_uuid) is None:
        raise NotFound(f"domain {job.domain_uuid} is gone from {job.target_name}", "Retry the job.", code="domain_gone")
    isolated = job.options.boot_network == "isolated"
    ctx.store.keep(job.id, Artefact(kind="running", name=job.domain_uuid))
    ctx.require_source_off()
    ctx.fence()
    ladder = Ladder(ctx)
    ladder.reach({"defined": job.domain_uuid})
    for told in ctx.target.start(job.domain_uuid, isolated=isolated):
        ctx.event(told, level="warning")
    ladder.reach({"running": "on the isolated network" if isolated else "on its real networks"})
    ladder.watch()
    ladder.settle()
    _hold_to_contract(ctx, ladder, isolated)
    ctx.fence()
    if isolated:
        ctx.target.connect(job.domain_uuid)
        ctx.event("boot: its cards are on their own networks now")
        contract = ladder.boot.contract
        if contract and contract.awaits_network and ctx.target.agent_answers(job.domain_uuid):
            _hold_to_contract(ctx, ladder, isolated, connected=True)
    _knock(ctx, ladder)
    ctx.store.keep(job.id, Artefact(kind="running", name=job.domain_uuid, made=True))
    boot = ladder.boot
    return f"up after {boot.seconds or 0:.0f} s: {boot.kind}, {boot.detail}; {boot.rung('contract').detail}"


def _hold_to_contract(ctx: StepContext, ladder: Ladder, isolated: bool, *, connected: bool = False) -> None:
    """Compare who it is with who it was, until that is the same or the time is over. A difference is a warning.

    `connected`: it was isolated until now; what its network gives is waited for, but nobody says that it must come.
    """
    before = _before(ctx)
    most = LIMITS["contract"] * ctx.job.options.boot_timeout_s
    deadline = ladder.seconds + min(most, max(LEAST_CONTRACT_S, ladder.boot.seconds or 0))
    while True:
        contract = compare(before, _after(ctx, ladder), isolated=isolated)
        if contract.verdict == "same" and not (connected and contract.awaits_network):
            break
        ladder.look("contract")
        if ladder.seconds > deadline:
            break
        ctx.clock.sleep(POLL_S)
    ladder.hold(contract)
    concern = concern_of(contract)
    others = tuple(known for known in ctx.job.concerns if known.code != CONTRACT_CHANGED)
    ctx.store.record(ctx.job.id, concerns=(*others, concern) if concern else others)


def _before(ctx: StepContext) -> GuestFacts:
    guest = ctx.job.guest
    return merged(of_tools(ctx.vm), guest.before if guest else None)


def _after(ctx: StepContext, ladder: Ladder) -> GuestFacts:
    return merged(of_agent(ctx.target.ask_agent(ctx.job.domain_uuid)), of_serial(ladder.serial()))


def _knock(ctx: StepContext, ladder: Ladder) -> None:
    """Have the port that the user asked for answer. Raises BootFailed when it does not in its time."""
    port = ctx.job.options.boot_port
    if port is None:
        ladder.skip("port", "no port was asked for")
        return
    deadline = ladder.seconds + LIMITS["port"] * ctx.job.options.boot_timeout_s
    while True:
        ladder.look("port")
        addresses = list(dict.fromkeys(_addresses(ctx, ladder)))
        for address in addresses:
            with suppress(OSError), socket.create_connection((address, port), timeout=CONNECT_S):
                ladder.reach({"port": f"TCP port {port} of {address} answers"})
                return
        if ladder.seconds > deadline:
            tried = ", ".join(addresses) or "no known address"
            raise ladder.failed(f"TCP port {port} did not answer ({tried})", "port")
        ctx.clock.sleep(POLL_S)


def _addresses(ctx: StepContext, ladder: Ladder) -> Iterator[str]:
    for facts in (_after(ctx, ladder), _before(ctx)):
        for cidrs in (facts.addresses or {}).values():
            yield from (cidr.partition("/")[0] for cidr in cidrs if not cidr.startswith("fe80:"))
    for heard in ctx.target.addresses(ctx.job.domain_uuid).values():
        yield from heard


def undo(ctx: StepContext) -> None:
    """Stop the target, kindly first."""
    job = ctx.job
    if job.artefact("running", job.domain_uuid) is None:
        return
    ctx.fence()
    domain = ctx.target.find_domain(uuid=job.domain_uuid)
    up = job.boot is not None and job.boot.kind is not None
    if (
        domain is not None
        and domain.job == job.id
        and domain.running
        and not (up and ctx.target.shut_down(domain.uuid, SHUTDOWN_S))
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
