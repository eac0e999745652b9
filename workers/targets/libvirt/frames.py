"""What is heard on a bridge: which addresses a guest's cards send from. Frames are the guest's, so hostile."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator, Mapping

_ALL, _IPV4, _ARP, _IPV6 = 3, 0x0800, 0x0806, 0x86DD
_MOST_FRAMES = 4096  # at one look
_MOST_ADDRESSES = 16  # of one card
_ARP_HEADER = struct.pack(">HHBBH", 1, _IPV4, 6, 4, 1)  # Ethernet, IPv4, their lengths, a request


class Ear:
    """Listens on one bridge from the moment it is made. Raises PermissionError without CAP_NET_RAW."""

    def __init__(self, bridge: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        self._socket.bind((bridge, 0))
        self._socket.setblocking(False)
        self._heard: dict[str, list[str]] = {}

    def heard(self, mac: str) -> list[str]:
        """The addresses that a card was heard to send from, so far."""
        for frame in self._frames():
            if found := sender(frame):
                known = self._heard.setdefault(found[0], [])
                if found[1] not in known and len(known) < _MOST_ADDRESSES:
                    known.append(found[1])
        return self._heard.get(mac, [])

    def ask_for(self, cidr: str) -> None:
        """Have whoever has the address answer. Only where nobody minds whom the question seems to come from."""
        name = self._socket.getsockname()
        if frame := request(name[4][:6], cidr):
            self._socket.send(frame)

    def close(self) -> None:
        self._socket.close()

    def _frames(self) -> Iterator[bytes]:
        for _ in range(_MOST_FRAMES):
            try:
                yield self._socket.recv(128)
            except (BlockingIOError, OSError):  # OSError: the bridge is down
                return


def listen(bridges: Mapping[str, str], ears: dict[str, Ear]) -> list[str]:
    """Open an ear on each bridge that has none; which cannot be heard, and why."""
    told = []
    for bridge in sorted({*bridges.values()} - {"", *ears}):
        try:
            ears[bridge] = Ear(bridge)
        except OSError as error:
            told.append(f"the bridge {bridge} cannot be listened on, so no address is seen there: {error}")
    return told


def sender(frame: bytes) -> tuple[str, str] | None:
    """(MAC, address) that a frame comes from; None where it names none of its own, or a link-local one."""
    if len(frame) < 14:
        return None
    mac, kind, body = frame[6:12].hex(":"), int.from_bytes(frame[12:14], "big"), frame[14:]
    raw = {_ARP: body[14:18], _IPV4: body[12:16], _IPV6: body[8:24]}.get(kind, b"")
    if len(raw) not in (4, 16):
        return None
    address = ipaddress.ip_address(raw)
    if address.is_unspecified or address.is_link_local or address.is_multicast or address.is_loopback:
        return None
    return mac, str(address)


def request(mac: bytes, cidr: str) -> bytes:
    """An ARP request for an IPv4 address, from another one of its network; empty where there is none.

    Not from 0.0.0.0: a guest that is just probing for its address would take that for somebody else who wants it.
    """
    try:
        wanted = ipaddress.ip_interface(cidr)
    except ValueError:
        return b""
    if wanted.version != 4 or wanted.network.num_addresses < 4:
        return b""
    asker = wanted.network[wanted.network.num_addresses * 2 // 3]  # gateways are at the ends
    if asker == wanted.ip:
        asker -= 1
    ethernet = b"\xff" * 6 + mac + struct.pack(">H", _ARP)
    body = _ARP_HEADER + mac + asker.packed + bytes(6) + wanted.ip.packed
    return (ethernet + body).ljust(60, b"\0")
