"""vmferry image: what a user gets from it, with nothing else running."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.process import run

MIB = 1 << 20


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "disk.raw"
    source = random.Random(11)
    with path.open("wb") as file:
        file.truncate(96 * MIB)
        for _ in range(40):
            file.seek(source.randrange(90 * MIB) // 4096 * 4096)
            file.write(source.randbytes(300_000))
    return path


@pytest.fixture(scope="module")
def vmdk(raw: Path) -> Path:
    path = raw.with_suffix(".vmdk")
    run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, path])
    return path


def image(*words: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "app", "image", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def equal(raw: Path, target: Path, format: str = "qcow2") -> None:
    run(["qemu-img", "compare", "-f", "raw", "-F", format, raw, target])


def test_convert_and_verify_any_later_day(vmdk: Path, raw: Path, tmp_path: Path) -> None:
    target = tmp_path / "disk.qcow2"
    said = json.loads(image("convert", vmdk, target, "--second-read", "all", "--output", "json").stdout)
    equal(raw, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk.qcow2", "disk.qcow2.manifest.json"]
    assert said["capacity"] == 96 * MIB
    verified = json.loads(image("verify", target, said["manifest"], "--output", "json").stdout)
    assert verified["digest"] == said["digest"]
    run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 20M 512", target])
    assert "differs from the source" in image("verify", target, said["manifest"], status=1).stderr


@pytest.mark.parametrize(
    ("options", "format"),
    [
        (["--to-format", "raw"], "raw"),
        (["--compressed"], "qcow2"),
        (["--cluster-kib", "256", "--preallocation", "metadata"], "qcow2"),
    ],
    ids=["raw", "compressed", "clusters"],
)
def test_kinds_of_targets(vmdk: Path, raw: Path, tmp_path: Path, options: list[str], format: str) -> None:
    target = tmp_path / "out"
    assert "read back and equal" in image("convert", vmdk, target, *options).stdout
    equal(raw, target, format)


def test_a_raw_image_has_to_be_called_so(raw: Path, tmp_path: Path) -> None:
    assert "raw" in image("convert", raw, tmp_path / "x.qcow2", status=1).stderr
    assert list(tmp_path.iterdir()) == []
    image("convert", raw, tmp_path / "x.qcow2", "--from-format", "raw")
    equal(raw, tmp_path / "x.qcow2")


def test_a_file_that_is_there_is_kept(vmdk: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.write_text("mine")
    assert "exists already" in image("convert", vmdk, target, status=6).stderr
    assert target.read_text() == "mine"


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "none.vmdk" in image("convert", tmp_path / "none.vmdk", tmp_path / "x", status=5).stderr
    assert image("check", tmp_path / "none.vmdk", status=5).stderr


def test_check(vmdk: Path, tmp_path: Path) -> None:
    assert "nothing wrong: 96.0 MiB" in image("check", vmdk).stdout
    evil = tmp_path / "evil.vmdk"
    evil.write_text(
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        'RW 2048 FLAT "/etc/shadow" 0\n'
    )
    assert "/etc/shadow" in image("check", evil, status=3).stderr
    said = json.loads(image("check", evil, "--output", "json", status=3).stdout)
    assert said["problems"]
    backed = tmp_path / "backed.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", vmdk, "-F", "vmdk", backed])
    assert "backing file" in image("check", backed, status=3).stderr


def test_it_goes_on_after_a_kill(tmp_path: Path) -> None:
    raw = tmp_path / "big.raw"
    with raw.open("wb") as file:
        for seed in range(12):
            file.write(random.Random(seed).randbytes(64 * MIB))
    target = tmp_path / "big.qcow2"
    journal = tmp_path / "big.qcow2.part.journal"
    argv = [sys.executable, "-m", "app", "image", "convert", str(raw), str(target), "--from-format", "raw"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and (not journal.exists() or journal.stat().st_size < 2000):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    assert os.stat(tmp_path / "big.qcow2.part").st_size > 0
    said = json.loads(image("convert", raw, target, "--from-format", "raw", "--output", "json").stdout)
    equal(raw, target)
    assert said["wire_bytes"] < 2 * said["capacity"]
    assert not journal.exists()
