"""What somebody sent to make a plan of, kept until it is one: a sheet as it came, or VMs that were picked."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from app.domain.errors import NotFound
from app.domain.plan import Wanted, WantedPlan
from app.services.planning.drafts import DEFAULT_WAVE
from app.settings import Settings
from app.sheets.formats import understand
from app.sheets.read import read
from app.store.rows import new_id

KEPT_S = 24 * 3600.0
PICKED = "picked"
_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Draft:
    """`filename` is "" for VMs that were picked."""

    id: str
    filename: str
    data: bytes

    @property
    def name(self) -> str:
        """For the plan, unless somebody says another."""
        return re.sub(r"[/?#%\x00-\x1f\x7f]", "", Path(self.filename).stem).strip()[:100]

    def wanted(self) -> WantedPlan:
        """Raises UnreadableSheet and TooLarge."""
        return _read(self.data, self.filename) if self.filename else _picked(self.data)


class Drafts:
    """A folder for each, under the service's home; what is older than a day is removed when another one comes."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.home / "drafts"

    def keep(self, filename: str, data: bytes) -> Draft:
        self._sweep()
        draft = Draft(new_id(), filename, data)
        folder = self._folder / draft.id
        folder.mkdir(parents=True, mode=0o700)
        (folder / "data").write_bytes(data)
        (folder / "about.json").write_text(json.dumps({"filename": filename}), encoding="utf-8")
        return draft

    def pick(self, vms: Sequence[tuple[str, str, str]], target: str) -> Draft:
        """(source, the VM's id, its name) of each. `target`: where they shall go, "" for not said."""
        return self.keep("", json.dumps({"target": target, "vms": vms}).encode())

    def get(self, draft_id: str) -> Draft:
        """Raises NotFound."""
        folder = self._folder / draft_id
        if not _ID.fullmatch(draft_id) or not (folder / "about.json").is_file():
            raise NotFound("this draft is gone", "Drop the sheet again: drafts are kept for a day.")
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        return Draft(draft_id, about["filename"], (folder / "data").read_bytes())

    def remove(self, draft: Draft) -> None:
        shutil.rmtree(self._folder / draft.id, ignore_errors=True)

    def _sweep(self) -> None:
        if not self._folder.is_dir():
            return
        for folder in self._folder.iterdir():
            if time.time() - folder.stat().st_mtime > KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)


@lru_cache(maxsize=4)
def _read(data: bytes, filename: str) -> WantedPlan:
    """A sheet is looked at again whenever something is chosen for it, and is the same each time."""
    return understand(read(data, filename))


def _picked(data: bytes) -> WantedPlan:
    picked = json.loads(data)
    rows = tuple(
        Wanted(
            source=source,
            vm_id=vm_id,
            vm_name=name,
            target=picked["target"],
            wave=DEFAULT_WAVE,
            places={"": name},
        )
        for source, vm_id, name in picked["vms"]
    )
    return WantedPlan(kind="document", rows=rows)
