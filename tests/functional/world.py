"""A service in the middle of its work, filled by hand: moves in every state, as workers would have left them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from app.domain.boot import Boot, Rung
from app.domain.contract import compare
from app.domain.job import Beat, Job, Pause
from app.domain.lifecycle import pending_steps
from app.domain.models import (
    Check,
    Concern,
    GuestFacts,
    GuestReport,
    ImageOptions,
    Leftover,
    Progress,
    Tls,
)
from app.domain.move import MoveOptions, OnFailure, Strategy
from app.domain.plan import Gate, Item, Plan, PlanState, Wave
from app.domain.states import STEPS, JobState
from app.settings import Settings
from app.store import plan_rows, rows
from app.store.engine import writing
from app.store.store import Store
from app.store.tables import jobs, plan_items, plans
from tests.functional.world_parts import GIB, console, copied, facts, pool, stepped, totals, vm

MIB = 1 << 20
SOURCE, TARGET, OTHER = "vcenter-fra", "kvm01", "kvm03"

REFUSED = {
    "code": "source_denied",
    "message": "vcenter-fra refused the login",
    "hint": "Check the account.",
    "retryable": False,
}


class World:
    """`source`, `target`: registered ids. `jobs`: the VM's name → the id of its move."""

    def __init__(self, settings: Settings, store: Store, vms: int = 24) -> None:
        self.settings = settings
        self.store = store
        self.now = rows.now().replace(microsecond=0)
        self.vms = [vm(number) for number in range(1, vms + 1)]
        self.jobs: dict[str, str] = {}
        self._register()

    def _register(self) -> None:
        store = self.store
        source = store.sources.add(
            name=SOURCE,
            kind="vcenter",
            host="vcenter.fra.example",
            tls=Tls(),
            username="mover@vsphere.local",
            password="x",
        )
        target = store.targets.add(
            name=TARGET,
            kind="libvirt",
            uri="qemu:///system",
            pool="default",
            image=ImageOptions(),
            networks={"VM Network": "default", "DMZ": "bridge:br-dmz"},
        )
        other = store.targets.add(
            name=OTHER,
            kind="libvirt",
            uri="qemu:///system",
            pool="nvme01",
            image=ImageOptions(format="raw"),
            networks={"*": "ovs:br0"},
        )
        self.source, self.target = source.id, target.id
        store.workers.save_inventory(source.id, "5a0e3c8e-vcenter", self.vms)
        store.workers.save_source_checks(
            source.id,
            "",
            [
                Check(name="reachable", ok=True, detail="vCenter Server 8.0.2 in 41 ms"),
                Check(name="certificate", ok=True, detail="pinned, ends 2027-03-01"),
                Check(name="privileges", ok=True, detail="all 14 that a move needs"),
            ],
        )
        store.workers.save_target_facts(
            target.id,
            facts(),
            [
                Check(name="libvirt", ok=True, detail="9.0.0"),
                Check(name="pool default", ok=True, detail="1.1 TiB free"),
            ],
        )
        store.workers.save_target_facts(
            other.id,
            facts(pools=(pool("nvme01", 900, 120), pool("ssd", 2000, 1500))),
            [
                Check(name="libvirt", ok=True, detail="9.0.0"),
                Check(name="virt-v2v-in-place", ok=False, detail="not installed", remedy="apt install virt-v2v"),
            ],
        )
        store.operations.ask("check_target", target.id)
        store.workers.beat(Beat(executor="4be17a02c9d14f3e9", count=812, boot_id="b", pid=4127, pid_started=1))

    def move(self, number: int, state: JobState, *, done: str = "", minutes: float = 30, **changes: Any) -> Job:
        """A move of a VM as it stands. `done`: the last step that has ended; `minutes`: since it was asked for."""
        guest = self.vms[number - 1]
        options = changes.pop("options", MoveOptions())
        at = self.now - timedelta(minutes=minutes)
        fields: dict[str, Any] = {
            "id": rows.new_id(),
            "vm_id": guest.id,
            "vm_name": guest.name,
            "source_id": self.source,
            "source_name": SOURCE,
            "target_id": self.target,
            "target_name": TARGET,
            "options": options,
            "state": state,
            "vm": guest,
            "created_at": at,
            "started_at": at + timedelta(seconds=2) if done or state is JobState.RUNNING else None,
        }
        job = Job.model_validate(fields)
        steps, ended = stepped(pending_steps(job), at, done, under_way=state in (JobState.RUNNING, JobState.PAUSED))
        fields |= {"steps": steps}
        if state in (
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.ROLLED_BACK,
            JobState.ROLLBACK_FAILED,
        ):
            fields["ended_at"] = ended
        part = (
            1.0
            if "transfer" in STEPS[Strategy.COLD][: STEPS[Strategy.COLD].index(done) + 1 if done else 0]
            else 0.43
            if done == "shutdown"
            else 0.0
        )
        if part:
            disks = copied(guest, part)
            fields |= {"disks": disks, "progress": totals(disks, 118.0 * MIB if part < 1 else None)}
        if state is JobState.RUNNING:
            fields["phase"] = next(step.name for step in steps if step.state == "running")
        job = Job.model_validate(fields | changes)
        with writing(self.store.engine) as connection:
            rows.insert(connection, job, f"5a0e3c8e-vcenter:{job.vm_id}")
            rows.save(connection, job)  # which lets go of its VM where it has ended
            for step in job.steps:
                if step.state in ("succeeded", "failed"):
                    rows.add_event(connection, job.id, "job.step", f"{step.name} started")
                    said = step.detail or (step.error or {}).get("message", "")
                    rows.add_event(
                        connection,
                        job.id,
                        "job.step",
                        f"{step.name} {step.state}: {said}",
                        level="error" if step.error else "info",
                    )
            if job.phase == "transfer":
                for turn in range(40):
                    rate = (90 + 38 * ((turn * 7919) % 11) / 11 + turn * 0.6) * MIB
                    data = {"progress": Progress(rate=rate).to_dict(), "disks": []}
                    rows.add_event(connection, job.id, "job.progress", "", level="debug", data=data)
        self.jobs[job.vm_name] = job.id
        return job

    def fill_with_moves(self) -> None:
        """One in every state, the last asked for first."""
        error = {
            "code": "conversion_failed",
            "message": "virt-v2v could not make an initramfs with virtio: /boot is full",
            "hint": "Free 60 MiB in the guest's /boot, or leave the old kernels out; then retry.",
            "retryable": False,
            "stderr_tail": "cp: error writing '/boot/initrd.img-5.10': No space left on device\n"
            "virt-v2v: error: libguestfs error: sh: update-initramfs failed",
        }
        self.succeeded(1)
        self.move(2, JobState.SUCCEEDED, done="finalise", minutes=170)
        self.move(3, JobState.RUNNING, done="shutdown", minutes=9)
        self.move(4, JobState.RUNNING, done="verify_copy", minutes=21)
        failed = self.move(
            5,
            JobState.FAILED,
            done="verify_copy",
            minutes=44,
            error=error,
            options=MoveOptions(on_failure=OnFailure.HOLD),
        )
        self._fail_step(failed, "convert", error)
        self.move(
            6,
            JobState.PAUSED,
            done="shutdown",
            minutes=61,
            pause=Pause(
                by="space",
                since=self.now,
                detail="pool default of kvm01 is full",
                path="/pool",
                resume_at_bytes=40 * GIB,
            ),
        )
        self.move(7, JobState.CANCELLED, done="preflight", minutes=70)
        self.move(8, JobState.ROLLED_BACK, done="define", minutes=80)
        self.move(
            9,
            JobState.ROLLBACK_FAILED,
            done="define",
            minutes=90,
            leftovers=(
                Leftover(
                    what="volume vmferry-1f2e3d4c5b6a-0.qcow2 in pool default",
                    cause="the pool is not active",
                    command="virsh vol-delete --pool default vmferry-1f2e3d4c5b6a-0.qcow2",
                ),
            ),
        )
        self.move(10, JobState.ROLLING_BACK, done="transfer", minutes=14)
        self.move(11, JobState.QUEUED, minutes=1)

    def plan(self, name: str, waves: Sequence[Wave], state: PlanState, **changes: Any) -> Plan:
        """A plan without items, as it is after a while."""
        made = Plan(id=rows.new_id(), name=name, created_at=self.now, updated_at=self.now, waves=tuple(waves))
        self.store.plans.save(made, [])
        plan = made.model_copy(update={"state": state, **changes})
        with writing(self.store.engine) as connection:
            connection.execute(plans.update().where(plans.c.id == plan.id).values(**plan_rows.plan_values(plan)))
        return plan

    def put(self, plan: Plan, wave: str, numbers: Sequence[int], **changes: Any) -> None:
        """VMs into a wave of a plan; those that have a move have it as the plan's."""
        with writing(self.store.engine) as connection:
            for number in numbers:
                guest = self.vms[number - 1]
                item = Item(
                    key=f"5a0e3c8e-vcenter:{guest.id}", place=number, wave=wave, source=SOURCE, vm_id=guest.id,
                    vm_name=guest.name, vm_uuid=guest.uuid, target=TARGET, bytes=guest.disk_bytes,
                    job=self.jobs.get(guest.name, ""), **changes,
                )  # fmt: skip
                connection.execute(plan_items.insert().values(plan_id=plan.id, **plan_rows.item_values(item)))
                connection.execute(jobs.update().where(jobs.c.id == item.job).values(plan_id=plan.id))

    def fill_with_plans(self) -> None:
        """One that runs with the moves of `fill_with_moves`, and one in each other state that matters."""
        hours = lambda count: self.now + timedelta(hours=count)  # noqa: E731
        weekend = self.plan(
            "Frankfurt weekend",
            [
                Wave(name="pilot", starts_at=hours(-3.5), ends_at=hours(-2)),
                Wave(name="night 1", starts_at=hours(-1.5), ends_at=hours(3), at_once=6, stop_after=5),
                Wave(name="night 2", starts_at=hours(6), ends_at=hours(12), gate=Gate.MANUAL, at_once=8),
                Wave(name="rest", gate=Gate.ALL_GREEN),
            ],
            PlanState.RUNNING,
            description="Out of the old data centre before the contract ends",
            started_at=hours(-3.5),
        )
        self.put(weekend, "pilot", [1, 2], owner="web team")
        self.put(weekend, "night 1", range(3, 12), owner="platform")
        self.put(
            weekend,
            "night 1",
            [12],
            held="it depends on mail05, which failed",
            depends_on=("5a0e3c8e-vcenter:vm-1005",),
        )
        self.put(weekend, "night 2", range(13, 20), group="shop", cutover_at=hours(7))
        self.put(weekend, "rest", range(20, 23))
        self.put(weekend, "rest", [23], include=False, notes="stays until the audit")
        lab = self.plan("Test lab", [Wave(name="all")], PlanState.DRAFT)
        self.put(lab, "all", range(13, 19))
        self.move(20, JobState.FAILED, done="preflight", minutes=110, error=REFUSED)
        self.move(24, JobState.SUCCEEDED, done="finalise", minutes=3000)
        stopped = self.plan(
            "Branch offices", [Wave(name="1", stop_after=1)], PlanState.PAUSED, started_at=hours(-2),
            reason="1 VM of wave 1 failed, and it stops after 1",
        )  # fmt: skip
        self.put(stopped, "1", range(20, 24))
        done = self.plan(
            "Jump hosts", [Wave(name="1")], PlanState.SUCCEEDED, started_at=hours(-50), ended_at=hours(-49)
        )
        self.put(done, "1", [24])

    def succeeded(self, number: int) -> Job:
        """With all that a guest leaves which came up: a ladder, pictures, a contract."""
        before = GuestFacts(
            hostname="web01.fra.example",
            addresses={"00:50:56:00:00:01": ("10.20.0.11/24",)},
            routes=("default via 10.20.0.1",),
            dns=("10.20.0.2", "10.20.0.3"),
            mounts=("/", "/boot", "/srv"),
            kernel="6.1.0-28-amd64",
            machine_id="c4f1b2a09d7e",
            services=("cron.service", "nginx.service", "open-vm-tools.service", "ssh.service"),
            static=("10.20.0.11/24",),
        )
        after = before.model_copy(
            update={
                "services": ("cron.service", "nginx.service", "qemu-guest-agent.service", "ssh.service"),
                "mounts": ("/", "/boot"),
            }
        )
        contract = compare(before, after)
        climbed: Sequence[tuple[str, float, str]] = (
            ("defined", 0, "libvirt has it"),
            ("running", 1.2, "the domain runs"),
            ("firmware", 4.1, "SeaBIOS handed over: GRUB"),
            ("kernel", 9.7, "Linux version 6.1.0-28-amd64"),
            ("userland", 16.3, "systemd[1]: Detected virtualization kvm"),
            ("seen", 71, "agent: web01.fra.example"),
            ("contract", 74, contract.told),
        )
        rungs = tuple(
            Rung.model_validate({"name": name, "state": "reached", "seconds": at, "detail": said})
            for name, at, said in climbed
        )
        boot = Boot(
            kind="agent",
            detail="web01.fra.example answers",
            seconds=71,
            rungs=(*rungs, Rung(name="port", state="skipped", detail="no port was asked for")),
            contract=contract,
        )
        job = self.move(
            number,
            JobState.SUCCEEDED,
            done="finalise",
            minutes=190,
            boot=boot,
            domain_uuid=self.vms[number - 1].uuid,
            guest=GuestReport(
                converter="virt-v2v 2.2.0",
                reason="it is the reference for this guest system",
                os="debian12",
                before=before,
            ),
            concerns=(
                Concern(
                    code="snapshots_present",
                    severity="warning",
                    cause="it has 2 snapshots: only what they come to is moved",
                    remedy="Remove them first if nobody needs them.",
                ),
                Concern(
                    code="contract_changed",
                    severity="warning",
                    cause="the guest runs, but is not as it was: mounts: -/srv",
                    remedy="See the job's contract, and mend it in the guest; or roll the job back.",
                ),
            ),
        )
        folder = self.settings.job_folder(job.id)
        folder.mkdir(parents=True)
        for place, name in enumerate(("firmware", "kernel", "seen")):
            (folder / f"console-{name}.png").write_bytes(console(place))
        return job

    def _fail_step(self, job: Job, name: str, error: dict[str, Any]) -> None:
        with writing(self.store.engine) as connection:
            steps = tuple(
                step.model_copy(
                    update={
                        "state": "failed",
                        "error": error,
                        "attempts": 1,
                        "started_at": self.now - timedelta(minutes=24),
                        "ended_at": self.now - timedelta(minutes=23),
                    }
                )
                if step.name == name
                else step
                for step in job.steps
            )
            rows.save(connection, job.model_copy(update={"steps": steps}))
            rows.add_event(connection, job.id, "job.step", f"{name} failed: {error['message']}", level="error")
