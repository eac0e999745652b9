"""A VM in a package moves like any other, and a package that is not what its manifest says does not move."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.world import World
from tests.packages import MIB, PackagedDisk, disk, package, tar
from tests.web_server import WebServer


class Exports:
    """A folder of packages, registered as a source; every VM has a name of its own."""

    def __init__(self, world: World, folder: Path, place: str = "", **more: Any) -> None:
        self.world, self.folder = world, folder
        source = random.Random(17)
        self.raws = [source.randbytes(20 * MIB) + bytes(28 * MIB), b"text" * MIB + bytes(4 * MIB)]
        self.disks = [disk(f"disk{i}.vmdk", raw) for i, raw in enumerate(self.raws)]
        self.name = f"vmferry-packed-{os.getpid()}-{folder.name}"
        self.source = f"exports-{folder.name}"
        body = {"name": self.source, "kind": "ova", "host": place or str(folder), **more}
        world.api("POST", "sources", json=body)

    def pack(self, **options: Any) -> bytes:
        return tar(package(self.disks, name=self.name, **options))

    def submit(self, **options: Any) -> dict[str, Any]:
        refreshed = self.world.operate(f"sources/{self.source}/refresh")
        assert refreshed["state"] == "succeeded", refreshed
        asked = {"strategy": "disk_only"} | options
        body = {"source": self.source, "vm": self.name, "target": self.world.target, "options": asked}
        return dict(self.world.api("POST", "jobs", json=body))

    def assert_moved(self, job: dict[str, Any]) -> None:
        """One domain with the package's hardware, and one volume for each disk, equal to what was packed."""
        world, job_id = self.world, job["id"]
        assert job["state"] == "succeeded", job["error"]
        names = [f"vmferry-{job_id}-{index}.qcow2" for index in range(len(self.raws))]
        assert world.volumes(job_id) == names
        domain = world.domain(job["domain_uuid"])
        assert domain.name() == self.name
        xml = domain.XMLDesc()
        assert "00:50:56:00:00:01" in xml
        for name, raw in zip(names, self.raws, strict=True):
            path = world.host.pool_path / name
            assert str(path) in xml
            plain = self.folder / "raw"
            plain.write_bytes(raw)
            argv = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(plain), str(path)]
            subprocess.run(argv, check=True, capture_output=True)
            plain.unlink()

    def assert_undone(self, job: dict[str, Any]) -> None:
        assert self.world.volumes(job["id"]) == []
        assert self.world.domain(job["domain_uuid"]) is None


@pytest.fixture
def exports(world: World, tmp_path: Path) -> Iterator[Exports]:
    made = Exports(world, tmp_path)
    yield made
    world.clean()
    world.api("DELETE", f"sources/{made.source}")


def test_a_package_moves_and_can_be_given_back(world: World, exports: Exports) -> None:
    place = exports.folder / "web.ova"
    place.write_bytes(exports.pack())
    before = place.read_bytes()
    checked = world.operate(f"sources/{exports.source}/check")
    assert checked["result"]["ok"], checked
    job = world.finish(exports.submit()["id"])
    exports.assert_moved(job)
    steps = {step["name"]: step["detail"] for step in job["steps"]}
    assert steps["shutdown"] == "it was off"
    assert "keeps no note" in steps["finalise"]
    assert [artefact for artefact in job["artefacts"] if artefact["kind"] in ("annotation", "power")] == []
    assert not world.domain(job["domain_uuid"]).isActive()
    assert set(world.attempts(job["id"]).values()) == {1}
    assert "manifest_missing" not in {concern["code"] for concern in job["concerns"]}

    world.api("POST", f"jobs/{job['id']}/rollback", json={"confirm_data_loss": True})
    job = world.until(job["id"], lambda seen: seen["state"] not in ("succeeded", "rolling_back"))
    assert job["state"] == "rolled_back", job["error"]
    exports.assert_undone(job)
    assert place.read_bytes() == before


def test_a_damaged_package_moves_nothing(world: World, exports: Exports) -> None:
    """The flip is in the padding behind the end mark of a disk: only its digest tells."""
    whole = exports.disks[1]
    exports.disks[1] = PackagedDisk(whole.file, whole.vmdk + bytes(2048), whole.capacity)
    data = bytearray(exports.pack(manifest_last=True))
    data[data.index(exports.disks[1].vmdk) + len(whole.vmdk) - 100] ^= 1
    (exports.folder / "web.ova").write_bytes(data)
    job = world.finish(exports.submit()["id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "unsafe_image"), job["error"]
    assert world.attempts(job["id"])["transfer"] == 1
    exports.assert_undone(job)


def test_a_killed_worker_copies_a_package_anew(world: World, exports: Exports) -> None:
    (exports.folder / "web.ova").write_bytes(exports.pack())
    job_id = exports.submit()["id"]
    world.until_phase(job_id, "transfer")
    world.kill_worker()
    exports.assert_moved(world.finish(job_id))


def test_a_package_of_a_web_server_is_read_again_where_its_body_was_cut(world: World, tmp_path: Path) -> None:
    with WebServer(tmp_path) as server:
        place, login = server.url("/web.ova"), {"username": "mover", "password": "pa55word-of-the-web"}
        exports = Exports(world, tmp_path, place, tls={"ca_pem": server.ca_pem}, **login)
        server.login = (login["username"], login["password"])
        server.files["/web.ova"] = exports.pack()
        server.cut, server.cuts = 5 * MIB, 1
        job = world.finish(exports.submit()["id"])
        world.api("DELETE", f"sources/{exports.source}")
    exports.assert_moved(job)
    assert server.cuts == 0
    assert world.attempts(job["id"])["transfer"] == 2
    assert login["password"] not in world.service.log.read_text()
