"""What routes are given: the services, and the page that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Query, Request

from app.api.schemas import PageOf
from app.services.assessments import Assessments
from app.services.files import JobFiles
from app.services.jobs import Jobs
from app.services.limits import Limits
from app.services.plans import Plans
from app.services.registrations import Registrations
from app.settings import Settings
from app.store.paging import MAX_LIMIT, Page, PageRequest
from app.store.store import Store

T = TypeVar("T")
MAX_WAIT_S = 60


@dataclass(frozen=True)
class Services:
    settings: Settings
    store: Store
    jobs: Jobs
    assessments: Assessments
    plans: Plans
    registrations: Registrations
    limits: Limits
    files: JobFiles
    stopping: Event = field(default_factory=Event)  # nobody is to be kept waiting for news any more


def services_for(settings: Settings, store: Store) -> Services:
    return Services(
        settings,
        store,
        Jobs(store),
        Assessments(store),
        Plans(settings, store),
        Registrations(store),
        Limits(store),
        JobFiles(settings, store),
    )


def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


def _page(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[str, Query(max_length=2000, description="`next_cursor` of the page before.")] = "",
    sort: Annotated[str, Query(max_length=50, description='A field, with "-" before it for descending.')] = "",
) -> PageRequest:
    return PageRequest(limit, cursor, sort)


Given = Annotated[Services, Depends(_services)]
Paged = Annotated[PageRequest, Depends(_page)]
Wait = Annotated[
    float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for a change before answering.", alias="wait")
]


def page_of(page: Page[T]) -> PageOf[T]:
    return PageOf(items=page.items, next_cursor=page.next)
