"""The pages of moves and of the system, without a browser's scripts: what they show, and that their forms work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from app.domain.job import Event
from app.domain.states import JobState
from app.store.paging import PageRequest
from tests.functional.api import Service
from tests.functional.browser import Site, site
from tests.functional.page_calls import news_of, signed_in, with_session
from tests.functional.world import World


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with with_session(tmp_path) as made:
        yield made


@pytest.fixture
def world(api: Service) -> World:
    made = World(api.settings, api.store)
    made.fill_with_moves()
    return made


def test_moves_are_listed_with_their_states_and_filtered(api: Service, world: World) -> None:
    page = api.http.get("/jobs").text
    for state in JobState:
        assert f">{state.replace('_', ' ')}</span>" in page
    failed = api.http.get("/jobs?state=failed").text
    assert "mail05" in failed
    assert "web01" not in failed
    assert "web01" in api.http.get("/jobs?vm=web01").text


def test_older_moves_are_on_the_next_page(api: Service, world: World) -> None:
    for number in range(12, 25):
        for _ in range(4):
            world.move(number, JobState.CANCELLED)
    page = api.http.get("/jobs").text
    older = re.search(r'href="(/jobs\?[^"]*cursor=[^"]+)"', page)
    assert older
    assert "web01" not in page
    assert "web01" in api.http.get(older[1].replace("&amp;", "&")).text


def test_a_move_in_any_state_has_its_page(api: Service, world: World) -> None:
    for name, job_id in world.jobs.items():
        answer = api.http.get(f"/jobs/{job_id}")
        assert answer.status_code == 200, name
        assert f"<h1>{name}</h1>" in answer.text
        assert "Next:" in answer.text
    assert api.http.get("/jobs/none").status_code == 404


def test_a_move_that_succeeded_shows_ladder_pictures_contract_and_domain(api: Service, world: World) -> None:
    here = f"/jobs/{world.jobs['web01']}"
    page = api.http.get(here).text
    assert "reached after 16 s" in page
    assert ">changed</span>" in page
    assert "-/srv" in page
    assert "&lt;name&gt;web01&lt;/name&gt;" in page
    assert "update-initramfs" not in page
    picture = re.search(rf'src="({here}/console/[^"]+)"', page)
    assert picture
    assert api.http.get(picture[1]).headers["content-type"] == "image/png"
    assert api.http.get(f"{here}/console/..%2F..%2Ftoken.png").status_code == 404


def test_what_a_vcenter_says_is_text_and_no_markup(api: Service, world: World) -> None:
    evil = "<script>alert(1)</script>\"'"
    job = world.move(12, JobState.FAILED, vm_name=evil, error={"code": "x", "message": evil, "hint": evil})
    for path in ("/jobs", f"/jobs/{job.id}"):
        page = api.http.get(path).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_what_is_asked_of_a_move_goes_on_to_its_page(api: Service, world: World) -> None:
    for name, verb, state in (
        ("db11", "pause", JobState.PAUSED),
        ("db11", "resume", JobState.QUEUED),
        ("db11", "cancel", JobState.CANCELLED),
        ("mail05", "retry", JobState.QUEUED),
        ("web09", "rollback", JobState.ROLLING_BACK),
    ):
        job_id = world.jobs[name]
        answer = api.http.post(f"/jobs/{job_id}/{verb}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
        assert api.store.jobs.job(job_id).state is state


def test_a_rollback_of_what_succeeded_has_to_be_confirmed(api: Service, world: World) -> None:
    job_id = world.jobs["web01"]
    assert 'name="confirm_data_loss"' in api.http.get(f"/jobs/{job_id}").text
    refused = api.http.post(f"/jobs/{job_id}/rollback")
    assert refused.status_code == 409
    assert "is lost" in refused.text
    api.http.post(f"/jobs/{job_id}/rollback", data={"confirm_data_loss": "yes"})
    assert api.store.jobs.job(job_id).state is JobState.ROLLING_BACK


def test_a_verb_that_is_none_or_comes_too_late_is_told(api: Service, world: World) -> None:
    job_id = world.jobs["web01"]
    assert api.http.post(f"/jobs/{job_id}/explode").status_code == 422
    late = api.http.post(f"/jobs/{job_id}/retry")
    assert late.status_code == 409
    assert "only a failed job can be retried" in late.text


def test_the_system_shows_what_it_stands_on(api: Service, world: World) -> None:
    page = api.http.get("/system").text
    for said in ("vcenter-fra", "kvm03", "1 of 2 checks failed", "apt install virt-v2v", "1 worker", "120 GiB free"):
        assert said in page
    for what in (f"sources/{world.source}/check", f"sources/{world.source}/refresh", f"targets/{world.target}/check"):
        assert api.http.post(f"/system/{what}", follow_redirects=False).status_code == 303
    asked = {(item.kind, item.subject_id) for item in api.store.operations.newest(limit=10)}
    assert asked == {
        ("check_source", world.source),
        ("refresh_inventory", world.source),
        ("check_target", world.target),
    }
    assert api.http.post(f"/system/sources/{world.source}/burn").status_code == 404


def test_a_system_without_anything_says_what_to_do(api: Service) -> None:
    page = api.http.get("/system").text
    assert "No worker has given a sign of life." in page
    assert "vmferry source add" in page
    assert "was asked for yet" in api.http.get("/jobs").text


def test_tokens_are_made_shown_once_and_revoked(api: Service) -> None:
    page = api.http.post("/system/tokens", data={"name": "<b>ci"}).text
    text = re.search(r"<code>(vmf_[^<]+)</code>", page)
    assert text
    assert "Token &lt;b&gt;ci was made" in page
    assert text[1] not in api.http.get("/system").text
    made = api.store.tokens.check(text[1])
    assert made
    api.http.post(f"/system/tokens/{made.id}/revoke")
    assert [item.name for item in api.store.tokens.list(PageRequest()).items] == ["first"]
    assert api.http.post("/system/tokens", data={"name": "a/b"}).status_code == 422


def test_a_page_that_does_not_exist_is_a_page(api: Service) -> None:
    answer = api.http.get("/nothing")
    assert answer.status_code == 404
    assert "there is no such page" in answer.text
    assert (
        api.http.get("/v1/nothing", headers={"Authorization": f"Bearer {api.token}"}).json()["code"] == "no_such_path"
    )


def test_our_own_faults_tell_nothing(api: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(type(api.store.requests), "list", broken)
    answer = api.http.get("/jobs")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "a fault of vmferry" in answer.text


def test_files_are_kept_but_asked_for_again(api: Service) -> None:
    answer = api.http.get("/static/app.css", headers={"Cookie": ""})
    assert answer.headers["cache-control"] == "no-cache"
    assert api.http.get("/static/app.css", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert api.http.get("/static/../main.py").status_code == 404


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def test_a_move_that_is_looked_at_changes(there: Site) -> None:
    world = World(there.settings, there.store)
    job = world.move(3, JobState.RUNNING, done="shutdown")
    with signed_in(there) as browser:
        after = there.store.events.last_id()
        with browser.get(f"{there.url}/jobs/{job.id}/live?after={after}", stream=True, timeout=20) as stream:
            events = news_of(stream)
            there.store.jobs.step_ended(job.id, "transfer", "succeeded", detail="all <b>there")
            first = next(events)
            assert 'id="steps" hx-swap-oob="innerHTML"' in first["data"]
            assert 'id="log" hx-swap-oob="beforeend"' in first["data"]
            assert "all &lt;b&gt;there" in first["data"]
            there.store.jobs.progress(job.id, job.disks, 50e6, 3.0)
            second = next(events)
        assert "47.7 MiB/s" in second["data"]
        assert 'id="steps"' not in second["data"]  # as it was
        assert int(second["id"]) > int(first["id"]) > after
        again = {"Last-Event-ID": first["id"]}
        with browser.get(f"{there.url}/jobs/{job.id}/live?after=0", stream=True, timeout=20, headers=again) as stream:
            resumed = next(news_of(stream))
        assert resumed["id"] == second["id"]
        assert 'id="log"' not in resumed["data"]  # nothing was said since


def test_what_is_looked_at_ends_with_the_session(there: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.live.STILL_IN_S", 0.2)
    job = World(there.settings, there.store).move(3, JobState.RUNNING, done="shutdown")
    made, text = there.store.tokens.create("visitor")
    with (
        signed_in(there, text) as browser,
        browser.get(f"{there.url}/jobs/{job.id}/live", stream=True, timeout=20) as stream,
    ):
        there.store.tokens.revoke(made.id)
        assert b"" not in list(stream.iter_lines())[:1]  # it comes to an end


def test_the_table_of_events_is_what_streams_read(there: Site) -> None:
    """Last-Event-ID counts in the same numbers as GET /v1/events."""
    job = World(there.settings, there.store).move(3, JobState.RUNNING, done="shutdown")
    with (
        signed_in(there) as browser,
        browser.get(f"{there.url}/jobs/{job.id}/live?after=0", stream=True, timeout=20) as stream,
    ):
        told = int(next(news_of(stream))["id"])
    headers = {"Authorization": f"Bearer {there.token}"}
    found = requests.get(f"{there.url}/v1/jobs/{job.id}/events?limit=500", headers=headers, timeout=20).json()["items"]
    assert Event.model_validate(found[-1]).id == told
