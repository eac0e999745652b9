"""What users register and what vmferry remembers of it; no secret is in any of these."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from app.domain.models import VM, Check, ImageOptions, SourceKind, TargetFacts, Tls
from app.domain.value import Value


class Credential(Value):
    id: str
    name: str
    username: str
    created_at: datetime


class RegisteredSource(Value):
    id: str
    name: str
    kind: SourceKind
    host: str  # as SourceSpec.host
    credential_id: str | None
    username: str
    tls: Tls
    identity: str  # the platform's own UUID; "" until it was seen
    checks: tuple[Check, ...]
    checked_at: datetime | None
    refreshed_at: datetime | None  # when the inventory was read last
    created_at: datetime


class RegisteredTarget(Value):
    id: str
    name: str
    kind: Literal["libvirt"]
    uri: str
    pool: str
    image: ImageOptions
    networks: dict[str, str]
    credential_id: str | None
    facts: TargetFacts | None
    checks: tuple[Check, ...]
    checked_at: datetime | None
    created_at: datetime


class ListedVM(Value):
    """A VM as the inventory had it."""

    source_id: str
    source_name: str
    seen_at: datetime
    vm: VM


class Token(Value):
    id: str
    name: str
    created_at: datetime


class KnownVM(NamedTuple):
    """Who a VM of an inventory is, and no more."""

    id: str
    name: str
    uuid: str
    folder: str
    template: bool
