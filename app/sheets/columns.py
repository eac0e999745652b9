"""The columns of the plan's own sheet, in their order: what template, import, check and export all go by."""

from __future__ import annotations

from dataclasses import dataclass

SHEET = "Plan"
WAVES_SHEET = "Waves"
LISTS_SHEET = "Lists"  # what the drop-down lists offer
PROBLEMS_SHEET = "Problems"  # of an annotated copy


@dataclass(frozen=True)
class Column:
    """field: of Wanted, or of Wave. choices: the drop-down list, and nothing else can be entered. offered: the list is
    what is registered (a field of Choices), and something else can be entered, too. A column without `number` holds
    text, and its cells are formatted as such: 00123 keeps its zeros, a time stays as it was typed.
    """

    header: str
    field: str
    help: str
    width: int = 14
    choices: tuple[str, ...] = ()
    offered: str = ""
    number: bool = False


YES_NO = ("yes", "no")
COLUMNS = (
    Column(
        "include",
        "include",
        "yes: this VM moves. no: it stays in the sheet, and where it is. Empty in all rows: yes; in some: no.",
        9,
        YES_NO,
    ),
    Column("wave", "wave", "The wave that it moves with: a name of the sheet Waves.", 10, offered="waves"),
    Column("order", "order", "Within its wave: lower numbers start first. A whole number.", 8, number=True),
    Column("source", "source", "The name of a registered source.", 16, offered="sources"),
    Column("VM name", "vm_name", "As vCenter shows it. The VM id decides where both are given.", 24),
    Column("VM id", "vm_id", "vCenter's own, as vm-1234.", 12),
    Column("VM UUID", "vm_uuid", "Its BIOS UUID.", 38),
    Column("target", "target", "The name of a registered target.", 16, offered="targets"),
    Column("target name", "target_name", "The name it shall have there; empty: the one it has.", 24),
    Column(
        "strategy",
        "strategy",
        "cold: shut down, copied, converted, booted. disk_only: neither converted nor booted. warm is not there yet.",
        12,
        ("cold", "disk_only"),
    ),
    Column("pool", "pool", "A pool of the target; empty: the target's own.", 14, offered="pools"),
    Column("format", "format", "qcow2 or raw; empty: the target's own.", 10, ("qcow2", "raw")),
    Column(
        "networks",
        "networks",
        'Source network=where to plug it in, separated by ";": VM Network=default; DMZ=bridge:br0. '
        "Empty: the target's own map.",
        36,
        offered="networks",
    ),
    Column("keep MAC", "keep_mac", "yes: its cards keep their MAC addresses. no is not there yet.", 10, ("yes",)),
    Column("CPU", "cpus", "How many; empty: as many as it has.", 8, number=True),
    Column("memory", "memory_bytes", "In MiB, or with a unit (8 GiB); empty: what it has.", 12),
    Column(
        "profile",
        "profile",
        "balanced, latency: CPUs and memory of its own, or density: what it leaves unused is for others.",
        12,
        ("balanced", "latency", "density"),
    ),
    Column(
        "cutover at",
        "cutover_at",
        "With a zone: 2026-12-05 22:00 Europe/Berlin, or 2026-12-05T22:00+01:00. "
        "cold: the source is not shut down before.",
        30,
    ),
    Column("power on after", "power_on", "yes or no; empty: as the source was.", 12, YES_NO),
    Column("test first", "test_first", "A rehearsal before the move. yes is not there yet.", 10, ("no",)),
    Column("group", "group", "VMs of one group start together, and roll back together when one fails.", 14),
    Column("depends on", "depends_on", 'VMs that have to be moved before: names or ids, separated by ";".', 24),
    Column("owner", "owner", "Whom to ask.", 16),
    Column("notes", "notes", "Yours.", 30),
)

WAVE_COLUMNS = (
    Column("wave", "name", "Waves run in the order of these rows.", 14),
    Column("starts at", "starts_at", "Nothing of it starts before. With a zone, as in Plan.", 30),
    Column("ends at", "ends_at", "Nothing of it starts after. With a zone.", 30),
    Column(
        "at once", "at_once", "How many of it move at the same time; empty: as many as workers take.", 10, number=True
    ),
    Column("stop after", "stop_after", "So many failures pause the plan; empty: it goes on.", 10, number=True),
    Column(
        "gate",
        "gate",
        "none; manual: somebody approves it; all_green: all waves before it have succeeded.",
        12,
        ("none", "manual", "all_green"),
    ),
)

STATE_COLUMNS = (  # an export has them after the others; an import leaves them alone
    Column("state", "state", "As it was when this was exported. An import reads no column from here on.", 14),
    Column("started", "started", "When its move began.", 24),
    Column("ended", "ended", "When its move was over, well or not.", 24),
    Column("downtime s", "downtime_s", "From the source's shutdown to the guest seen up.", 12, number=True),
    Column("GiB", "gib", "Copied; what is empty on the source's disks is not.", 10, number=True),
    Column("MiB/s", "mib_s", "While it was copied.", 10, number=True),
    Column("boot check", "boot", "By what the guest was seen to be up, or how far it came.", 16),
    Column("contract", "contract", "Whether the guest is who it was: addresses, mounts, services.", 16),
    Column("target UUID", "target_uuid", "The domain's.", 38),
    Column("error", "error", "What ended it, and what helps.", 40),
)

PROBLEM_COLUMNS = (  # of the sheet Problems; field: of Problem
    Column("severity", "severity", "error: nothing is imported while there is one. warning: look at it.", 10),
    Column("place", "place", "The cell. Follow the link.", 18),
    Column("cause", "cause", "What is wrong.", 80),
    Column("fix", "fix", "What helps.", 60),
)
