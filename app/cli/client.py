"""The service's API as commands use it: addresses and token found, errors turned into exit codes, events followed."""

from __future__ import annotations

import ipaddress
import json
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from app.cli.exits import CliError, Exit, from_problem
from app.settings import load_settings

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
SHEET_TIMEOUT_S = 600.0  # a sheet of many thousand rows is checked before the answer begins
LONG_POLL_S = 20.0
QUIET_STREAM_S = 45.0  # the service sends a comment on an idle stream well before
RECONNECT_S = 1.0
PATIENCE_S = 120.0  # how long a service that went away may take to come back


class _Bearer(AuthBase):
    """An auth object rather than a header: requests lets ~/.netrc replace a plain Authorization header."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Client:
    """One service, one token. Every method raises CliError."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.auth = _Bearer(token)
        self._session.trust_env = not is_loopback(self.url)  # a proxy is of no use on the way to ourselves

    def get(self, path: str, **params: Any) -> Any:
        return self._call("GET", path, params=params).json()

    def get_bytes(self, path: str, **params: Any) -> bytes:
        return self._call("GET", path, params=params).content

    def post(self, path: str, body: Mapping[str, Any] | None = None, **params: Any) -> Any:
        answer = self._call(
            "POST", path, params=params, body=body or {}, headers={"Idempotency-Key": str(uuid.uuid4())}
        )
        return answer.json() if answer.content else None

    def upload(self, path: str, content: bytes, *, accept: str = "application/json", **params: Any) -> bytes:
        """Send a sheet's bytes; the answer as `accept` asks for it. A sheet that comes twice changes nothing."""
        headers = {"Content-Type": "application/octet-stream", "Accept": accept}
        return self._call(
            "POST", path, params=params, content=content, headers=headers, timeout_s=SHEET_TIMEOUT_S
        ).content

    def put(self, path: str, body: Mapping[str, Any], **params: Any) -> Any:
        return self._call("PUT", path, params=params, body=body, timeout_s=SHEET_TIMEOUT_S).json()

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def list(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.get(path, cursor=cursor, **params)
            items += page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                return items

    def find(self, path: str, reference: str, **params: Any) -> dict[str, Any]:
        """The one item of a list with that id, or else with that name."""
        items = self.list(path, **params)
        found = [item for item in items if item["id"] == reference] or [
            item for item in items if item["name"] == reference
        ]
        if len(found) == 1:
            return found[0]
        kind = path.rpartition("/")[2]
        if not found:
            names = ", ".join(repr(item["name"]) for item in items[:20]) or "none"
            raise CliError(Exit.NOT_FOUND, "not_found", f"no {reference!r} among the {kind}", f"There are: {names}")
        raise CliError(
            Exit.CONFLICT,
            "ambiguous",
            f"{len(found)} of the {kind} are called {reference!r}",
            "Give the id: " + ", ".join(item["id"] for item in found),
        )

    def operate(self, path: str, timeout_s: float) -> dict[str, Any]:
        """Start work that a worker does, wait for its end, answer its result."""
        operation = self.post(path)
        deadline = time.monotonic() + timeout_s
        while operation["state"] in ("queued", "running"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise CliError(
                    Exit.TIMED_OUT,
                    "wait_timed_out",
                    f"no worker finished this within {timeout_s:g} s",
                    "See whether a worker runs: vmferry up, or vmferry worker.",
                )
            operation = self.get(f"operations/{operation['id']}", wait=max(1, int(min(left, LONG_POLL_S))))
        if operation["state"] == "failed":
            raise from_problem(500, {**operation["error"], "detail": operation["error"]["message"]})
        result: dict[str, Any] = operation["result"] or {}
        return result

    def events(self, path: str, *, deadline: float | None = None) -> Iterator[dict[str, Any]]:
        """Live events as {id, kind, message, data, …}; a connection that breaks goes on after the last one seen.

        Yields {} when it connected and while nothing happens, so that a caller can look at other things. Ends when
        `deadline` (monotonic) has passed. Raises CliError when the service stays away.
        """
        last = ""
        heard = time.monotonic()
        while (left := _left(deadline)) > 0:
            try:
                with self._open_stream(path, last, min(left, QUIET_STREAM_S)) as answer:
                    heard = time.monotonic()
                    yield {}
                    for seen, event in read_sse(answer.iter_lines(chunk_size=1)):
                        last = seen or last
                        heard = time.monotonic()
                        yield event
                        if _left(deadline) <= 0:
                            return
            except requests.RequestException as error:
                if time.monotonic() - heard > PATIENCE_S:
                    raise self._unreachable(error) from error
            time.sleep(min(RECONNECT_S, max(0.0, _left(deadline))))

    def _open_stream(self, path: str, last: str, quiet_s: float) -> requests.Response:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        answer = self._session.get(
            self._address(path), headers=headers, stream=True, timeout=(CONNECT_TIMEOUT_S, max(0.1, quiet_s))
        )
        if answer.status_code >= 500:
            answer.close()
            raise requests.ConnectionError(f"the service answered {answer.status_code}")
        return _checked(answer)

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> requests.Response:
        given = {key: value for key, value in (params or {}).items() if value is not None}
        try:
            answer = self._session.request(
                method,
                self._address(path),
                params={key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()},
                json=body,
                data=content,
                headers=dict(headers or {}),
                timeout=(CONNECT_TIMEOUT_S, timeout_s),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        return _checked(answer)

    def _address(self, path: str) -> str:
        return f"{self.url}/v1/{path}"

    def _unreachable(self, error: requests.RequestException) -> CliError:
        return CliError(
            Exit.FAILED,
            "service_unreachable",
            f"no answer from {self.url}: {error}",
            "Start it with `vmferry up`, or set VMFERRY_URL to where it runs.",
        )


def connect() -> Client:
    """A client for the service that the settings name, with the token they give or the one made at first start."""
    settings = load_settings()
    url = settings.url.replace(settings.bind, reachable(settings.bind))
    if given := settings.token.get_secret_value():
        return Client(url, given)
    try:
        return Client(url, settings.token_file.read_text().strip())
    except OSError as error:
        raise CliError(
            Exit.AUTH,
            "no_token",
            f"no token: {settings.token_file}: {error.strerror}",
            "Set VMFERRY_TOKEN, or VMFERRY_HOME to the folder of a service that was started once.",
        ) from error


def reachable(bind: str) -> str:
    """Where a service that listens on `bind` is reached from here: every address means this machine."""
    host, _, port = bind.rpartition(":")
    with suppress(ValueError):
        address = ipaddress.ip_address(host.strip("[]"))
        if address.is_unspecified:
            return f"127.0.0.1:{port}" if address.version == 4 else f"[::1]:{port}"
    return bind


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def read_sse(lines: Iterator[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(last id, JSON object) of each event of a text/event-stream; the comments that keep it open have an empty one."""
    last = ""
    data: list[str] = []
    for raw in lines:
        line = raw.decode()
        if line.startswith(":"):
            yield last, {}
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif line.startswith("id:"):
            last = line[3:].strip()
        elif not line and data:
            yield last, json.loads("\n".join(data))
            data = []


def _left(deadline: float | None) -> float:
    return math.inf if deadline is None else deadline - time.monotonic()


def _checked(answer: requests.Response) -> requests.Response:
    if answer.status_code < 300:
        return answer
    try:
        problem = answer.json()
    except requests.JSONDecodeError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    raise from_problem(answer.status_code, problem)
