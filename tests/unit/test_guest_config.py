"""What configuration says of a guest, in each of its formats."""

from __future__ import annotations

import pytest

from converters.guest_config import Network, mounts, network, services

FORMATS = {
    "ifupdown": """\
# address 10.9.9.9/24
auto ens192
iface ens192 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
    dns-nameservers 192.0.2.53 192.0.2.54
""",
    "ifupdown with a mask": """\
iface ens192 inet static
    address 192.0.2.10
    netmask 255.255.255.0
    gateway 192.0.2.1
    dns-nameserver 192.0.2.53
    dns-nameserver 192.0.2.54
""",
    "netplan": """\
network:
  ethernets:
    ens192:
      dhcp4: false
      addresses: [192.0.2.10/24]
      routes:
        - to: default
          via: 192.0.2.1
      nameservers:
        addresses: [192.0.2.53, 192.0.2.54]
""",
    "netplan in lines": """\
network:
  ethernets:
    ens192:
      addresses:
        - "192.0.2.10/24"
      gateway4: 192.0.2.1
      nameservers:
        search: [example.com]
        addresses:
          - 192.0.2.53
          - 192.0.2.54
""",
    "networkd": """\
[Match]
Name=ens192
[Network]
Address=192.0.2.10/24
Gateway=192.0.2.1
DNS=192.0.2.53
DNS=192.0.2.54
""",
    "networkd with routes": """\
[Network]
DNS=192.0.2.53 192.0.2.54
[Address]
Address=192.0.2.10/24
[Route]
Gateway=192.0.2.1
""",
    "NetworkManager": """\
[ipv4]
address1=192.0.2.10/24,192.0.2.1
dns=192.0.2.53;192.0.2.54;
method=manual
""",
    "ifcfg": """\
DEVICE=ens192
IPADDR="192.0.2.10"
PREFIX=24
GATEWAY=192.0.2.1
DNS1=192.0.2.53
DNS2=192.0.2.54
""",
}
SAID = Network(
    addresses=("192.0.2.10/24",),
    routes=("default via 192.0.2.1",),
    dns=("192.0.2.53", "192.0.2.54"),
    static=("192.0.2.1", "192.0.2.10", "192.0.2.53", "192.0.2.54"),
)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format(name: str) -> None:
    found = network({"/etc/x": FORMATS[name]}, None)
    assert found._replace(static=()) == SAID._replace(static=())
    assert set(found.static) - {"255.255.255.0"} == set(SAID.static)


def test_other_routes() -> None:
    netplan = "routes:\n  - to: 198.51.100.0/24\n    via: 192.0.2.2\n"
    networkd = "[Route]\nDestination=198.51.100.0/24\nGateway=192.0.2.2\n[Network]\nGateway=192.0.2.1\n"
    keyfile = "route1=198.51.100.0/24,192.0.2.2\n"
    wanted = "198.51.100.0/24 via 192.0.2.2"
    assert network({"a": netplan}, None) == network({"a": keyfile}, None)
    assert network({"a": netplan}, None).routes == (wanted,)
    assert network({"a": networkd}, None).routes == (wanted, "default via 192.0.2.1")
    assert network({"a": netplan}, None).addresses == ()


def test_the_resolvers_file_counts_where_it_is_one() -> None:
    resolv = "search example.com\nnameserver 192.0.2.99\n"
    found = network({"a": FORMATS["ifupdown"]}, resolv)
    assert found.dns == ("192.0.2.99",)
    assert "192.0.2.99" in found.static
    leased = network({"a": "iface ens192 inet dhcp\n"}, resolv)
    assert (leased.dns, leased.static) == (("192.0.2.99",), ())


@pytest.mark.parametrize("text", ["", "\0" * 99, "address 999.1.1.1/24", "gateway :::::::", "a" * 9999])
def test_rubbish_says_nothing(text: str) -> None:
    assert network({"a": text}, text) == Network((), (), (), ())


def test_mounts_of_disks() -> None:
    fstab = """\
# / is here
UUID=1 / ext4 errors=remount-ro 0 1
LABEL=ESP /boot/efi/ vfat umask=0077 0 1
UUID=2 /with\\040space xfs defaults 0 2
UUID=3 none swap sw 0 0
UUID=4 /later ext4 noauto 0 0
tmpfs /tmp tmpfs defaults 0 0
host:/x /net nfs defaults 0 0
/srv /bound none bind 0 0
UUID=5 /iscsi ext4 _netdev 0 0
short /line
"""
    assert mounts(fstab) == ("/", "/boot/efi", "/with space")


def test_enabled_services() -> None:
    links = {
        "dbus-org.freedesktop.timesync1.service": "/lib/systemd/system/systemd-timesyncd.service",
        "default.target": "/lib/systemd/system/multi-user.target",
    }
    assert services(["cron.service", "cron.service"], links) == ("cron.service", "systemd-timesyncd.service")
