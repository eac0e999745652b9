"""The Dockerfile builds, and what it builds finds everything that a move needs.

The base image is made here from Debian's archive, under the name that the Dockerfile uses: no registry is asked.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.libvirt_host import LibvirtHost
from tests.service import ROOT

BASE = "docker.io/library/debian:12-slim"
IMAGE = "localhost/vmferry:test"
CERTIFICATES = Path("/usr/local/share/ca-certificates")  # a machine behind a proxy has CAs of its own here

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


class Buildah:
    """buildah with a store of its own, without user namespaces or a container runtime's daemon."""

    def __init__(self, store: Path) -> None:
        self._roots = ["--root", str(store / "root"), "--runroot", str(store / "run")]
        self._environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = ["buildah", *self._roots, *arguments]
        done = subprocess.run(argv, env=self._environment, cwd=ROOT, text=True, capture_output=True)
        assert not check or done.returncode == 0, f"{argv}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Buildah, str]]:
    """buildah, and a container made from the built image."""
    folder = tmp_path_factory.mktemp("image")
    buildah = Buildah(folder)
    tar = folder / "debian.tar"
    keep_certificates = f'mkdir -p "$1{CERTIFICATES}"; cp -r {CERTIFICATES}/. "$1{CERTIFICATES}/"'
    subprocess.run(
        ["mmdebstrap", "--variant=minbase", f"--customize-hook={keep_certificates}", "bookworm", str(tar)],
        check=True,
        capture_output=True,
    )
    base = buildah("from", "scratch").stdout.strip()
    buildah("add", base, str(tar), "/")
    buildah("commit", "--rm", base, BASE)
    tar.unlink()
    buildah("bud", "--pull-never", "--layers=false", "--tag", IMAGE, ".")
    yield buildah, buildah("from", "--pull-never", IMAGE).stdout.strip()
    buildah("rm", "--all")
    buildah("rmi", "--all", "--force")


def test_doctor_finds_everything_beside_a_libvirt_host(image: tuple[Buildah, str]) -> None:
    buildah, container = image
    with LibvirtHost():
        said = buildah(
            "run", "--volume", "/run/libvirt:/run/libvirt", container, "vmferry", "doctor", "--output", "json"
        )
    answer = json.loads(said.stdout)
    assert answer["ok"]
    assert {"virt-v2v-in-place", "python module guestfs", "libvirt"} <= {row["name"] for row in answer["checks"]}


def test_doctor_names_what_is_missing_without_one(image: tuple[Buildah, str]) -> None:
    buildah, container = image
    said = buildah("run", container, "vmferry", "doctor", "--output", "json", check=False)
    assert said.returncode == 3
    assert [row["name"] for row in json.loads(said.stdout)["checks"] if not row["ok"]] == ["libvirt"]


def test_image_has_neither_secrets_nor_development_tools(image: tuple[Buildah, str]) -> None:
    buildah, container = image
    said = buildah("run", container, "find", "/var/lib/vmferry", "/opt/vmferry", "-maxdepth", "3").stdout
    assert "/opt/vmferry/.venv/bin/vmferry" in said
    assert not [name for name in ("secret.key", "token", "bin/pytest", "bin/uv", "bin/mypy") if f"/{name}\n" in said]
