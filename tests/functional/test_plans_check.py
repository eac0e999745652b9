"""What a sheet asks for, checked against what is registered: each problem has its cell, its cause and its fix."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.domain.described import Described
from app.domain.host import Host, HostNode
from app.domain.models import Disk, Pool
from app.domain.plan import Wave
from tests.functional.api import GIB, Service, facts, service, vm
from tests.functional.plans import NOW, cell, check, only, row, told

POOLS = tuple(
    Pool(name=name, type="dir", path=f"/{name}", active=True, capacity_bytes=100 * GIB, free_bytes=50 * GIB)
    for name in ("default", "nvme01", "ssd")
)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as api:
        api.register()
        api.store.workers.save_target_facts(api.target, facts(pools=POOLS, networks=("default", "dmz")), [])
        yield api


def test_a_right_sheet_has_no_problems_and_says_what_it_would_move(api: Service) -> None:
    found = check(
        api, row(2, vm_name="guest1"), row(3, vm_id="vm-2"), row(4, vm_uuid="4200C1D2 0000 40008000000000000003")
    )
    assert found.problems == ()
    assert [item.vm_name for item in found.items] == ["guest1", "guest2", "guest3"]
    assert {(item.wave, item.source, item.target, item.bytes) for item in found.items} == {
        ("1", "lab", "here", 2 * GIB)
    }
    assert found.items[0].key == "vcenter-uuid:vm-1"
    assert (found.vms, found.bytes, found.rows) == (3, 6 * GIB, 3)
    assert [(item.change, item.place) for item in found.differences] == [
        ("added", "Plan!2"),
        ("added", "Plan!3"),
        ("added", "Plan!4"),
    ]


def test_the_example_of_the_manual(api: Service) -> None:
    problem = only(check(api, row(14, vm_name="guest1", pool="nvme1")))
    assert problem.place == cell(14, "pool")
    assert problem.cause == 'pool "nvme1" is not on here; pools there: default, nvme01, ssd'
    assert problem.fix == 'Did you mean "nvme01"?'
    assert (problem.severity, problem.code) == ("error", "pool_unknown")


@pytest.mark.parametrize(
    ("values", "field", "code", "fix"),
    [
        ({"source": "labs"}, "source", "source_unknown", 'Did you mean "lab"?'),
        ({"target": "hree"}, "target", "target_unknown", 'Did you mean "here"?'),
        ({"vm_name": "geust3"}, "vm_name", "vm_not_found", 'Did you mean "guest3"?'),
        ({"strategy": "colt"}, "strategy", "strategy_unknown", 'Did you mean "cold"?'),
        ({"profile": "balance"}, "profile", "profile_unknown", 'Did you mean "balanced"?'),
        ({"format": "vmdk"}, "format", "format_unknown", "Write one of: qcow2, raw."),
        ({"networks": {"VM Network": "dmzz"}}, "networks", "network_unknown", 'Did you mean "dmz"?'),
        ({"networks": {"VM Network": "bridge:a b"}}, "networks", "network_invalid", "Give the NAME"),
        ({"networks": {"VM Network": "bridge:br0"}}, "networks", "network_unknown", "Make it (ip link"),
        ({"strategy": "warm"}, "strategy", "not_there_yet", "Use cold"),
        ({"test_first": True}, "test_first", "not_there_yet", "no"),
        ({"keep_mac": False}, "keep_mac", "not_there_yet", "yes"),
        ({"target_name": "taken"}, "target_name", "domain_exists", "Give it another"),
        ({"target_name": "a/b"}, "target_name", "domain_name_invalid", "Give it another"),
        ({"cpus": 0}, "cpus", "cpus_invalid", "See the column"),
        ({"memory_bytes": 1 << 60}, "memory_bytes", "memory_bytes_invalid", "See the column"),
        ({"order": 1 << 70}, "order", "order_invalid", ""),
        ({"wave": "a\tb"}, "wave", "wave_invalid", "Use 1 to"),
        ({"depends_on": ("guets2",)}, "depends_on", "depends_on_unknown", 'Did you mean "guest2"?'),
        ({"depends_on": ("guest1",)}, "depends_on", "depends_on_circle", "Take one"),
        ({"vcenter_uuid": "another"}, "vcenter_uuid", "source_unknown", "Register it"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_an_error_at_its_cell(
    api: Service, values: dict[str, object], field: str, code: str, fix: str
) -> None:
    problem = only(check(api, row(7, **{"vm_name": "guest1", **values}), row(8, vm_name="guest2")))
    assert (problem.place, problem.severity, problem.code) == (cell(7, field), "error", code)
    assert fix in problem.fix


def test_a_row_that_is_not_included_is_only_looked_up(api: Service) -> None:
    wrong = {"pool": "nvme1", "strategy": "warm", "target": "nowhere", "depends_on": ("nobody",), "wave": "x"}
    found = check(
        api,
        row(2, vm_name="guest1", include=False, **wrong),
        row(3, vm_name="gone", include=False),
        row(4, vm_name="guest2"),
        waves=(Wave(name="1"),),
    )
    assert told(found) == [(cell(3, "vm_name"), "warning", "vm_not_found")]
    assert [(item.vm_name, item.include) for item in found.items] == [("guest1", False), ("guest2", True)]
    assert found.vms == 1


def test_who_is_meant(api: Service) -> None:
    twins = [
        vm(1),
        vm(2, name="web", folder="/DC/a"),
        vm(3, name="web", folder="/DC/b"),
        vm(4, name="DB", uuid=vm(5).uuid),
        vm(6, name="cafe\u0301\u00a01"),
    ]
    api.store.workers.save_inventory(api.source, "vcenter-uuid", [*twins, vm(5)])
    problem = only(check(api, row(2, vm_name="web")))
    assert (problem.place, problem.code) == (cell(2, "vm_name"), "ambiguous_vm")
    assert problem.cause == '2 VMs of lab are named "web": vm-2 (web) in /DC/a; vm-3 (web) in /DC/b'
    assert only(check(api, row(2, vm_uuid=vm(5).uuid))).code == "ambiguous_vm"
    assert check(api, row(2, vm_uuid=vm(5).uuid, vm_name="DB")).items[0].vm_id == "vm-4"
    assert check(api, row(2, vm_name="db")).items[0].vm_id == "vm-4"
    assert only(check(api, row(2, vm_id="vm-1", vm_uuid=vm(2).uuid))).code == "vm_uuid_differs"
    assert only(check(api, row(2, vm_name="guest1", vm_uuid=vm(99).uuid))).code == "vm_uuid_unknown"
    renamed = check(api, row(2, vm_id="vm-1", vm_name="old"))
    assert (only(renamed).code, only(renamed).severity, renamed.items[0].vm_name) == (
        "vm_name_differs",
        "warning",
        "guest1",
    )
    by_name = check(api, row(2, vm_id="vm-99", vm_name="guest1"))
    assert (only(by_name).code, only(by_name).severity, by_name.items[0].vm_id) == ("vm_id_unknown", "warning", "vm-1")
    assert check(api, row(2, vm_id="vm-99", vm_uuid=vm(1).uuid)).items[0].vm_id == "vm-1"
    assert told(check(api, row(2, vm_id="vm-6", vm_name="caf\u00e9 1"))) == []  # spelt otherwise, and looks the same
    assert only(check(api, row(2))).code == "vm_missing"


def test_the_source_is_known_by_its_vcenter(api: Service) -> None:
    more = {"name": "other", "host": "vc2.example", "username": "mover", "password": "secret"}
    other = api.http.post("/v1/sources", json=more).json()["id"]
    api.store.workers.save_inventory(other, "5200ABCD-0000", [vm(1, name="theirs")])
    found = check(api, row(2, vm_id="vm-1", vcenter_uuid="5200abcd-0000"), row(3, vm_id="vm-1", source="lab"))
    assert [(item.source, item.vm_name, item.key) for item in found.items] == [
        ("other", "theirs", "5200ABCD-0000:vm-1"),
        ("lab", "guest1", "vcenter-uuid:vm-1"),
    ]
    assert only(check(api, row(2, vm_id="vm-1"))).code == "source_missing"
    assert check(api, row(2, vm_id="vm-1"), source="other").items[0].vm_name == "theirs"
    assert only(check(api, row(2, vm_id="vm-1", source="lab", vcenter_uuid="5200ABCD-0000"))).code == "source_differs"


def test_a_vm_is_in_a_plan_once(api: Service) -> None:
    problem = only(check(api, row(2, vm_name="guest1"), row(3, vm_id="vm-1")))
    assert (problem.place, problem.code) == (cell(3, "vm_name"), "vm_twice")
    assert "Plan!2" in problem.cause


def test_a_name_is_on_a_target_once(api: Service) -> None:
    problem = only(check(api, row(2, vm_name="guest1"), row(3, vm_name="guest2", target_name="guest1")))
    assert (problem.place, problem.code) == (cell(3, "target_name"), "target_name_twice")
    assert 'guest2 and guest1 (Plan!2) would both be named "guest1" on here' in problem.cause


def test_pools_are_added_up_over_all_waves(api: Service) -> None:
    big = Disk(key=2000, label="Hard disk 1", capacity_bytes=30 * GIB)
    api.store.workers.save_inventory(api.source, "vcenter-uuid", [vm(n, disks=(big,)) for n in range(30)])
    fits = check(api, row(2, vm_name="guest1"), row(3, vm_name="guest2", wave="2", pool="ssd"))
    assert (fits.problems, [pool.fits for pool in fits.pools]) == ((), [True, True])
    full = check(api, row(2, vm_name="guest1", wave="2"), row(3, vm_name="guest2", wave="1", pool="default"))
    assert told(full) == [(cell(2, "pool"), "warning", "pool_may_fill_up")]
    assert (full.pools[0].needed_bytes, full.pools[0].free_bytes, full.pools[0].fits) == (60 * GIB, 50 * GIB, False)
    hopeless = check(api, *(row(2 + n, vm_name=f"guest{n}") for n in range(30)))
    assert told(hopeless) == [(cell(18, "pool"), "error", "pool_full")]


def test_what_other_jobs_will_write_is_not_free(api: Service) -> None:
    api.submit("guest1")
    found = check(api, row(2, vm_name="guest2"))
    assert found.pools[0].free_bytes == 48 * GIB


def test_memory_and_cpus_of_the_target_are_added_up(api: Service) -> None:
    host = Host(nodes=(HostNode(id=0, cpus=(0, 1), memory_bytes=3 * GIB),))
    api.store.workers.save_target_facts(api.target, facts(pools=POOLS, host=host), [])
    rows = [row(1 + n, vm_name=f"guest{n}", wave=str(n)) for n in range(1, 6)]
    assert told(check(api, *rows)) == [(cell(5, "target"), "warning", "memory_overcommitted")]
    off = [row(1 + n, vm_name=f"guest{n}", power_on=False) for n in range(1, 6)]
    assert check(api, *off).problems == ()
    assert told(check(api, row(2, vm_name="guest1", memory_bytes=4 * GIB))) == [
        (cell(2, "memory_bytes"), "error", "memory_too_large")
    ]
    assert told(check(api, row(2, vm_name="guest1", cpus=8), row(3, vm_name="guest2"))) == [
        (cell(3, "target"), "warning", "cpus_overcommitted")
    ]


def test_circles_are_told_with_their_path(api: Service) -> None:
    problem = only(
        check(
            api,
            row(2, vm_name="guest1", depends_on=("guest3",)),
            row(3, vm_name="guest2", depends_on=("vm-1",)),
            row(4, vm_name="guest3", depends_on=(vm(2).uuid,)),
            row(5, vm_name="guest4", depends_on=("guest1", "guest2")),
        )
    )
    assert (problem.place, problem.code) == (cell(2, "depends_on"), "depends_on_circle")
    assert "guest1 → guest3 → guest2 → guest1" in problem.cause


def test_a_group_waits_for_all_that_one_of_it_waits_for(api: Service) -> None:
    problem = only(
        check(
            api,
            row(2, vm_name="guest1", group="erp", depends_on=("guest3",)),
            row(3, vm_name="guest2", group="erp"),
            row(4, vm_name="guest3", depends_on=("guest2",)),
        )
    )
    assert "guest1 → guest3 → guest2 (group erp, with guest1)" in problem.cause


def test_a_long_chain_is_no_circle_and_a_long_circle_is_told_in_short(api: Service) -> None:
    api.store.workers.save_inventory(api.source, "u", [vm(n) for n in range(3000)])
    chain = [row(2 + n, vm_name=f"guest{n}", depends_on=(f"guest{n + 1}",), power_on=False) for n in range(2999)]
    last = row(3001, vm_name="guest2999")
    api.store.workers.save_target_facts(
        api.target, facts(pools=(POOLS[0].model_copy(update={"free_bytes": 1 << 50}),)), []
    )
    assert check(api, *chain, last).problems == ()
    problem = only(check(api, *chain, row(3001, vm_name="guest2999", depends_on=("guest0",))))
    assert len(problem.cause) < 400


def test_groups_and_dependencies_need_waves_that_let_them(api: Service) -> None:
    waves = (Wave(name="1", at_once=1), Wave(name="2"))
    rows = (
        row(2, vm_name="guest1", wave="1", group="erp"),
        row(3, vm_name="guest2", wave="2", group="erp"),
        row(4, vm_name="guest3", wave="1", depends_on=("guest2",)),
        row(5, vm_name="guest4", wave="2", depends_on=("guest5",)),
        row(6, vm_name="guest5", include=False),
    )
    assert told(check(api, *rows, waves=waves)) == [
        (cell(3, "group"), "error", "group_in_two_waves"),
        (cell(4, "depends_on"), "error", "depends_on_later_wave"),
        (cell(5, "depends_on"), "error", "depends_on_excluded"),
        ("Waves!D2", "error", "group_too_large"),
    ]


def test_a_wave_of_a_row_is_described_where_any_is(api: Service) -> None:
    waves = (Wave(name="pilot"), Wave(name="rest"))
    problem = only(check(api, row(2, vm_name="guest1", wave="pilto"), waves=waves))
    assert (problem.place, problem.code, problem.fix) == (cell(2, "wave"), "wave_unknown", 'Did you mean "pilot"?')
    assert only(check(api, row(2, vm_name="guest1"), waves=waves)).code == "wave_missing"
    free = check(api, row(2, vm_name="guest1", wave="10"), row(3, vm_name="guest2", wave="9"), row(4, vm_name="guest3"))
    assert [wave.name for wave in free.waves] == ["1", "9", "10"]


@pytest.mark.parametrize(
    ("starts", "ends", "severity", "code"),
    [
        (5, 4, "error", "window_empty"),
        (-9, -1, "error", "window_is_over"),
        (1, 1.02, "warning", "window_too_short"),
    ],
)
def test_a_window_that_cannot_fit_is_told(api: Service, starts: float, ends: float, severity: str, code: str) -> None:
    wave = Wave(name="1", starts_at=NOW + timedelta(hours=starts), ends_at=NOW + timedelta(hours=ends), at_once=1)
    found = check(api, row(2, vm_name="guest1"), row(3, vm_name="guest2"), waves=(wave,))
    assert told(found) == [("Waves!C2", severity, code)]
    assert found.forecasts[0].fits is False


def test_a_wave_cannot_end_before_the_one_before_it_starts(api: Service) -> None:
    first, second = Wave(name="1", starts_at=NOW + timedelta(hours=9)), Wave(name="2", ends_at=NOW + timedelta(hours=8))
    rows = (row(2, vm_name="guest1", wave="1"), row(3, vm_name="guest2", wave="2"))
    assert told(check(api, *rows, waves=(first, second))) == [("Waves!C3", "error", "window_too_early")]


def test_estimates_follow_pace_and_places(api: Service) -> None:
    """2 GiB at 100 MiB/s and 180 s a move: 200.48 s each."""
    rows = [row(1 + n, vm_name=f"guest{n}", wave="1" if n < 5 else "2") for n in range(1, 6)]
    found = check(api, *rows, waves=(Wave(name="1", at_once=2), Wave(name="2")))
    assert [forecast.seconds for forecast in found.forecasts] == [
        pytest.approx(401, abs=0.5),
        pytest.approx(200.5, abs=0.5),
    ]
    assert found.forecasts[1].begins_at == found.forecasts[0].done_at


def test_a_cutover_has_to_be_within_its_wave(api: Service) -> None:
    wave = Wave(name="1", starts_at=NOW + timedelta(hours=2), ends_at=NOW + timedelta(hours=8))
    found = check(
        api,
        row(2, vm_name="guest1", cutover_at=NOW + timedelta(hours=9)),
        row(3, vm_name="guest2", cutover_at=NOW + timedelta(hours=1)),
        row(4, vm_name="guest3", cutover_at=NOW + timedelta(hours=5)),
        waves=(wave,),
    )
    assert told(found)[:2] == [
        (cell(2, "cutover_at"), "error", "cutover_outside_window"),
        (cell(3, "cutover_at"), "warning", "cutover_outside_window"),
    ]


def test_a_target_that_nobody_looked_at_is_told_once(api: Service) -> None:
    api.http.post("/v1/targets", json={"name": "new"})
    rows = [row(1 + n, vm_name=f"guest{n}", target="new") for n in range(1, 6)]
    assert told(check(api, *rows)) == [(cell(2, "target"), "error", "target_unchecked")]


def test_other_blockers_may_be_gone_on_the_night(api: Service) -> None:
    api.store.workers.save_inventory(api.source, "u", [vm(1, power_state="suspended"), vm(2, passthrough=("GPU",))])
    assert told(check(api, row(2, vm_name="guest1"), row(3, vm_name="guest2"))) == [
        (cell(2, "vm_name"), "warning", "vm_is_suspended"),
        (cell(3, "vm_name"), "error", "passthrough_device"),
    ]


def test_a_network_that_a_vm_is_not_on_is_told(api: Service) -> None:
    problem = only(check(api, row(2, vm_name="guest1", networks={"VM Netwrok": "dmz"})))
    assert (problem.code, problem.severity, problem.fix) == ("network_unused", "warning", 'Did you mean "VM Network"?')


def test_an_export_that_is_older_than_the_vm_is_told(api: Service) -> None:
    then = Described(cpus=64, disks=1, disk_bytes=GIB, networks={"Old": None})
    problem = only(check(api, row(2, vm_name="guest1", described=then), kind="rvtools"))
    assert (problem.place, problem.code, problem.severity) == (cell(2, "vm_name"), "vm_changed", "warning")
    assert "CPUs, then 64" in problem.cause
    assert "cards in VM Network, then in Old" in problem.cause
