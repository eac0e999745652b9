"""Hosts, versions, names, faults and where a cookie may go."""

from __future__ import annotations

import http.client
import ssl
import threading
from typing import Any
from unittest.mock import Mock
from xml.parsers.expat import ExpatError

import pytest
from pyVmomi import vim, vmodl

from app.domain import errors
from app.domain.models import SourceSpec, Tls
from workers.sources import open_source
from workers.sources.vsphere.faults import Busy, SessionEnded, from_fault, translated
from workers.sources.vsphere.lease import ExportLease
from workers.sources.vsphere.session import Session, newest_common
from workers.sources.vsphere.tls import Endpoint, PinnedContext, context_for
from workers.sources.vsphere.words import unescape

HERE = Endpoint("vc.example.org", 443)


def spec(**changes: Any) -> SourceSpec:
    fields = {
        "id": "s",
        "name": "s",
        "kind": "vcenter",
        "host": "vc.example.org",
        "username": "u",
        "password": "S3cret!",
    }
    return SourceSpec.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("text", "endpoint", "shown"),
    [
        ("vc.example.org", HERE, "vc.example.org"),
        ("VC.example.org:443", HERE, "vc.example.org"),
        ("10.0.0.1:8443", Endpoint("10.0.0.1", 8443), "10.0.0.1:8443"),
        ("[fe80::1]", Endpoint("fe80::1", 443), "[fe80::1]"),
        ("[fe80::1]:444", Endpoint("fe80::1", 444), "[fe80::1]:444"),
    ],
)
def test_hosts(text: str, endpoint: Endpoint, shown: str) -> None:
    assert Endpoint.parse(text) == endpoint
    assert str(endpoint) == shown


@pytest.mark.parametrize(
    "text", ["", "https://vc", "vc/sdk", "u@vc", "vc:0", "vc:70000", "vc:", "a b", "vc\r\nX: y", "fe80::1"]
)
def test_no_hosts(text: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        open_source(spec(host=text))


@pytest.mark.parametrize("tls", [Tls(thumbprint="ab:cd"), Tls(thumbprint="zz" * 32), Tls(ca_pem="no certificate")])
def test_unreadable_trust(tls: Tls) -> None:
    with pytest.raises(errors.InvalidRequest):
        open_source(spec(tls=tls))


def test_trust_is_verified_unless_said_otherwise() -> None:
    system = context_for(Tls())
    assert system.verify_mode is ssl.CERT_REQUIRED
    assert system.check_hostname
    assert context_for(Tls(insecure=True)).verify_mode is ssl.CERT_NONE
    assert isinstance(context_for(Tls(insecure=True, thumbprint="AB:" * 31 + "AB")), PinnedContext)
    assert isinstance(context_for(Tls(thumbprint="ab" * 20)), PinnedContext)


@pytest.mark.parametrize(
    ("server", "version"),
    [
        ("8.0.2.0", "vim.version.v8_0_2_0"),
        ("8.0.2.7", "vim.version.v8_0_2_0"),
        ("99.0", "vim.version.v9_1_1_0"),
        ("6.7.3", "vim.version.version15"),
    ],
)
def test_the_newest_version_that_both_know(server: str, version: str) -> None:
    assert newest_common(server) == version


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a%2fb", "a/b"), ("a%5Cb", "a\\b"), ("100%25", "100%"), ("%252f", "%2f"), ("%41", "%41"), ("../x", "../x")],
)
def test_names(name: str, shown: str) -> None:
    assert unescape(name) == shown


def no_permission() -> Any:
    return vim.fault.NoPermission(object=vim.VirtualMachine("vm-42"), privilegeId="VApp.Export")


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (vim.fault.InvalidLogin(), errors.SourceDenied, "refused the login"),
        (vim.fault.NotAuthenticated(), SessionEnded, "ended our session"),
        (no_permission(), errors.SourceDenied, "VApp.Export on VirtualMachine vm-42"),
        (vmodl.fault.ManagedObjectNotFound(obj=vim.VirtualMachine("vm-42")), errors.NotFound, "VirtualMachine vm-42"),
        (vim.fault.InvalidPowerState(existingState="poweredOn"), errors.SourceChanged, "poweredOn"),
        (vim.fault.TaskInProgress(), Busy, "TaskInProgress"),
        (vim.fault.InvalidState(), Busy, "InvalidState"),
        (vmodl.fault.HostNotConnected(), errors.SourceUnavailable, "HostNotConnected"),
        (vim.fault.RestrictedVersion(), errors.SourceDenied, "licence"),
        (vim.fault.FileLocked(msg="in  use"), errors.PermanentError, "FileLocked: in use"),
    ],
)
def test_faults(fault: Any, error: type[errors.VmferryError], text: str) -> None:
    found = from_fault(fault, HERE)
    assert type(found) is error
    assert text in found.message


def test_privileges_that_are_missing_in_newer_versions_form() -> None:
    fault = vim.fault.NoPermission()
    fault.missingPrivileges = [
        vim.fault.NoPermission.EntityPrivileges(
            entity=vim.Folder("group-v3"), privilegeIds=["System.View", "VApp.Export"]
        )
    ]
    found = from_fault(fault, HERE)
    assert "System.View, VApp.Export on Folder group-v3" in found.message
    assert found.fields["privileges"] == ["System.View", "VApp.Export"]


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("timed out"),
        ConnectionResetError(),
        http.client.RemoteDisconnected("gone"),
        http.client.HTTPException("503 Service Unavailable"),
        ssl.SSLError(1, "WRONG_VERSION_NUMBER"),
        ExpatError("syntax error"),
    ],
)
def test_the_networks_errors_are_worth_a_retry(error: Exception) -> None:
    with pytest.raises(errors.SourceUnavailable) as caught, translated(HERE):
        raise error
    assert caught.value.__cause__ is error


class Sessions(Session):
    """A session whose logins are only counted."""

    def __init__(self) -> None:
        super().__init__(spec())
        self.manager = Mock()

    def _connected(self) -> Any:
        return Mock(sessionManager=self.manager)


def test_one_login_for_many_threads_and_one_more_when_it_ended() -> None:
    session = Sessions()
    ended = threading.Barrier(4)
    fresh = threading.local()

    def call() -> str:
        if not hasattr(fresh, "seen"):
            fresh.seen = True
            ended.wait()
            raise vim.fault.NotAuthenticated()
        return "done"

    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(session.call_once(call))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == ["done"] * 4
    assert session.manager.Login.call_count == 2


def test_what_may_not_be_sent_twice_is_sent_once() -> None:
    call = Mock(side_effect=ConnectionResetError())
    with pytest.raises(errors.SourceUnavailable):
        Sessions().call_once(call)
    assert call.call_count == 1
    with pytest.raises(errors.SourceUnavailable):
        Sessions().call(call)
    assert call.call_count == 4


def test_the_login_never_shows_the_password() -> None:
    session = Sessions()
    session.manager.Login.side_effect = vim.fault.InvalidLogin()
    with pytest.raises(errors.SourceDenied) as caught:
        session.call(Mock())
    assert "S3cret!" not in f"{caught.value!r} {caught.value.to_dict()} {caught.value.__cause__!r}"
    assert session.manager.Login.call_count == 1  # a second try could lock the account


@pytest.mark.parametrize(
    ("url", "cookie", "thumbprint", "pinned"),
    [
        ("https://*/nfc/1/disk-0.vmdk", "yes", "", False),
        ("https://VC.example.org/nfc/1/disk-0.vmdk", "yes", "", False),
        ("https://vc.example.org:444/nfc/1/disk-0.vmdk", "", "AA:" * 19 + "AA", True),
        ("https://esx1.example.org/nfc/1/disk-0.vmdk", "", "AA:" * 19 + "AA", True),
        ("https://esx1.example.org/nfc/1/disk-0.vmdk", "", "", False),
    ],
)
def test_where_the_cookie_goes_and_whom_to_trust(url: str, cookie: str, thumbprint: str, pinned: bool) -> None:
    session = Mock(endpoint=HERE, context=context_for(Tls()), context_elsewhere=context_for(Tls()))
    session.cookie.return_value = "yes"
    device = vim.HttpNfcLease.DeviceUrl(url=url, sslThumbprint=thumbprint)
    _, context, target, sent = ExportLease(session, Mock())._way_to(device)
    assert (sent, target) == (cookie, "/nfc/1/disk-0.vmdk")
    assert isinstance(context, PinnedContext) is pinned
    assert context is session.context or not cookie


def test_no_disk_without_tls() -> None:
    with pytest.raises(errors.SourceDenied):
        ExportLease(Mock(endpoint=HERE), Mock())._way_to(vim.HttpNfcLease.DeviceUrl(url="http://esx1/disk-0.vmdk"))
