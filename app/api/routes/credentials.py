"""Credentials: passwords go in and never come out."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api.deps import Given, Paged, page_of
from app.api.schemas import NewCredential, NewPassword, PageOf
from app.domain.registered import Credential

router = APIRouter(prefix="/credentials", tags=["credentials"])


@router.post("", status_code=201)
def add_credential(new: NewCredential, given: Given, response: Response) -> Credential:
    made = given.store.credentials.add(new.name, new.username, new.password.get_secret_value())
    response.headers["Location"] = f"/v1/credentials/{made.id}"
    return made


@router.get("")
def list_credentials(given: Given, page: Paged) -> PageOf[Credential]:
    return page_of(given.store.credentials.list(page))


@router.get("/{ref}")
def show_credential(ref: str, given: Given) -> Credential:
    return given.store.credentials.get(ref)


@router.put("/{ref}/password")
def set_password(ref: str, new: NewPassword, given: Given) -> Credential:
    """For a password that was changed on the platform: what uses the credential uses it from now on."""
    return given.store.credentials.set_password(ref, new.password.get_secret_value())


@router.delete("/{ref}", status_code=204)
def remove_credential(ref: str, given: Given) -> None:
    given.store.credentials.remove(ref)
