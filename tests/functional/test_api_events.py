"""Events: listed, and live from a real server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.domain.states import JobState
from app.main import Server, create_app
from app.settings import Settings
from tests.functional.api import Service, service


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as made:
        made.register()
        yield made


@pytest.fixture
def live(api: Service) -> Iterator[httpx.Client]:
    """The same database, served over a socket."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        app = create_app(Settings(home=api.settings.home, bind=f"127.0.0.1:{port}"))
        server = Server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        headers = {"Authorization": f"Bearer {api.token}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20) as client:
            yield client
        server.should_exit = True
        thread.join()


@contextmanager
def stream(client: httpx.Client, path: str, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """{id, **event} of each event as it comes."""
    with client.stream("GET", path, headers={"Accept": "text/event-stream", **headers}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _parsed(answer)


def _parsed(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            event = json.loads(fields["data"])
            assert fields["id"] == str(event["id"])
            yield event
            fields = {}


def test_events_are_listed_page_by_page(api: Service) -> None:
    job = api.submit()
    for number in range(5):
        api.store.jobs.event(job, "job.log", f"line {number}")
    first = api.http.get("/v1/events", params={"limit": 4}).json()
    assert [event["message"] for event in first["items"][1:]] == ["line 0", "line 1", "line 2"]
    second = api.http.get("/v1/events", params={"after": first["items"][-1]["id"]}).json()
    assert [event["message"] for event in second["items"]] == ["line 3", "line 4"]
    assert second["next_cursor"] is None
    assert api.http.get("/v1/events", params={"cursor": first["next_cursor"]}).json() == second


def test_events_of_one_job_and_one_kind(api: Service) -> None:
    one, two = api.submit("guest1"), api.submit("guest2")
    api.store.jobs.event(one, "job.log", "of one")
    api.store.jobs.event(two, "job.log", "of two")
    assert {event["job_id"] for event in api.http.get(f"/v1/jobs/{one}/events").json()["items"]} == {one}
    found = api.http.get(f"/v1/jobs/{two}/events", params={"kind": "job.log"}).json()["items"]
    assert [event["message"] for event in found] == ["of two"]
    found = api.http.get("/v1/events", params={"kind": "job.log", "job": one}).json()["items"]
    assert [event["message"] for event in found] == ["of one"]


def test_a_jobs_stream_tells_all_and_ends_with_the_job(api: Service, live: httpx.Client) -> None:
    job = api.submit()
    with stream(live, f"/v1/jobs/{job}/events") as events:
        assert next(events)["data"]["state"] == "queued"
        api.end(job, JobState.ROLLING_BACK, JobState.FAILED)
        assert [event["data"]["state"] for event in events] == ["running", "rolling_back", "failed"]


def test_a_stream_goes_on_after_the_last_event_seen(api: Service, live: httpx.Client) -> None:
    job = api.submit()
    with stream(live, f"/v1/jobs/{job}/events") as events:
        first = next(events)
    api.end(job, JobState.SUCCEEDED)
    with stream(live, f"/v1/jobs/{job}/events", **{"Last-Event-ID": str(first["id"])}) as events:
        assert [event["data"]["state"] for event in events] == ["running", "succeeded"]


def test_the_stream_of_all_begins_now(api: Service, live: httpx.Client) -> None:
    before = api.submit("guest1")
    after: list[str] = []

    def later() -> None:
        time.sleep(1)
        after.append(api.submit("guest2"))

    with stream(live, "/v1/events") as events:
        thread = threading.Thread(target=later)
        thread.start()
        assert next(events)["job_id"] not in ("", before)
        thread.join()
    with stream(live, "/v1/events?after=0") as events:
        assert next(events)["job_id"] == before
        assert next(events)["job_id"] == after[0]


def test_the_stream_of_a_plan_begins_now_and_ends_with_the_plan(api: Service, live: httpx.Client) -> None:
    api.http.put("/v1/plans/june", json={"items": [{"vm_name": "guest1"}]})
    with stream(live, "/v1/plans/june/events") as events:
        api.http.post("/v1/plans/june/start")
        assert next(events)["data"]["state"] == "running"
        api.http.post("/v1/plans/june/cancel")
        assert [event["kind"] for event in events][-1:] == ["plan.state"]
    with stream(live, "/v1/plans/june/events?after=0") as events:
        assert next(events)["kind"] == "plan.made"


def test_many_events_come_whole_and_in_order(api: Service, live: httpx.Client) -> None:
    job = api.submit()
    for number in range(450):
        api.store.jobs.event(job, "job.log", f"{number}")
    api.end(job, JobState.SUCCEEDED)
    with stream(live, f"/v1/jobs/{job}/events?kind=job.log") as events:
        assert [event["message"] for event in events] == [str(number) for number in range(450)]


@pytest.mark.parametrize("path", ["events?after=9223372036854775808", "events?cursor=-1", "events?after=x"])
def test_places_that_are_none(api: Service, path: str) -> None:
    assert api.http.get(f"/v1/{path}").status_code == 422
    assert api.http.get("/v1/events?after=9223372036854775807").json()["items"] == []


@pytest.mark.parametrize("text", ["x", "-1", "9" * 19, "0" * 5000, "٣"])
def test_a_wrong_last_event_id_is_told(live: httpx.Client, text: str) -> None:
    headers = {b"Accept": b"text/event-stream", b"Last-Event-ID": text.encode()}
    answer = live.get("/v1/events", headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "Last-Event-ID")


def test_a_stream_needs_a_token(live: httpx.Client) -> None:
    headers = {"Accept": "text/event-stream", "Authorization": "Bearer none"}
    assert live.get("/v1/events", headers=headers).status_code == 401
