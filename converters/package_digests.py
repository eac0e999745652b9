"""The manifest of an OVF package (.mf): a digest for each of its files.

Layout: DMTF DSP0243, "Distribution", and what `sha256sum --tag` writes. It finds damage, not forgery: whoever changes
a file can change the manifest, too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from converters.package_names import is_plain, refuse

MAX_BYTES = 1 << 20

_LINE = re.compile(r"([A-Za-z0-9-]{1,20})\s*\((.+)\)\s*=\s*([0-9A-Fa-f]+)")
ALGORITHMS = ("SHA1", "SHA256", "SHA384", "SHA512")


@dataclass(frozen=True)
class Digest:
    """What a file's bytes must hash to."""

    algorithm: str  # SHA1, SHA256, …
    value: bytes

    def new(self) -> Any:
        """A hashlib object of this algorithm."""
        return hashlib.new(self.algorithm, usedforsecurity=False)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value.hex()}"


def parse(data: bytes) -> Mapping[str, Digest]:
    """Digests by file name. Raises UnsafeImage for what is malformed, ambiguous or of an unknown algorithm."""
    if len(data) > MAX_BYTES:
        raise refuse("manifest", f"it has {len(data)} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse("manifest", "it is no text") from error
    found: dict[str, Digest] = {}
    for line in text.split("\n"):
        if not (stripped := line.strip()):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise refuse("manifest", f"the line {stripped[:80]!r}")
        algorithm, name, value = match[1].upper(), match[2], match[3]
        if algorithm not in ALGORITHMS:
            raise refuse("manifest", f"the algorithm {match[1]}")
        if not is_plain(name):
            raise refuse("manifest", f"a file outside the package: {name[:80]!r}")
        if name in found:
            raise refuse("manifest", f"two digests for {name!r}")
        if len(value) != 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size:
            raise refuse("manifest", f"a {algorithm} of {len(value)} digits for {name!r}")
        found[name] = Digest(algorithm, bytes.fromhex(value))
    if not found:
        raise refuse("manifest", "it is empty")
    return found


def require_present(digests: Mapping[str, Digest], names: Collection[str]) -> None:
    """Raise UnsafeImage for a digest of a file that is not among `names`."""
    for name in digests:
        if name not in names:
            raise refuse("manifest", f"{name!r} is not in the package")


def require_equal(digests: Mapping[str, Digest], name: str, data: bytes) -> None:
    """Hold the whole bytes of a file against its digest. Raises UnsafeImage."""
    digest = expected(digests, name)
    hashed = digest.new()
    hashed.update(data)
    if hashed.digest() != digest.value:
        raise refuse(name, "its bytes are not those that the package's manifest names")


def expected(digests: Mapping[str, Digest], name: str) -> Digest:
    """The digest of a file that a manifest must name. Raises UnsafeImage."""
    if name not in digests:
        raise refuse("manifest", f"it leaves out {name!r}")
    return digests[name]
