"""A VM's power, its annotation, and what happened to it: never a status believed without looking again."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from pyVmomi import vim

from app.domain.errors import PermanentError, ShutdownFailed, SourceChanged, SourceDenied
from app.domain.models import PowerState
from app.ports.source import CancelCheck
from workers.sources.vsphere.session import Session

POLL_SECONDS = 1.0
STATES = {"poweredOn": PowerState.ON, "poweredOff": PowerState.OFF, "suspended": PowerState.SUSPENDED}
_STARTS = (vim.event.VmPoweredOnEvent, vim.event.VmStartingEvent, vim.event.VmResumingEvent)


def state(session: Session, vm_id: str) -> PowerState:
    """Raises SourceDenied when the account may not see it."""
    seen = session.properties(session.object(vim.VirtualMachine, vm_id), "runtime.powerState")
    if "runtime.powerState" not in seen:
        raise SourceDenied(
            f"{session.endpoint} hides the power state of {vm_id}", "The account needs System.Read on it."
        )
    return STATES[seen["runtime.powerState"]]


def shut_down(session: Session, vm_id: str, *, force: bool, timeout_s: float, cancel: CancelCheck) -> None:
    """See Source.shut_down. Raises ShutdownFailed when it is not off in the end and `force` is not given."""
    power = state(session, vm_id)
    if power is PowerState.OFF:
        return
    why = "it is suspended" if power is PowerState.SUSPENDED else _ask_guest(session, vm_id, timeout_s, cancel)
    if not why:
        return
    if not force:
        raise ShutdownFailed(
            f"the guest of {vm_id} could not be shut down: {why}",
            "Shut it down by hand and try again, or allow a hard power-off (force_power_off), which is as if the"
            " power failed.",
        )
    cancel()
    _power_off(session, vm_id)


def power_on(session: Session, vm_id: str) -> None:
    if state(session, vm_id) is PowerState.ON:
        return
    vm = session.object(vim.VirtualMachine, vm_id)

    def start() -> None:
        session.await_task(session.call_once(vm.PowerOnVM_Task))

    try:
        session.when_free(start, cancel=_go_on)
    except SourceChanged:  # somebody was quicker
        if state(session, vm_id) is not PowerState.ON:
            raise


def started_since(session: Session, vm_id: str, when: datetime) -> bool:
    """Whether it is on, or an event says that it was started after `when` on the source's clock."""
    vm = session.object(vim.VirtualMachine, vm_id)
    booted = session.properties(vm, "runtime.bootTime").get("runtime.bootTime")
    if state(session, vm_id) is PowerState.ON or (booted and booted > when):
        return True
    only_it = vim.event.EventFilterSpec.ByEntity(entity=vm, recursion="self")
    since = vim.event.EventFilterSpec.ByTime(beginTime=when.astimezone(UTC))
    query = vim.event.EventFilterSpec(entity=only_it, time=since)
    events = session.call(lambda: session.service.eventManager.QueryEvents(query))
    return any(isinstance(event, _STARTS) and event.createdTime > when for event in events)


def annotate(session: Session, vm_id: str, text: str) -> None:
    """Set the annotation (empty: none) and read it back. Raises PermanentError when it is not what was written."""
    vm = session.object(vim.VirtualMachine, vm_id)
    spec = vim.vm.ConfigSpec(annotation=text)
    session.await_task(session.call(vm.ReconfigVM_Task, spec))
    if (session.properties(vm, "config.annotation").get("config.annotation") or "") != text:
        raise PermanentError(
            f"the annotation of {vm_id} is not what was written to it",
            "Does another tool write it?",
            code="not_annotated",
        )


def _go_on() -> None:
    """An undo is not cancelled."""


def _ask_guest(session: Session, vm_id: str, timeout_s: float, cancel: CancelCheck) -> str:
    """Shut down through Tools and wait. Returns why it did not work, or nothing."""
    vm = session.object(vim.VirtualMachine, vm_id)
    deadline = time.monotonic() + timeout_s
    try:
        session.call_once(_shutdown_guest, vm)
    except _NoTools:
        return "VMware Tools do not run in it"
    except SourceChanged:
        pass  # it went off between our look and our request, as the loop will see
    while state(session, vm_id) is not PowerState.OFF:
        cancel()
        if time.monotonic() > deadline:
            return f"it was still running {timeout_s:.0f} s after Tools were asked"
        time.sleep(POLL_SECONDS)
    return ""


class _NoTools(PermanentError):
    """ToolsUnavailable, before it is known whether that matters."""


def _shutdown_guest(vm: Any) -> None:
    try:
        vm.ShutdownGuest()
    except vim.fault.ToolsUnavailable as fault:
        raise _NoTools("no Tools") from fault


def _power_off(session: Session, vm_id: str) -> None:
    vm = session.object(vim.VirtualMachine, vm_id)
    try:
        session.await_task(session.call_once(vm.PowerOffVM_Task))
    except SourceChanged:  # it went off by itself
        if state(session, vm_id) is not PowerState.OFF:
            raise
