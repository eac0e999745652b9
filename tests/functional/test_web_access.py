"""Who may see pages: sessions, and requests that another site's page sends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from app.store import rows
from app.store.engine import writing
from app.store.paging import PageRequest
from app.store.sessions import IDLE, LONGEST
from app.store.tables import sessions
from tests.functional.api import Service, service

PAGES = ("/jobs", "/system", "/jobs/none", "/jobs/none/live", "/nothing")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as made:
        made.http.headers.pop("Authorization")
        made.http.follow_redirects = False
        yield made


def log_in(api: Service, token: str = "", **headers: str) -> httpx.Response:
    ours = {"Origin": f"http://{api.settings.bind}"}
    return api.http.post("/login", data={"token": token or api.token}, headers=headers or ours)


@pytest.mark.parametrize("path", PAGES)
def test_pages_need_a_session(api: Service, path: str) -> None:
    answer = api.http.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?next={path}"
    assert api.http.get(path, headers={"Authorization": f"Bearer {api.token}"}).status_code == 303


def test_a_token_opens_a_session_that_scripts_and_other_sites_cannot_use(api: Service) -> None:
    answer = log_in(api)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # this service is called by http
    assert api.http.get("/jobs").status_code == 200
    text = api.http.cookies["vmferry_session"]
    for path in api.settings.home.glob("vmferry.db*"):
        assert text.encode() not in path.read_bytes()


def test_a_session_over_https_is_for_https_only(tmp_path: Path) -> None:
    with service(tmp_path) as api:
        api.http.base_url = httpx.URL(f"https://{api.settings.bind}")
        api.http.follow_redirects = False
        answer = log_in(api, Origin=f"https://{api.settings.bind}")
        assert "secure" in answer.headers["set-cookie"].lower()


def test_a_session_does_not_open_the_api(api: Service) -> None:
    log_in(api)
    assert api.http.get("/v1/jobs").status_code == 401


@pytest.mark.parametrize("token", ["", "vmf_wrong", "\x00", "ä" * 300])
def test_a_wrong_token_opens_nothing(api: Service, token: str) -> None:
    answer = log_in(api, token or " ")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "no valid token" in answer.text


def test_the_login_goes_on_to_pages_of_ours_only(api: Service) -> None:
    headers = {"Origin": f"http://{api.settings.bind}"}
    for wanted, place in {
        "/system": "/system",
        "//evil.example": "/",
        "https://evil.example": "/",
        "/\\evil.example": "/",
        "/a\r\nSet-Cookie: x=y": "/",
    }.items():
        answer = api.http.post("/login", data={"token": api.token, "next": wanted}, headers=headers)
        assert answer.headers["location"] == place


def test_logging_out_ends_the_session_on_the_server(api: Service) -> None:
    log_in(api)
    text = api.http.cookies["vmferry_session"]
    api.http.post("/logout", headers={"Origin": f"http://{api.settings.bind}"})
    api.http.cookies.clear()
    assert api.http.get("/jobs", headers={"Cookie": f"vmferry_session={text}"}).status_code == 303


def test_a_revoked_token_ends_its_sessions(api: Service) -> None:
    made, text = api.store.tokens.create("visitor")
    log_in(api, text)
    assert api.http.get("/jobs").status_code == 200
    api.store.tokens.revoke(made.id)
    assert api.http.get("/jobs").status_code == 303


@pytest.mark.parametrize(("column", "age"), [("seen_at", IDLE), ("created_at", LONGEST)])
def test_sessions_expire(api: Service, column: str, age: timedelta) -> None:
    log_in(api)
    _age(api, column, age - timedelta(seconds=30))
    assert api.http.get("/jobs").status_code == 200
    _age(api, column, age + timedelta(seconds=30))
    assert api.http.get("/jobs").status_code == 303
    log_in(api)
    with writing(api.store.engine) as connection:  # a login sweeps out what has expired
        assert connection.execute(sa.select(sa.func.count()).select_from(sessions)).scalar_one() == 1


def test_use_keeps_a_session(api: Service) -> None:
    log_in(api)
    _age(api, "seen_at", IDLE - timedelta(minutes=1))
    api.http.get("/jobs")
    with writing(api.store.engine) as connection:
        seen = connection.execute(sa.select(sessions.c.seen_at)).scalar_one()
    assert rows.now() - seen < timedelta(minutes=1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1:8080"},
        {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://[::1"},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout", "/jobs/x/cancel", "/system/tokens", "/nothing"])
def test_forms_of_other_sites_are_refused(api: Service, headers: dict[str, str], path: str) -> None:
    log_in(api)
    answer = api.http.post(path, data={"name": "x", "token": api.token}, headers=headers)
    assert answer.status_code == 403
    assert "not sent from a page of this service" in answer.text
    assert [token.name for token in api.store.tokens.list(PageRequest()).items] == ["first"]


def test_forms_of_our_own_are_taken_behind_a_proxy_too(tmp_path: Path) -> None:
    with service(tmp_path, url="https://mover.example") as api:
        for headers in (
            {"Origin": "https://mover.example"},
            {"Origin": "https://mover.example:443"},
            {"Origin": "http://localhost", "Host": "localhost"},
            {"Sec-Fetch-Site": "same-origin"},
        ):
            assert log_in(api, **headers).status_code == 200  # followed to the first page


def test_every_page_forbids_scripts_and_styles_of_others(api: Service) -> None:
    for path in ("/login", "/nothing", "/jobs", "/jobs/none"):
        log_in(api)
        answer = api.http.get(path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "<script>" not in answer.text
        assert "style=" not in answer.text
        assert answer.headers["referrer-policy"] == "same-origin"


def test_the_name_in_host_is_looked_at_on_pages_too(api: Service) -> None:
    assert api.http.get("/login", headers={"Host": "evil.example"}).status_code == 421


def test_large_forms_are_refused(api: Service) -> None:
    log_in(api)
    answer = api.http.post("/login", content=b"x" * ((1 << 20) + 1), headers={"Origin": f"http://{api.settings.bind}"})
    assert answer.status_code == 413
    assert answer.headers["content-type"].startswith("text/html")


def test_a_script_that_lost_its_session_is_sent_to_the_login(api: Service) -> None:
    answer = api.http.get("/jobs", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")
    assert api.http.get("/jobs/x/live", headers={"Accept": "text/event-stream"}).status_code == 401


def _age(api: Service, column: str, age: timedelta) -> None:
    with writing(api.store.engine) as connection:
        connection.execute(sessions.update().values({column: rows.now() - age}))
