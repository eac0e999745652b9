"""The members of a tar archive, read as hostile input: names and places, never a byte of a body that is not asked for.

Layout: POSIX ustar with pax headers, and GNU's extensions for long names and large sizes. An OVA is such an archive of
plain files side by side; everything else a tar can hold (links, devices, folders, sparse files) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.domain.errors import UnsafeImage
from converters.package_names import is_plain
from converters.package_names import refuse as refuse_what

BLOCK = 512
MAX_MEMBERS = 1000
MAX_SIZE = 1 << 60
MAX_EXTENSION = 64 << 10  # bytes of one pax header or long name
MAX_TRAILER = 1 << 20  # zeros behind the end mark; writers fill up their last record

Read = Callable[[int, int], bytes]
"""(offset, length) → exactly these bytes of the archive. Offsets ascend, so that it may be a stream that skips."""

_REGULAR = (b"0", b"\0")
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a folder",
    b"6": "a FIFO",
    b"S": "a sparse file",
    b"M": "a part of another volume",
}
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_LENGTH = re.compile(rb"([1-9]\d{0,5}) ")
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)


class Member(NamedTuple):
    """A plain file: its `size` bytes are in the archive from `offset` on."""

    name: str
    offset: int
    size: int


def refuse(reason: str) -> UnsafeImage:
    return refuse_what("tar", reason)


def members(read: Read, size: int | None) -> Iterator[Member]:
    """The members in their order. `size` is the archive's, None where it is not known.

    The iteration ends only at a proper end. Raises UnsafeImage for what is no plain archive of plain files, and what
    `read` raises. Between two members, the caller may read the body of the one it has got.
    """
    seen: set[str] = set()
    place = 0
    pax: dict[str, str] = {}
    long_name: bytes | None = None
    for _ in range(4 * MAX_MEMBERS):
        header = _block(read, place, size)
        place += BLOCK
        if not any(header):
            if pax or long_name is not None:
                raise refuse("an extended header without its member")
            _end(read, place, size)
            return
        _check(header)
        kind = header[156:157]
        length = _number(header[124:136])
        if kind in (b"x", b"g", b"L"):
            body = _extension(read, place, length, size)
            place += -(-length // BLOCK) * BLOCK
            if kind == b"L":
                if long_name is not None:
                    raise refuse("two long names for one member")
                long_name = body
            elif kind == b"x":
                if pax:
                    raise refuse("two extended headers for one member")
                pax = _pax(body)
            elif {"path", "size"} & _pax(body).keys():
                raise refuse("a name or a size for all its members")
            continue
        if kind not in _REGULAR:
            raise refuse(_REFUSED.get(kind, f"a member of type {kind!r}"))
        member = Member(_name(header, pax, long_name), place, _size(length, pax))
        if member.name in seen:
            raise refuse(f"{member.name!r} comes twice")
        if len(seen) >= MAX_MEMBERS:
            raise refuse(f"more than {MAX_MEMBERS} members")
        seen.add(member.name)
        place += -(-member.size // BLOCK) * BLOCK
        if size is not None and place > size:
            raise refuse(f"{member.name!r} reaches beyond its end: it was cut")
        yield member
        pax, long_name = {}, None
    raise refuse("extended headers without end")


def _block(read: Read, place: int, size: int | None) -> bytes:
    if size is not None and place + BLOCK > size:
        raise refuse("it has no end mark: it was cut")
    return read(place, BLOCK)


def _end(read: Read, place: int, size: int | None) -> None:
    if any(_block(read, place, size)):
        raise refuse("members behind its end mark")
    if size is None:
        return
    rest = size - place - BLOCK
    if rest > MAX_TRAILER or (rest and any(read(place + BLOCK, rest))):
        raise refuse("bytes after its end")


def _check(header: bytes) -> None:
    if header[257:263] not in (b"ustar\0", b"ustar "):
        raise refuse("no tar archive")
    if _number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 0x20:
        raise refuse("a header with a wrong checksum")


def _number(field: bytes) -> int:
    """Octal digits, or GNU's binary form for what they cannot hold."""
    if field[0] == 0x80:
        value = int.from_bytes(field[1:], "big")
    elif match := _OCTAL.fullmatch(field):
        value = int(match[1], 8)
    else:
        raise refuse(f"a number {field!r}")
    if value > MAX_SIZE:
        raise refuse(f"a size of {value} bytes")
    return value


def _extension(read: Read, place: int, length: int, size: int | None) -> bytes:
    if not 0 < length <= MAX_EXTENSION:
        raise refuse(f"an extended header of {length} bytes")
    if size is not None and place + length > size:
        raise refuse("an extended header reaches beyond its end: it was cut")
    return read(place, length)


def _pax(body: bytes) -> dict[str, str]:
    """The records of a pax header that matter: "length key=value\\n"."""
    found: dict[str, str] = {}
    while body:
        match = _LENGTH.match(body)
        if match is None or not match.end() < int(match[1]) <= len(body) or body[int(match[1]) - 1] != 0x0A:
            raise refuse("a malformed extended header")
        record, body = body[match.end() : int(match[1]) - 1], body[int(match[1]) :]
        raw, equals, text = record.partition(b"=")
        try:
            key, value = raw.decode(), text.decode()
        except UnicodeDecodeError as error:
            raise refuse("an extended header that is no UTF-8") from error
        if not equals or key in found:
            raise refuse("a malformed extended header")
        if key.startswith("GNU.sparse") or key in ("linkpath", "hdrcharset"):
            raise refuse(f"an extended header with {key}")
        found[key] = value
    return found


def _name(header: bytes, pax: dict[str, str], long_name: bytes | None) -> str:
    if long_name is not None and "path" in pax:
        raise refuse("two long names for one member")
    if header[257:263] == b"ustar\0" and header[345]:
        raise refuse("a member in a folder")
    raw = header[:100].split(b"\0")[0] if long_name is None else long_name.removesuffix(b"\0")
    try:
        name = pax.get("path") or raw.decode()
    except UnicodeDecodeError as error:
        raise refuse("a name that is no UTF-8") from error
    if not is_plain(name):
        raise refuse(f"a member outside its folder: {name[:80]!r}")
    return name


def _size(length: int, pax: dict[str, str]) -> int:
    """A pax header's size is for what the plain field cannot hold; for anything else, two sizes are one too many."""
    if "size" not in pax:
        return length
    if not _NUMBER.fullmatch(pax["size"]) or not (size := int(pax["size"])) <= MAX_SIZE:
        raise refuse(f"a size {pax['size'][:30]!r}")
    if length != size and size < 8 << 30:
        raise refuse(f"a size of {size} bytes and one of {length}")
    return size
