"""The command line against a real service: `vmferry up`, the lab's vCenter, a libvirt host."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.specs import DiskSpec, VmSpec
from tests.libvirt_host import LibvirtHost
from tests.packages import disk, package, tar
from tests.service import ROOT, Service

HOSTILE = "[red]\u202e$(touch p)</name>"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    vms = [VmSpec(f"{name}-{os.getpid()}", [DiskSpec(size_mib=16, fill_mib=4)], on=False) for name in ("one", "two")]
    with Lab(tmp_path_factory.mktemp("lab"), [*vms, VmSpec(HOSTILE, [DiskSpec(size_mib=1)], on=False)]) as lab:
        yield lab


@pytest.fixture(scope="module")
def host() -> Iterator[LibvirtHost]:
    with LibvirtHost() as host:
        yield host


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, lab: Lab, host: LibvirtHost) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("home"), VMFERRY_RETRY_ATTEMPTS="1") as service:
        add_source(service, lab, "vc", "--ca-file", str(lab.ca_file))
        target = ("target", "add", "kvm", "--uri", host.uri, "--pool", host.pool)
        service.run(*target, "--network", f"*={host.network}")
        service.run("inventory", "vc", "--refresh")
        yield service


@pytest.fixture
def vm(lab: Lab) -> Iterator[str]:
    """A VM of the lab, named like nothing else on this machine."""
    yield f"one-{os.getpid()}"
    lab.clear()


def add_source(
    service: Service, lab: Lab, name: str, *trust: str, password: str = "", check: bool = True
) -> subprocess.CompletedProcess[str]:
    words = ("source", "add", name, f"{lab.host}:{lab.port}", "--username", lab.username, "--password-file", "-")
    return service.run(*words, *trust, stdin=None, input=f"{password or lab.password}\n", check=check)


def migrate(vm: str, *options: str) -> tuple[str, ...]:
    return ("migrate", "vc", vm, "--strategy", "disk_only", *options)


def undo(service: Service, job: str) -> None:
    service.run("job", "rollback", job, "--yes", "--wait")


def test_lists_say_what_is_registered(service: Service, lab: Lab, host: LibvirtHost) -> None:
    (source,) = [s for s in service.json("source", "list") if s["name"] == "vc"]
    (target,) = service.json("target", "list")
    assert (source["host"], source["username"]) == (f"{lab.host}:{lab.port}", lab.username)
    assert (target["pool"], target["networks"]) == (host.pool, {"*": host.network})
    assert lab.password not in json.dumps(source)
    assert "own CA" in service.run("source", "list").stdout
    assert host.pool in service.run("target", "list").stdout


def test_a_target_with_images_of_its_own_kind(service: Service, host: LibvirtHost) -> None:
    words = ("--uri", host.uri, "--pool", host.pool, "--format", "raw", "--preallocation", "falloc", "--no-discard")
    service.run("target", "add", "raw", *words, "--no-check")
    (target,) = [target for target in service.json("target", "list") if target["name"] == "raw"]
    assert (target["image"]["format"], target["image"]["discard"]) == ("raw", False)
    assert "raw, falloc, no discard" in service.run("target", "list").stdout
    service.run("target", "remove", "raw")


def test_checks_are_shown_row_by_row(service: Service) -> None:
    for words in (("source", "check", "vc"), ("target", "check", "kvm")):
        answer = service.json(*words)
        assert answer["checks"]
        assert all(row["ok"] for row in answer["checks"]), answer
        assert answer["checks"][0]["name"] in service.run(*words).stdout


def test_a_wrong_password_fails_the_check(service: Service, lab: Lab) -> None:
    done = add_source(service, lab, "wrong", "--ca-file", str(lab.ca_file), password="not-this-one", check=False)
    assert done.returncode == 3
    assert "FAILED" in done.stdout
    assert "check_failed" in done.stderr
    assert "not-this-one" not in done.stdout + done.stderr
    service.run("source", "remove", "wrong")


def test_an_untrusted_certificate_is_shown_and_can_be_pinned(service: Service, lab: Lab) -> None:
    done = add_source(service, lab, "untrusted", check=False)
    assert done.returncode == 3
    assert lab.thumbprint.lower().replace(":", "") in (done.stdout + done.stderr).lower().replace(":", "")
    assert "--thumbprint" in done.stdout + done.stderr
    service.run("source", "remove", "untrusted")
    add_source(service, lab, "pinned", "--thumbprint", lab.thumbprint)
    service.run("source", "remove", "pinned")


def test_a_folder_of_packages_is_a_source_like_any_other(service: Service, tmp_path: Path) -> None:
    """No login is asked for; what is not in order fails the check, and keeps nobody from the rest."""
    packed = disk("disk1.vmdk", b"data" * (1 << 18))
    name = f"packed-{os.getpid()}"
    (tmp_path / "one.ova").write_bytes(tar(package([packed], name=name)))
    add = ("source", "add", "exports", str(tmp_path), "--kind", "ova")
    answer = service.json(*add)
    assert [row["name"] for row in answer["checks"]] == ["reachable", "package one.ova"]
    (row,) = [s for s in service.json("source", "list") if s["name"] == "exports"]
    assert (row["kind"], row["host"], row["username"]) == ("ova", str(tmp_path), "")
    assert str(tmp_path)[:12] in service.run("source", "list").stdout
    (vm,) = service.json("inventory", "exports")
    assert (vm["name"], vm["power_state"], vm["folder"]) == (name, "off", "one.ova")
    (tmp_path / "two.ova").write_bytes(tar(package([packed]))[:-30_000])
    done = service.run("source", "check", "exports", check=False)
    assert (done.returncode, "package two.ova" in done.stderr) == (3, True)
    assert [vm["name"] for vm in service.json("inventory", "exports", "--refresh")] == [name]
    dry = service.json("migrate", "exports", name, "--target", "kvm", "--strategy", "disk_only", "--dry-run")
    assert [concern["code"] for concern in dry["concerns"]] == ["boot_not_checked"]
    service.run("source", "remove", "exports")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("job", "list", "--nonsense"), 2),
        (("source", "add", "x", "127.0.0.2", "-u", "u"), 2),
        (("source", "add", "x", "127.0.0.2", "-u", "u", "--insecure", "--thumbprint", "ab"), 2),
        (("source", "add", "x", "127.0.0.2"), 2),
        (("source", "add", "x", "/srv/x.ova", "--kind", "ova", "-u", "u"), 2),
        (("source", "add", "x", "https://x/x.ova", "--kind", "ova", "--password-file", "/dev/null"), 2),
        (("source", "add", "x", "x.ova", "--kind", "ova"), 3),
        (("target", "add", "x", "--network", "lan"), 2),
        (("target", "add", "x", "--format", "vmdk"), 2),
        (("target", "add", "x", "--format", "raw", "--compressed"), 3),
        (("migrate", "vc", "no-such-vm", "--transport", "pigeon"), 2),
        (("target", "add", "x", "--uri", "qemu+ssh://elsewhere/system"), 3),
        (("limit", "set", "200"), 2),
        (("limit", "set", "1MB/s", "--window", "22:00-06:00=2MB/s"), 2),
        (("limit", "clear", "--source", "vc", "--job", "x"), 2),
        (("limit", "set", "1MB/s", "--window", "22:00-06:00=2MB/s", "--zone", "Nowhere"), 3),
        (("limit", "set", "1MB/s", "--job", "no-such-job"), 5),
        (("migrate", "vc", "no-such-vm", "--limit", "fast"), 2),
        (("migrate", "vc", "no-such-vm"), 5),
        (("source", "check", "no-such-source"), 5),
        (("job", "show", "no-such-job"), 5),
        (("target", "add", "kvm"), 6),
    ],
)
def test_exit_codes(service: Service, words: tuple[str, ...], code: int) -> None:
    done = service.run(*words, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_token_is_refused(service: Service) -> None:
    assert service.run("job", "list", check=False, env={"VMFERRY_TOKEN": "nonsense"}).returncode == 4


def test_without_a_service_the_error_says_so(service: Service) -> None:
    done = service.run("job", "list", check=False, env={"VMFERRY_URL": "http://127.0.0.1:1"})
    assert (done.returncode, "service_unreachable" in done.stderr) == (1, True)


def test_tokens_are_shown_once_and_revoked(service: Service) -> None:
    token = service.run("token", "create", "ci").stdout.strip()
    assert token not in service.run("token", "list", "-o", "json").stdout
    assert service.run("token", "list", env={"VMFERRY_TOKEN": token}).returncode == 0
    service.run("token", "revoke", "ci")
    assert service.run("token", "list", check=False, env={"VMFERRY_TOKEN": token}).returncode == 4


def test_hostile_names_are_shown_harmlessly(service: Service) -> None:
    assert HOSTILE in [vm["name"] for vm in service.json("inventory", "vc")]
    shown = service.run("inventory", "vc").stdout
    assert HOSTILE.replace("\u202e", r"\u202e") in shown
    assert "\u202e" not in shown


def test_a_dry_run_shows_the_domain_and_does_nothing(service: Service, host: LibvirtHost, vm: str) -> None:
    done = service.run(*migrate(vm, "--dry-run", "--target-name", f"dry-{os.getpid()}"))
    assert f"<name>dry-{os.getpid()}</name>" in done.stdout
    assert not [domain for domain in host.domains() if domain.name().startswith("dry-")]
    dense = service.json(*migrate(vm, "--dry-run", "--profile", "density"))
    assert "profile_without_balloon" in {concern["code"] for concern in dense["concerns"]}
    refused = service.run(*migrate(vm, "--dry-run", "--hostdev", "GPU=none"), check=False)
    assert refused.returncode == 3
    assert "no device of its host named GPU" in refused.stderr
    assert not service.json("job", "list")


def test_an_assessment_is_a_line_for_each_vm_and_a_summary(service: Service, vm: str) -> None:
    lines = service.run("inventory", "vc", "--assess").stdout.splitlines()
    assert lines[0].split()[:3] == ["NAME", "VERDICT", "WAY"]
    assert any(line.startswith(vm) and "1 virtio" in line for line in lines[1:4])
    assert lines[4].startswith("3 VMs, 33.0 MiB: ")
    ready = service.json("inventory", "vc", "--assess", "--verdict", "ready")
    assert [item["vm"]["name"] for item in ready if item["vm"]["name"] == vm] == [vm]
    assert ready[0]["strategy"] == "cold"
    assert service.json("inventory", "vc", "--assess", "--concern", "no_such_concern") == []
    assert service.run("inventory", "vc", "--verdict", "ready", check=False).returncode == 2


def test_limits_are_set_listed_and_cleared(service: Service) -> None:
    windows = ("--window", "22:00-06:00=200MB/s", "--zone", "Europe/Berlin")
    said = service.run("limit", "set", "20MB/s", "--source", "vc", *windows).stdout
    assert "200 MB/s from 22:00 to 06:00 Europe/Berlin, otherwise 20 MB/s" in said
    assert service.json("limit", "set", "1Gbit/s")["bytes_per_second"] == 125_000_000
    listed = service.run("limit", "list").stdout
    assert "125 MB/s" in listed
    assert "vc" in listed
    service.run("limit", "clear")
    service.run("limit", "clear", "--source", "vc")
    assert service.json("limit", "list") == []


def test_a_blocker_ends_with_its_own_code(service: Service, vm: str) -> None:
    service.run("target", "check", "kvm")  # what was seen a minute ago refuses nothing
    service.run("inventory", "vc", "--refresh")
    for words in (migrate(vm, "--network", "*=none"), migrate(vm, "--network", "*=none", "--dry-run")):
        done = service.run(*words, check=False)
        assert done.returncode == 3, done.stderr
        assert "none" in done.stderr


def test_a_move_is_followed_shown_reported_and_rolled_back(
    service: Service, host: LibvirtHost, vm: str, tmp_path: Path
) -> None:
    done = service.run(*migrate(vm, "--wait", "-o", "json"))
    job = json.loads(done.stdout)
    assert job["state"] == "succeeded"
    assert vm in done.stderr
    assert vm in [domain.name() for domain in host.domains()]

    assert "✓" in service.run("job", "show", job["id"]).stdout
    assert job["id"] in service.run("job", "list", "--state", "succeeded").stdout
    assert service.run("job", "watch", job["id"]).returncode == 0
    assert service.run("job", "logs", job["id"]).stdout.count("\n") > 5
    service.run("job", "report", job["id"], "--to", str(tmp_path / "report.json"))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["job"]["id"] == job["id"]
    assert report["events"]

    (disk,) = service.json("job", "show", job["id"])["disks"]
    service.run("job", "manifest", job["id"], "--disk", str(disk["key"]), "--to", str(tmp_path / "manifest.json"))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["disk"], manifest["capacity"]) == (str(disk["key"]), disk["capacity_bytes"])
    assert json.loads(service.run("job", "manifest", job["id"]).stdout) == manifest
    assert service.run("job", "manifest", job["id"], "--disk", "1", check=False).returncode == 5

    asked = service.run("job", "rollback", job["id"], "--wait", check=False)
    assert asked.returncode == 1
    assert "will be lost" in asked.stderr
    assert vm in [domain.name() for domain in host.domains()]
    undo(service, job["id"])
    assert vm not in [domain.name() for domain in host.domains()]


def test_a_wait_ends_in_time_and_the_job_can_be_cancelled(service: Service, lab: Lab, vm: str) -> None:
    lab.http_fault("/nfc/", rate=24 << 10, count=0)
    done = service.run(*migrate(vm, "--wait", "--timeout", "3"), check=False)
    assert done.returncode == 7
    (job,) = service.json("job", "list", "--state", "running")
    service.run("job", "cancel", job["id"], "--wait")
    assert service.json("job", "show", job["id"])["state"] == "cancelled"


def test_ctrl_c_ends_the_wait_and_not_the_job(service: Service, lab: Lab, vm: str) -> None:
    lab.http_fault("/nfc/", rate=24 << 10, count=0)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "app", *migrate(vm, "--wait")],
        cwd=ROOT,
        env=service.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # tests that run in the background of a script inherit that it is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not (running := service.json("job", "list", "--state", "running")):
        assert time.monotonic() < deadline
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(60) == 130
    assert service.json("job", "show", running[0]["id"])["state"] == "running"
    service.run("job", "cancel", running[0]["id"], "--wait")


def test_a_failed_job_is_retried(service: Service, lab: Lab, vm: str) -> None:
    lab.http_fault("/nfc/", cut_bytes=1000, count=0)
    done = service.run(*migrate(vm, "--wait"), check=False)
    assert done.returncode == 1, done.stderr
    lab.clear()
    (job,) = service.json("job", "list", "--state", "failed")
    service.run("job", "retry", job["id"], "--wait")
    undo(service, job["id"])


def test_a_terminal_sees_bars(service: Service, lab: Lab, vm: str) -> None:
    lab.http_fault("/nfc/", rate=1 << 20, count=0)
    ours, theirs = pty.openpty()
    environment = {**service.environment, "TERM": "xterm", "COLUMNS": "150", "LINES": "40"}
    argv = [sys.executable, "-m", "app", *migrate(vm, "--wait")]
    with subprocess.Popen(argv, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as watching:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                seen += chunk
        except OSError:  # how a terminal ends
            assert watching.wait(60) == 0
    text = seen.decode()
    assert "▸ transfer" in text
    assert "16.0 MiB" in text
    assert "━" in text
    undo(service, service.json("job", "list", "--state", "succeeded")[0]["id"])
