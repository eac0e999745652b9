"""The Contents of an OVA: a tar whose members are read in place, never unpacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from app.domain.errors import TransferInterrupted
from converters import ovf_xml, package_digests, tar_index
from converters.package_digests import Digest
from converters.package_names import refuse
from converters.tar_index import Member
from workers.sources.ova.storage import Interruptible, Storage

Look = Callable[[], bool]
Changed = Callable[[datetime], bool]


class Archive:
    """Contents of a tar that can be read in ranges: its members are known without reading their bodies."""

    ranges = True
    manifest_is_ahead = False

    def __init__(self, storage: Storage, *, fresh: Look, changed_since: Changed, close: Callable[[], None]) -> None:
        """Takes `storage` over, also when this raises UnsafeImage. The questions are the shelf's to answer, and
        `close` is what it wants to do then.
        """
        self._storage = storage
        self._close = close
        self._fresh = fresh
        self._changed_since = changed_since
        try:
            found = list(tar_index.members(storage.read, storage.size))
            self._members = {member.name: member for member in found}
            self.descriptor = _descriptor(found)
            self._manifest = _only(self._members, ".mf")
            self.certificate = bool(_only(self._members, ".cert"))
        except BaseException:
            self.close()
            raise

    def read_descriptor(self) -> bytes:
        return self._read(self.descriptor, ovf_xml.MAX_BYTES)

    def digests(self) -> Mapping[str, Digest] | None:
        if not self._manifest:
            return None
        digests = package_digests.parse(self._read(self._manifest, package_digests.MAX_BYTES))
        package_digests.require_present(digests, self._members)
        return digests

    def size(self, name: str) -> int:
        return self._member(name).size

    def stamp(self, name: str) -> str:
        member = self._member(name)
        return f"{self._storage.stamp} {name} {member.offset}+{member.size}"

    def open(self, name: str) -> Interruptible:
        member = self._member(name)
        if not member.size:
            raise refuse(name, "it is empty")
        return self._storage.stream(member.offset, member.size)

    def fresh(self) -> bool:
        return self._fresh()

    def changed_since(self, names: Sequence[str], when: datetime) -> bool:
        return self._changed_since(when)

    def close(self) -> None:
        self._storage.close()
        self._close()

    def _member(self, name: str) -> Member:
        if name not in self._members:
            raise refuse("package", f"{name!r} is not in it")
        return self._members[name]

    def _read(self, name: str, limit: int) -> bytes:
        member = self._member(name)
        if member.size > limit:
            raise refuse(name, f"it has {member.size} bytes")
        return self._storage.read(member.offset, member.size)


class ForwardArchive:
    """Contents of a tar on a server without byte ranges: each disk is read by a pass over the archive from its start.

    A manifest that comes behind the disks, as some writers put it, is known only when a pass has come to the end; the
    first disk that is read goes on until there.
    """

    ranges = False

    def __init__(self, storage: Storage, *, changed_since: Changed) -> None:
        """Reads no further than to the first disk. Takes `storage` over."""
        self._storage = storage
        self._changed_since = changed_since
        self._digests: Mapping[str, Digest] | None = None
        self._text = b""
        self.descriptor = ""
        self.certificate = False
        self.manifest_is_ahead = True
        stream = storage.stream()
        try:
            self._look_ahead(_Pass(stream, storage.size))
        finally:
            stream.close()

    def read_descriptor(self) -> bytes:
        return self._text

    def digests(self) -> Mapping[str, Digest] | None:
        return self._digests

    def size(self, name: str) -> None:
        """Not known before it is there."""

    def stamp(self, name: str) -> str:
        return f"{self._storage.stamp} {name}"

    def open(self, name: str) -> Interruptible:
        return _ForwardMember(self, self._storage, name)

    def fresh(self) -> bool:
        return True

    def changed_since(self, names: Sequence[str], when: datetime) -> bool:
        return self._changed_since(when)

    def close(self) -> None:
        self._storage.close()

    def learn(self, seen: Mapping[str, Member], manifest: bytes | None) -> None:
        """What a pass to the end has shown."""
        if manifest is not None:
            digests = package_digests.parse(manifest)
            package_digests.require_present(digests, seen)
            package_digests.require_equal(digests, self.descriptor, self._text)
            self._digests = digests
        self.manifest_is_ahead = False

    def _look_ahead(self, forward: _Pass) -> None:
        for member in forward.members():
            if not self.descriptor:
                self.descriptor = _descriptor([member])
                self._text = forward.body(member, ovf_xml.MAX_BYTES)
            elif member.name.lower().endswith(".mf"):
                self._digests = package_digests.parse(forward.body(member, package_digests.MAX_BYTES))
                self.manifest_is_ahead = False
            elif member.name.lower().endswith(".cert"):
                self.certificate = True
            else:
                return
        self.manifest_is_ahead = False


class _Pass:
    """One way over an archive, forwards."""

    def __init__(self, stream: Interruptible, size: int | None) -> None:
        self._stream = stream
        self._size = size
        self._place = 0
        self._waste = memoryview(bytearray(256 << 10))

    def members(self) -> Iterator[Member]:
        return tar_index.members(self.read, self._size)

    def body(self, member: Member, limit: int) -> bytes:
        if member.size > limit:
            raise refuse(member.name, f"it has {member.size} bytes")
        return self.read(member.offset, member.size)

    def read(self, offset: int, length: int) -> bytes:
        """These bytes, which must not be behind us."""
        while self._place < offset:
            self._take(self._waste[: min(len(self._waste), offset - self._place)])
        data = memoryview(bytearray(length))
        done = 0
        while done < length:
            done += self._take(data[done:])
        return bytes(data)

    def fill(self, buffer: memoryview) -> int:
        return self._take(buffer)

    def _take(self, buffer: memoryview) -> int:
        count = self._stream.readinto(buffer)
        if not count:
            raise TransferInterrupted(f"the package ended after {self._place} bytes", "It is read again.")
        self._place += count
        return count


class _ForwardMember:
    """ByteStream: a member found by a pass of its own."""

    def __init__(self, archive: ForwardArchive, storage: Storage, name: str) -> None:
        self._archive = archive
        self._stream = storage.stream()
        self._pass = _Pass(self._stream, storage.size)
        self._members = self._pass.members()
        self._seen: dict[str, Member] = {}
        self._manifest: bytes | None = None
        self._name = name
        self._left = -1  # not found yet

    def readinto(self, buffer: memoryview) -> int:
        if self._left < 0:
            self._left = self._find()
        if not self._left:
            if self._archive.manifest_is_ahead:
                self._finish()
            return 0
        count = self._pass.fill(buffer[: self._left])
        self._left -= count
        return count

    def interrupt(self) -> None:
        self._stream.interrupt()

    def close(self) -> None:
        self._stream.close()

    def _find(self) -> int:
        for member in self._members:
            self._note(member)
            if member.name == self._name:
                if not member.size:
                    raise refuse(self._name, "it is empty")
                return member.size
        raise refuse("package", f"{self._name!r} is not in it")

    def _finish(self) -> None:
        for member in self._members:
            self._note(member)
        self._archive.learn(self._seen, self._manifest)

    def _note(self, member: Member) -> None:
        self._seen[member.name] = member
        if member.name.lower().endswith(".mf"):
            if self._manifest is not None:
                raise refuse("package", "it has two manifests")
            self._manifest = self._pass.body(member, package_digests.MAX_BYTES)


def _descriptor(found: Sequence[Member]) -> str:
    """The first member, which must be the only .ovf."""
    names = [member.name for member in found if member.name.lower().endswith(".ovf")]
    if not found or names != [found[0].name]:
        raise refuse("package", "its first member is not its descriptor (.ovf), or there is another one")
    return names[0]


def _only(names: Mapping[str, Member], suffix: str) -> str:
    found = [name for name in names if name.lower().endswith(suffix)]
    if len(found) > 1:
        raise refuse("package", f"it has {len(found)} files {suffix}")
    return found[0] if found else ""
