"""Tokens: who may call."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api.deps import Given, Paged, page_of
from app.api.schemas import MadeToken, NewToken, PageOf
from app.domain.registered import Token

router = APIRouter(prefix="/tokens", tags=["tokens"])


@router.post("", status_code=201)
def create_token(new: NewToken, given: Given, response: Response) -> MadeToken:
    """The only answer that shows the token's text. It takes no Idempotency-Key: the text is kept nowhere."""
    made, text = given.store.tokens.create(new.name)
    response.headers["Location"] = f"/v1/tokens/{made.id}"
    return MadeToken(**dict(made), token=text)


@router.get("")
def list_tokens(given: Given, page: Paged) -> PageOf[Token]:
    return page_of(given.store.tokens.list(page))


@router.delete("/{token_id}", status_code=204)
def revoke_token(token_id: str, given: Given) -> None:
    """Worthless at once. The last one cannot be revoked."""
    given.store.tokens.revoke(token_id)
