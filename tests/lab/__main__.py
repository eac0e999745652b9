"""`make lab`: the vSphere lab alone, with the Debian guest and a few small VMs, until Ctrl-C."""

import argparse
import signal
import sys
from pathlib import Path

from tests.lab import DiskSpec, Lab, NicSpec, VmSpec, build_guest
from tests.lab.cache import cache_directory

SMALL = [
    VmSpec("web01", [DiskSpec(size_mib=256, fill_mib=64, seed=1)], [NicSpec(ip="192.168.50.21")], hostname="web01"),
    VmSpec("db01", [DiskSpec(size_mib=128, fill_mib=32, seed=2), DiskSpec(size_mib=64)], snapshots=1, hostname="db01"),
    VmSpec("archive", [DiskSpec(size_mib=64, fill_mib=16, seed=3)], on=False, tools=False),
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--port", type=int, default=8989, help="of the vCenter on 127.0.0.2; 0: any")
    parser.add_argument("--directory", type=Path, default=None, help="for the lab's state; default: in the cache")
    options = parser.parse_args()
    print("building the simulator and the guest (the first time takes minutes) ...", flush=True)
    guest = build_guest()
    directory = options.directory or cache_directory() / "running"
    with Lab(directory, [guest.vm(), *SMALL], port=options.port) as lab:
        print(
            f"\nvCenter        {lab.url}\nuser           {lab.username}\npassword file  {lab.password_file}\n"
            f"CA file        {lab.ca_file}\nthumbprint     {lab.thumbprint}\nlog            {lab.log}\n"
            f"VMs            {', '.join(lab.vms().values())}\n\nCtrl-C ends it.",
            flush=True,
        )
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("\nstopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
