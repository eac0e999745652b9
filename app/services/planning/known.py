"""What is registered, read once for a whole import."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

from app.domain.registered import KnownVM, RegisteredSource, RegisteredTarget
from app.domain.spelling import folded
from app.services.planning.words import Suggestions
from app.store.paging import MAX_LIMIT, Page, PageRequest
from app.store.store import Store

T = TypeVar("T")


def plain_uuid(text: str) -> str:
    """As it can be compared: 32 hexadecimal digits in lower case, if it is one."""
    return text.strip().strip("{}").replace("-", "").replace(" ", "").lower()


class SourceVMs:
    """The VMs of one source, by whatever a row may say of one."""

    def __init__(self, source: RegisteredSource, vms: Sequence[KnownVM]) -> None:
        self.source = source
        self.by_id = {vm.id: vm for vm in vms}
        self.by_uuid: dict[str, list[KnownVM]] = defaultdict(list)
        self.by_name: dict[str, list[KnownVM]] = defaultdict(list)
        self._folded: dict[str, list[KnownVM]] = defaultdict(list)
        for vm in vms:
            self.by_uuid[plain_uuid(vm.uuid)].append(vm)
            self.by_name[vm.name].append(vm)
            self._folded[folded(vm.name)].append(vm)

    def with_uuid(self, uuid: str) -> list[KnownVM]:
        return self.by_uuid.get(plain_uuid(uuid), [])

    def named(self, name: str) -> list[KnownVM]:
        """Those of exactly this name, else those of this name whatever its case."""
        return self.by_name.get(name) or self._folded.get(folded(name), [])

    def key(self, vm: KnownVM) -> str:
        """Who it is, over all imports and all registrations of its platform."""
        return f"{self.source.identity or self.source.id}:{vm.id}"


class Known:
    """Sources, targets and, where a row asks for them, the VMs of a source."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._vms: dict[str, SourceVMs] = {}
        self.sources: list[RegisteredSource] = _all(store.sources.list)
        self.targets: list[RegisteredTarget] = _all(store.targets.list)
        self.suggestions = Suggestions()

    def source(self, ref: str) -> RegisteredSource | None:
        return next((item for item in self.sources if ref in (item.id, item.name)), None)

    def platform(self, uuid: str) -> RegisteredSource | None:
        """The source whose platform has this UUID."""
        wanted = plain_uuid(uuid)
        return next((item for item in self.sources if item.identity and plain_uuid(item.identity) == wanted), None)

    def target(self, ref: str) -> RegisteredTarget | None:
        return next((item for item in self.targets if ref in (item.id, item.name)), None)

    def vms(self, source: RegisteredSource) -> SourceVMs:
        if source.id not in self._vms:
            self._vms[source.id] = SourceVMs(source, self._store.inventory.known(source.id))
        return self._vms[source.id]

    def networks(self, source: RegisteredSource) -> Sequence[str]:
        return self._store.inventory.networks(source.id)


def _all(read: Callable[[PageRequest], Page[T]]) -> list[T]:
    found: list[T] = []
    cursor: str | None = ""
    while cursor is not None:
        page = read(PageRequest(MAX_LIMIT, cursor))
        found, cursor = found + page.items, page.next
    return found
