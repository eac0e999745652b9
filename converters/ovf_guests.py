"""Which guest system an OVF descriptor means, in VMware's words, which preflight and the converters know."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from converters.ovf_xml import VMW, attribute

_VIRTUALBOX = {"redhat": "rhel", "oracle": "oraclelinux", "suse": "sles"}
_CIM = {  # CIM_OperatingSystem.OSType, where it says more than "Linux"
    **dict.fromkeys(("79", "80"), "rhel"),
    **dict.fromkeys(("82", "83"), "suse"),
    **dict.fromkeys(("84", "85"), "sles"),
    **dict.fromkeys(("93", "94"), "ubuntu"),
    **dict.fromkeys(("95", "96"), "debian"),
    **dict.fromkeys(("106", "107"), "centos"),
    **dict.fromkeys(("108", "109"), "oraclelinux"),
    **dict.fromkeys(
        ("58", "67", "69", "70", "71", "73", "74", "76", "77", "103", "105", "111", "112", "113", "114", "115", "116"),
        "windows",
    ),
}


def guest_id(section: Element | None, virtualbox: str) -> str:
    """VMware's own id where it wrote the package, else one that begins like it; "" where nothing is known."""
    if section is None:
        return ""
    if own := section.get(f"{{{VMW}}}osType", ""):
        return own
    if virtualbox:
        lower = virtualbox.lower()
        return next(
            (ours + lower.removeprefix(theirs) for theirs, ours in _VIRTUALBOX.items() if lower.startswith(theirs)),
            lower,
        )
    return _CIM.get(attribute(section, "id"), "")
