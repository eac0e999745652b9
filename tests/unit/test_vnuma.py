"""How many NUMA nodes a guest of VMware sees."""

from __future__ import annotations

import pytest

from app.domain.vnuma import nodes_of


@pytest.mark.parametrize(
    ("cpus", "cores_per_node", "settings", "nodes"),
    [
        (16, 0, {}, 1),
        (16, 0, {"numa.autosize.vcpu.maxPerVirtualNode": "8"}, 2),
        (16, 0, {"numa.autosize.vcpu.maxPerVirtualNode": "8", "numa.vcpu.maxPerVirtualNode": "4"}, 4),
        (8, 0, {"numa.autosize.vcpu.maxPerVirtualNode": "4"}, 1),
        (8, 0, {"numa.autosize.vcpu.maxPerVirtualNode": "4", "numa.vcpu.min": "8"}, 2),
        (4, 2, {}, 2),
        (6, 4, {}, 2),
        (16, 0, {"numa.vcpu.maxPerVirtualNode": "-1"}, 1),
        (16, 0, {"numa.vcpu.maxPerVirtualNode": "9" * 5000}, 1),
        (16, 0, {"numa.vcpu.maxPerVirtualNode": "²"}, 1),
    ],
)
def test_nodes(cpus: int, cores_per_node: int, settings: dict[str, str], nodes: int) -> None:
    assert nodes_of(cpus, lambda key: settings.get(key, ""), cores_per_node) == nodes
