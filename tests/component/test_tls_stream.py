"""TLS that reads much at a time gives the bytes that were sent, and trusts whom its context trusts."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.web_server import certificate
from workers.sources.vsphere import tls
from workers.sources.vsphere.tls_stream import TlsStream

MIB = 1 << 20
HOST = "127.0.0.1"
DATA = random.Random(1).randbytes(5 * MIB + 77)

Talk = Callable[[ssl.SSLSocket], object]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder)
    return folder / "server.pem"


@contextmanager
def server(pem: Path, talk: Talk, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Iterator[socket.socket]:
    """A peer for one connection, which is yielded without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.maximum_version = version

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as client:
            talk(client)

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(listener.getsockname(), 20) as raw:
            yield raw
        thread.join(20)
        assert not thread.is_alive()


def trusting(pem: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pem))


def say_all(client: ssl.SSLSocket) -> None:
    """In pieces of any size, then goodbye."""
    left, chance = memoryview(DATA), random.Random(2)
    while left:
        size = chance.choice([1, 100, 16_384, 70_000])
        client.sendall(left[:size])
        left = left[size:]
    client.unwrap()


def read_all(stream: TlsStream, size: int = 1 << 20) -> bytes:
    out, buffer = b"", memoryview(bytearray(size))
    while count := stream.recv_into(buffer):
        out += buffer[:count]
    return out


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1000, 16_384, 1 << 20])
def test_all_bytes_come(pem: Path, version: ssl.TLSVersion, size: int) -> None:
    with server(pem, say_all, version) as raw:
        assert read_all(TlsStream(raw, trusting(pem), HOST), size) == DATA


def test_what_is_sent_arrives_and_is_answered(pem: Path) -> None:
    def echo(client: ssl.SSLSocket) -> None:
        left = len(DATA)
        while left:
            heard = client.recv(min(left, 1 << 20))
            left -= len(heard)
        client.sendall(b"thanks")

    with server(pem, echo) as raw:
        stream = TlsStream(raw, trusting(pem), HOST)
        stream.sendall(DATA)
        assert stream.makefile("rb").read(6) == b"thanks"


def test_an_end_without_a_goodbye(pem: Path) -> None:
    def hang_up(client: ssl.SSLSocket) -> None:
        client.sendall(DATA)
        client.shutdown(socket.SHUT_RDWR)

    with server(pem, hang_up) as raw:
        assert read_all(TlsStream(raw, trusting(pem), HOST)) == DATA


def test_a_record_that_was_changed_on_the_way(pem: Path) -> None:
    def lie(client: ssl.SSLSocket) -> None:
        client.sendall(DATA[:1000])
        with socket.socket(fileno=client.detach()) as bare:
            bare.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))

    with server(pem, lie) as raw, pytest.raises(ssl.SSLError):
        read_all(TlsStream(raw, trusting(pem), HOST))


def test_a_file_outlives_the_stream(pem: Path) -> None:
    """As http.client has it, for a body that ends with the connection."""
    with server(pem, say_all) as raw:
        stream = TlsStream(raw, trusting(pem), HOST)
        file = stream.makefile("rb")
        stream.close()
        assert file.read() == DATA
        file.close()
        file.close()
        assert raw.fileno() == -1


def test_silence_and_interruption(pem: Path) -> None:
    done = threading.Event()
    with server(pem, lambda client: done.wait(20)) as raw:
        stream = TlsStream(raw, trusting(pem), HOST)
        stream.settimeout(0.1)
        buffer = memoryview(bytearray(100))
        with pytest.raises(TimeoutError):
            stream.recv_into(buffer)
        stream.settimeout(20)
        threading.Timer(0.1, lambda: raw.shutdown(socket.SHUT_RDWR)).start()
        assert stream.recv_into(buffer) == 0
        done.set()


def test_whom_it_trusts(pem: Path) -> None:
    """Before the certificate is trusted nothing is sent."""
    der = ssl.PEM_cert_to_DER_cert(pem.read_text().partition("-----BEGIN PRIVATE")[0])
    right, wrong = tls.pinned(tls.thumbprint(der)), tls.pinned("ab" * 32)
    for context, host, trusted in [
        (trusting(pem), HOST, True),
        (right, HOST, True),
        (right, "elsewhere", True),
        (wrong, HOST, False),
        (trusting(pem), "elsewhere", False),
        (ssl.create_default_context(), HOST, False),
    ]:
        heard: list[bytes] = []

        def listen(client: ssl.SSLSocket, heard: list[bytes] = heard) -> None:
            heard.append(client.recv(100))

        with server(pem, listen) as raw:
            try:
                TlsStream(raw, context, host).sendall(b"secret")
            except ssl.SSLCertVerificationError:
                assert not trusted
            else:
                assert trusted
        assert heard in ([[b"secret"]] if trusted else [[], [b""]])
