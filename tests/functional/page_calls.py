"""Pages without a browser: a service whose caller has a session, and the streams that pages listen to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.functional.api import Service, service
from tests.functional.browser import Site


@contextmanager
def with_session(home: Path) -> Iterator[Service]:
    with service(home) as made:
        made.http.headers["Origin"] = f"http://{made.settings.bind}"
        made.http.post("/login", data={"token": made.token})
        yield made


def signed_in(there: Site, token: str = "") -> requests.Session:
    browser = requests.Session()
    browser.trust_env = False
    browser.post(f"{there.url}/login", data={"token": token or there.token}, headers={"Origin": there.url}, timeout=20)
    return browser


def events_of(stream: requests.Response) -> Iterator[dict[str, str]]:
    """The events of a stream that are no comments, by their fields."""
    fields: dict[str, str] = {}
    for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
        if not line:
            if "data" in fields:
                yield fields
            fields = {}
        name, _, value = line.partition(": ")
        if name:
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value


def news_of(stream: requests.Response) -> Iterator[dict[str, str]]:
    """The same with those put together that tell of one change: the last of them alone has its id."""
    data = ""
    for event in events_of(stream):
        assert len(event["data"]) <= 5000
        data += event["data"]
        if "id" in event:
            yield event | {"data": data}
            data = ""
