"""Who may call, by which name, with how much; and how errors look."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.domain.job import Beat
from app.services.tokens import ensure_first_token
from tests.functional.api import PASSWORD, Service, service

ROOT = Path(__file__).parents[2]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as made:
        yield made


def _is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = answer.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"https://vmferry.dev/problems/{code}"
    assert body["title"]
    assert body["detail"]
    return body


def test_every_path_but_health_and_the_document_needs_a_token(api: Service) -> None:
    document = api.http.get("/openapi.json", headers={"Authorization": ""}).json()
    assert len(document["paths"]) > 20
    for path, operations in document["paths"].items():
        for method in operations:
            answer = api.http.request(method, path, headers={"Authorization": ""})
            if path.startswith("/v1/health"):
                assert answer.status_code in (200, 503)
            else:
                _is_problem(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic dTpw", "Bearer", "bearer  ", "Bearer \udcff"])
def test_wrong_tokens_are_refused(api: Service, header: str) -> None:
    answer = api.http.get("/v1/jobs", headers={"Authorization": header.encode(errors="surrogateescape")})
    _is_problem(answer, 401, "unauthorized")


def test_the_first_token_is_for_its_owner_only(api: Service) -> None:
    assert stat.S_IMODE(api.settings.token_file.stat().st_mode) == 0o600
    assert api.token.encode() not in (api.settings.home / "vmferry.db").read_bytes()
    ensure_first_token(api.settings, api.store)
    assert api.settings.token_file.read_text().strip() == api.token


def test_a_token_of_an_earlier_database_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of another database\n")
    with service(tmp_path) as api:
        assert api.http.get("/v1/jobs").status_code == 200
        assert api.token.startswith("vmf_")


def test_tokens_are_made_shown_once_and_revoked(api: Service) -> None:
    made = api.http.post("/v1/tokens", json={"name": "ci"}, headers={"Idempotency-Key": "k"}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert api.http.get("/v1/jobs", headers=headers).status_code == 200
    listed = api.http.get("/v1/tokens")
    assert [item["name"] for item in listed.json()["items"]] == ["first", "ci"]
    assert made["token"] not in listed.text
    assert api.http.delete(f"/v1/tokens/{made['id']}").status_code == 204
    assert api.http.get("/v1/jobs", headers=headers).status_code == 401
    _is_problem(api.http.delete(f"/v1/tokens/{made['id']}"), 404, "not_found")
    last = listed.json()["items"][0]["id"]
    _is_problem(api.http.delete(f"/v1/tokens/{last}"), 409, "conflict")


def test_no_token_text_is_kept_for_idempotency(api: Service) -> None:
    call = {"json": {"name": "ci"}, "headers": {"Idempotency-Key": "k"}}
    first, second = (api.http.post("/v1/tokens", **call).json() for _ in range(2))
    assert first["token"] != second["token"]
    for path in api.settings.home.glob("vmferry.db*"):
        assert first["token"].encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost:8080", 200),
        ("[::1]:8080", 200),
        ("192.0.2.7", 200),  # an address cannot be rebound
        ("mover.example:8080", 200),
        ("other.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_names_that_are_not_ours_are_refused(tmp_path: Path, host: str, status: int) -> None:
    with service(tmp_path, url="https://mover.example:8080", allowed_hosts=("Other.example",)) as api:
        answer = api.http.get("/v1/jobs", headers={"Host": host})
        assert answer.status_code == status
        if status != 200:
            _is_problem(answer, 421, "host_not_allowed")


def test_large_bodies_are_refused(api: Service) -> None:
    _is_problem(api.http.post("/v1/jobs", content=b"x" * ((1 << 20) + 1)), 413, "body_too_large")
    chunks = (b"x" * 65536 for _ in range(20))  # no Content-Length
    _is_problem(api.http.post("/v1/jobs", content=chunks), 413, "body_too_large")


def test_answers_carry_security_headers(api: Service) -> None:
    for answer in (api.http.get("/v1/jobs"), api.http.get("/v1/none"), api.http.get("/", headers={"Host": "evil"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_unknown_paths_and_methods_are_problems(api: Service) -> None:
    _is_problem(api.http.get("/v1/nothing"), 404, "no_such_path")
    answer = api.http.put("/v1/jobs", json={})
    _is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


def test_validation_names_each_place_and_echoes_nothing(api: Service) -> None:
    body = {"name": "a/b", "kind": "hyperv", "password": [PASSWORD], "tls": {"colour": PASSWORD}}
    answer = api.http.post("/v1/sources", json=body)
    problem = _is_problem(answer, 422, "invalid_request")
    faults = problem["errors"]
    assert isinstance(faults, list)
    assert {"/name", "/kind", "/host", "/password", "/tls/colour"} <= {fault["pointer"] for fault in faults}
    assert PASSWORD not in answer.text


def test_json_that_is_none_is_told(api: Service) -> None:
    secret = f'{{"password": "{PASSWORD}"'
    answer = api.http.post("/v1/sources", content=secret, headers={"Content-Type": "application/json"})
    _is_problem(answer, 400, "invalid_json")
    assert PASSWORD not in answer.text


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=%21", "sort=colour", "cursor=e30"])
def test_wrong_paging_is_told(api: Service, query: str) -> None:
    problem = _is_problem(api.http.get(f"/v1/jobs?{query}"), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == query.partition("=")[0]  # type: ignore[index]


def test_our_own_faults_tell_nothing(api: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(PASSWORD)

    monkeypatch.setattr(type(api.store.requests), "list", broken)
    answer = api.http.get("/v1/jobs")
    _is_problem(answer, 500, "internal")
    assert PASSWORD not in answer.text


def test_health_tells_whether_a_worker_is_there(api: Service) -> None:
    assert api.http.get("/v1/health/live").json()["status"] == "ok"
    assert api.http.get("/v1/health/ready").status_code == 503
    beat = Beat(executor="e", count=1, boot_id="b", pid=1, pid_started=1)
    api.store.workers.beat(beat)
    assert api.http.get("/v1/health/ready").status_code == 200
    api.store.workers.beat(beat.model_copy(update={"left": True}))
    assert api.http.get("/v1/health/ready").status_code == 503


def test_the_committed_document_is_current(api: Service) -> None:
    committed = json.loads((ROOT / "openapi.json").read_text())
    served = api.http.get("/openapi.json").json()
    assert served == committed, "write it anew: python -m app.api.document > openapi.json"
