"""One connection to a libvirt daemon on this machine: opened when first used, and once again when it was lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import libvirt

from app.domain.errors import InvalidRequest
from workers.targets.libvirt.errors import translate

T = TypeVar("T")

KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 6  # a daemon that is silent for half a minute counts as lost

_event_loop = threading.Lock()
_event_loop_runs = False


def check_local(uri: str) -> None:
    """Raise InvalidRequest unless the URI names a QEMU driver that this machine's own daemon serves.

    Disks are written as files: the pool must be in the worker's own file system.
    """
    parts = urlsplit(uri)
    if parts.scheme.split("+")[0] != "qemu":
        raise InvalidRequest(f"{uri} is not a QEMU driver's URI", "Use qemu:///system.")
    if parts.scheme not in ("qemu", "qemu+unix") or parts.netloc:
        raise InvalidRequest(
            f"{uri} is remote to every worker until the fleet exists",
            "Run the worker on the target's machine and use qemu:///system.",
        )


class Connection:
    """Safe to use from several threads, as libvirt's own connection is."""

    def __init__(self, uri: str, username: str = "", password: str = "") -> None:
        check_local(uri)
        self._uri = uri
        self._answers = {libvirt.VIR_CRED_AUTHNAME: username, libvirt.VIR_CRED_PASSPHRASE: password}
        self._lock = threading.Lock()
        self._connection: Any = None

    def call(self, action: Callable[[Any], T]) -> T:
        """action(virConnect), with libvirt's errors as ours; run again, once, when the connection was lost.

        So an action must look first and tolerate what its first run did.
        """
        try:
            connection = self._open()
            try:
                return action(connection)
            except libvirt.libvirtError:
                if _alive(connection):
                    raise
            self._drop(connection)
            return action(self._open())
        except libvirt.libvirtError as error:
            raise translate(error) from error

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)

    def _open(self) -> Any:
        with self._lock:
            if self._connection is None:
                _run_event_loop()
                wanted = [list(self._answers), self._answer, None]
                self._connection = libvirt.openAuth(self._uri, wanted, 0)
                self._connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
            return self._connection

    def _answer(self, credentials: list[list[Any]], _: None) -> int:
        for credential in credentials:
            credential[4] = self._answers[credential[0]]
        return 0

    def _drop(self, connection: Any) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
        _close(connection)


def _alive(connection: Any) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def _close(connection: Any) -> None:
    try:
        connection.close()
    except libvirt.libvirtError:
        return  # it is gone, which is what was wanted


def _run_event_loop() -> None:
    """Keepalive needs libvirt's event loop; it must be there before the first connection is."""
    global _event_loop_runs
    with _event_loop:
        if not _event_loop_runs:
            libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else each error is printed on stderr
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=_event_forever, name="libvirt-events", daemon=True).start()
            _event_loop_runs = True


def _event_forever() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
