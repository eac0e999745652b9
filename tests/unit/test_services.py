"""What a job says about itself, and what a registration must not say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest

from app.domain.errors import InvalidRequest
from app.domain.job import Job, Pause
from app.domain.models import ImageOptions, Tls
from app.domain.move import MoveOptions, OnFailure
from app.domain.states import JobState
from app.services.jobs import actions, next_action, seconds
from app.services.registrations import Registrations

NOW = datetime(2026, 11, 23, tzinfo=UTC)


USERS = Pause(by="user", since=NOW)
ROOM = Pause(by="space", since=NOW, detail="pool default needs up to 3.2 GiB more", path="/p", resume_at_bytes=1)


def job(
    state: JobState,
    on_failure: str = "rollback",
    *,
    stop: bool = False,
    pause: Pause | None = None,
    begun: bool = False,
) -> Job:
    return Job(
        id="j",
        vm_id="vm-1",
        vm_name="web",
        source_id="s",
        source_name="lab",
        target_id="t",
        target_name="kvm1",
        options=MoveOptions(on_failure=OnFailure(on_failure)),
        state=state,
        stop_requested=stop,
        pause=pause,
        started_at=NOW if begun else None,
        created_at=NOW,
    )


@pytest.mark.parametrize("state", JobState)
def test_every_state_says_what_is_next(state: JobState) -> None:
    sentence = next_action(job(state))
    assert sentence.endswith(".")
    assert sentence[0].isupper() or sentence.startswith("web")


def test_a_held_job_offers_both_ways() -> None:
    assert "retry" in next_action(job(JobState.FAILED, "hold"))
    assert "roll back" in next_action(job(JobState.FAILED, "hold"))
    assert next_action(job(JobState.FAILED)) != next_action(job(JobState.FAILED, "hold"))


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        (JobState.QUEUED, ("cancel", "pause")),
        (JobState.RUNNING, ("cancel", "pause")),
        (JobState.PAUSED, ("cancel", "resume")),
        (JobState.FAILED, ("retry", "rollback")),
        (JobState.SUCCEEDED, ("rollback",)),
        (JobState.CANCELLED, ("rollback",)),
        (JobState.ROLLBACK_FAILED, ("rollback",)),
        (JobState.ROLLING_BACK, ()),
        (JobState.ROLLED_BACK, ()),
    ],
)
def test_verbs_that_a_state_takes(state: JobState, verbs: tuple[str, ...]) -> None:
    assert actions(job(state)) == verbs


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.PAUSED])
def test_a_job_that_stops_cannot_be_stopped_again(state: JobState) -> None:
    assert actions(job(state, stop=True)) == ()
    assert "Stopping" in next_action(job(state, stop=True))


def test_a_pause_says_what_it_waits_for() -> None:
    assert "pause" not in actions(job(JobState.RUNNING, pause=USERS))
    assert "resume" in actions(job(JobState.RUNNING, pause=USERS))
    assert "safe point" in next_action(job(JobState.RUNNING, pause=USERS))
    assert "resume it" in next_action(job(JobState.PAUSED, pause=USERS))
    assert "where it was" in next_action(job(JobState.QUEUED, begun=True))


def test_a_job_without_room_says_how_much_and_that_it_goes_on_by_itself() -> None:
    waiting = job(JobState.PAUSED, pause=ROOM)
    assert actions(waiting) == ("cancel", "pause", "resume")
    assert "needs up to 3.2 GiB more. It goes on by itself" in next_action(waiting)
    blind = job(JobState.PAUSED, pause=ROOM.model_copy(update={"resume_at_bytes": None}))
    assert "by itself" not in next_action(blind)


def test_seconds_are_known_when_it_is_over() -> None:
    assert seconds(NOW, NOW + timedelta(seconds=1.5)) == 1.5
    assert seconds(NOW, None) is None
    assert seconds(None, None) is None


def add_source(**changes: object) -> Mock:
    store = Mock()
    values = {"name": "lab", "kind": "vcenter", "host": "vc", "tls": Tls(), "credential": "", "username": "u"}
    Registrations(store).add_source(**values | {"password": "p"} | changes)  # type: ignore[arg-type]
    made: Mock = store.sources.add
    return made


@pytest.mark.parametrize("host", ["vc", "vc.example:8443", "192.0.2.1", "[2001:db8::1]:443"])
def test_hosts_that_are_taken(host: str) -> None:
    assert add_source(host=host).call_args.kwargs["host"] == host


@pytest.mark.parametrize(
    "host", ["https://vc", "vc/sdk", "user@vc", "vc:99999999", "a b", "-vc", "", "vc\n", "2001:db8::1"]
)
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        add_source(host=host)
    assert caught.value.fields["pointer"] == "/host"


@pytest.mark.parametrize(
    "tls",
    [
        Tls(thumbprint="aa" * 32, insecure=True),
        Tls(thumbprint="aa" * 31),
        Tls(thumbprint="zz" * 32),
        Tls(ca_pem="no certificate"),
    ],
)
def test_tls_that_makes_no_sense(tls: Tls) -> None:
    with pytest.raises(InvalidRequest):
        add_source(tls=tls)


def test_a_thumbprint_with_colons_is_taken() -> None:
    add_source(tls=Tls(thumbprint=":".join(["AA"] * 20))).assert_called_once()


@pytest.mark.parametrize(
    "login", [{"credential": "c"}, {"password": ""}, {"username": ""}, {"username": "", "password": ""}]
)
def test_one_way_to_log_in(login: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        add_source(**login)


NO_LOGIN = {"username": "", "password": ""}
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----"


@pytest.mark.parametrize(
    ("kind", "host"),
    [
        ("ova", "/srv/exports/web.ova"),
        ("ova", "/srv/exports"),
        ("ova", "/srv/with blanks/ü.ovf"),
        ("ova", "https://files.example/web.ova"),
        ("ova", "https://files.example:8443/My%20VM/web.OVF"),
        ("ova", "http://files.example/web.ova"),
        ("ova", "https://[2001:db8::1]/web.ova"),
        ("vmx", "/srv/vms/web/web.vmx"),
        ("vmx", "/srv/vms"),
    ],
)
def test_places_of_files_that_are_taken(kind: str, host: str) -> None:
    assert add_source(kind=kind, host=host, **NO_LOGIN).call_args.kwargs["host"] == host


@pytest.mark.parametrize(
    "host",
    [
        "exports/web.ova",
        "./web.ova",
        "",
        "/srv/../etc/web.ova",
        "/srv/web.ova\n",
        " https://files.example/web.ova",
        "/srv/\0.ova",
        "file:///srv/web.ova",
        "ftp://files.example/web.ova",
        "https://files.example/",
        "https://files.example/web.zip",
        "https://u:s3cret@files.example/web.ova",
        "https://files.example/web.ova?token=s3cret",
        "https:///web.ova",
        "https://[::1/web.ova",
        "https://files.example:99999999/web.ova",
        "vc.example",
    ],
)
def test_places_of_files_that_are_none(host: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        add_source(kind="ova", host=host, **NO_LOGIN)
    assert caught.value.fields["pointer"] == "/host"
    assert "s3cret" not in str(caught.value.to_dict())


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"credential": "c", "username": "", "password": ""},
        {"tls": Tls(insecure=True), **NO_LOGIN},
        {"host": "http://files.example/web.ova"},
        {"host": "http://files.example/web.ova", "tls": Tls(ca_pem=PEM), **NO_LOGIN},
        {"host": "https://files.example/web.ova", "password": ""},
        {"host": "https://files.example/web.ova", "credential": "c"},
    ],
)
def test_logins_and_certificates_that_files_have_no_use_for(given: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        add_source(**{"kind": "ova", "host": "/srv/web.ova"} | given)


@pytest.mark.parametrize("given", [{}, {"credential": "c", **NO_LOGIN}, {"tls": Tls(ca_pem=PEM), **NO_LOGIN}])
def test_a_web_server_may_want_a_login(given: dict[str, object]) -> None:
    add_source(**{"kind": "ova", "host": "https://files.example/web.ova"} | given).assert_called_once()


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("qemu+ssh://root@kvm1/system", "target_is_remote"),
        ("qemu://kvm1/system", "target_is_remote"),
        ("qemu+tcp:///system", "target_is_remote"),
        ("xen:///system", "invalid_request"),
        ("qemu://[::1", "invalid_request"),
        ("/etc/passwd", "invalid_request"),
    ],
)
def test_targets_that_no_worker_can_reach(uri: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Registrations(Mock()).add_target(
            name="t", kind="libvirt", uri=uri, pool="default", image=ImageOptions(), networks={}, credential=""
        )
    assert caught.value.code == code


@pytest.mark.parametrize("uri", ["qemu:///system", "qemu:///session", "qemu+unix:///system"])
def test_targets_on_this_machine(uri: str) -> None:
    store = Mock()
    Registrations(store).add_target(
        name="t", kind="libvirt", uri=uri, pool="default", image=ImageOptions(), networks={}, credential=""
    )
    store.targets.add.assert_called_once()


def add_target(image: ImageOptions) -> None:
    Registrations(Mock()).add_target(
        name="t", kind="libvirt", uri="qemu:///system", pool="default", image=image, networks={}, credential=""
    )


@pytest.mark.parametrize(
    ("image", "pointer"),
    [
        ({"format": "raw", "compressed": True}, "/image/compressed"),
        ({"format": "raw", "cluster_kib": 128}, "/image/cluster_kib"),
        ({"format": "raw", "preallocation": "metadata"}, "/image/preallocation"),
        ({"compressed": True, "preallocation": "metadata"}, "/image/preallocation"),
        ({"compressed": True, "preallocation": "full"}, "/image/preallocation"),
    ],
)
def test_images_that_cannot_be(image: dict[str, object], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        add_target(ImageOptions.model_validate(image))
    assert caught.value.fields["pointer"] == pointer
    assert caught.value.remedy


@pytest.mark.parametrize(
    "image",
    [
        {},
        {"format": "raw", "preallocation": "falloc", "discard": False},
        {"cluster_kib": 2048, "compressed": True},
        {"preallocation": "metadata"},
    ],
)
def test_images_that_can_be(image: dict[str, object]) -> None:
    add_target(ImageOptions.model_validate(image))
