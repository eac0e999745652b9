"""What the tests of the lab share: sessions, leases, and a VMDK decoder that is not the code under test."""

import ssl
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import requests
from pyVim.connect import SmartConnect
from pyVmomi import vim

from tests.lab import DiskSpec, Lab

SMALL = DiskSpec(size_mib=8, fill_mib=4, seed=7)


def connect(lab: Lab) -> Any:
    """A session whose certificate is checked against the lab's CA."""
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    return SmartConnect(host=lab.host, port=lab.port, user=lab.username, pwd=lab.password, sslContext=context)


def find(api: Any, vm_id: str) -> Any:
    return vim.VirtualMachine(vm_id, api._stub)


def until(condition: Callable[[], Any], timeout: float = 15) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def lease_of(vm: Any) -> Any:
    lease = vm.ExportVm()
    until(lambda: lease.state != "initializing")
    assert lease.state == "ready"
    return lease


def result_of(task: Any) -> Any:
    """A task's result at its end, or its fault. pyVim's WaitForTask trips over the name of a running one in the lab."""
    until(lambda: task.info.state in (vim.TaskInfo.State.success, vim.TaskInfo.State.error))
    if task.info.error:
        raise task.info.error
    return task.info.result


def download(lab: Lab, url: str) -> bytes:
    return requests.get(url, verify=str(lab.ca_file), timeout=30).content


def decode(stream: bytes) -> bytes:
    """The raw disk in a streamOptimized VMDK, read without the code under test."""
    capacity, grain = struct.unpack_from("<QQ", stream, 12)
    raw = bytearray(capacity * 512)
    at = struct.unpack_from("<Q", stream, 64)[0] * 512
    while at < len(stream):
        sector, size = struct.unpack_from("<QI", stream, at)
        if size:
            data = zlib.decompress(stream[at + 12 : at + 12 + size])
            assert len(data) == grain * 512
            raw[sector * 512 : sector * 512 + len(data)] = data
            at += (12 + size + 511) // 512 * 512
        else:
            kind = struct.unpack_from("<I", stream, at + 12)[0]
            at += 512 + sector * 512
            if kind == 0:
                break
    assert at == len(stream)
    return bytes(raw[: capacity * 512])
