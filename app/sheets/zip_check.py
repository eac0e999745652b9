"""A zip whose directory was judged before anything of it is inflated, and whose parts are inflated under limits.

Python's own reader believes the sizes that a zip tells; here what comes out is counted.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

from app.domain.errors import TooLarge, UnreadableSheet
from app.sheets.limits import MAX_ENTRIES, MAX_PART, MAX_RATIO, MAX_SHEETS, MAX_UNZIPPED, MIB, RATIO_COUNTS_FROM

_BOMB = "Nothing that a spreadsheet program writes is like that: save it anew, and send that."
_BROKEN = "It did not come whole, or was changed on its way: send it again."
_END = b"PK\x05\x06"
_LOCAL = struct.Struct("<4s22xHH")
_CHUNK = 1 << 20
_FED = 1 << 16  # zlib copies what it was given and has not used
_ENCRYPTED = 1
_MOST_DIRECTORY = 4 * MIB  # Python keeps half a kilobyte for each entry, of 50 bytes


class Package:
    """The parts of a zip by their names, in any case. Raises TooLarge, UnreadableSheet."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._inflated = 0
        self._parts = _directory(data)

    @property
    def names(self) -> list[str]:
        return [entry.filename for entry in self._parts.values()]

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._parts

    def read(self, name: str, most: int = MAX_PART) -> bytes:
        """All of a part."""
        return b"".join(self.chunks(name, most))

    def chunks(self, name: str, most: int = MAX_PART) -> Iterator[bytes]:
        """A part in pieces of up to 1 MiB. Its size and checksum are proved at the end."""
        entry = self._parts[name.lower()]
        crc = size = 0
        for chunk in self._inflate(entry):
            size += len(chunk)
            self._inflated += len(chunk)
            if size > entry.file_size:
                raise UnreadableSheet(f"{_shown(name)} holds more than the zip says", _BOMB, code="sheet_unsafe")
            if size > most or self._inflated > MAX_UNZIPPED:
                raise TooLarge(f"{_shown(name)} is larger than {min(most, MAX_UNZIPPED) // MIB} MiB unzipped", _BOMB)
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if size != entry.file_size or crc != entry.CRC:
            raise UnreadableSheet(f"{_shown(name)} within the file is broken: its checksum is another", _BROKEN)

    def _inflate(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        at = entry.header_offset
        head = self._data[at : at + _LOCAL.size]
        if len(head) < _LOCAL.size or bytes(head[:4]) != b"PK\x03\x04":
            raise UnreadableSheet(f"{_shown(entry.filename)} is not where the zip says", _BROKEN)
        _, name, extra = _LOCAL.unpack(head)
        start = at + _LOCAL.size + name + extra
        packed = self._data[start : start + entry.compress_size]
        if entry.compress_type == zipfile.ZIP_STORED:
            yield from (bytes(packed[at : at + _CHUNK]) for at in range(0, len(packed), _CHUNK))
            return
        unzip = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for at in range(0, len(packed), _FED):
                rest = bytes(packed[at : at + _FED])
                while chunk := unzip.decompress(rest, _CHUNK):
                    yield chunk
                    rest = unzip.unconsumed_tail
        except zlib.error as error:
            raise UnreadableSheet(f"{_shown(entry.filename)} within the file is broken: {error}", _BROKEN) from error


def _directory(data: memoryview) -> dict[str, zipfile.ZipInfo]:
    _check_end(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entries = file.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError) as error:
        raise UnreadableSheet(f"the zip is broken: {error}", _BROKEN) from error
    sheets = sum(entry.filename.lower().startswith("xl/worksheets/sheet") for entry in entries)
    if sheets > MAX_SHEETS:
        raise TooLarge(f"it has {sheets:,} sheets; {MAX_SHEETS} are taken", "Leave out those that no VM is in.")
    if len(entries) > MAX_ENTRIES:
        raise TooLarge(f"the zip has {len(entries):,} entries; {MAX_ENTRIES:,} are taken", _BOMB)
    parts: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        _check_entry(entry)
        if entry.is_dir():
            continue
        if parts.setdefault(entry.filename.lower(), entry) is not entry:
            raise UnreadableSheet(f"{_shown(entry.filename)} is in the zip twice", _BOMB, code="sheet_unsafe")
    total = sum(entry.file_size for entry in parts.values())
    if total > 2 * MAX_UNZIPPED:  # what is never looked at counts too, but not as much
        raise TooLarge(f"the zip would unpack to {total // MIB:,} MiB; {2 * MAX_UNZIPPED // MIB:,} are taken", _BOMB)
    return parts


def _check_end(data: memoryview) -> None:
    """The size of the directory, before Python reads it whole."""
    tail = bytes(data[-(1 << 16) - 22 :])
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise UnreadableSheet("the file begins as a zip and has no end of one: it was cut", _BROKEN)
    _, _, _, count, size, _ = struct.unpack_from("<HHHHII", tail, at + 4)
    if size > _MOST_DIRECTORY:
        many = f"{count:,}" if count < 0xFFFF else "65,535 or more"
        raise TooLarge(f"the zip has {many} entries; {MAX_ENTRIES:,} are taken", _BOMB)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    # orig_filename: as the zip has it; Python cuts a name at NUL, and turns the slashes of other systems
    parts = entry.orig_filename.replace("\\", "/").split("/")
    if "\0" in entry.orig_filename or ".." in parts or parts[0] == "" or parts[0][1:2] == ":":
        raise UnreadableSheet(
            f"the zip has an entry named {_shown(entry.orig_filename)}, which leads out of it",
            _BOMB,
            code="sheet_unsafe",
        )
    if entry.flag_bits & _ENCRYPTED:
        raise UnreadableSheet(f"{_shown(name)} is encrypted", "Zip it without a password.", code="sheet_encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableSheet(f"{_shown(name)} is packed in a way that is not taken", "Zip it with deflate.")
    if entry.file_size > RATIO_COUNTS_FROM and entry.file_size > MAX_RATIO * entry.compress_size:
        ratio = entry.file_size // max(entry.compress_size, 1)
        raise TooLarge(
            f"{_shown(name)} would unpack to {entry.file_size // MIB:,} MiB, {ratio:,} times its size", _BOMB
        )


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:77] + "…")
