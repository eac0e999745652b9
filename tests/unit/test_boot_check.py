"""The step `boot_check` over a target in memory, whose guest does things at given seconds."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from app.domain.boot import LIMITS, Boot
from app.domain.errors import BootFailed, Cancelled, TargetDenied
from app.domain.job import Job
from app.domain.models import VM, GuestFacts, GuestReport, PowerState, TargetSpec
from app.domain.move import MoveOptions
from tests.contract.memory.source import MemorySource
from tests.contract.memory.store import MemoryStore
from tests.contract.memory.target import MemoryTarget
from tests.unit.moves import make_vm
from workers.steps import boot_check, define
from workers.steps.context import Adapters, StepContext

START = datetime(2026, 1, 1, tzinfo=UTC)
MAC = "00:50:56:8a:50:10"
SPOKEN = {
    "hostname": "web01",
    "addresses": {"ens192": ["192.0.2.10/24"]},
    "macs": {"ens192": MAC},
    "kernel": "6.1.0-18-amd64",
}


class Bench:
    """A defined domain, and a clock that moves when the step sleeps. at: second → what the guest does then."""

    def __init__(self, home: Path, **options: Any) -> None:
        nic = make_vm().nics[0].model_copy(update={"addresses": ("192.0.2.10/24",)})
        vm: VM = make_vm(hostname="web01", nics=(nic,), disks=(), power_state=PowerState.OFF)
        pool = home / "pool"
        pool.mkdir()
        self.target = MemoryTarget(pool)
        self.store = MemoryStore()
        self.store.targets["t"] = TargetSpec(id="t", name="kvm", networks={"*": "default"})
        before = GuestFacts(hostname="web01", kernel="6.1.0-18-amd64", static=("192.0.2.10",))
        job = Job(
            id="j1", vm_id=vm.id, vm_name=vm.name, source_id="s", source_name="lab", target_id="t", target_name="kvm",
            options=MoveOptions(power_on=True, **options), created_at=START, vm=vm, off_since=START,
            domain_uuid=vm.uuid, guest=GuestReport(converter="native", before=before),
        )  # fmt: skip
        self.store.submit(job)
        self.at: dict[float, Callable[[], None]] = {}
        self.time = 0.0
        self.canceled = False
        source = MemorySource([vm])
        adapters = Adapters(
            open_source=lambda _: source, open_target=lambda _: self.target, converters={}, clock=self, home=home
        )
        self.store.sources["s"] = None  # type: ignore[assignment]
        self.ctx = StepContext("j1", self.store, adapters, attempt=1, cancel=self._cancel, fence=lambda: None)
        define.do(self.ctx)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        for when in [when for when in self.at if when <= self.time]:
            self.at.pop(when)()

    def say(self, text: str) -> Callable[[], None]:
        """On the serial port."""

        def act() -> None:
            with self.target.serial_log("vmferry-j1").open("a") as log:
                log.write(f"{text}\n")

        return act

    def report(self, **changes: Any) -> Callable[[], None]:
        return self.say("VMFERRY-REPORT " + json.dumps(SPOKEN | changes))

    @property
    def job(self) -> Job:
        return self.store.job("j1")

    @property
    def boot(self) -> Boot:
        assert self.job.boot is not None
        return self.job.boot

    def states(self) -> dict[str, str]:
        return {rung.name: rung.state for rung in self.boot.rungs}

    def said(self) -> str:
        return "\n".join(f"{event.level}: {event.message}" for event in self.store.events)

    def _cancel(self) -> None:
        if self.canceled:
            raise Cancelled("stop")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_guest_climbs_and_is_connected_only_then(bench: Bench) -> None:
    bench.at = {
        4: bench.say("Welcome to GRUB!"),
        8: bench.say("[    0.000000] Linux version 6.1"),
        20: bench.report(),
    }
    uuid, connect = bench.job.domain_uuid, bench.target.connect

    def look_first(uuid: str) -> None:
        assert uuid in bench.target.isolated
        assert bench.boot.contract is not None
        connect(uuid)

    bench.target.connect = look_first  # type: ignore[method-assign]
    detail = boot_check.do(bench.ctx)
    assert detail == "up after 20 s: serial, VMFERRY-REPORT; as it was"
    assert bench.target.isolated == set()
    assert bench.states() == dict.fromkeys(LIMITS, "reached") | {"port": "skipped"}
    assert [bench.boot.rung(name).seconds for name in ("running", "firmware", "kernel", "userland", "seen")] == [
        0, 4, 8, 20, 20,
    ]  # fmt: skip
    assert bench.boot.rung("userland").detail == "implied by seen"
    for name in ("running", "firmware", "kernel", "seen", "contract"):
        assert (bench.ctx.folder / bench.boot.rung(name).picture).name == f"console-{name}.png"
        assert (bench.ctx.folder / f"console-{name}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((bench.ctx.folder / "boot.json").read_text()) == bench.boot.to_dict()
    assert bench.job.concerns == ()
    assert uuid in bench.target.hardware


def test_on_its_real_network_from_the_start_when_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path, boot_network="real")
    bench.at = {4: bench.report()}
    boot_check.do(bench.ctx)
    assert "connect" not in bench.target.calls
    assert bench.boot.rung("running").detail == "on its real networks"


def test_a_guest_that_is_not_as_it_was_is_warned_about_and_runs(bench: Bench) -> None:
    bench.at = {4: bench.report(hostname="localhost")}
    detail = boot_check.do(bench.ctx)
    assert detail.endswith("not as it was: hostname")
    assert bench.boot.rung("contract").state == "failed"
    assert bench.boot.contract is not None
    assert bench.boot.contract.verdict == "changed"
    (concern,) = bench.job.concerns
    assert (concern.code, concern.severity) == ("contract_changed", "warning")
    assert "-web01, +localhost" in concern.cause
    assert bench.target.isolated == set()
    boot_check.do(bench.ctx)
    assert len(bench.job.concerns) == 1  # said once, however often it is tried


def test_the_contract_waits_for_who_is_not_ready_yet(bench: Bench) -> None:
    bench.at = {4: bench.report(addresses={}), 14: bench.report()}
    bench.target.agents.add(bench.job.domain_uuid)
    bench.target.answers = {"guest-get-host-name": {"host-name": "localhost"}}
    bench.at[10] = lambda: bench.target.answers.clear()
    boot_check.do(bench.ctx)
    assert bench.boot.contract is not None
    assert bench.boot.contract.verdict == "same"
    assert {f.field: f.verdict for f in bench.boot.contract.findings}["addresses"] == "same"


def test_a_guest_that_says_nothing_of_itself_is_not_waited_for_long(bench: Bench) -> None:
    bench.at = {10: lambda: bench.target.heard.update({bench.job.domain_uuid: {MAC: ["192.0.2.10"]}})}
    detail = boot_check.do(bench.ctx)
    assert detail.startswith("up after 10 s: address, ")
    assert bench.boot.rung("contract").state == "not_seen"
    assert bench.time < 10 + 45 + 15 + 2 * boot_check.POLL_S
    assert bench.job.concerns == ()


def test_what_the_network_gives_is_looked_for_again_once_it_is_connected(bench: Bench) -> None:
    vm, guest = bench.job.vm, bench.job.guest
    assert vm
    assert guest
    bench.store.record("j1", guest=guest.model_copy(update={"before": GuestFacts(hostname="web01", static=())}))

    def answer(*addresses: str) -> dict[str, Any]:
        told = [{"ip-address": address, "prefix": 24} for address in addresses]
        card = {"name": "ens192", "hardware-address": MAC, "ip-addresses": told}
        return {"guest-get-host-name": {"host-name": "web01"}, "guest-network-get-interfaces": [card]}

    verdicts = []
    connect, uuid = bench.target.connect, bench.job.domain_uuid
    bench.target.agents.add(uuid)
    bench.target.answers = answer()

    def plug_in(uuid: str) -> None:
        connect(uuid)
        verdicts.append(_verdict(bench, "addresses"))
        bench.at = {bench.time + 4: lambda: bench.target.answers.update(answer("192.0.2.10"))}

    bench.target.connect = plug_in  # type: ignore[method-assign]
    boot_check.do(bench.ctx)
    assert [*verdicts, _verdict(bench, "addresses")] == ["not_seen", "same"]


def _verdict(bench: Bench, field: str) -> str:
    assert bench.boot.contract
    return next(finding.verdict for finding in bench.boot.contract.findings if finding.field == field)


def test_late_rungs_are_told_and_a_late_guest_fails_with_the_rung_named(bench: Bench) -> None:
    bench.at = {2: bench.say("Welcome to GRUB!")}
    with pytest.raises(BootFailed) as caught:
        boot_check.do(bench.ctx)
    assert "did not get to kernel: it was not seen to be up within 600 s" in caught.value.message
    assert "the last rung that it reached is firmware" in caught.value.message
    assert "console-kernel.png" in caught.value.remedy
    assert (caught.value.fields["rung"], caught.value.fields["last_rung"]) == ("kernel", "firmware")
    assert bench.states()["kernel"] == "failed"
    assert bench.states()["seen"] == "not_seen"
    assert "warning: boot: kernel not seen within 300 s" in bench.said()
    assert "warning: boot: userland not seen within 480 s" in bench.said()
    assert "firmware not seen" not in bench.said()
    assert bench.target.isolated == {bench.job.domain_uuid}


@pytest.mark.parametrize(
    ("said", "rung"),
    [
        ("No bootable device", "firmware"),
        ("Linux version 6.1\nKernel panic - not syncing: VFS", "userland"),
        ("Linux version 6.1\n(initramfs)", "userland"),
    ],
)
def test_a_guest_that_dies_fails_at_once(bench: Bench, said: str, rung: str) -> None:
    bench.at = {6: bench.say(said)}
    with pytest.raises(BootFailed, match=f"did not get to {rung}: it says: "):
        boot_check.do(bench.ctx)
    assert bench.time < 10
    assert bench.boot.rung(rung).picture == f"console-{rung}.png"  # type: ignore[arg-type]


def test_a_guest_that_goes_off_by_itself(bench: Bench) -> None:
    bench.at = {4: lambda: bench.target.stop(bench.job.domain_uuid)}
    with pytest.raises(BootFailed, match=r"did not get to firmware: it stopped by itself; .* is running"):
        boot_check.do(bench.ctx)


def test_what_the_target_tells_and_what_it_refuses(bench: Bench) -> None:
    start = bench.target.start
    bench.target.start = lambda *a, **k: (start(*a, **k), ("no ear",))[1]  # type: ignore[method-assign, assignment]
    bench.at = {4: bench.report()}
    bench.target.fail_next("connect", TargetDenied("the network is gone"))
    with pytest.raises(TargetDenied):
        boot_check.do(bench.ctx)
    assert "warning: no ear" in bench.said()


def test_a_cancel_passes(bench: Bench) -> None:
    bench.at = {4: lambda: setattr(bench, "canceled", True)}
    with pytest.raises(Cancelled):
        boot_check.do(bench.ctx)


def test_a_port_that_was_asked_for_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bench = Bench(tmp_path, boot_port=server.getsockname()[1])
        bench.target.heard = {bench.job.domain_uuid: {MAC: ["127.0.0.1"]}}
        bench.at = {4: bench.report(addresses={})}
        boot_check.do(bench.ctx)
    assert bench.boot.rung("port").state == "reached"
    assert bench.boot.last == "port"
    assert bench.target.isolated == set()


def test_a_port_that_does_not_answer_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def refuse(address: tuple[str, int], timeout: float) -> None:
        tried.append(f"{address[0]}:{address[1]}")
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    bench = Bench(tmp_path, boot_port=22)
    bench.at = {4: bench.report()}
    with pytest.raises(BootFailed, match=r"did not get to port: TCP port 22 did not answer \(192\.0\.2\.10\)"):
        boot_check.do(bench.ctx)
    assert set(tried) == {"192.0.2.10:22"}
    assert bench.states()["port"] == "failed"
    assert bench.boot.rung("contract").state == "reached"


@pytest.mark.parametrize(("firmware", "seconds"), [("bios", 8), ("efi", 20)])
def test_a_mode_that_a_bios_does_not_set_is_past_the_firmware(
    tmp_path: Path, firmware: Literal["bios", "efi"], seconds: float
) -> None:
    bench = Bench(tmp_path)
    bench.store.record("j1", vm=bench.ctx.vm.model_copy(update={"firmware": firmware}))

    def console(width: int, height: int) -> Callable[[], None]:
        picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\0"
        return lambda: setattr(bench.target, "screenshot", lambda _: picture)

    console(640, 480)()
    bench.at = {4: console(720, 400), 8: console(1024, 768), 20: bench.report()}
    boot_check.do(bench.ctx)
    assert bench.boot.rung("firmware").seconds == seconds
    assert bench.boot.rung("kernel").seconds == 20


def test_an_undo_asks_only_who_was_seen_up(bench: Bench) -> None:
    with pytest.raises(BootFailed):
        boot_check.do(bench.ctx)
    boot_check.undo(bench.ctx)
    assert "shut_down" not in bench.target.calls
    assert bench.job.artefact("running", bench.job.domain_uuid) is None
    bench.target.serial_log("vmferry-j1").unlink(missing_ok=True)
    bench.at = {bench.time + 4: bench.report()}
    boot_check.do(bench.ctx)
    boot_check.undo(bench.ctx)
    assert "shut_down" in bench.target.calls
