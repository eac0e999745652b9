"""What sheets that we write are filled with: rows of an inventory, and lists of what is registered."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.plan import Wanted
from app.domain.registered import RegisteredTarget
from app.preflight.pool import FILE_POOLS
from app.services.planning.known import Known, SourceVMs
from app.sheets.lists import Choices
from app.sheets.words import join_pairs

MOST_NETWORKS = 1000  # cells that a drop-down list offers


def template_rows(vms: SourceVMs, to: RegisteredTarget | None) -> list[Wanted]:
    """One for each VM of a source but templates, by their names."""
    return [
        Wanted(
            wave="1",
            source=vms.source.name,
            vm_name=vm.name,
            vm_id=vm.id,
            vm_uuid=vm.uuid,
            target=to.name if to else "",
        )
        for vm in sorted(vms.by_id.values(), key=lambda vm: (vm.name.casefold(), vm.id))
        if not vm.template
    ]


def choices(known: Known, source: str = "", target: str = "") -> Choices:
    """`source` and `target`: whose networks and pools are offered; "": those of all."""
    targets = [item for item in known.targets if target in ("", item.id, item.name)]
    facts = [item.facts for item in targets if item.facts]
    sources = [item for item in known.sources if source in ("", item.id, item.name)]
    networks = sorted({name for item in sources for name in known.networks(item)})
    plugs = sorted({name for item in facts for name in item.networks})
    return Choices(
        sources=_sorted(item.name for item in known.sources),
        targets=_sorted(item.name for item in known.targets),
        pools=_sorted(pool.name for item in facts for pool in item.pools if pool.type in FILE_POOLS),
        networks=[join_pairs({network: plug}) for network in networks for plug in plugs][:MOST_NETWORKS],
    )


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(set(names))
