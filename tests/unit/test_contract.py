"""What counts as a difference between a guest before its move and after it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.domain.contract import Contract, compare, concern_of
from app.domain.guest_facts import merged, of_agent, of_report, of_serial, of_tools
from app.domain.models import GuestFacts
from converters.guest_config import network
from tests.unit.moves import make_vm

MAC = "00:50:56:8a:50:10"
BEFORE = GuestFacts(
    hostname="web01",
    addresses={MAC: ("192.0.2.10/24", "fe80::1/64")},
    routes=("default via 192.0.2.1",),
    dns=("192.0.2.53",),
    mounts=("/", "/srv"),
    services=("cron.service", "getty@tty1.service", "open-vm-tools.service"),
    kernel="6.1.0-18-amd64",
    machine_id="0" * 32,
    static=("192.0.2.10", "192.0.2.1", "192.0.2.53"),
)
AFTER = BEFORE.model_copy(
    update={
        "addresses": {MAC: ("192.0.2.10/24", "fe80::2/64"), "02:42:00:00:00:01": ("172.17.0.1/16",)},
        "mounts": ("/", "/boot/efi", "/srv"),
        "services": ("cron.service", "getty@.service", "qemu-guest-agent.service"),
        "static": None,
    }
)
FIELDS = ("hostname", "addresses", "routes", "dns", "mounts", "services", "kernel", "machine_id")


def verdicts(contract: Contract) -> dict[str, str]:
    return {finding.field: finding.verdict for finding in contract.findings}


def after(**changes: Any) -> GuestFacts:
    return AFTER.model_copy(update=changes)


@pytest.mark.parametrize("isolated", [True, False])
def test_a_guest_that_is_as_it_was(isolated: bool) -> None:
    contract = compare(BEFORE, AFTER, isolated=isolated)
    assert verdicts(contract) == dict.fromkeys(FIELDS, "same") | {"services": "expected"}
    assert (contract.verdict, contract.told, concern_of(contract)) == ("same", "as it was", None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hostname", "localhost"),
        ("addresses", {MAC: ("192.0.2.11/24",)}),
        ("addresses", {MAC: ("192.0.2.10/16",)}),
        ("addresses", {MAC: ("192.0.2.10/24", "192.0.2.99/24")}),
        ("addresses", {MAC: (), "00:50:56:8a:50:11": ("192.0.2.10/24",)}),
        ("routes", ()),
        ("routes", ("default via 192.0.2.2",)),
        ("dns", ("192.0.2.54",)),
        ("mounts", ("/",)),
        ("services", ("cron.service", "getty@.service", "ssh.service")),
        ("services", ("getty@.service",)),
        ("kernel", "6.1.0-17-amd64"),
        ("machine_id", "1" * 32),
    ],
)
def test_what_is_not_as_it_was(field: str, value: Any) -> None:
    contract = compare(BEFORE, after(**{field: value}), isolated=True)
    assert [finding.field for finding in contract.changed] == [field]
    assert contract.verdict == "changed"
    concern = concern_of(contract)
    assert concern is not None
    assert (concern.code, concern.severity) == ("contract_changed", "warning")
    assert re.search(rf"{field}: [-+]", concern.cause)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("side", ["before", "after"])
def test_what_one_side_did_not_show_is_not_said_to_be_the_same(field: str, side: str) -> None:
    sides = {"before": BEFORE, "after": AFTER}
    sides[side] = sides[side].model_copy(update={field: None})
    found = verdicts(compare(sides["before"], sides["after"]))
    assert found[field] == "not_seen"
    assert list(found.values()).count("not_seen") == 1


def test_nothing_seen_is_no_verdict() -> None:
    contract = compare(BEFORE, GuestFacts())
    assert contract.verdict == "not_seen"
    assert set(verdicts(contract).values()) == {"not_seen"}


def test_what_the_network_gave_cannot_be_there_while_it_is_isolated() -> None:
    before = BEFORE.model_copy(update={"static": ()})
    alone = after(addresses={MAC: ("169.254.3.4/16", "fe80::2/64")}, routes=(), dns=())
    found = compare(before, alone, isolated=True)
    assert [verdicts(found)[field] for field in ("addresses", "routes", "dns")] == ["not_seen"] * 3
    assert found.findings[1].detail == "1 that the network gave not seen"
    assert [finding.field for finding in compare(before, alone).changed] == ["addresses", "routes", "dns"]
    assert [finding.field for finding in compare(BEFORE, alone, isolated=True).changed] == [
        "addresses",
        "routes",
        "dns",
    ]


def test_without_macs_addresses_are_compared_without_them() -> None:
    disks = BEFORE.model_copy(update={"addresses": {"": ("192.0.2.10/24",)}})
    assert verdicts(compare(disks, AFTER))["addresses"] == "same"
    assert verdicts(compare(disks, after(addresses={MAC: ("192.0.2.11/24",)})))["addresses"] == "changed"


def test_ipv6_is_compared_where_it_is_read() -> None:
    static = ("2001:db8::1", *(BEFORE.static or ()))
    both = {MAC: ("192.0.2.10/24", "2001:db8::1/64", "2001:db8::abcd/64")}
    before = BEFORE.model_copy(update={"addresses": both, "static": static})
    assert verdicts(compare(before, after(addresses={MAC: ("192.0.2.10/24",)})))["addresses"] == "same"
    assert verdicts(compare(before, AFTER))["addresses"] == "changed"
    another = after(addresses={MAC: ("192.0.2.10/24", "2001:db8::1/64", "2001:db8::1234/64")})
    assert verdicts(compare(before, another))["addresses"] == "same"
    unread = BEFORE.model_copy(update={"addresses": {MAC: ("192.0.2.10/24",)}})
    with_v6 = after(addresses={MAC: ("192.0.2.10/24", "2001:db8::1/64")})
    assert verdicts(compare(unread, with_v6))["addresses"] == "same"


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [("web01.example.com", "web01", "same"), ("WEB01", "web01", "same"), ("a.example.com", "a.example.org", "changed")],
)
def test_host_names(before: str, now: str, verdict: str) -> None:
    found = compare(BEFORE.model_copy(update={"hostname": before}), after(hostname=now))
    assert verdicts(found)["hostname"] == verdict


# ---- the words of the guest


REPORT = {
    "hostname": "web01",
    "addresses": {"ens192": ["192.0.2.10/24"], "tun0": ["10.9.9.9/32"]},
    "macs": {"ens192": MAC.upper()},
    "routes": ["default via 192.0.2.1 dev ens192 onlink", "192.0.2.0/24 dev ens192 scope link"],
    "dns": ["nameserver 192.0.2.53", "192.0.2.54", "search example.com"],
    "mounts": {"/srv": ["ext4", "1-2"], "/": ["ext4", "3-4"]},
    "services": ["cron.service"],
    "machine_id": "0" * 32,
    "kernel": "6.1.0-18-amd64",
}


def test_a_report() -> None:
    assert of_report(REPORT) == GuestFacts(
        hostname="web01",
        addresses={MAC: ("192.0.2.10/24",)},
        routes=("default via 192.0.2.1",),
        dns=("192.0.2.53", "192.0.2.54"),
        mounts=("/", "/srv"),
        services=("cron.service",),
        kernel="6.1.0-18-amd64",
        machine_id="0" * 32,
    )


@pytest.mark.parametrize("value", [None, 7, "x\n", [], {}, [1, None, {}], {"a": 1}, {"a": [[]]}])
def test_a_report_of_other_types_says_nothing(value: Any) -> None:
    facts = of_report(dict.fromkeys(REPORT, value))
    assert [getattr(facts, field) or None for field in FIELDS if field not in ("mounts", "services")] == [None] * 6
    huge = of_report({"services": [f"a{n}.service" for n in range(5000)], "hostname": "h" * 5000})
    assert len(huge.services or ()) == 1000
    assert len(huge.hostname or "") == 255


def test_the_last_whole_line_of_the_serial_port_counts() -> None:
    line = "VMFERRY-REPORT " + json.dumps(REPORT)
    assert of_serial(f'noise\r\n{line}\r\nVMFERRY-REPORT {{broken}}\nVMFERRY-REPORT {{"hostname": ') == of_report(
        REPORT
    )
    assert of_serial("noise VMFERRY-REPORT {}\n") is None


def test_a_resolver_of_the_guests_own_is_not_a_name_server() -> None:
    assert of_report({"dns": ["nameserver 127.0.0.53"]}).dns is None
    assert of_report({"dns": []}).dns == ()
    assert of_tools(make_vm(dns=("127.0.0.53",))).dns is None
    assert network({}, "nameserver 127.0.0.53\n").dns == ()


def test_an_agent() -> None:
    answers = {
        "guest-get-host-name": {"host-name": "web01"},
        "guest-network-get-interfaces": [
            {"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": [{"ip-address": "127.0.0.1"}]},
            {"name": "ens192", "hardware-address": MAC, "ip-addresses": [{"ip-address": "192.0.2.10", "prefix": 24}]},
            {"name": "ens224", "hardware-address": "00:50:56:8a:50:11"},
        ],
        "guest-get-fsinfo": [{"mountpoint": "/srv"}, {"mountpoint": "/"}],
        "guest-get-osinfo": {"kernel-release": "6.1.0-18-amd64"},
    }
    assert of_agent(answers) == GuestFacts(
        hostname="web01",
        addresses={MAC: ("192.0.2.10/24",), "00:50:56:8a:50:11": ()},
        mounts=("/", "/srv"),
        kernel="6.1.0-18-amd64",
    )
    assert of_agent({}) == of_agent({"guest-get-fsinfo": "x", "guest-get-osinfo": []}) == GuestFacts()


def test_tools_and_who_is_believed_first() -> None:
    vm = make_vm(hostname="", routes=("default via 192.0.2.1",))
    vm = vm.model_copy(update={"nics": (vm.nics[0].model_copy(update={"addresses": ("192.0.2.10/24",)}), vm.nics[1])})
    tools = of_tools(vm)
    assert tools == GuestFacts(addresses={MAC: ("192.0.2.10/24",)}, routes=("default via 192.0.2.1",))
    disks = GuestFacts(hostname="web01", addresses={"": ("192.0.2.99/24",)}, static=())
    assert merged(tools, disks, None) == tools.model_copy(update={"hostname": "web01", "static": ()})
