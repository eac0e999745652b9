"""Errors as RFC 9457 problem+json: the only place that knows HTTP statuses. A request's values are never echoed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.domain import errors, plan
from app.domain.models import Concern
from app.log import get_logger

TYPE_BASE = "https://vmferry.dev/problems/"


class HostNotAllowed(errors.InvalidRequest):
    code = "host_not_allowed"


class PreconditionFailed(errors.Conflict):
    code = "precondition_failed"


class CrossSite(errors.InvalidRequest):
    code = "cross_site"


_STATUS: Sequence[tuple[type[errors.VmferryError], HTTPStatus]] = (
    (errors.TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (HostNotAllowed, HTTPStatus.MISDIRECTED_REQUEST),
    (CrossSite, HTTPStatus.FORBIDDEN),
    (PreconditionFailed, HTTPStatus.PRECONDITION_FAILED),
    (errors.InvalidRequest, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.Unauthorized, HTTPStatus.UNAUTHORIZED),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.PreflightFailed, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.TransientError, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.PermanentError, HTTPStatus.INTERNAL_SERVER_ERROR),
)

_log = get_logger("api")


class Fault(BaseModel):
    """One of the things that are wrong: where in the request, or in which cell of a sheet, what, and what to do."""

    pointer: str | None = None
    cell: str | None = None
    detail: str
    hint: str = ""


class Problem(BaseModel):
    """RFC 9457. `code` is stable; other members depend on it."""

    type: str = Field(examples=[TYPE_BASE + "not_found"])
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    errors: list[Fault] = Field(default_factory=list)


def install(app: FastAPI) -> None:
    app.add_exception_handler(errors.VmferryError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def respond(
    status: int,
    code: str,
    detail: str,
    hint: str = "",
    *,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> JSONResponse:
    problem = Problem(
        type=TYPE_BASE + code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        errors=list(faults),
    )
    content = {**(more or {}), **problem.model_dump(mode="json", exclude_none=True)}
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def from_error(error: errors.VmferryError) -> JSONResponse:
    """The answer to any error of ours. What is its place in the request, if it has one, is in `errors`."""
    fields = dict(error.fields)
    pointer, cell = fields.pop("pointer", None), fields.pop("cell", None)
    faults = [Fault(pointer=pointer, cell=cell, detail=error.message, hint=error.remedy)] if pointer or cell else []
    if isinstance(error, errors.PlanRefused):
        faults = [_placed(problem) for problem in error.problems]
    elif isinstance(error, errors.PreflightFailed):
        faults = [_fault(concern) for concern in error.concerns if concern.severity == "blocker"]
    headers = {}
    if isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="vmferry"'
    elif isinstance(error, errors.TransientError):
        headers["Retry-After"] = "5"
    status = status_of(error)
    return respond(status, error.code, error.message, error.remedy, faults=faults, headers=headers, more=fields)


def status_of(error: errors.VmferryError) -> HTTPStatus:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


_POINTERS = {
    "domain_name_invalid": "/options/target_name",
    "domain_exists": "/options/target_name",
    "tools_not_running": "/options/force_power_off",
    "network_not_mapped": "/options/networks",
    "network_invalid": "/options/networks",
    "network_missing": "/options/networks",
    "converter_missing": "/options/strategy",
    "guest_needs_compat": "/options/converter",
    "native_is_for_linux": "/options/converter",
    "passthrough_device": "/options/hostdevs",
    "hostdev_unknown": "/options/hostdevs",
    "hostdev_invalid": "/options/hostdevs",
    "hostdev_missing": "/options/hostdevs",
    "hostdev_without_iommu": "/options/hostdevs",
    "hostdev_in_use": "/options/hostdevs",
    "profile_needs_check": "/options/profile",
    "profile_needs_cpus": "/options/profile",
    "profile_needs_huge_pages": "/options/profile",
    "profile_needs_direct_io": "/options/profile",
    "pool_unknown": "/options/pool",
    "pool_missing": "/target",
    "pool_inactive": "/target",
    "pool_type_unsupported": "/target",
    "pool_full": "/target",
    "pool_is_reserved": "/target",
}


def _fault(concern: Concern) -> Fault:
    return Fault(pointer=_POINTERS.get(concern.code, "/vm"), detail=concern.cause, hint=concern.remedy)


def _placed(problem: plan.Problem) -> Fault:
    is_pointer = problem.place.startswith("/")
    return Fault(
        pointer=problem.place if is_pointer else None,
        cell=None if is_pointer else problem.place or None,
        detail=problem.cause,
        hint=problem.fix,
    )


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.VmferryError)
    return from_error(error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [Fault(pointer=_pointer(item["loc"]), detail=item["msg"]) for item in error.errors()]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return respond(HTTPStatus.BAD_REQUEST, "invalid_json", "the body is not valid JSON", faults=faults)
    many = f"{len(faults)} things in this request are" if len(faults) > 1 else "one thing in this request is"
    hint = "See `errors` for each, and /openapi.json for what is expected."
    return respond(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", f"{many} not valid", hint, faults=faults)


def _pointer(place: Sequence[str | int]) -> str:
    """A JSON pointer into the body; the plain name of a parameter or header."""
    kind, *path = place
    if kind != "body":
        return ".".join(map(str, path))
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    """What the framework raises: no such path, method not allowed."""
    assert isinstance(error, HTTPException)
    code = {404: "no_such_path", 405: "method_not_allowed"}.get(error.status_code, f"http_{error.status_code}")
    return respond(error.status_code, code, str(error.detail), "See /openapi.json.", headers=error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("request failed by a fault of our own", method=request.method, path=request.url.path, exc_info=error)
    hint = "This is a fault of vmferry: report it with the service's log."
    return respond(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the service failed to answer this", hint)
