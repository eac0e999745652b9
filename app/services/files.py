"""What a job leaves in its folder: pictures of the console and the manifests of its disks."""

from __future__ import annotations

import re
from pathlib import Path

from app.domain.errors import NotFound
from app.settings import Settings
from app.store.store import Store

_PICTURE = re.compile(r"console-([a-z0-9-]{1,40})\.png")
_MANIFEST = re.compile(r"disk-(\d{1,3})\.manifest\.json")


class JobFiles:
    """Names are matched against those that are there: no path is ever made of what a caller said."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    def consoles(self, job_id: str) -> dict[str, Path]:
        """name → PNG. Raises NotFound for an unknown job."""
        return self._matching(job_id, _PICTURE)

    def manifests(self, job_id: str) -> dict[str, Path]:
        """The disk's key → its manifest, once it was copied. Raises NotFound for an unknown job."""
        vm = self._store.jobs.job(job_id).vm
        found = self._matching(job_id, _MANIFEST)
        keys = {str(place): str(disk.key) for place, disk in enumerate(vm.disks)} if vm else {}
        return {keys[place]: path for place, path in found.items() if place in keys}

    def console(self, job_id: str, name: str) -> Path:
        return _one(self.consoles(job_id), name, "console picture")

    def manifest(self, job_id: str, key: str) -> Path:
        return _one(self.manifests(job_id), key, "manifest of disk")

    def _matching(self, job_id: str, pattern: re.Pattern[str]) -> dict[str, Path]:
        folder = self._settings.job_folder(self._store.jobs.job(job_id).id)
        if not folder.is_dir():
            return {}
        found = ((pattern.fullmatch(path.name), path) for path in sorted(folder.iterdir()))
        return {match[1]: path for match, path in found if match and path.is_file() and not path.is_symlink()}


def _one(files: dict[str, Path], name: str, what: str) -> Path:
    if name not in files:
        raise NotFound(f"this job has no {what} {name}", f"It has: {', '.join(files) or 'none'}.")
    return files[name]
