"""The XML of an OVF descriptor, read as hostile input: no DTD, no entities, a bounded size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

from app.domain.errors import UnsafeImage
from converters.package_names import refuse as refuse_what
from converters.package_names import unsupported

MAX_BYTES = 2 << 20  # the descriptors of large appliances, with their texts in many languages, have some 300 KiB
MAX_ELEMENTS = 50_000
MAX_DEPTH = 60

ENVELOPES = ("http://schemas.dmtf.org/ovf/envelope/1", "http://schemas.dmtf.org/ovf/envelope/2")
VMW = "http://www.vmware.com/schema/ovf"
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"

_ENCODING = re.compile(rb"""[^>]{0,200}?\bencoding\s*=\s*["']([^"']*)["']""")
_ENCODINGS = (b"utf-8", b"us-ascii", b"iso-8859-1")  # expat's own: for others, Python would load a module
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)
_UNIT = re.compile(r"byte(?:s?)(?: *\* *\d+(?: *\^ *\d+)?)*", re.IGNORECASE | re.ASCII)
_FACTOR = re.compile(r"\* *(\d+)(?: *\^ *(\d+))?", re.ASCII)
_OLD_UNITS = {
    "kilobytes": 1 << 10,
    "kb": 1 << 10,
    "megabytes": 1 << 20,
    "mb": 1 << 20,
    "gigabytes": 1 << 30,
    "gb": 1 << 30,
}
_LARGEST = 1 << 60


def refuse(reason: str) -> UnsafeImage:
    return refuse_what("OVF descriptor", reason)


def read(data: bytes) -> Element:
    """The Envelope. Raises UnsafeImage."""
    if len(data) > MAX_BYTES:
        raise refuse(f"it has {len(data)} bytes")
    if b"\0" in data[:4]:
        raise refuse("it is no UTF-8")
    encoding = _ENCODING.match(data)
    if encoding and encoding[1].lower() not in _ENCODINGS:
        raise refuse(f"its encoding is {encoding[1][:40]!r}")
    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except (ParseError, ValueError) as error:  # defusedxml's own are ValueErrors
        raise refuse(f"{type(error).__name__}: {str(error)[:120]}") from error
    _require_bounded(root)
    if local(root) != "Envelope" or namespace(root) not in ENVELOPES:
        raise refuse(f"it is {root.tag[:80]!r}, no Envelope of OVF 1 or 2")
    return root


def _require_bounded(root: Element) -> None:
    count, layer, depth = 0, [root], 0
    while layer:
        count, depth = count + len(layer), depth + 1
        if count > MAX_ELEMENTS or depth > MAX_DEPTH:
            raise refuse(f"more than {MAX_ELEMENTS} elements, or {MAX_DEPTH} inside each other")
        layer = [child for element in layer for child in element]


def local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def namespace(element: Element) -> str:
    return element.tag.rpartition("}")[0].removeprefix("{")


def children(element: Element, *names: str) -> Iterator[Element]:
    """Those of some names, whatever their namespace; writers differ in whether they use a prefix for their own."""
    return (child for child in element if local(child) in names)


def child(element: Element | None, name: str) -> Element | None:
    return None if element is None else next(children(element, name), None)


def text(element: Element | None, name: str) -> str:
    """The text of a child, "" where there is none."""
    found = child(element, name)
    return "" if found is None else (found.text or "").strip()


def attribute(element: Element, name: str) -> str:
    """An OVF attribute; some writers leave out its prefix."""
    for known in ENVELOPES:
        if (value := element.get(f"{{{known}}}{name}")) is not None:
            return value
    return element.get(name, "")


def settings(element: Element) -> dict[str, str]:
    """vmw:Config and vmw:ExtraConfig of an item or section, by key."""
    return {
        entry.get(f"{{{VMW}}}key", ""): entry.get(f"{{{VMW}}}value", "")
        for entry in children(element, "Config", "ExtraConfig")
    }


def fields(item: Element) -> dict[str, str]:
    """The CIM fields of a hardware item: the first of each name."""
    found: dict[str, str] = {}
    for entry in item:
        if namespace(entry).startswith(_CIM):
            found.setdefault(local(entry), (entry.text or "").strip())
    return found


def whole(value: str, what: str) -> int:
    """A number without a sign. Raises UnsafeImage, or PermanentError for one that a deployment would fill in."""
    if "${" in value:
        raise unsupported(
            f"the OVF descriptor leaves {what} to a setting of its deployment ({value[:60]})",
            "Deploy the package on vSphere and move the VM from there, or write the value into the descriptor.",
        )
    if not _WHOLE.fullmatch(value.strip()):
        raise refuse(f"{what} is {value[:40]!r}")
    return int(value)


def unit(value: str) -> int:
    """Bytes in a unit: "byte * 2^30", "byte * 10^6 * 2", "MegaBytes", or nothing for bytes. Raises UnsafeImage."""
    plain = value.strip()
    if not plain:
        return 1
    if (old := _OLD_UNITS.get(plain.lower())) is not None:
        return old
    if not _UNIT.fullmatch(plain):
        raise refuse(f"the unit {plain[:40]!r}")
    size = 1
    for base, power in _FACTOR.findall(plain):
        if len(base) > 18 or len(power) > 2:
            raise refuse(f"the unit {plain[:40]!r}")
        size *= int(base) ** int(power or 1)
        if not 0 < size <= _LARGEST:
            raise refuse(f"the unit {plain[:40]!r}")
    return size
