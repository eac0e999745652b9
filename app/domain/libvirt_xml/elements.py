"""Small words of XML."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement


def add_text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text


def add_kib(parent: Element, tag: str, size: int, **attributes: str) -> None:
    """A number of bytes, rounded up."""
    add_text(parent, tag, str(-(-size // 1024)), unit="KiB", **attributes)


def listed(numbers: Iterable[int]) -> str:
    """ "0,2,3": libvirt's cpusets and nodesets."""
    return ",".join(map(str, numbers))
