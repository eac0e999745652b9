"""A service that is stopped keeps nobody waiting, and cuts nobody off."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from app.domain.states import JobState
from tests.functional.browser import site
from tests.functional.page_calls import signed_in
from tests.functional.world import World


def test_streams_end_whole_and_long_polls_are_answered(tmp_path: Path) -> None:
    def get(path: str, *, stream: bool = False) -> requests.Response:
        accept = {"Accept": "text/event-stream"} if stream else {}
        return browser.get(f"{there.url}{path}", headers=accept, stream=stream, timeout=20)

    with ThreadPoolExecutor() as threads:
        with site(tmp_path) as there, signed_in(there) as browser:
            browser.headers["Authorization"] = f"Bearer {there.token}"
            job = World(there.settings, there.store).move(3, JobState.RUNNING, done="shutdown").id
            poll = threads.submit(get, f"/v1/jobs/{job}?wait=60")
            paths = ("/v1/events", f"/v1/jobs/{job}/events", f"/jobs/{job}/live")
            streams = [get(path, stream=True) for path in paths]
            deadline = time.monotonic() + 30
            while len(there.server.server_state.tasks) < 1 + len(streams):
                assert time.monotonic() < deadline, "not all of them are open"
                time.sleep(0.05)
        for stream in streams:
            assert stream.status_code == 200
            for _ in stream.iter_content():  # raises when the end is missing
                pass
        assert poll.result().json()["state"] == "running"
