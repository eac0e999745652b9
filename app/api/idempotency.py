"""POST with an Idempotency-Key: what was answered once is answered again, and done once."""

from __future__ import annotations

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.domain.errors import InvalidRequest, VmferryError
from app.domain.registered import Token
from app.store.idempotency import Answer, IdempotencyKeys

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAX_KEY = 200
WITHOUT = frozenset({"/v1/tokens"})  # its answer has a secret, which is not to be kept


class Idempotency:
    """ASGI middleware within the guard: the body comes in one message, the token is known."""

    def __init__(self, app: ASGIApp, *, keys: IdempotencyKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = Headers(scope=scope).get(HEADER) if scope["type"] == "http" and scope["method"] == "POST" else None
        if key is None or scope["path"] in WITHOUT:
            await self._app(scope, receive, send)
            return
        token: Token = scope["state"]["token"]
        first = await receive()
        request = b"\n".join([scope["path"].encode(), scope["query_string"], first.get("body", b"")])
        try:
            if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
                raise InvalidRequest(f"{HEADER} must be 1 to {MAX_KEY} printable characters", pointer=HEADER)
            known = await run_sync(self._keys.begin, token.id, key, request)
        except VmferryError as error:
            await problems.from_error(error)(scope, receive, send)
            return
        if known is not None:
            await _again(known)(scope, receive, send)
            return
        await self._carry_out(scope, first, receive, send, token.id, key)

    async def _carry_out(
        self, scope: Scope, first: Message, receive: Receive, send: Send, token_id: str, key: str
    ) -> None:
        seen: list[Message] = []
        pending = [first]

        async def receive_first() -> Message:
            return pending.pop() if pending else await receive()

        async def keep(message: Message) -> None:
            seen.append(message)

        try:
            await self._app(scope, receive_first, keep)
        except BaseException:
            self._keys.abandon(token_id, key)
            raise
        start = seen[0]
        headers = Headers(raw=start["headers"])
        if start["status"] < 300 and headers.get("content-type", "application/json") == "application/json":
            location = headers.get("location", "")
            body = b"".join(message.get("body", b"") for message in seen[1:])
            await run_sync(self._keys.keep, token_id, key, Answer(start["status"], location, body))
        else:
            await run_sync(self._keys.abandon, token_id, key)
        for message in seen:
            await send(message)


def _again(known: Answer) -> Response:
    headers = {REPLAYED: "true"}
    if known.location:
        headers["Location"] = known.location
    return Response(known.body, known.status, headers, media_type="application/json")
