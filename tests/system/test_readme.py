"""The commands of the README are run, in their order, against the lab: what a newcomer types works as it is written.

What the README calls by an example's name is called by the lab's. A VM of random data stands for the guest, so the
move is made with --strategy disk_only; `make demo` and tests/system/test_move.py show the real one.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, VmSpec
from tests.libvirt_host import LibvirtHost
from tests.packages import disk, package, tar
from tests.service import ROOT, Service
from tests.sheets.filling import fill
from tests.sheets.rvtools import workbook
from tests.system.fleet import break_disks, machine, vcenter_uuid
from tests.vmx_folders import write_flat, write_vmx
from tests.web_server import WebServer

README = ROOT / "README.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = {"source .venv/bin/activate"}  # the test's PATH has it


def lines_of(file: Path) -> list[str]:
    return [line for block in BLOCK.findall(file.read_text()) for line in block.splitlines() if line]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    vm = VmSpec("deb12", [DiskSpec(size_mib=16, fill_mib=4, seed=1)], on=False)
    with Lab(tmp_path_factory.mktemp("lab"), [vm]) as lab:
        yield lab


@pytest.fixture(scope="module")
def host() -> Iterator[LibvirtHost]:
    with LibvirtHost() as host:
        yield host


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, lab: Lab) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("home")
    with Service(home, VMFERRY_SOURCE_PASSWORD=lab.password) as service:
        yield service


def test_make_targets_of_the_documents_exist() -> None:
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in (README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        named = set(re.findall(r"(?:`|^)(?:KEEP=1 )?make ([a-z]+)", document.read_text(), re.MULTILINE))
        assert named <= known, document


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_commands_of_the_readme_work(lab: Lab, host: LibvirtHost, service: Service, tmp_path: Path) -> None:
    name = f"{host.pool}-readme"  # a domain of ours beside whatever this machine has
    stands_for = {
        "vcenter.example.com": f"{lab.host}:{lab.port}",
        "vmferry@vsphere.local": lab.username,
        "vcenter-ca.pem": str(lab.ca_file),
        "--pool default": f"--pool {host.pool}",
        "VM Network=default": f"VM Network={host.network}",
        "deb12 --target kvm --": f"deb12 --target kvm --target-name {name} --strategy disk_only --",
        "/srv/exports": str(_exports(tmp_path / "exports")),
    }
    _vmdk(tmp_path / "disk.vmdk")
    ran = []
    for line in lines_of(README):
        if line in NOT_RUN or line.startswith("make "):
            continue
        for written, meant in stands_for.items():
            line = line.replace(written, meant)
        if "JOB" in line:
            line = re.sub(r"\bJOB\b", service.json("job", "list")[0]["id"], line)
        ran_in(tmp_path, service, line)
        ran.append(shlex.split(line)[1])
        if line.endswith("--strategy disk_only --wait"):
            assert name in [domain.name() for domain in host.domains()]
        if " rollback " in line:
            assert name not in [domain.name() for domain in host.domains()]
        if " template " in line:
            fill(tmp_path / "june.xlsx", {"deb12": {"strategy": "disk_only", "target name": name}})
    assert set(ran) == {"doctor", "source", "target", "inventory", "migrate", "job", "image", "plan"}
    assert name in [domain.name() for domain in host.domains()]


def ran_in(folder: Path, service: Service, line: str, *codes: int) -> None:
    """Run what somebody would type; its exit code is 0 or one of `codes`."""
    done = subprocess.run(
        shlex.split(line), cwd=folder, env=service.environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode in (0, *codes), f"{line}\n{done.stdout}\n{done.stderr}"


def _exports(folder: Path) -> Path:
    """A folder with one OVA."""
    folder.mkdir()
    (folder / "web.ova").write_bytes(tar(package([disk("disk0.vmdk", b"\x55" * (4 << 20))], name="web")))
    return folder


def _machines(folder: Path) -> Path:
    """A folder with the folder of one VM."""
    write_vmx(folder / "web/web.vmx", "web", {"scsi0:0": "web.vmdk"})
    write_flat(folder / "web", "web", b"\x55" * (4 << 20))
    return folder


def _vmdk(path: Path) -> None:
    argv = ["qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicSparse", str(path), "16M"]
    subprocess.run(argv, check=True)


def test_commands_of_the_operations_manual_work(lab: Lab, host: LibvirtHost, service: Service, tmp_path: Path) -> None:
    exports = _exports(tmp_path / "exports")
    with WebServer(tmp_path, {"/web.ova": (exports / "web.ova").read_bytes()}) as web:
        _commands_of_the_operations_manual(lab, host, service, web, exports)


def _commands_of_the_operations_manual(
    lab: Lab, host: LibvirtHost, service: Service, web: WebServer, exports: Path
) -> None:
    name = f"{host.pool}-manual"
    lab.add(VmSpec(name, [DiskSpec(size_mib=16, fill_mib=4)], on=False))
    lab.add(VmSpec("vault", [DiskSpec(size_mib=16, fill_mib=4)], on=False))
    lab.http_fault("/nfc/", rate=16 << 10, count=0)  # JOB is still there when it is cancelled, on a busy machine too
    stands_for = {
        "migrate vc web01": f"migrate vc {name} --target manual --strategy disk_only",
        "migrate vc1 vault": "migrate vc vault --target manual --dry-run",
        "/root/": f"{exports.parent}/",
        "/srv/exports": str(exports),
        "https://files.example/exports/web.ova": web.url("/web.ova"),
        "files-ca.pem": str(exports.parent / "files-ca.pem"),
        "/srv/vms": str(_machines(exports.parent / "vms")),
    }
    (exports.parent / "files-ca.pem").write_text(web.ca_pem)
    for key in ("vault.key", "root.key", "data.key"):
        (exports.parent / key).write_text("a key\n")
    source = ("source", "add", "vc", f"{lab.host}:{lab.port}", "--username", lab.username)
    service.run(*source, "--ca-file", str(lab.ca_file))
    service.run("target", "add", "manual", "--pool", host.pool, "--network", f"*={host.network}")
    for line in lines_of(ROOT / "docs" / "operations.md"):
        if line.startswith("make "):
            continue
        assert line.startswith("vmferry ")
        for written, meant in stands_for.items():
            line = line.replace(written, meant)
        if "JOB" in line:
            line = re.sub(r"\bJOB\b", service.json("job", "list")[0]["id"], line)
        service.run(*shlex.split(line)[1:])
    service.run("limit", "clear")
    service.run("job", "cancel", service.json("job", "list")[0]["id"], "--wait")
    lab.clear()


def test_commands_of_the_manual_of_plans_work(lab: Lab, host: LibvirtHost, service: Service, tmp_path: Path) -> None:
    source = ("source", "add", "plans", f"{lab.host}:{lab.port}", "--username", lab.username)
    service.run(*source, "--ca-file", str(lab.ca_file))
    service.run("target", "add", "plans", "--pool", host.pool, "--network", f"*={host.network}")
    bad, good, later = names = [f"{host.pool}-plan-{number}" for number in range(3)]
    for number, name in enumerate(names):
        lab.add(VmSpec(name, [DiskSpec(size_mib=4, fill_mib=1, seed=number)], on=False, change_tracking=True))
    service.run("inventory", "plans", "--refresh")
    export = workbook([machine(lab, name) for name in names], vcenter_uuid=vcenter_uuid(lab))
    (tmp_path / "RVTools_export_all.xlsx").write_bytes(export)

    def there() -> set[str]:
        return {domain.name() for domain in host.domains()} & set(names)

    for line in lines_of(ROOT / "docs" / "plans.md"):
        if line == "vmferry plan remove june":
            _until(lambda: there() == {bad, good})
        line = re.sub(r"\bjune\b(?!\.)", "july", line)  # june is the README's
        ran_in(
            tmp_path,
            service,
            line.replace("--target kvm", "--source plans --target plans"),
            *([8] if " watch " in line else []),
        )
        if " export " in line:
            rows = {bad: {"wave": "pilot"}, good: {"wave": "pilot"}, later: {"wave": "shop"}}
            waves = [{"wave": "pilot"}, {"wave": "shop", "gate": "manual"}]
            fill(tmp_path / "june.xlsx", {name: {"strategy": "disk_only", **row} for name, row in rows.items()}, waves)
            break_disks(lab, bad)
        if " watch " in line:
            assert there() == {good, later}
            lab.clear()
    assert "july" not in [plan["name"] for plan in service.json("plan", "list")]


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_example_moves_a_vm_with_curl(lab: Lab, host: LibvirtHost, service: Service) -> None:
    name = f"{host.pool}-curl"
    lab.add(VmSpec(name, [DiskSpec(size_mib=4, fill_mib=1)], on=False))
    source = ("source", "add", "curl", f"{lab.host}:{lab.port}", "--username", lab.username)
    service.run(*source, "--ca-file", str(lab.ca_file))
    service.run("target", "add", "curl", "--pool", host.pool, "--network", f"*={host.network}")
    service.run("inventory", "curl", "--refresh")
    environment = {**service.environment, "VMFERRY_URL": service.url, "VMFERRY_TOKEN_FILE": f"{service.home}/token"}

    def example(vm: str) -> subprocess.CompletedProcess[str]:
        argv = [ROOT / "examples" / "move-with-curl.sh", "curl", vm, "curl", "disk_only"]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)

    done = example(name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("succeeded\n")
    assert name in [domain.name() for domain in host.domains()]
    refused = example("none")
    assert refused.returncode == 1
    assert '"vm_not_found"' in refused.stderr
