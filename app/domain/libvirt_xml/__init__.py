"""The XML of a libvirt domain, from Hardware. Values are escaped by ElementTree, never pasted."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from app.domain.errors import InvalidRequest
from app.domain.hardware.model import Hardware
from app.domain.libvirt_xml import devices, machine, tuning
from app.domain.libvirt_xml.elements import add_text

NAMESPACE = "https://vmferry.dev/xmlns/domain/1"
"""Of our own element in a domain's metadata: <vmferry:job id="…"/> marks what we made."""

register_namespace("vmferry", NAMESPACE)

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def domain_xml(hw: Hardware) -> str:
    """The XML that `define` takes. Raises InvalidRequest for a value with characters that XML cannot carry."""
    domain = Element("domain", type="kvm" if hw.accelerator == "kvm" else "qemu")
    _say_whose(domain, hw)
    tuning.add(domain, hw)
    machine.add(domain, hw)
    devices.add(SubElement(domain, "devices"), hw)
    _require_xml(domain)
    indent(domain)
    return tostring(domain, encoding="unicode") + "\n"


def _say_whose(domain: Element, hw: Hardware) -> None:
    add_text(domain, "name", hw.name)
    add_text(domain, "uuid", hw.uuid)
    if hw.title:
        add_text(domain, "title", hw.title)
    unconverted = "; unconverted" if hw.unconverted else ""
    add_text(domain, "description", f"Moved by vmferry, job {hw.job_id}{unconverted}")
    SubElement(SubElement(domain, "metadata"), f"{{{NAMESPACE}}}job", id=hw.job_id)


def _require_xml(domain: Element) -> None:
    for element in domain.iter():
        for value in (element.text or "", *element.attrib.values()):
            if _NOT_XML.search(value):
                raise InvalidRequest(
                    f"{element.tag} has characters that libvirt cannot take: {value!r}", "Give a target name."
                )
