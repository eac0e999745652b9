"""One login at one vCenter or ESXi host, shared by all threads of a source."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import structlog
from pyVmomi import SoapStubAdapter, vim, vmodl
from pyVmomi.VmomiSupport import versionMap
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from app.domain.errors import NotFound, SourceUnavailable
from app.domain.models import SourceSpec
from app.ports.source import CancelCheck
from workers.sources.vsphere.faults import Busy, SessionEnded, from_fault, translated
from workers.sources.vsphere.tls import Endpoint, context_for

P = ParamSpec("P")
T = TypeVar("T")

SOAP_SECONDS = 60.0  # a page of an inventory takes a busy vCenter some seconds
IDLE_SECONDS = 20.0  # shorter than any server keeps an idle connection, so that we never send on a dead one
TASK_SECONDS = 600.0
BUSY_SECONDS = 360.0  # an export that nobody keeps alive ends after 300
ATTEMPTS = 3
_OLDEST = "vim25/5.5"  # every server that we talk to knows it: enough to ask for its own version
_PAGE = 200
_query = vmodl.query.PropertyCollector
_MOID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

log = structlog.get_logger(__name__)


class Session:
    """Calls go through `call`: it logs in when needed, once more when the server forgot us, and translates errors."""

    def __init__(self, spec: SourceSpec) -> None:
        self.endpoint = Endpoint.parse(spec.host)
        self.context = context_for(spec.tls)
        self.context_elsewhere = context_for(spec.tls.model_copy(update={"thumbprint": ""}))  # a pin is for one host
        self._spec = spec
        self._lock = threading.Lock()
        self._service: Any = None
        self._logins = 0  # how often we logged in; a thread that finds it changed need not do it again
        self._ended = True

    def about(self) -> Any:
        """The server's AboutInfo: product, version, instanceUuid. Needs no login."""
        return self._patiently(self._about)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something idempotent, tried up to three times within seconds when the server does not answer."""
        result: T = self._patiently(self.call_once, function, *args, **kwargs)
        return result

    def call_once(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that may not be sent twice; a call that was refused for want of a session was not done."""
        login = self.log_in(after=None)
        try:
            with translated(self.endpoint):
                return function(*args, **kwargs)
        except SessionEnded:
            self.log_in(after=login)
        with translated(self.endpoint):
            return function(*args, **kwargs)

    def when_free(self, work: Callable[[], T], cancel: CancelCheck) -> T:
        """Do what the server refuses while something else is under way on the object: try until that ended."""
        deadline = time.monotonic() + BUSY_SECONDS
        pause = 0.5
        while True:
            try:
                return work()
            except Busy as error:
                if time.monotonic() + pause > deadline:
                    raise
                log.info("waiting until the VM is free", source=str(self.endpoint), cause=error.message)
            cancel()
            time.sleep(pause)
            pause = min(pause * 1.5, 5.0)

    def log_in(self, *, after: int | None) -> int:
        """Make sure of a login newer than `after` (None: of any) and return its number."""
        with self._lock, translated(self.endpoint):
            service = self._connected()
            if self._ended or self._logins == after:
                service.sessionManager.Login(self._spec.username, self._spec.password, None)
                self._logins += 1
                self._ended = False
            return self._logins

    @property
    def service(self) -> Any:
        """The ServiceContent: the server's managers, its root folder, about. Only to be used inside `call`."""
        return self._service

    def object(self, kind: type[Any], moid: str) -> Any:
        """A managed object by its id, not looked up. Raises NotFound for what can be no id at all."""
        if not _MOID.fullmatch(moid):  # pyVmomi writes it into the request as it is
            raise NotFound(f"{self.endpoint} has no object {moid!r}", "List the inventory.")
        self._patiently(self.log_in, after=None)
        return kind(moid, self._service.propertyCollector._stub)

    def properties(self, target: Any, *paths: str) -> dict[str, Any]:
        """Some properties of one object, by path; what is unset or hidden is absent."""
        spec = _query.FilterSpec(
            objectSet=[_query.ObjectSpec(obj=target)],
            propSet=[_query.PropertySpec(type=type(target), pathSet=list(paths))],
        )
        found = self.call(self._collect, spec)
        return found[0][1] if found else {}

    def survey(self, kinds: Mapping[type[Any], Sequence[str]], only: Any = None) -> list[tuple[Any, dict[str, Any]]]:
        """All objects of some kinds with some properties each, in one pass; of the kind of `only` just that one.

        Raises NotFound when `only` is not there.
        """
        return self.call(self._survey, kinds, only)

    def _survey(self, kinds: Mapping[type[Any], Sequence[str]], only: Any) -> list[tuple[Any, dict[str, Any]]]:
        service = self._service
        viewed = [kind for kind in kinds if not isinstance(only, kind)]
        view = service.viewManager.CreateContainerView(service.rootFolder, viewed, True)
        try:
            members = _query.TraversalSpec(name="members", path="view", skip=False, type=type(view))
            objects = [_query.ObjectSpec(obj=view, skip=True, selectSet=[members])]
            if only is not None:
                objects.append(_query.ObjectSpec(obj=only))
            properties = [_query.PropertySpec(type=kind, pathSet=list(paths)) for kind, paths in kinds.items()]
            return self._collect(_query.FilterSpec(objectSet=objects, propSet=properties))
        finally:
            view.DestroyView()

    def _collect(self, spec: Any) -> list[tuple[Any, dict[str, Any]]]:
        """All objects of one filter with their properties, page by page."""
        collector = self._service.propertyCollector
        options = _query.RetrieveOptions(maxObjects=_PAGE)
        found: list[tuple[Any, dict[str, Any]]] = []
        page = collector.RetrievePropertiesEx([spec], options)
        while page:
            for content in page.objects:
                for missing in content.missingSet:  # a session that ended shows here, not as a fault of the call
                    if isinstance(missing.fault, vim.fault.NotAuthenticated):
                        raise missing.fault
                found.append((content.obj, {p.name: p.val for p in content.propSet}))
            page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None
        return found

    def await_task(self, task: Any, *, timeout_s: float = TASK_SECONDS) -> Any:
        """Wait for a task's end and return its result. Raises its error as ours, SourceUnavailable after the time."""
        deadline = time.monotonic() + timeout_s
        pause = 0.05
        while True:
            info = self.properties(task, "info").get("info")
            if info and info.state == vim.TaskInfo.State.success:
                return info.result
            if info and info.state == vim.TaskInfo.State.error:
                raise from_fault(info.error, self.endpoint) from info.error
            if time.monotonic() > deadline:
                raise SourceUnavailable(
                    f"a task of {self.endpoint} did not end within {timeout_s:.0f} s", "See its tasks."
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)

    def cookie(self, *, refused: str = "") -> str:
        """The session's cookie, for requests to this very host only; a new session's if that of `refused` has ended."""
        self._patiently(self.log_in, after=None)
        if refused and self._cookie() == refused:
            self.properties(self._service.rootFolder, "name")  # logs in again where it has to
        return self._cookie()

    def _cookie(self) -> str:
        return str(self._service.propertyCollector._stub.cookie).split(";")[0]

    def close(self) -> None:
        """Log out; a session that the server forgot already, or a server that is gone, needs nothing."""
        with self._lock:
            if self._service is None:
                return
            stub = self._service.propertyCollector._stub
            try:
                if not self._ended:
                    with translated(self.endpoint):
                        self._service.sessionManager.Logout()
            except (SourceUnavailable, NotFound):
                pass
            finally:
                self._ended, self._service = True, None
                stub.DropConnections()

    def _patiently(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        attempts = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(0.3, max=2),
            retry=retry_if_exception_type(SourceUnavailable),
            reraise=True,
        )
        result: T = attempts(function, *args, **kwargs)
        return result

    def _about(self) -> Any:
        with self._lock, translated(self.endpoint):
            return self._connected().about

    def _connected(self) -> Any:
        """The ServiceContent over a stub that speaks the newest version both sides know."""
        if self._service is None:
            asked = self._content(versionMap[_OLDEST]).about.apiVersion
            self._service = self._content(newest_common(asked))
        return self._service

    def _content(self, version: str) -> Any:
        stub = SoapStubAdapter(
            host=self.endpoint.host,
            port=self.endpoint.port,
            path="/sdk",
            version=version,
            sslContext=self.context,
            httpConnectionTimeout=SOAP_SECONDS,
            connectionPoolTimeout=IDLE_SECONDS,
        )
        return vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()


def newest_common(server: str) -> str:
    """pyVmomi's version id for the newest API version that is not newer than the server's, for example "8.0.2.0"."""
    limit = numbers(server)
    known = {
        numbers(ns.removeprefix("vim25/")): version for ns, version in versionMap.items() if ns.startswith("vim25/")
    }
    known.pop((), None)
    return str(known[max((n for n in known if n <= limit), default=min(known))])


def numbers(version: str) -> tuple[int, ...]:
    """ "8.0.2.0" as (8, 0, 2, 0); () for what is no dotted version."""
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+(\.\d+)*", version) else ()
